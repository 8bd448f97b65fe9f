// The dashboard at / and the browser client at /client.js, with its types at /client.d.ts: static files, made by `npm run build`,
// which compresses them too.

import { join } from 'node:path'
import helmet from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { openToAll } from './auth/auth.ts'
import { varyByEncoding } from './compression.ts'
import { Fingerprints } from './fingerprints.ts'
import { packageRoot } from './package.ts'

const ROOT = join(packageRoot, 'dist', 'web')

/** The dashboard loads nothing from other hosts. */
const CONTENT_POLICY = {
  'default-src': ["'self'"],
  'img-src': ["'self'", 'data:'],
  'object-src': ["'none'"],
  'base-uri': ["'none'"],
  'form-action': ["'self'"],
  'frame-ancestors': ["'self'"]
}

export default async function dashboard (app: FastifyInstance): Promise<void> {
  const fingerprints = new Fingerprints()
  openToAll(app)
  await app.register(helmet, {
    // The gateway has no TLS. Only a proxy that adds it may promise HTTPS.
    hsts: false,
    contentSecurityPolicy: { useDefaults: false, directives: CONTENT_POLICY }
  })
  app.addHook('preHandler', async (request, reply) => {
    const { file } = request.routeOptions.config as { file?: string }
    if (file === undefined) return
    const tag = await fingerprints.of(join(ROOT, file.endsWith('/') ? `${file}index.html` : file))
    // Browsers ask each time, so that pages and client are those of the gateway also right after an update.
    reply.headers({ ETag: tag, 'Cache-Control': 'no-cache' })
    varyByEncoding(reply)
    const known = request.headers['if-none-match']?.split(',').map(text => text.trim())
    if (known?.some(text => text === tag || text === '*') === true) return await reply.code(304).send()
  })
  // By its ending, client.d.ts would be a video (MPEG transport stream).
  app.addHook('onSend', async (_request, reply) => {
    if (reply.getHeader('content-type') === 'video/mp2t') reply.type('text/plain; charset=utf-8')
  })
  await app.register(fastifyStatic, {
    root: ROOT,
    preCompressed: true,
    // Files of an npm package have no times of their own: all are of 1985. Only their content tells versions apart.
    etag: false,
    lastModified: false,
    acceptRanges: false,
    cacheControl: false,
    // A route for each file: what is no file is not looked for on the disk, and has no methods.
    wildcard: false,
    globIgnore: ['**/*.{br,gz}'],
    schemaHide: true
  })
}
