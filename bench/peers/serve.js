// What the peers have in common: events come in by POST, whatever the path; the port is told on stdout.

/** @param {(text: Buffer) => void} broadcast */
export function takeEvents (broadcast) {
  return (request, response) => {
    const pieces = []
    request.on('data', piece => pieces.push(piece)).on('end', () => {
      broadcast(Buffer.concat(pieces))
      response.writeHead(202, { 'Content-Length': 0 }).end()
    })
  }
}

export function tell (server) {
  console.log(`listens on http://127.0.0.1:${server.address().port}/`)
}

/** For those on Fastify: bodies stay text. */
export function takeText (app, broadcast) {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, body))
  app.post('/publish', (request, reply) => {
    broadcast(request.body)
    reply.code(202).send()
  })
}
