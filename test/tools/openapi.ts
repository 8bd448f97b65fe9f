// Prints docs/openapi.json: every route of both profiles, of a gateway with tokens.

import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { configFrom } from '../../config/index.ts'
import { PROFILE_NAMES } from '../../profiles/index.ts'
import type { ProfileName } from '../../profiles/index.ts'
import { composeGateway } from '../../src/signalbox.ts'

type Operation = Record<string, unknown>
export interface Document {
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly schemas: Record<string, object> }
}

async function documentOf (appProfile: ProfileName): Promise<Document> {
  const box = await composeGateway({ config: { ...configFrom({ appProfile }), dataDir: ':memory:', authJwtSecret: 'no secret, nobody is let in by it' }, log: pino({ level: 'silent' }) })
  const app = await box.createServer()
  try {
    await app.ready()
    return app.swagger() as unknown as Document
  } finally {
    await app.close()
  }
}

/** A route that only one profile has says so. */
function marked (document: Document, other: Document, profile: ProfileName): Document['paths'] {
  return Object.fromEntries(Object.entries(document.paths).map(([path, operations]) => [path, path in other.paths
    ? operations
    : Object.fromEntries(Object.entries(operations).map(([method, operation]) => [method, { ...operation, description: `Only with APP_PROFILE=${profile}. ${String(operation.description ?? '')}`.trim() }]))]))
}

export async function openApi (): Promise<Document> {
  const [sse, websocket] = await Promise.all(PROFILE_NAMES.map(documentOf)) as [Document, Document]
  const paths = { ...marked(sse, websocket, 'SSE'), ...marked(websocket, sse, 'WEBSOCKET') }
  return {
    ...sse,
    paths: Object.fromEntries(Object.entries(paths).sort(([a], [b]) => a < b ? -1 : 1)),
    components: { ...sse.components, schemas: Object.fromEntries(Object.entries({ ...sse.components.schemas, ...websocket.components.schemas }).sort(([a], [b]) => a < b ? -1 : 1)) }
  }
}

export const textOfOpenApi = async (): Promise<string> => `${JSON.stringify(await openApi(), null, 2)}\n`

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(await textOfOpenApi())
