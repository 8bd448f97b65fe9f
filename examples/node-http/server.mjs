// node:http with a gateway below /live. The custom server of Next is the same, with its own handler in place of `page`.
//
//   npm install signalbox
//   node server.mjs

import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createSignalbox } from 'signalbox'

const box = await createSignalbox({ prefix: '/live', dataDir: process.env.DATA_DIR ?? './data' })
const html = await readFile(new URL('../page.html', import.meta.url))
const page = (_request, response) => response.setHeader('Content-Type', 'text/html').end(html)

const server = createServer((request, response) => box.handle(request, response, () => page(request, response)))
server.on('upgrade', box.upgrade)
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
await box.publish({ type: 'cpu', room: 'plant-1', key: 'host-7', data: 42 })

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await box.close()
    server.close()
    server.closeIdleConnections()
  })
}
