// The page at /, and the browser client as one module at /client.js: static files, no other host.

import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { FastifyInstance } from 'fastify'
import { packageRoot } from './package.ts'

export default async function dashboard (app: FastifyInstance): Promise<void> {
  await app.register(fastifyStatic, {
    root: join(packageRoot, 'src', 'dashboard'),
    cacheControl: false,
    schemaHide: true
  })
  // Compiled from src/client, so it lies elsewhere.
  app.get('/client.js', { schema: { hide: true } }, async (_request, reply) =>
    await reply.sendFile('index.js', join(packageRoot, 'dist', 'src', 'client')))
}
