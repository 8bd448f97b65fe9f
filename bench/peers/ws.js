// ws, as its README broadcasts ("Server broadcast"): the bytes as they came, one buffer for all.

import { createServer } from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'
import { takeEvents, tell } from './serve.js'

const server = createServer(takeEvents(text => {
  for (const client of sockets.clients) {
    if (client.readyState === WebSocket.OPEN) client.send(text, { binary: false })
  }
}))
const sockets = new WebSocketServer({ server })
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => tell(server))
