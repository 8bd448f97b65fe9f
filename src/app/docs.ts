// /docs: the OpenAPI reference, generated from the schemas of the routes. It loads nothing from other hosts. docs/openapi.json
// is the same for both profiles together.

import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { openToAll } from './auth/auth.ts'
import { mountOf } from './mount.ts'
import { description, version } from './package.ts'

const SECURITY_SCHEMES = {
  token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'where the gateway has AUTH_JWT_SECRET or AUTH_JWKS_URL' },
  cookie: { type: 'apiKey', in: 'cookie', name: 'signalbox_token', description: 'the same token; a POST then needs an Origin' },
  ticket: { type: 'apiKey', in: 'query', name: 'ticket', description: 'from POST /api/ticket' },
  metricsToken: { type: 'http', scheme: 'bearer', description: 'METRICS_TOKEN, or a token that may run `metrics`' }
} as const

/** Who may call a route, by its `access`. Last, where it is no duty: an open gateway asks nobody. */
const SECURITY = {
  all: [],
  metrics: [{ metricsToken: [] }, {}],
  ticket: [{ token: [] }, { cookie: [] }, { ticket: [] }, {}],
  token: [{ token: [] }, { cookie: [] }, {}]
}

export default fp(async (app: FastifyInstance) => {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Signalbox',
        description,
        version,
        license: { name: 'MIT', identifier: 'MIT' }
      },
      servers: [{ url: '/', description: 'the gateway itself' }],
      tags: [
        { name: 'events', description: 'Publish and receive' },
        { name: 'control', description: 'Commands' },
        { name: 'status', description: 'State of the gateway' }
      ],
      components: { securitySchemes: SECURITY_SCHEMES }
    },
    transform: ({ schema, url, route }) => ({
      schema: schema?.hide === true ? schema : { ...schema, security: SECURITY[route.config?.access ?? 'token'] },
      url
    }),
    transformObject: document => 'openapiObject' in document ? gathered(document.openapiObject) : document.swaggerObject
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

type Document = Extract<Parameters<NonNullable<swagger.FastifyDynamicSwaggerOptions['transformObject']>>[0], { readonly openapiObject: unknown }>['openapiObject']

/** The document with each titled schema among its components, and references to it. */
function gathered (document: Document): Document {
  const schemas: Record<string, unknown> = {}
  const gather = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map(gather)
    const { title, ...rest } = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, name === 'example' ? part : gather(part)]))
    if (typeof title !== 'string') return rest
    schemas[title] = rest
    return { $ref: `#/components/schemas/${title}` }
  }
  const paths = gather(document.paths)
  return { ...document, paths, components: { ...document.components, schemas } } as Document
}
