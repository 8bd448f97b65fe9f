// better-sse, as its documents say: a channel, https://matthewwid.github.io/better-sse/guides/channels/

import { createServer } from 'node:http'
import { createChannel, createSession } from 'better-sse'
import { takeEvents, tell } from './serve.js'

const channel = createChannel()
const takes = takeEvents(text => channel.broadcast(JSON.parse(text)))
const server = createServer(async (request, response) => {
  if (request.method === 'POST') takes(request, response)
  else channel.register(await createSession(request, response))
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => tell(server))
