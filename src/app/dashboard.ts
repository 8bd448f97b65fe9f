// The dashboard at / and the browser client at /client.js: static files, bundled by `npm run build:web`.

import { join } from 'node:path'
import helmet from '@fastify/helmet'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
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
  await app.register(helmet, {
    // The gateway has no TLS. Only a proxy that adds it may promise HTTPS.
    hsts: false,
    contentSecurityPolicy: { useDefaults: false, directives: CONTENT_POLICY }
  })
  await app.register(fastifyStatic, {
    root: join(packageRoot, 'dist', 'web'),
    cacheControl: false,
    // A route for each file: what is no file is not looked for on the disk, and has no methods.
    wildcard: false,
    schemaHide: true
  })
}
