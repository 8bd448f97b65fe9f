// A bare Fastify route that parses the same body and answers as much: what HTTP alone costs in Node.

import Fastify from 'fastify'
import { tell } from './serve.js'

const app = Fastify()
let count = 0
app.post('/publish', (request, reply) => {
  const events = Array.isArray(request.body) ? request.body : [request.body]
  reply.code(202).send({ ids: events.map(() => `1763770000000-${count++}`) })
})
await app.listen({ port: 0, host: '127.0.0.1' })
tell(app.server)
