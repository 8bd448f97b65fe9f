// /docs: the OpenAPI reference, from the routes' own schemas, served without any outside host.

import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
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
        { name: 'status', description: 'What the gateway says of itself' }
      ]
    }
  })
  // The page brings one inline style; its scripts are files of its own.
  await app.register(swaggerUi, { routePrefix: '/docs', staticCSP: "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'" })
}, { name: 'docs' })
