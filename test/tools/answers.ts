// Holds what the gateway answers against docs/openapi.json, and what it sends on streams and sockets against
// docs/asyncapi.yaml. Imported by the harnesses: an answer that is not as documented fails the test that got it.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { ValidateFunction } from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { packageRoot } from '../../src/app/package.ts'

type Json = Record<string, unknown>

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Clients are told to ignore what they do not know; here every field must be documented. */
function closed (schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed)
  if (!isObject(schema)) return schema
  const parts = Object.fromEntries(Object.entries(schema).map(([name, part]) => [name, name === 'enum' || name === 'example' ? part : closed(part)]))
  return isObject(schema.properties) && schema.additionalProperties === undefined && schema.type === 'object' ? { ...parts, additionalProperties: false } : parts
}

const read = (name: string): Json => parse(readFileSync(join(packageRoot, 'docs', name), 'utf8'))
const [openapi, asyncapi] = [read('openapi.json'), read('asyncapi.yaml')]
// Unknown keywords: these are documents with schemas in them.
const ajv = new Ajv2020({ strict: false, allErrors: true })
for (const [name, document] of [['openapi.json', openapi], ['asyncapi.yaml', asyncapi]] as const) ajv.addSchema({ ...closed(document) as Json, $id: `http://docs/${name}` })

const known = new Map<string, ValidateFunction>()
function validatorOf (reference: string): ValidateFunction {
  let validate = known.get(reference)
  if (validate === undefined) known.set(reference, validate = ajv.compile({ $ref: `http://docs/${reference}` }))
  return validate
}

/** @throws Error */
function check (what: string, reference: string, value: unknown): void {
  const validate = validatorOf(reference)
  if (!validate(value)) throw new Error(`${what} is not as docs/${reference} says: ${ajv.errorsText(validate.errors, { dataVar: '' })}; ${JSON.stringify(value)?.slice(0, 500)}`)
}

const pointer = (...names: string[]): string => names.map(name => `/${encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))}`).join('')

const routes = Object.entries(openapi.paths as Record<string, Json>).map(([path, methods]) => ({
  path,
  form: new RegExp(`^${path.replace(/[.]/g, '\\$&').replace(/\{\w+\}/g, '[^/]+')}/?$`),
  methods: methods as Record<string, { readonly responses: Record<string, Json> }>
}))

/**
 * Checks an answer of the gateway with a JSON body, or none.
 * @throws Error where it is not as documented
 */
export function checkAnswer (method: string, path: string, status: number, body: unknown): void {
  const route = routes.find(({ form }) => form.test(path))
  const responses = route?.methods[method.toLowerCase()]?.responses
  if (route === undefined || responses === undefined) {
    // What every path may be told.
    if (status >= 400 && isObject(body)) check(`${status} to ${method} ${path}`, `openapi.json#${pointer('components', 'schemas', 'Error')}`, body)
    return
  }
  const key = [String(status), `${String(status)[0]}XX`].find(key => key in responses)
  if (key === undefined) throw new Error(`docs/openapi.json knows no ${status} to ${method} ${route.path}`)
  const { content } = responses[key] as { content?: Json }
  if (content?.['application/json'] === undefined) throw new Error(`docs/openapi.json knows no JSON with ${status} to ${method} ${route.path}`)
  check(`${status} to ${method} ${path}`, `openapi.json#${pointer('paths', route.path, method.toLowerCase(), 'responses', key, 'content', 'application/json', 'schema')}`, body)
}

/** The payloads of the stream's messages by name; the bundle has none. */
const STREAM: Readonly<Record<string, string>> = { events: 'Bundle', hello: 'Hello', ready: 'Ready', reset: 'Reset', position: 'Position', bye: 'Bye' }

/** @throws Error where a message of a stream is not as documented */
export function checkStreamMessage (name: string, data: unknown): void {
  const schema = STREAM[name]
  if (schema === undefined) throw new Error(`docs/asyncapi.yaml knows no message ${JSON.stringify(name)} on a stream`)
  check(`the message ${name}`, `asyncapi.yaml#${pointer('components', 'schemas', schema)}`, data)
}

/** @throws Error where a message of a socket is not as documented */
export function checkSocketMessage (message: unknown): void {
  check('the message', `asyncapi.yaml#${pointer('components', 'schemas', 'SocketMessage')}`, message)
}

/** Where gateways listen. Other servers of a test, in a gateway's place or in front of one, answer as they like. */
const watched = new Set<string>()
const { fetch: original } = globalThis

/** From now on each answer that `fetch` gets from this port is checked, until `over`. */
export function watchAnswers (port: number, over: Promise<unknown>): void {
  watched.add(String(port))
  void over.finally(() => watched.delete(String(port)))
}

globalThis.fetch = async (input, init) => {
  const response = await original(input, init)
  const { url, method } = input instanceof Request ? input : { url: String(input), method: init?.method ?? 'GET' }
  if (watched.has(new URL(url).port) && /^application\/json/.test(response.headers.get('content-type') ?? '')) {
    const body = await response.clone().json().catch(() => undefined)
    if (body !== undefined) checkAnswer(method, new URL(url).pathname, response.status, body)
  }
  return response
}
