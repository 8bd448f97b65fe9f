// docs/openapi.json and docs/asyncapi.yaml: true, valid, and enough to make a client from. That every answer is as they say is
// looked at by all tests that ask a gateway (tools/answers.ts).

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { Ajv } from 'ajv'
import fc from 'fast-check'
import openapiTs, { astToString } from 'openapi-typescript'
import t from 'tap'
import ts from 'typescript'
import { parse } from 'yaml'
import { packageRoot } from '../src/app/package.ts'
import { eventSchema } from '../src/app/schemas.ts'
import { parseEvent } from '../src/core/event.ts'
import { checkAnswer, checkSocketMessage, checkStreamMessage } from './tools/answers.ts'
import { textOfOpenApi } from './tools/openapi.ts'

const file = (name: string): string => join(packageRoot, 'docs', name)
const text = (name: string): string => readFileSync(file(name), 'utf8')

t.test('docs/openapi.json is what the routes of both profiles say; npm run openapi writes it', async t => {
  t.equal(text('openapi.json'), await textOfOpenApi())
})

t.test('docs/openapi.json passes the linter, each route has an operationId and its refusals', async t => {
  const config = await createConfig({
    extends: ['recommended-strict'],
    rules: {
      // A gateway is where its operator puts it, and may be open.
      'no-server-example.com': 'off',
      'security-defined': 'off',
      // A socket answers 101; the messages of streams are in asyncapi.yaml.
      'operation-2xx-response': 'off'
    }
  })
  const problems = await lintFromString({ source: text('openapi.json'), absoluteRef: file('openapi.json'), config })
  t.strictSame(problems.map(({ ruleId, message, location }) => `${ruleId}: ${message} ${location[0]?.pointer ?? ''}`), [])
  const { paths } = JSON.parse(text('openapi.json'))
  const operations = Object.values(paths as Record<string, Record<string, { operationId: string, responses: object }>>).flatMap(methods => Object.values(methods))
  t.ok(operations.length >= 12)
  t.equal(new Set(operations.map(({ operationId }) => operationId)).size, operations.length)
  for (const { operationId, responses } of operations) {
    t.match(responses, { '4XX': Object, '5XX': Object }, operationId)
    t.ok('200' in responses || '202' in responses || '101' in responses, operationId)
  }
})

t.test('docs/asyncapi.yaml is valid AsyncAPI 3.0, and names this version', async t => {
  const ajv = new Ajv({ strict: false, validateFormats: false })
  const validate = ajv.compile(createRequire(import.meta.url)('@asyncapi/specs/schemas/3.0.0-without-$id.json'))
  const document = parse(text('asyncapi.yaml'))
  t.ok(validate(document), ajv.errorsText(validate.errors))
  t.equal(document.info.version, JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')).version)
  t.notOk(validate({ ...document, channels: { stream: { address: 1 } } }))
})

t.test('an event is accepted where its schema says so, and nowhere else', async t => {
  const validate = new Ajv({ strict: false, unicodeRegExp: false }).compile({ ...eventSchema, title: undefined })
  const name = fc.oneof({ weight: 8, arbitrary: fc.stringMatching(/^[A-Za-z0-9_.:/-]{1,3}$/) }, fc.string({ maxLength: 4 }), fc.string({ unit: 'binary', maxLength: 3 }), fc.constantFrom('a'.repeat(128), 'a'.repeat(129), '@public', 'ä', 'a b', ''))
  const key = fc.oneof(name, fc.constantFrom('k'.repeat(256), 'k'.repeat(257), '\n', 'a\u0085', '\u007f', '😀'))
  const strange = fc.oneof(fc.integer(), fc.boolean(), fc.constant([]), fc.constant({}))
  const timestamp = fc.oneof(fc.integer({ min: -10 }), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom(0, 1e14, 1.1e14, 1e11))
  const field = (value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> => fc.oneof({ weight: 8, arbitrary: value }, { weight: 1, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: strange })
  const events = fc.record({ type: field(name), room: field(name), key: field(key), data: fc.jsonValue(), timestamp: field(timestamp), ttl: fc.oneof({ weight: 6, arbitrary: fc.constant(null) }, { weight: 2, arbitrary: fc.constantFrom(1, 31_536_000) }, { weight: 1, arbitrary: fc.constantFrom(0, 1.5, 31_536_001) }, { weight: 1, arbitrary: strange }), extra: fc.constant(1) }, { requiredKeys: [] })
  const accepted = (value: unknown): boolean => {
    try {
      parseEvent(value, { now: 1, maxBytes: 1e6, stateTypes: new Set() })
      return true
    } catch {
      return false
    }
  }
  let good = 0
  fc.assert(fc.property(events, event => {
    // Not sent: no event has it.
    const { extra, ...rest } = event as Record<string, unknown>
    for (const value of [rest, event]) {
      const expected = accepted(value)
      if (expected) good++
      // A ttl needs a value: STATE_TYPES may give the key, so the schema cannot say it.
      const { ttl, key, data } = value as Record<string, unknown>
      const isPlain = ttl == null || (key != null && data !== null)
      if ((validate(value) && isPlain) !== expected) throw new Error(`the schema says ${!expected}, the parser ${expected}`)
    }
  }), { numRuns: 3000 })
  t.ok(good > 100, `${good} were good`)
})

t.test('clients made from the two documents compile, and what the documents do not have does not', async t => {
  const typesOf = async (folder: string, name: string): Promise<string> => astToString(await openapiTs(pathToFileURL(join(folder, name)), { silent: true }))
  const messages = { openapi: '3.1.0', info: { title: 'messages', version: '0' }, paths: {}, components: { schemas: parse(text('asyncapi.yaml')).components.schemas } }
  const documents = t.testdir({ 'openapi.json': text('openapi.json'), 'messages.json': JSON.stringify(messages) })
  const files = {
    'http.ts': await typesOf(documents, 'openapi.json'),
    'messages.ts': await typesOf(documents, 'messages.json'),
    'client.ts': `
      import createClient from 'openapi-fetch'
      import type { paths } from './http.ts'
      import type { components } from './messages.ts'
      const client = createClient<paths>({ baseUrl: 'http://127.0.0.1:3000' })
      const { data, error } = await client.POST('/api/events', { body: { type: 'cpu', room: 'plant-1', key: 'host-7', data: 42 } })
      export const first: string | undefined = data?.ids[0]
      export const code: 'ROOM_PAUSED' | undefined = error?.code === 'ROOM_PAUSED' ? error.code : undefined
      const profile = await client.GET('/api/profile')
      export const stream: string | null | undefined = profile.data?.stream
      export const warnings = (await client.GET('/readyz')).data?.warnings?.join()
      export const outcome: 'running' | 'done' | 'failed' | 'unknown' | undefined = (await client.GET('/api/control/{id}', { params: { path: { id: 'x' } } })).data?.status
      // @ts-expect-error An event has a type.
      await client.POST('/api/events', { body: { data: 42 } })
      // @ts-expect-error No such route.
      await client.GET('/api/nothing')
      export function handle (message: components['schemas']['SocketMessage']): string | undefined {
        if (message.event === 'events') return message.data[0]?.type
        if (message.event === 'bye') return String(message.data.retryMs)
        // @ts-expect-error No message has this.
        return message.nothing
      }
      export const join: components['schemas']['SocketRequest'] = { action: 'join', rooms: ['a', { room: 'b', types: ['x'] }], ref: 1 }
    `
  }
  for (const [name, source] of Object.entries(files)) writeFileSync(join(documents, name), source)
  const program = ts.createProgram([join(documents, 'client.ts')], {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    allowImportingTsExtensions: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    lib: ['lib.es2022.d.ts', 'lib.dom.d.ts'],
    types: []
  })
  t.strictSame(ts.getPreEmitDiagnostics(program).map(({ messageText, file }) => `${file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`), [])
})

t.test('an answer or a message that is not documented fails the test that got it', async t => {
  const refusal = { statusCode: 404, code: 'NOT_FOUND', error: 'Not Found', message: 'x' }
  t.doesNotThrow(() => checkAnswer('GET', '/nothing', 404, refusal))
  t.throws(() => checkAnswer('GET', '/nothing', 404, {}), /must have required property 'code'/)
  t.doesNotThrow(() => checkAnswer('POST', '/api/events', 202, { ids: ['1-0'] }))
  t.throws(() => checkAnswer('POST', '/api/events', 202, { ids: ['1-0'], more: 1 }), /must NOT have additional properties/)
  t.throws(() => checkAnswer('POST', '/api/events', 202, { ids: [1] }), /\/ids\/0 must be string/)
  t.throws(() => checkAnswer('POST', '/api/events', 204, {}), /knows no 204/)
  t.throws(() => checkAnswer('GET', '/api/rooms', 400, { ...refusal, code: 'NO_SUCH_CODE' }), /must be equal to one of the allowed values/)
  t.doesNotThrow(() => checkStreamMessage('position', {}))
  t.throws(() => checkStreamMessage('ready', { keys: 1 }), /must have required property 'rooms'/)
  t.throws(() => checkStreamMessage('else', {}), /knows no message/)
  t.doesNotThrow(() => checkSocketMessage({ event: 'pong', data: { time: 1 }, ref: 'r' }))
  t.throws(() => checkSocketMessage({ event: 'pong', data: { time: 1 }, id: 'r' }))
})
