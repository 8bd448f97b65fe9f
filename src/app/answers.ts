// Answers above 1 KiB, for clients that prefer gzip. Whole, so that an answer has its length, a HEAD the same headers, and what
// nobody reads is counted (turns.ts). Files come compressed from the disk (dashboard.ts); streams compress their frames.

import { gzip, gzipSync } from 'node:zlib'
import fp from 'fastify-plugin'
import { acceptsGzip, LEVEL, MIN_SINGLE_BYTES, varyByEncoding } from './compression.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** False: what this route answers is never compressed. */
    compresses?: boolean
  }
}

/** Shorter ones are done before a thread would have begun. */
const SYNC_BYTES = 16 * 1024
const OPTIONS = { level: LEVEL } as const

export default fp(async app => {
  app.addHook('onSend', (request, reply, payload, done) => {
    const isWhole = typeof payload === 'string' || Buffer.isBuffer(payload)
    if (!isWhole || payload.length < MIN_SINGLE_BYTES || request.routeOptions.config.compresses === false || reply.hasHeader('content-encoding')) return done(null, payload)
    varyByEncoding(reply)
    if (!acceptsGzip(request.headers['accept-encoding'])) return done(null, payload)
    const send = (zipped: Buffer): void => {
      reply.header('Content-Encoding', 'gzip').removeHeader('Content-Length')
      done(null, zipped)
    }
    if (payload.length < SYNC_BYTES) return send(gzipSync(payload, OPTIONS))
    gzip(payload, OPTIONS, (error, zipped) => error === null ? send(zipped) : done(error))
  })
}, { name: 'answers' })
