// Request bodies: JSON and NDJSON, read by the strict JSON reader that all transports share. A body with an
// Idempotency-Key is also hashed here, where its bytes are available.

import { createHash } from 'node:crypto'
import { isUtf8 } from 'node:buffer'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import { MAX_BATCH } from '../core/event.ts'
import { readJson } from '../core/json.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** A digest of the body's bytes; empty if the request has no Idempotency-Key. */
    fingerprint: string
  }
}

export default fp(async (app: FastifyInstance) => {
  app.decorateRequest('fingerprint', '')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => readJson(textOf(request, body), 'BAD_REQUEST'))
  app.addContentTypeParser('application/x-ndjson', { parseAs: 'buffer' }, async (request: FastifyRequest, body: Buffer) => {
    const lines = textOf(request, body).split('\n').filter(line => line.trim() !== '')
    // Checked before parsing: a million lines need not be parsed to be refused.
    if (lines.length > MAX_BATCH) throw new Refusal('BAD_EVENT', `a publish holds 1 to ${MAX_BATCH} events; this one has ${lines.length}`)
    return lines.map((line, index) => {
      try {
        return readJson(line, 'BAD_REQUEST')
      } catch (error) {
        throw error instanceof Refusal ? new Refusal(error.code, `line ${index + 1}: ${error.message}`) : error
      }
    })
  })
}, { name: 'body' })

function textOf (request: FastifyRequest, body: Buffer): string {
  const { 'content-encoding': encoding, 'content-type': type = '' } = request.headers
  if ((encoding !== undefined && encoding !== 'identity') || /charset=(?!"?utf-?8"?\s*(?:;|$))/i.test(type)) {
    throw new Refusal('UNSUPPORTED_MEDIA_TYPE', 'a body must be UTF-8, without Content-Encoding and without any other charset')
  }
  if (request.headers['idempotency-key'] !== undefined) request.fingerprint = createHash('sha256').update(body).digest('base64url')
  // Decoding replaces invalid bytes by U+FFFD: subscribers would get data that nobody sent.
  if (!isUtf8(body)) throw new Refusal('BAD_REQUEST', 'the body is not valid UTF-8')
  return body.toString('utf8')
}
