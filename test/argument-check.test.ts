// Schemas of arguments as modules and backends declare them: what they can do to the process that checks by them.

import t from 'tap'
import { compile } from '../src/app/commands.ts'
import { startServer } from './wire/harness.ts'

const check = (schema: object): (args: unknown) => string | null => compile({ schema, handler: () => 1 }).check

t.test('schemas that check nothing, or never end, are refused when they are declared', async t => {
  t.throws(() => check({ $async: true, type: 'object' }), /\$async/)
  t.throws(() => check({ type: 'object', properties: { a: { $async: true, type: 'string' } } }))
  t.throws(() => check({ $ref: '#' }))
  t.throws(() => check({ $ref: '#/$defs/a', $defs: { a: { allOf: [{ $ref: '#/$defs/b' }] }, b: { $ref: '#/$defs/a' } } }))
  t.throws(() => check({ type: 'object', propertise: { a: { type: 'string' } } }), /propertise/, 'a misspelt keyword')
  t.throws(() => check({ type: 'object', properties: { a: { pattern: '(' } } }))
  t.throws(() => check({ type: 'object', required: [7] }))
  t.throws(() => check({ description: 'x'.repeat(100_000) }), /characters/)
  // Doubled thirty times.
  const $defs = Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`d${n}`, { allOf: [{ $ref: `#/$defs/d${n + 1}` }, { $ref: `#/$defs/d${n + 1}` }] }]))
  t.throws(() => check({ $ref: '#/$defs/d0', $defs: { ...$defs, d30: {} } }))
})

t.test('usual schemas check as they should', async t => {
  const move = check({
    title: 'Move',
    type: 'object',
    required: ['to'],
    additionalProperties: false,
    properties: { to: { $ref: '#/$defs/place' }, at: { type: 'string', format: 'date-time', default: null, examples: ['now'] }, name: { type: ['string', 'null'], pattern: '^[a-z]+$' } },
    $defs: { place: { type: 'object', properties: { x: { type: 'number' }, next: { $ref: '#/$defs/place' } } } }
  })
  t.equal(move({ to: { x: 1, next: { x: 2 } }, name: 'abc' }), null)
  t.match(move({ to: { next: { x: 'far' } } }), /args\/to\/next\/x must be number/)
  t.match(move({}), /required property 'to'/)
  t.match(move({ to: {}, name: 'A' }), /must match pattern/)
})

t.test('arguments that would take long to check are refused after a moment', async t => {
  const slow = check({ type: 'object', properties: { name: { type: 'string', pattern: '^(a+)+$' } } })
  const began = performance.now()
  t.match(slow({ name: `${'a'.repeat(40)}!` }), /takes too long/)
  t.ok(performance.now() - began < 1000)
  t.equal(slow({ name: 'aaa' }), null, 'others are checked as before')
  const unique = check({ type: 'object', properties: { list: { type: 'array', uniqueItems: true } } })
  t.match(unique({ list: Array.from({ length: 100_000 }, (_, n) => ({ n })) }), /takes too long/)
})

t.test('on a machine that gives the process a fifth of its time they are refused after a moment too', async t => {
  const slow = check({ type: 'object', properties: { name: { type: 'string', pattern: '^(a+)+$' } } })
  const { cpuUsage } = process
  t.teardown(() => { process.cpuUsage = cpuUsage })
  let looks = 0
  process.cpuUsage = before => ({ user: 20_000 * looks++ - (before?.user ?? 0), system: 0 })
  t.match(slow({ name: `${'a'.repeat(40)}!` }), /takes too long/)
  t.equal(looks, 4, 'after three attempts')
})

t.test('arguments nested more deeply than a schema that refers to itself can follow are refused', async t => {
  const tree = check({ type: 'object', properties: { a: { $ref: '#' } } })
  let args: object = {}
  for (let depth = 0; depth < 100_000; depth++) args = { a: args }
  t.match(tree(args), /cannot be checked/)
  t.equal(tree({ a: { a: {} } }), null)
})

t.test('over HTTP they are BAD_COMMAND, and the handler does not run', async t => {
  let runs = 0
  const schema = { type: 'object', properties: { name: { type: 'string', pattern: '^(a+)+$' } } }
  const server = await startServer({ profile: 'SSE', commands: { greet: { schema, handler: () => ++runs } } })
  t.teardown(async () => await server.close())
  const answer = await fetch(`${server.url}/api/control`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ command: 'greet', args: { name: `${'a'.repeat(40)}!` } }) })
  t.equal(answer.status, 400)
  t.match(await answer.json(), { code: 'BAD_COMMAND', message: /greet: the schema of this command takes too long/ })
  t.equal(runs, 0)
})
