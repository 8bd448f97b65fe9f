// What is sent: by grammar, so that most of it passes the first checks, and by bytes, which break what the grammar made.
// Every input is bytes, so that one that fails can be stored.

import fc from 'fast-check'
import { upgradeHeaders } from '../wire/codec.ts'
import { closeFrame, frameOf, requestOf } from '../hostile/raw.ts'

/** What inputs are made of, beside chance. */
export interface Material {
  /** A token that may do everything the other clients do not mind. */
  readonly token: string
  /** A stream of this token's that stays open. */
  readonly session: string
  /** Tokens, tickets and cursors as they are given out, to be bent. */
  readonly tokens: readonly string[]
  readonly tickets: readonly string[]
  readonly cursors: readonly string[]
}

export type Where = 'SSE' | 'WEBSOCKET' | 'socket' | 'XADD' | 'PUBLISH'

export interface Kind {
  readonly where: Where
  readonly inputs: (material: Material) => fc.Arbitrary<Buffer>
}

const ROOMS = ['fuzz-a', 'fuzz-b', '__proto__', 'constructor', '@public', '@system', '*', '', '../x', 'a b', 'ü', 'x'.repeat(129)]
const NAMES = ['type', 'room', 'key', 'data', 'timestamp', 'id', 'ttl', '__proto__', 'constructor', 'toString', 'polluted', 'action', 'rooms', 'types', 'ref', 'lastEventId', 'command', 'args', 'idempotencyKey']

const mixed = <T>(...arbitraries: Array<fc.Arbitrary<T>>): fc.Arbitrary<T> => fc.oneof(...arbitraries)
const text = mixed(fc.string({ unit: 'binary', maxLength: 40 }), fc.string({ maxLength: 40 }), fc.constantFrom(...ROOMS, ...NAMES, 'x'.repeat(5000), '\u0000', '\u2028', '\ud800', '\r\nid: 1\r\n\r\n'))
const number = mixed<number>(fc.double(), fc.integer(), fc.constantFrom(0, -0, 1e308, 2 ** 53, 1763770000, 1763770000000))
const value = mixed<unknown>(fc.jsonValue({ maxDepth: 3 }), text, number, fc.constant(null), fc.constantFrom({ polluted: true }, [], {}, [[]]))
const room = mixed<unknown>(fc.constantFrom(...ROOMS), value)

const record = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Record<string, unknown>> =>
  fc.tuple(fc.record(fields, { requiredKeys: [] }), fc.dictionary(fc.constantFrom(...NAMES), value, { maxKeys: 1 }), fc.nat(9)).map(([known, extra, n]) => n === 0 ? { ...known, ...extra } : known)

const event = record({ type: mixed<unknown>(fc.constantFrom('cpu', 'log'), text), room, key: mixed<unknown>(fc.constantFrom('k', null), text), data: value, timestamp: mixed<unknown>(number, value) })
const goodEvent = fc.record({ type: fc.constantFrom('cpu', 'log'), room: fc.constantFrom('fuzz-a', 'fuzz-b'), key: fc.constantFrom('k1', 'k2', undefined), data: value })
const args = mixed<unknown>(record({ room, key: text, type: text, event: goodEvent, events: fc.array(event, { maxLength: 3 }), limit: value, after: value, prefix: value, session: value }), value)
const goodOrder = mixed<unknown>(
  fc.record({ command: fc.constantFrom('ping', 'stats', 'rooms') }), fc.record({ command: fc.constant('publish'), args: fc.record({ event: goodEvent }) }),
  fc.record({ command: fc.constant('clear'), args: fc.record({ room: fc.constantFrom('fuzz-a', 'fuzz-b') }) })
)
const order = record({ command: mixed<unknown>(fc.constantFrom('ping', 'stats', 'rooms', 'clear', 'publish', 'pause', 'tune', 'disconnect', 'explain', 'shutdown', 'nothing', '__proto__'), value), args })
const join = record({ room, rooms: mixed<unknown>(fc.array(mixed<unknown>(room, record({ room, types: value })), { maxLength: 5 }), value), types: mixed<unknown>(fc.array(text, { maxLength: 4 }), value), lastEventId: mixed<unknown>(text, value) })

/** JSON of a value, sometimes in a way no serializer writes. */
const json = (values: fc.Arbitrary<unknown>): fc.Arbitrary<Buffer> => fc.tuple(values, fc.nat(19), fc.nat(600)).map(([value, form, depth]) => {
  const text = JSON.stringify(value) ?? ''
  switch (form) {
    case 0: return Buffer.from(`\ufeff${text}`)
    case 1: return Buffer.from(text.replaceAll('"', "'"))
    case 2: return Buffer.from(text.replace(/\d+/, '1e999'))
    case 3: return Buffer.from(text.replace('{', '{"type":"x","type":"y",'))
    case 4: return Buffer.from(text.replace('{', '{"__proto__":{"polluted":true},'))
    case 5: return Buffer.from(`${'['.repeat(depth)}${text}${']'.repeat(depth)}`)
    case 6: return Buffer.from(text, 'latin1')
    default: return Buffer.from(text)
  }
})

interface Change { readonly what: number, readonly at: number, readonly byte: number, readonly length: number }

/** Breaks bytes: flips, inserts, removes, repeats, cuts. */
const broken = (inputs: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> => {
  const change = fc.record({ what: fc.nat(4), at: fc.nat(65_535), byte: fc.nat(255), length: fc.nat(40) })
  return fc.tuple(inputs, fc.array(change, { minLength: 1, maxLength: 4 })).map(([bytes, changes]) => changes.reduce(changed, bytes))
}

function changed (bytes: Buffer, { what, at, byte, length }: Change): Buffer {
  const index = bytes.length === 0 ? 0 : at % bytes.length
  const [before, after] = [bytes.subarray(0, index), bytes.subarray(index)]
  switch (what) {
    case 0: return Buffer.concat([before, Buffer.from([(after[0] ?? 0) ^ byte]), after.subarray(1)])
    case 1: return Buffer.concat([before, Buffer.from([byte]), after])
    case 2: return Buffer.concat([before, after.subarray(length)])
    case 3: return Buffer.concat([before, after.subarray(0, length), after])
    default: return before
  }
}

/** Two thirds as the grammar has them, one third broken. */
const both = (inputs: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> => fc.oneof({ arbitrary: inputs, weight: 2 }, { arbitrary: broken(inputs), weight: 1 })

const headerText = fc.string({ unit: fc.integer({ min: 32, max: 255 }).filter(code => code !== 127).map(code => String.fromCharCode(code)), maxLength: 60 })

function post (path: string, types: readonly string[], bodies: fc.Arbitrary<Buffer>): (material: Material) => fc.Arbitrary<Buffer> {
  return ({ token }) => both(fc.tuple(bodies, fc.constantFrom(...types), fc.option(headerText, { freq: 5 }), fc.constantFrom('', '', '', '', '', '', '', 'gzip', 'identity', 'br')).map(([body, type, key, encoding]) => requestOf('POST', path, {
    body,
    headers: { 'Content-Type': type, Authorization: `Bearer ${token}`, ...(key === null ? {} : { 'Idempotency-Key': key }), ...(encoding === '' ? {} : { 'Content-Encoding': encoding }) }
  })))
}

const query = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<string> => fc.tuple(record(fields), fc.boolean(), headerText).map(([values, raw, garbage]) =>
  raw ? `?${garbage.replaceAll(/[ #]/g, '')}` : `?${Object.entries(values).map(([name, value]) => `${name}=${encodeURIComponent(wellFormed(String(value)))}`).join('&')}`)

/** Lone surrogates have no UTF-8. */
const wellFormed = (text: string): string => Buffer.from(text).toString()

const roomList = fc.array(fc.constantFrom(...ROOMS), { maxLength: 4 }).map(rooms => rooms.join())

const joinList = fc.array(mixed<unknown>(fc.constantFrom(...ROOMS), fc.record({ room, types: mixed<unknown>(fc.array(text, { maxLength: 3 }), value) }), value), { maxLength: 4 }).map(list => JSON.stringify(list))

/** A text that was given out, or one bent in a few characters. */
const bent = (texts: readonly string[]): fc.Arbitrary<string> => mixed(
  broken(fc.constantFrom(...texts).map(text => Buffer.from(text))).map(bytes => bytes.toString('latin1').replaceAll(/[\0-\x20\x7f]/g, '_')),
  fc.constantFrom(...texts), headerText
)

/** A token of three parts, with any header and claims, or parts of others. */
const token = (tokens: readonly string[]): fc.Arbitrary<string> => mixed(
  bent(tokens),
  fc.tuple(
    mixed<unknown>(record({ alg: fc.constantFrom<unknown>('HS256', 'none', 'RS256', ['HS256'], null, 'HS512'), kid: value, crit: value, jku: text, b64: fc.boolean(), typ: value }), value),
    mixed<unknown>(record({ sub: value, exp: mixed<unknown>(number, value), nbf: value, iat: value, iss: value, aud: value, signalbox: mixed<unknown>(fc.constantFrom({ control: ['*'] }), value) }), value),
    headerText
  ).map(([header, claims, signature]) => [header, claims].map(part => Buffer.from(JSON.stringify(part) ?? '').toString('base64url')).concat(Buffer.from(signature).toString('base64url')).join('.')),
  fc.tuple(fc.constantFrom(...tokens), fc.constantFrom(...tokens)).map(([one, other]) => [one.split('.')[0], other.split('.')[1], one.split('.')[2]].join('.'))
)

const frame = fc.oneof(
  { arbitrary: fc.record({ opcode: fc.constantFrom(1, 1, 0, 2, 9, 10, 8, 3, 15), payload: mixed(json(order), fc.uint8Array({ maxLength: 130 }).map(bytes => Buffer.from(bytes))), fin: fc.boolean(), rsv: fc.constantFrom(0, 0, 0, 0, 1, 4), masked: fc.constantFrom(true, true, true, false) }).map(frameOf), weight: 6 },
  { arbitrary: fc.tuple(fc.nat(65_535), fc.string({ maxLength: 130 })).map(([code, reason]) => closeFrame(code, reason)), weight: 1 },
  { arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(claim => frameOf({ claim })), weight: 1 }
)
const message = mixed(
  json(join.map(fields => ({ action: 'join', ...fields }))), json(record({ room, rooms: value }).map(fields => ({ action: 'leave', ...fields }))),
  json(fc.tuple(order, value).map(([fields, key]) => ({ action: 'control', ...fields, idempotencyKey: key }))), json(value.map(ref => ({ action: 'ping', ref }))), json(value)
)

export const KINDS: Readonly<Record<string, Kind>> = {
  publish: { where: 'SSE', inputs: post('/api/events', ['application/json', 'application/json; charset=utf-8', 'application/x-ndjson', 'application/jsonl', 'text/plain'], mixed(json(goodEvent), json(goodEvent), json(fc.array(goodEvent, { minLength: 1, maxLength: 4 })), json(event), json(fc.array(event, { maxLength: 4 })), fc.array(json(event), { maxLength: 4 }).map(lines => Buffer.from(lines.join('\n'))))) },
  control: { where: 'WEBSOCKET', inputs: post('/api/control', ['application/json'], mixed(json(goodOrder), json(order))) },
  stream: {
    where: 'SSE',
    inputs: ({ token }) => both(fc.tuple(query({ rooms: mixed<unknown>(roomList, text), types: mixed<unknown>(fc.constantFrom('cpu', 'cpu,log'), text), lastEventId: text, _: text, ticket: fc.constant('') }), fc.dictionary(fc.constantFrom('Last-Event-ID', 'Accept', 'Origin', 'Upgrade', 'Accept-Encoding', 'X-Forwarded-Host', 'Cookie', 'If-None-Match'), headerText, { maxKeys: 3 }))
      .map(([query, headers]) => requestOf('GET', `/api/events/stream${query}`, { headers: { ...headers, Authorization: `Bearer ${token}` } })))
  },
  read: {
    where: 'SSE',
    inputs: ({ token, cursors }) => both(fc.tuple(
      query({ rooms: mixed<unknown>(roomList, text), types: mixed<unknown>(fc.constantFrom('cpu', 'cpu,log'), text), join: mixed(joinList, text), lastEventId: mixed(bent(cursors), text), wait: mixed<unknown>(fc.constantFrom('0', '0.01', '0.1', '61', '1e1'), text), _: text }),
      fc.option(bent(cursors)), fc.dictionary(fc.constantFrom('Last-Event-ID', 'Accept', 'Origin', 'Range', 'If-Modified-Since', 'Cookie'), headerText, { maxKeys: 2 }), fc.constantFrom('GET', 'GET', 'HEAD')
    ).map(([query, tag, headers, method]) => requestOf(method, `/api/events${query}`, { headers: { ...headers, ...(tag === null ? {} : { 'If-None-Match': `"${tag}"` }), Authorization: `Bearer ${token}` } })))
  },
  steer: {
    where: 'SSE',
    inputs: material => fc.constantFrom(material.session, material.session, material.session, 'nobody', '__proto__', '%00', 'x'.repeat(300))
      .chain(session => post(`/api/events/stream/${session}`, ['application/json', 'application/json', 'application/x-ndjson'], mixed(
        json(fc.record({ action: fc.constantFrom('join', 'leave'), rooms: fc.array(fc.constantFrom('fuzz-a', 'fuzz-b'), { maxLength: 3 }) })),
        json(join.map(fields => ({ action: 'join', ...fields }))), json(record({ room, rooms: value, action: mixed<unknown>(fc.constantFrom('leave', 'control', 'ping', '__proto__'), value) }))
      ))(material))
  },
  cursor: { where: 'SSE', inputs: ({ token, cursors }) => fc.tuple(bent(cursors), roomList).map(([cursor, rooms]) => requestOf('GET', `/api/events/stream?rooms=${encodeURIComponent(rooms)}`, { headers: { 'Last-Event-ID': cursor, Authorization: `Bearer ${token}` } })) },
  request: {
    where: 'SSE',
    inputs: ({ token }) => both(fc.tuple(fc.constantFrom('GET', 'POST', 'HEAD', 'OPTIONS', 'PUT', 'TRACE', 'get', ''), mixed(fc.constantFrom('/', '/api/rooms', '/api/control', '/api/control/x', '/api/profile', '/metrics', '/docs/json', '/client.js', '/healthz', '*', 'http://localhost/api/rooms', '/api/%72ooms', '/%ff', '/..;/api'), headerText.map(text => `/${text.replaceAll(' ', '')}`)), fc.dictionary(fc.constantFrom('Host', 'Content-Length', 'Transfer-Encoding', 'Expect', 'Connection', 'Upgrade', 'Origin', 'X-Forwarded-For', 'Cookie', 'If-Modified-Since', 'Range'), mixed(headerText, fc.constantFrom('chunked', 'close', '5', '100-continue', 'websocket', 'null', '127.0.0.1')), { maxKeys: 3 }), headerText)
      .map(([method, path, headers, body]) => requestOf(method, path, { headers: { ...headers, Authorization: `Bearer ${token}` }, body })))
  },
  token: {
    where: 'SSE',
    inputs: ({ tokens }) => fc.tuple(token(tokens), fc.constantFrom('header', 'cookie', 'other')).map(([token, where]) => requestOf('GET', '/api/rooms', {
      headers: where === 'header' ? { Authorization: `Bearer ${token}` } : where === 'cookie' ? { Cookie: `signalbox_token=${token}` } : { Cookie: `signalbox_ticket=${token}`, Authorization: token }
    }))
  },
  ticket: {
    where: 'SSE',
    inputs: ({ tickets, tokens }) => fc.tuple(mixed(bent(tickets), token(tokens)), fc.option(token(tickets))).map(([ticket, cookie]) => requestOf('GET', `/api/events/stream?rooms=fuzz-a&ticket=${encodeURIComponent(wellFormed(ticket))}`, {
      headers: cookie === null ? {} : { Cookie: `signalbox_ticket=${cookie}` }
    }))
  },
  handshake: {
    where: 'WEBSOCKET',
    inputs: ({ token }) => both(fc.tuple(fc.dictionary(fc.constantFrom('Sec-WebSocket-Key', 'Sec-WebSocket-Version', 'Sec-WebSocket-Protocol', 'Sec-WebSocket-Extensions', 'Origin', 'Upgrade', 'Connection', 'Cookie'), mixed(headerText, fc.constantFrom('13', 'websocket', 'Upgrade', 'permessage-deflate', 'null', 'a, b')), { maxKeys: 2 }), fc.constantFrom('/api/events/ws', '/api/events/ws/', '/api/events/ws?x=1', '/api/events/stream'))
      .map(([headers, path]) => requestOf('GET', path, { headers: { ...upgradeHeaders(), Authorization: `Bearer ${token}`, ...headers } })))
  },
  frames: { where: 'socket', inputs: () => both(fc.array(frame, { minLength: 1, maxLength: 6 }).map(frames => Buffer.concat(frames))) },
  messages: { where: 'socket', inputs: () => fc.array(mixed(message, broken(message)), { minLength: 1, maxLength: 5 }).map(messages => Buffer.concat(messages.map(payload => frameOf({ payload })))) },
  entries: { where: 'XADD', inputs: () => both(mixed(json(goodEvent), json(event), json(value))) },
  published: { where: 'PUBLISH', inputs: () => both(mixed(json(goodEvent), json(event), json(value))) }
}
