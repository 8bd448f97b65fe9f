// Request bodies: JSON and NDJSON, read by the strict JSON reader that all transports share. A body with an
// Idempotency-Key is also hashed here, where its bytes are available.

import { createHash } from 'node:crypto'
import { isUtf8 } from 'node:buffer'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { Refusal } from '../core/errors.ts'
import { MAX_BATCH } from '../core/event.ts'
import { JsonSize, readJson } from '../core/json.ts'
import { callerOf } from './caller.ts'
import type { Effort } from './effort.ts'
import { LINE_FROM } from './work-line.ts'
import type { WorkLine } from './work-line.ts'

const NDJSON_TYPES = ['application/x-ndjson', 'application/ndjson', 'application/jsonl']

const CODING = /^\s*(?:identity|(?:x-)?gzip)?\s*$/i
const GZIP = /gzip/i
const FOREIGN_CHARSET = /charset=(?!"?utf-?8"?\s*(?:;|$))/i

const unzip = promisify(gunzip)

declare module 'fastify' {
  interface FastifyRequest {
    /** A digest of the body's bytes; empty if the request has no Idempotency-Key. */
    fingerprint: string
  }
}

export default fp(async (app: FastifyInstance, { effort, line }: { effort: Effort, line: WorkLine }) => {
  app.decorateRequest('fingerprint', '')
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, readWith(text => readJson(text, 'BAD_REQUEST')))
  app.addContentTypeParser(NDJSON_TYPES, { parseAs: 'buffer' }, readWith(readLines))

  function readWith (act: (text: string) => unknown) {
    return (request: FastifyRequest, body: Buffer, done: (error: Error | null, body?: unknown) => void): void => {
      const { 'content-encoding': encoding = '', 'content-type': type = '' } = request.headers
      if (!CODING.test(encoding) || FOREIGN_CHARSET.test(type)) throw new Refusal('UNSUPPORTED_MEDIA_TYPE', 'a body must be UTF-8, plain or with Content-Encoding: gzip')
      // Nearly all bodies: nothing to wait for.
      if (body.length < LINE_FROM && !GZIP.test(encoding)) done(null, act(textOf(request, body)))
      else readLarge(request, body, GZIP.test(encoding), act).then(value => done(null, value), done)
    }
  }

  async function readLarge (request: FastifyRequest, sent: Buffer, isZipped: boolean, act: (text: string) => unknown): Promise<unknown> {
    const text = textOf(request, isZipped ? await decompress(sent, request.routeOptions.bodyLimit) : sent)
    const caller = (request.identity as FastifyRequest['identity'] | undefined)?.caller ?? callerOf(request)
    await effort.turn(text, caller)
    await line.turn(text)
    return effort.measured(text, caller, act)
  }

  app.addHook('onRequest', ({ raw }, _reply, done) => {
    const coding = raw.headers['transfer-encoding']
    if (coding !== undefined && !/^\s*chunked\s*$/i.test(coding)) throw new Refusal('NOT_IMPLEMENTED', 'of transfer codings only chunked is understood; name compression in Content-Encoding')
    done()
  })
}, { name: 'body' })

/** Reads NDJSON. Empty lines are passed over; a refusal names the line as an editor counts it. */
function readLines (text: string): unknown[] {
  const events: unknown[] = []
  const size = new JsonSize()
  let line = 0
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start)
    const json = text.slice(start, end === -1 ? text.length : end)
    start += json.length + 1
    line++
    if (json.trim() === '') continue
    if (events.length === MAX_BATCH) throw new Refusal('BAD_EVENT', `a publish holds 1 to ${MAX_BATCH} events; this one has more`)
    try {
      events.push(readJson(json, 'BAD_REQUEST', size))
    } catch (error) {
      throw error instanceof Refusal ? new Refusal(error.code, `line ${line}: ${error.message}`) : error
    }
  }
  return events
}

function textOf (request: FastifyRequest, body: Buffer): string {
  if (request.headers['idempotency-key'] !== undefined) request.fingerprint = createHash('sha256').update(body).digest('base64url')
  // Decoding replaces invalid bytes by U+FFFD: subscribers would get data that nobody sent.
  if (!isUtf8(body)) throw new Refusal('BAD_REQUEST', 'the body is not valid UTF-8')
  return body.toString('utf8')
}

/** @param limit bytes that may come out: a few KB hold gigabytes of the same letter */
async function decompress (body: Buffer, limit: number): Promise<Buffer> {
  try {
    return await unzip(body, { maxOutputLength: limit })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw new Refusal('TOO_LARGE', `a body may not exceed ${limit} bytes when decompressed (MAX_HTTP_BUFFER_SIZE)`)
    throw new Refusal('BAD_REQUEST', 'the body is not valid gzip')
  }
}
