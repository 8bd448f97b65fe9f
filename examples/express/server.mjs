// An Express app with a gateway below /live, behind the app's own sign-in.
//
//   npm install express signalbox
//   node server.mjs

import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import express from 'express'
import { createSignalbox } from 'signalbox'

const app = express()
const box = await createSignalbox({
  prefix: '/live',
  profile: process.env.PROFILE ?? 'SSE',
  dataDir: process.env.DATA_DIR ?? './data',
  // Everybody may watch; publishing needs the key. A real app looks at request.session here.
  authorize: ({ headers }) => ({
    subscribe: ['*'],
    publish: headers.authorization === `Bearer ${process.env.PUBLISH_KEY ?? 'letmein'}` ? ['*'] : []
  })
})

app.use('/live', box.handle) // before body parsers: the gateway reads its bodies itself
app.use(express.json())
app.get('/', (_request, response) => response.sendFile(fileURLToPath(new URL('../page.html', import.meta.url))))
app.post('/measurements', async (request, response) => {
  const [id] = await box.publish({ type: 'cpu', room: 'plant-1', key: 'host-7', data: request.body.percent })
  response.status(201).json({ id })
})

const server = createServer(app)
server.on('upgrade', box.upgrade) // for the profile WEBSOCKET
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await box.close() // tells clients to come back
    server.close()
    server.closeIdleConnections()
  })
}
