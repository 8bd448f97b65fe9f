// socket.io, as its documents say: https://socket.io/docs/v4/rooms/ ; with its defaults.

import { createServer } from 'node:http'
import { Server } from 'socket.io'
import { takeEvents, tell } from './serve.js'

const takes = takeEvents(text => io.to('bench').emit('event', JSON.parse(text)))
const server = createServer((request, response) => {
  if (request.method === 'POST') takes(request, response)
})
const io = new Server(server)
io.on('connection', socket => socket.join('bench'))
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => tell(server))
