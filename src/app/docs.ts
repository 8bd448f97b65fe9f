// /docs: the OpenAPI reference, generated from the schemas of the routes. It loads nothing from other hosts.

import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { openToAll } from './auth/auth.ts'
import { mountOf } from './mount.ts'
import { description, version } from './package.ts'

export default fp(async (app: FastifyInstance) => {
  await app.register(swagger, {
    openapi: {
      info: {
        title: 'Signalbox',
        description,
        version
      },
      tags: [
        { name: 'events', description: 'Publish and receive' },
        { name: 'control', description: 'Commands' },
        { name: 'status', description: 'State of the gateway' }
      ]
    }
  })
  // The page has one inline style; its scripts are separate files.
  await app.register(async scope => {
    openToAll(scope)
    // Its addresses begin at the root of the server.
    scope.addHook('onSend', async ({ raw }, _reply, payload) => {
      const mount = mountOf(raw)
      return mount === '' || typeof payload !== 'string' ? payload : payload.replaceAll('="/docs/', `="${mount}/docs/`).replace('"servers":[{"url":"/"', `"servers":[{"url":"${mount}"`)
    })
    await scope.register(swaggerUi, { routePrefix: '/docs', staticCSP: "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'self'" })
  })
}, { name: 'docs' })
