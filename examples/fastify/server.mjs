// A Fastify app with a gateway of its own below /live.
//
//   npm install fastify signalbox
//   node server.mjs

import { readFile } from 'node:fs/promises'
import Fastify from 'fastify'
import signalbox from 'signalbox'

const app = Fastify({ return503OnClosing: false })
await app.register(signalbox, { prefix: '/live', dataDir: process.env.DATA_DIR ?? './data' })

const page = await readFile(new URL('../page.html', import.meta.url))
app.get('/', async (_request, reply) => await reply.type('text/html').send(page))

// Work only while somebody looks.
let timer
app.signalbox.on('occupied', room => {
  if (room === 'plant-1') timer ??= setInterval(measure, 1000)
})
app.signalbox.on('vacated', room => {
  if (room === 'plant-1') timer = clearInterval(timer)
})

async function measure () {
  const data = Math.round(100 * Math.random())
  await app.signalbox.publish({ type: 'cpu', room: 'plant-1', key: 'host-7', data }).catch(console.error)
}

await measure()
console.log(await app.listen({ port: Number(process.env.PORT ?? 8080) }))

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    clearInterval(timer)
    await app.close() // tells clients to come back
  })
}
