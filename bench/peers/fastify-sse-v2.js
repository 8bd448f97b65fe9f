// fastify-sse-v2, as its README says ("Sending individual events").

import Fastify from 'fastify'
import { FastifySSEPlugin } from 'fastify-sse-v2'
import { takeText, tell } from './serve.js'

const app = Fastify()
const replies = new Set()
await app.register(FastifySSEPlugin)
app.get('/', (request, reply) => {
  replies.add(reply)
  request.raw.socket.on('close', () => replies.delete(reply))
  reply.sse({ data: 'ready' })
})
takeText(app, text => { for (const reply of replies) reply.sse({ data: text }) })
await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
tell(app.server)
