// @fastify/sse, as its README says: `keepAlive`, and `send` from elsewhere.

import Fastify from 'fastify'
import sse from '@fastify/sse'
import { takeText, tell } from './serve.js'

const app = Fastify()
const replies = new Set()
await app.register(sse, { serializer: text => text })
app.get('/', { sse: true }, async (_request, reply) => {
  reply.sse.keepAlive()
  replies.add(reply)
  reply.sse.onClose(() => replies.delete(reply))
  await reply.sse.send({ data: 'ready' })
})
takeText(app, text => {
  for (const reply of replies) if (reply.sse.isConnected) reply.sse.send({ data: text }).catch(() => replies.delete(reply))
})
await app.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
tell(app.server)
