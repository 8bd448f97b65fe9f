// Prints docs/openapi.json: every route of both profiles, of a gateway with tokens.

import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { configFrom } from '../../config/index.ts'
import { composeGateway } from '../../src/signalbox.ts'

type Operation = Record<string, unknown>
export interface Document {
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly schemas: Record<string, object> }
}

export async function openApi (): Promise<Document> {
  const box = await composeGateway({ config: { ...configFrom({}), dataDir: ':memory:', authJwtSecret: 'no secret, nobody is let in by it' }, log: pino({ level: 'silent' }) })
  const app = await box.createServer()
  try {
    await app.ready()
    const document = app.swagger() as unknown as Document
    const sorted = <Part extends object>(part: Part): Part => Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1)) as Part
    return { ...document, paths: sorted(document.paths), components: { ...document.components, schemas: sorted(document.components.schemas) } }
  } finally {
    await app.close()
  }
}

export const textOfOpenApi = async (): Promise<string> => `${JSON.stringify(await openApi(), null, 2)}\n`

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(await textOfOpenApi())
