// The verbs as a JavaScript program may call them: with options that are none, and with values that JSON does not have.

import { pino } from 'pino'
import t from 'tap'
import { createSignalbox } from '../../src/plugin/index.ts'

const box = await createSignalbox({ dataDir: ':memory:', logger: pino({ level: 'silent' }) })
t.teardown(box.close)
/** Without its types. */
const { publish, read, control, on } = box as unknown as Record<string, (...args: unknown[]) => Promise<any>>

const circle: Record<string, unknown> = {}
circle.self = circle
const event = { type: 'x', data: 1 }

const CALLS: ReadonlyArray<readonly [string, () => unknown, string, RegExp]> = [
  ['read(null)', () => read?.(null), 'BAD_SUBSCRIPTION', /options of read are an object, such as \{ rooms/],
  ['read of a text', () => read?.('plant-1'), 'BAD_SUBSCRIPTION', /are an object/],
  ['read of an array', () => read?.(['plant-1']), 'BAD_SUBSCRIPTION', /are an object/],
  ['read({ room })', () => read?.({ room: 'a' }), 'BAD_SUBSCRIPTION', /no option "room"; it takes rooms, types, lastEventId, wait/],
  ['a cursor that is no text', () => read?.({ lastEventId: 5 }), 'BAD_SUBSCRIPTION', /lastEventId must be a string/],
  ['rooms that are a text', () => read?.({ rooms: 'a' }), 'BAD_SUBSCRIPTION', /rooms must be an array/],
  ['types that are a text', () => read?.({ types: 'a' }), 'BAD_SUBSCRIPTION', /types must be an array/],
  ['types that are null', () => read?.({ types: null }), 'BAD_SUBSCRIPTION', /types must be an array/],
  ['a wait that is a text', () => read?.({ wait: '5' }), 'BAD_SUBSCRIPTION', /wait must be a number/],
  ['publish(event, null)', () => publish?.(event, null), 'BAD_EVENT', /options of publish are an object, such as \{ idempotencyKey/],
  ['publish with two events side by side', () => publish?.(event, event), 'BAD_EVENT', /publish has no option "type"; it takes idempotencyKey/],
  ['a key as the options', () => publish?.(event, 'order-7'), 'BAD_EVENT', /are an object/],
  ['a misspelt idempotencykey', () => publish?.(event, { idempotencykey: 'order-7' }), 'BAD_EVENT', /no option "idempotencykey"; it takes idempotencyKey/],
  ['an idempotencyKey that is null', () => publish?.(event, { idempotencyKey: null }), 'BAD_EVENT', /a string of 1 to 200 characters/],
  ['publish of nothing', () => publish?.(), 'BAD_EVENT', /an event is an object/],
  ['publish of a circle under a key', () => publish?.({ type: 'x', data: circle }, { idempotencyKey: 'a' }), 'BAD_EVENT', /cannot be written as JSON/],
  ['control with options that are null', () => control?.('ping', {}, null), 'BAD_COMMAND', /options of control are an object/],
  ['control with an idempotencyKey that is a number', () => control?.('ping', {}, { idempotencyKey: 5 }), 'BAD_COMMAND', /a string of 1 to 200 characters/],
  ['control with a BigInt among its arguments', () => control?.('publish', { event: { type: 'x', data: 1n } }), 'BAD_COMMAND', /publish: args cannot be written as JSON: .*BigInt/],
  ['control without a name', () => control?.(), 'BAD_COMMAND', /command must be the name/],
  ['on with an event that there is not', async () => on?.('full', () => {}), 'BAD_REQUEST', /there is no event "full"; there are occupied and vacated/],
  ['on without a function', async () => on?.('occupied', null), 'BAD_REQUEST', /the listener must be a function/]
]

t.test('a call that is none is refused, and says what is allowed', async t => {
  for (const [what, call, code, message] of CALLS) await t.rejects(async () => await call(), { name: 'Refusal', code, statusCode: 400, message }, what)
  t.same((await box.read({ lastEventId: '0-0' })).events, [], 'and nothing was published')
})

class Reading {
  percent = 42
  readonly #secret = 7
  get secret (): number { return this.#secret }
}

t.test('data are written by the rules of JSON.stringify', async t => {
  const values: ReadonlyArray<readonly [unknown, unknown]> = [
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [new URL('http://a.example/'), 'http://a.example/'],
    [{ toJSON: () => 5 }, 5],
    [{ toJSON: () => ({}) }, {}],
    [new Reading(), { percent: 42 }],
    [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    [Object(7), 7],
    [{}, {}],
    [{ a: NaN, b: [Infinity, undefined, () => 1], c: undefined, d: () => 1, e: Symbol('e') }, { a: null, b: [null, null, null] }],
    [{ at: new Date(NaN), map: new Map([[1, 2]]), none: { toJSON: () => undefined }, gone: { toJSON: () => null } }, { at: null, map: {}, gone: null }]
  ]
  for (const [index, [data]] of values.entries()) {
    await box.publish({ type: 'fact', room: 'values', data })
    await box.publish({ type: 'state', room: 'values', key: String(index), data })
  }
  const { events } = await box.read({ rooms: ['values'], lastEventId: '0-0' })
  for (const type of ['fact', 'state']) t.same(events.filter(event => event.type === type).map(({ data }) => data), values.map(([, written]) => written), type)
})

t.test('data that JSON would make something else of are refused, and delete no key', async t => {
  await box.publish({ type: 'x', room: 'kept', key: 'k', data: 'kept' })
  const values: ReadonlyArray<readonly [unknown, RegExp]> = [
    [undefined, /data is missing/],
    [() => 1, /a function, which JSON does not have/],
    [Symbol('s'), /a symbol, which JSON does not have/],
    [1n, /a bigint, which JSON does not have; send it as a string/],
    [NaN, /data is NaN/],
    [-Infinity, /data is -Infinity/],
    [Object(NaN), /of class Number, and JSON writes null for it/],
    [new Date(NaN), /of class Date, and JSON writes null for it; send null itself/],
    [{ toJSON: () => null }, /an object, and JSON writes null for it/],
    [{ toJSON: () => undefined }, /an object, and JSON writes nothing for it/],
    [{ toJSON () { throw new Error('it is away') } }, /cannot be written as JSON: it is away$/],
    // eslint-disable-next-line no-throw-literal
    [{ toJSON () { throw 'a text' } }, /cannot be written as JSON: a text$/],
    [circle, /cannot be written as JSON: .*circular/],
    [{ a: [1n] }, /cannot be written as JSON: .*BigInt/],
    [new Map([[1, 2]]), /of class Map, of which JSON keeps nothing; send an object.*Object\.fromEntries/],
    [new Set([1]), /of class Set, of which/],
    [Promise.resolve(1), /of class Promise, of which/],
    [new Error('lost'), /of class Error, of which/],
    [/lost/, /of class RegExp, of which/],
    [new Headers({ a: 'b' }), /of class Headers, of which/]
  ]
  for (const [data, message] of values) {
    for (const key of [undefined, 'k']) await t.rejects(box.publish({ type: 'x', room: 'kept', key, data }), { code: 'BAD_EVENT', statusCode: 400, message }, `${String(message)} ${key}`)
  }
  t.match((await box.read({ rooms: ['kept'] })).events, [{ key: 'k', data: 'kept' }])
  await box.publish({ type: 'x', room: 'kept', key: 'k', data: null })
  t.same((await box.read({ rooms: ['kept'] })).events, [], 'null does')
})
