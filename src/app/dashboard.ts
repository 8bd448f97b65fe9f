// The dashboard at / and the browser client at /client.js, with its types at /client.d.ts: static files, made by `npm run build`.

import { join } from 'node:path'
import helmet from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { openToAll } from './auth/auth.ts'
import { packageRoot } from './package.ts'

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
  openToAll(app)
  await app.register(helmet, {
    // The gateway has no TLS. Only a proxy that adds it may promise HTTPS.
    hsts: false,
    contentSecurityPolicy: { useDefaults: false, directives: CONTENT_POLICY }
  })
  // By its ending, client.d.ts would be a video (MPEG transport stream).
  app.addHook('onSend', async (_request, reply) => {
    if (reply.getHeader('content-type') === 'video/mp2t') reply.type('text/plain; charset=utf-8')
  })
  await app.register(fastifyStatic, {
    root: join(packageRoot, 'dist', 'web'),
    cacheControl: false,
    // A route for each file: what is no file is not looked for on the disk, and has no methods.
    wildcard: false,
    schemaHide: true
  })
}
