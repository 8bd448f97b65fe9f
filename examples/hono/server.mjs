// A Hono app on Node with a gateway below /live.
//
//   npm install hono @hono/node-server signalbox
//   node server.mjs

import { readFile } from 'node:fs/promises'
import { serve } from '@hono/node-server'
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response'
import { Hono } from 'hono'
import { createSignalbox } from 'signalbox'

const box = await createSignalbox({ prefix: '/live', dataDir: process.env.DATA_DIR ?? './data' })
const page = await readFile(new URL('../page.html', import.meta.url), 'utf8')

const app = new Hono()
app.all('/live/*', ({ env }) => {
  box.handle(env.incoming, env.outgoing)
  return RESPONSE_ALREADY_SENT
})
app.get('/', context => context.html(page))
app.post('/measurements', async context => {
  const { percent } = await context.req.json()
  const [id] = await box.publish({ type: 'cpu', room: 'plant-1', key: 'host-7', data: percent })
  return context.json({ id }, 201)
})

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(process.env.PORT ?? 8080) }, ({ port }) => console.log(`http://127.0.0.1:${port}`))
server.on('upgrade', box.upgrade)

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await box.close()
    server.close()
    server.closeIdleConnections()
  })
}
