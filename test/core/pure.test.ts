// The pure parts, each against the plainest statement of its meaning.

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { frame as sseFrame, namedEvent, unchunked } from '../../profiles/sse/frame.ts'
import { frame as wsFrame } from '../../profiles/websocket/frame.ts'
import { LogClock } from '../../src/core/clock.ts'
import { formatLaterTrack, formatTrack, parseCursor } from '../../src/core/cursor.ts'
import { draftOf, entryOf, parseEvent } from '../../src/core/event.ts'
import type { Entry } from '../../src/core/event.ts'
import { allBut, intersect, isNone, matches, only, unite, without } from '../../src/core/filter.ts'
import type { Filter } from '../../src/core/filter.ts'
import { compareIds, isId, ORIGIN } from '../../src/core/id.ts'
import { JsonSize, MAX_NAMES, MAX_NESTED, readJson, writeJson } from '../../src/core/json.ts'
import { Audience } from '../../src/core/figures/audience.ts'
import { read } from '../../src/core/read.ts'
import { Room } from '../../src/core/room.ts'
import { parseJoins, Subscription } from '../../src/core/subscription.ts'
import { ManualClock } from '../clock.ts'
import { parse } from '../wire/client.ts'

const id = fc.tuple(fc.bigInt(0n, 9999999999999999n), fc.oneof(fc.bigInt(0n, 20n), fc.bigInt(0n, 18446744073709551615n))).map(([ms, n]) => `${ms}-${n}`)
const name = fc.stringMatching(/^[A-Za-z0-9_.:/-]{1,20}$/)
const filter: fc.Arbitrary<Filter> = fc.tuple(fc.subarray(['x', 'y', 'z']), fc.boolean()).map(([types, inverted]) => inverted ? allBut(types) : only(types))

t.test('ids compare as pairs of numbers', async () => {
  const pair = (text: string): [bigint, bigint] => text.split('-').map(BigInt) as [bigint, bigint]
  fc.assert(fc.property(id, id, (a, b) => {
    const [[msA, nA], [msB, nB]] = [pair(a), pair(b)]
    const expected = msA !== msB ? (msA < msB ? -1 : 1) : nA === nB ? 0 : nA < nB ? -1 : 1
    return Math.sign(compareIds(a, b)) === expected && isId(a)
  }), { numRuns: 1000 })
})

t.test('an audience is how many filters hear a type, however many there are', async () => {
  const types = ['x', 'y', 'z', 'another']
  fc.assert(fc.property(fc.array(fc.tuple(filter, fc.boolean()), { maxLength: 12 }), all => {
    const audience = new Audience()
    for (const [one] of all) audience.add(one)
    for (const [one, leaves] of all) if (leaves) audience.delete({ ...one })
    return types.every(type => audience.of(type) === all.filter(([one, leaves]) => !leaves && matches(one, type)).length)
  }), { numRuns: 1000 })
})

t.test('what is written is what was read, -0 too', async t => {
  fc.assert(fc.property(fc.json({ maxDepth: 5 }), text => {
    const value: unknown = [JSON.parse(text), -0]
    return isDeepStrictEqual(JSON.parse(writeJson(value)), value)
  }), { numRuns: 1000 })
  t.equal(writeJson({ a: undefined, b: [-0, undefined, NaN, { c: -0 }], d: new Date(0), e: Object(1) }), '{"b":[-0,null,null,{"c":-0}],"d":"1970-01-01T00:00:00.000Z","e":1}')
  const zeros = Array.from({ length: 400_000 }, () => -0)
  const before = process.cpuUsage()
  writeJson(zeros)
  const { user, system } = process.cpuUsage(before)
  t.ok((user + system) / 1000 < 80, `${(user + system) / 1000} ms`)
})

t.test('filters are sets of types, whichever way they are kept', async () => {
  const types = ['x', 'y', 'z', 'another']
  fc.assert(fc.property(filter, filter, (a, b) => types.every(type =>
    matches(intersect(a, b), type) === (matches(a, type) && matches(b, type)) &&
    matches(unite(a, b), type) === (matches(a, type) || matches(b, type)) &&
    matches(without(a, b), type) === (matches(a, type) && !matches(b, type))) &&
    (!isNone(a) || types.every(type => !matches(a, type)))))
})

t.test('a cursor says what it was made from, and any other text is refused without harm', async () => {
  const track = fc.record({ facts: id, state: id, snapshot: fc.boolean() })
  const later = fc.record({ track, rooms: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }), types: filter })
  fc.assert(fc.property(track, fc.array(later, { maxLength: 3 }), (main, laters) => {
    const text = [`epoch~digest~${formatTrack(main)}`, ...laters.map(({ track, rooms, types }) =>
      formatLaterTrack(track, new Map(rooms.filter(() => !isNone(types)).map(room => [room, types]))))].join('!')
    const cursor = parseCursor(text)
    if (cursor === null) return text.length > 24_000
    return JSON.stringify(cursor.main) === JSON.stringify(main) &&
      cursor.later.every(({ facts, state, snapshot }, index) => facts === laters[index]?.track.facts && state === laters[index]?.track.state && snapshot === laters[index]?.track.snapshot)
  }))
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), text => { parseCursor(text); return true }), { numRuns: 2000 })
})

t.test('the same joins are the same subscription, in any order and any number', async () => {
  const join = fc.record({ room: fc.constantFrom('a', 'b', '@public'), types: fc.option(fc.subarray(['x', 'y', 'z'], { minLength: 1 }), { nil: undefined }) })
  fc.assert(fc.property(fc.array(join, { minLength: 1, maxLength: 5 }), fc.infiniteStream(fc.nat()), (joins, random) => {
    const order = Array.from(random.take(joins.length))
    const shuffled = joins.map((join, index) => ({ join, at: order[index] as number })).sort((a, b) => a.at - b.at).map(({ join }) => join)
    const parsed = (given: typeof joins): Subscription => Subscription.none.with(parseJoins(given))
    return parsed(joins).signature === parsed([...shuffled, ...joins]).signature
  }))
})

const attempt = (text: string): unknown => { try { return readJson(text, 'BAD_EVENT') } catch { return undefined } }

t.test('JSON is read exactly or refused: no number is rounded on its way', async t => {
  fc.assert(fc.property(fc.bigInt({ min: -(10n ** 22n), max: 10n ** 22n }), number => {
    const text = JSON.stringify(attempt(`[${number}]`))
    const sent = JSON.stringify(Number(number))
    return text === undefined ? sent !== String(number) && BigInt(Number(number)) !== number : text === `[${sent}]` && (sent === String(number) || BigInt(Number(number)) === number)
  }), { numRuns: 1000 })
  fc.assert(fc.property(fc.jsonValue().filter(value => !JSON.stringify(value).includes('__proto__')), value => JSON.stringify(readJson(JSON.stringify(value), 'BAD_EVENT')) === JSON.stringify(value)))
  for (const text of ['{"__proto__":1}', '{"a":[{"\\u005f_proto__" :1}]}', '1e-400', '[1e309]']) t.throws(() => readJson(text, 'BAD_EVENT'), { code: 'BAD_EVENT' }, text)
  t.same(readJson('"__proto__ is a word, 12345678901234567890 too"', 'BAD_EVENT'), '__proto__ is a word, 12345678901234567890 too')
})

t.test('a body or message has a bound on different names, and on objects and arrays, that is looked at before anything is read', async t => {
  const names = (count: number, colon = ':'): string => `{${Array.from({ length: count }, (_, n) => `"n${n}"${colon}0`).join()}}`
  for (const text of [names(MAX_NAMES), names(MAX_NAMES, ' :'), `[${'{"a":{}},'.repeat(90_000)}0]`, `"${'{[:'.repeat(100_000)}"`]) t.ok(readJson(text, 'BAD_EVENT'), text.slice(0, 20))
  for (const [text, words] of [
    [names(MAX_NAMES + 1), /different names/],
    [names(MAX_NAMES + 1, ' \n:'), /different names/],
    [`[${Array.from({ length: MAX_NAMES + 1 }, (_, n) => `{"n${n}":0}`).join()}]`, /different names/],
    // It is not even JSON.
    [`${names(MAX_NAMES + 1)}}`, /different names/],
    [`[${'[],'.repeat(MAX_NESTED)}0]`, /objects and arrays/],
    [`{"a":[${'{},'.repeat(MAX_NESTED)}0]}`, /objects and arrays/]
  ] as Array<[string, RegExp]>) t.throws(() => readJson(text, 'BAD_EVENT'), { code: 'BAD_EVENT', message: words }, text.slice(0, 20))
  const size = new JsonSize()
  readJson(names(MAX_NAMES), 'BAD_EVENT', size)
  t.throws(() => readJson('{"another":0}', 'BAD_EVENT', size), { message: /different names/ }, 'lines of one body are counted together')
  const rules = { now: 1, maxBytes: 1e9, stateTypes: new Set<string>() }
  t.throws(() => parseEvent({ type: 'x', data: Object.fromEntries(Array.from({ length: MAX_NAMES + 1 }, (_, n) => [`n${n}`, n])) }, rules), { code: 'BAD_EVENT' }, "nor through the program's own door")
})

t.test('the same name twice in an object is found wherever it stands and however it is written', async t => {
  for (const text of ['{"a":1,"a":1}', '{"a" :1,"\\u0061"\n:2}', '[[{"b":{"c":{"":0,"":1}}}]]', '{"1":0,"2":0,"1":0}', `{"x":"${'y":'.repeat(500)}","a":0,"a":0}`.replaceAll('y"', 'y\\"')]) t.throws(() => readJson(text, 'BAD_EVENT'), { code: 'BAD_EVENT', message: /twice/ }, text.slice(0, 40))
  for (const text of ['{"a":{"a":[{"a":1},{"a":2}]}}', '{"a":"\\":\\":","b":"\\\\"}', '{"constructor":1,"toString":2,"hasOwnProperty":3}']) t.ok(readJson(text, 'BAD_EVENT'), text)
})

t.test('whatever was published comes out of both frames as it went in, as one message', async () => {
  const event = fc.record({ type: name, room: name, key: fc.string({ minLength: 1, maxLength: 50 }), data: fc.jsonValue() })
  fc.assert(fc.property(fc.array(event, { minLength: 1, maxLength: 5 }), events => {
    const entries = events.flatMap(({ key, ...rest }, index): Entry[] => {
      // eslint-disable-next-line no-control-regex
      const value = /[\u0000-\u001f\u007f-\u009f]/.test(key) ? rest : { ...rest, key }
      return [entryOf(parseEvent(value, { now: 1, maxBytes: 1e6, stateTypes: new Set() }), `1-${index}`)]
    })
    const bundle = { entries, cursor: 'e~s~1-9' }
    const bytes = sseFrame(bundle)
    const { messages, parsed } = parse('SSE', bytes, [])
    const [message] = messages
    const socketBytes = wsFrame(bundle)
    const overSocket = parse('WEBSOCKET', socketBytes, [])
    const [same] = overSocket.messages
    return parsed === bytes.length && messages.length === 1 && message?.kind === 'bundle' &&
      overSocket.parsed === socketBytes.length && overSocket.messages.length === 1 && same?.kind === 'bundle' &&
      JSON.stringify(message.events) === JSON.stringify(same.events) &&
      message.events.every((received, index) => JSON.stringify(received.data) === JSON.stringify(events[index]?.data) && received.type === events[index]?.type)
  }))
})

t.test('a frame of any length is one WebSocket frame', async t => {
  for (const padding of [0, 20, 40, 60, 126, 1000, 65_300, 65_535, 70_000]) {
    const entry = entryOf(draftOf({ type: 'a', room: 'r', data: 'x'.repeat(padding), timestamp: 1 }), '1-0')
    const bytes = wsFrame({ entries: [entry], cursor: 'c' })
    const { messages, parsed } = parse('WEBSOCKET', bytes, [])
    t.equal(parsed, bytes.length, `${bytes.length} bytes`)
    t.match(messages, [{ kind: 'bundle', events: [{ id: '1-0' }] }])
  }
})

t.test('a chunk without its chunking is the bare event', async t => {
  t.equal(unchunked(namedEvent('bye', { a: 1 }, 'x')).toString(), 'id: x\nevent: bye\ndata: {"a":1}\n\n')
})

t.test('STATE_TYPES gives un-keyed events of those types their type as key', async t => {
  const parsed = (stateTypes: string[], event: object): string | null => parseEvent({ data: 1, ...event }, { now: 1, maxBytes: 1e6, stateTypes: new Set(stateTypes) }).key
  t.equal(parsed(['cpu'], { type: 'cpu' }), 'cpu')
  t.equal(parsed(['cpu'], { type: 'log' }), null)
  t.equal(parsed(['*'], { type: 'log' }), 'log')
  t.equal(parsed(['*'], { type: 'log', key: 'own' }), 'own')
})

t.test('reading in bundles of any size gives the same events as reading all at once', async () => {
  const event = fc.record({ room: fc.nat({ max: 2 }), type: fc.constantFrom('x', 'y'), key: fc.option(fc.constantFrom('k', 'l'), { nil: undefined }), size: fc.nat({ max: 200 }), remove: fc.boolean() })
  fc.assert(fc.property(fc.array(event, { maxLength: 40 }), fc.integer({ min: 100, max: 2000 }), fc.integer({ min: 1, max: 6 }), fc.nat({ max: 40 }), filter, (events, bytes, facts, from, heard) => {
    const rooms = [new Room('a', ORIGIN), new Room('b', ORIGIN), new Room('c', ORIGIN)]
    const log = events.map(({ room, type, key, size, remove }, index) => {
      const entry = entryOf(draftOf({ type, room: (rooms[room] as Room<unknown>).name, key, data: key !== undefined && remove ? null : 'd'.repeat(size), timestamp: 1 }), `${index + 1}-0`)
      rooms[room]?.apply(entry)
      return entry
    })
    const head = `${log.length}-0`
    let position = { facts: `${Math.min(from, log.length)}-0`, state: ORIGIN }
    const got: Entry[] = []
    let turn: 'facts' | 'values' = 'values'
    for (let round = 0; round <= 2 * log.length + 1; round++) {
      const reading = read(rooms.map(room => ({ room, filter: heard, ...position })), { facts, bytes }, turn)
      if (reading.entries.length > 1 && reading.entries.reduce((sum, entry) => sum + entry.size + 1, 0) > bytes) return false
      if (reading.entries.filter(({ key }) => key === null).length > facts) return false
      got.push(...reading.entries)
      turn = reading.turn
      if (reading.facts === null && reading.state === null) break
      const next = { facts: reading.facts === null ? head : reading.facts === ORIGIN ? position.facts : reading.facts, state: reading.state === null ? head : reading.state === ORIGIN ? position.state : reading.state }
      if (next.facts === position.facts && next.state === position.state) return false
      position = next
    }
    const newest = new Map(log.filter(({ key }) => key !== null).map(entry => [`${entry.room} ${entry.type} ${entry.key}`, entry]))
    const expected = log.filter((entry, index) => matches(heard, entry.type) && (entry.key === null || entry.deletion ? index >= from : newest.get(`${entry.room} ${entry.type} ${entry.key}`) === entry))
    return got.map(({ id }) => id).sort().join() === expected.map(({ id }) => id).sort().join()
  }), { numRuns: 2000 })
})

t.test('the clock of the log goes on from the newest id while the wall clock is behind it', async t => {
  const clock = new ManualClock(1_000_000)
  const log = new LogClock(clock)
  log.saw(999_000)
  t.equal(log.now(), 1_000_000)
  clock.turn(50_000)
  log.saw(1_050_000)
  clock.turn(-50_000)
  clock.advance(1000)
  t.equal(log.now(), 1_051_000)
  t.equal(log.aheadMs, 50_000)
  log.saw(1_040_000)
  t.equal(log.now(), 1_051_000, 'an older id changes nothing')
  clock.turn(60_000)
  t.equal(log.now(), 1_061_000, 'the wall clock has caught up')
})

t.test('the clock of the log knows what time it was a while ago, whatever the wall clock did meanwhile', async t => {
  const clock = new ManualClock(1_000_000)
  const log = new LogClock(clock)
  clock.advance(10_000)
  t.equal(log.ago(4000), 1_006_000)
  clock.turn(500_000)
  t.equal(log.ago(0), 1_510_000)
  t.equal(log.ago(4000), 1_006_000)
  clock.turn(-500_000)
  clock.advance(2000)
  t.equal(log.now(), 1_012_000, 'no id was given')
  t.equal(log.ago(4000), 1_008_000)
  clock.turn(500_000)
  log.saw(log.now())
  clock.advance(2000)
  clock.turn(-500_000)
  clock.advance(2000)
  t.equal(log.now(), 1_516_000, 'an id was given')
  t.same([0, 4000, 6000].map(ms => log.ago(ms)), [1_516_000, 1_512_000, 1_010_000])
  clock.turn(2_000_000)
  t.same([0, 1000, 6000].map(ms => log.ago(ms)), [3_016_000, 1_515_000, 1_010_000])
})

t.test('the clock of the log never says less than an id it saw, however the fractions of the clocks fall', async t => {
  fc.assert(fc.property(fc.nat(2 ** 31), fc.double({ min: 0, max: 1e9, noNaN: true }), fc.double({ min: 0, max: 1e6, noNaN: true }), (ms, start, passed) => {
    let now = start
    const log = new LogClock({ now: () => now, wall: () => 0 })
    const id = 1_763_770_000_000 + ms
    log.saw(id)
    const isRight = log.now() >= id
    now += passed
    return isRight && log.now() >= id
  }))
})

t.test('the values behind a position are found as by looking at all of them, whatever was put, moved and ended before', t => {
  const change = fc.record({ key: fc.integer({ min: 0, max: 30 }), deletion: fc.boolean() })
  fc.assert(fc.property(fc.array(change, { maxLength: 400 }), changes => {
    const room = new Room('a', ORIGIN)
    const present = new Map<string, Entry>()
    for (const [n, { key, deletion }] of changes.entries()) {
      const entry = entryOf(draftOf({ type: 'x', room: 'a', key: String(key), data: deletion ? null : n, timestamp: 1 }), `${n + 1}-0`)
      room.apply(entry)
      present.delete(String(key))
      if (!deletion) present.set(String(key), entry)
    }
    const values = [...present.values()]
    return Array.from({ length: changes.length + 2 }, (_, n) => n).every(n => room.valueAfter(`${n}-0`)?.entry === values.find(({ id }) => compareIds(id, `${n}-0`) > 0))
  }))
  t.end()
})

t.test('a snapshot in many bundles takes time by the number of its values, not by its square', t => {
  const VALUES = 50_000
  const room = new Room('a', ORIGIN)
  for (let n = 1; n <= VALUES; n++) room.apply(entryOf(draftOf({ type: 'x', room: 'a', key: String(n), data: n, timestamp: 1 }), `${n}-0`))
  const began = performance.now()
  let found = 0
  for (let n = 0; n < VALUES; n++) if (room.valueAfter(`${n}-0`) !== null) found++
  t.equal(found, VALUES)
  t.ok(performance.now() - began < 1000, `${Math.round(performance.now() - began)} ms`)
  t.end()
})
