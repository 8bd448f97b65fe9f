// Bad input, one row each: what is sent, what is answered, and what has become of the connection. Over real sockets, over both
// profiles where it applies. Whatever comes in, the gateway does not end, no prototype is touched, no answer is a 5xx but 503, each
// refusal has the shape of all errors without a stack, the log has no error, and a client beside it gets every event.
//
// Frames that break RFC 6455 are in frames.test.ts; what comes through Redis, and callers over several workers, also in
// redis-input.test.ts; settings and redis addresses in test/config.test.ts.

import { createHmac, createSecretKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createServer } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { Redis } from 'ioredis'
import { SignJWT } from 'jose'
import { pino } from 'pino'
import t from 'tap'
import type { Test } from 'tap'
import type { ProfileName } from '../../profiles/index.ts'
import { until } from '../process/harness.ts'
import { RedisServer, skipWithout } from '../tools/redis.ts'
import { WireClient } from '../wire/client.ts'
import { upgradeHeaders } from '../wire/codec.ts'
import { PROFILES, startServer, windowsSince } from '../wire/harness.ts'
import type { Server } from '../wire/harness.ts'
import { closeFrame, frameOf, RawHttp, RawSocket, requestOf } from './raw.ts'
import type { Answer, Bytes } from './raw.ts'

t.setTimeout(600_000)

const LIMIT = 2_097_152
const SECRET = 'a secret of this test that nobody else knows'
const EVENT = '{"type":"cpu","room":"a","key":"k","data":1}'
const JSON_TYPE = { 'Content-Type': 'application/json' }

const post = (body: Bytes, headers: Record<string, string | string[]> = JSON_TYPE, path = '/api/events'): Buffer => requestOf('POST', path, { headers, body })
const control = (body: unknown, headers: Record<string, string> = {}): Buffer => post(typeof body === 'string' ? body : JSON.stringify(body), { ...JSON_TYPE, ...headers }, '/api/control')
const get = (path: string, headers: Record<string, string | string[]> = {}): Buffer => requestOf('GET', path, { headers })
const stream = (query = '', headers: Record<string, string | string[]> = {}): Buffer => get(`/api/events/stream${query}`, headers)
const handshake = (headers: Record<string, string> = {}, path = '/api/events/ws'): Buffer => get(path, { ...upgradeHeaders(), ...headers })
const data = (json: string): Buffer => post(`{"type":"x","data":${json}}`)
const event = (fields: object): Buffer => post(JSON.stringify({ type: 'x', data: 1, ...fields }))

interface Row {
  readonly row: string
  readonly input: string
  /** Status and code of the answer; of a stream its position or `bye`; of a socket its messages and close codes. */
  readonly answer: string
  /** The connection afterwards. */
  readonly after: 'open' | 'closed'
  /** Where the contract or this product differs from the list, why. */
  readonly why?: string
  readonly profiles?: readonly ProfileName[]
  /** To the gateway with tokens in place of the open one. */
  readonly tokens?: true
  readonly send: Bytes | readonly Bytes[]
}

/** Why a connection is closed. */
const BODY = 'Fastify ends a connection whose body it could not read'
const SSE = ['SSE'] as const
const WEBSOCKET = ['WEBSOCKET'] as const
const DEEP = `{"type":"x","data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
const WIDE = `{"type":"x","data":{${Array.from({ length: 100_000 }, (_, n) => `"k${n}":${n}`).join()}}}`
const LARGEST = `{"type":"x","data":"${'x'.repeat(LIMIT - 200)}"}`.padEnd(LIMIT)

const PUBLISH: readonly Row[] = [
  { row: '1', input: 'no Content-Type', send: post(EVENT, {}), answer: '415 UNSUPPORTED_MEDIA_TYPE', after: 'open' },
  { row: '1', input: 'text/plain', send: post(EVENT, { 'Content-Type': 'text/plain' }), answer: '415 UNSUPPORTED_MEDIA_TYPE', after: 'open' },
  { row: '1', input: 'a form', send: post(EVENT, { 'Content-Type': 'application/x-www-form-urlencoded' }), answer: '415 UNSUPPORTED_MEDIA_TYPE', after: 'open' },
  { row: '2', input: 'application/json garbage', send: post(EVENT, { 'Content-Type': 'application/json garbage' }), answer: '415 UNSUPPORTED_MEDIA_TYPE', after: 'open' },
  { row: '2', input: 'application/json with a NUL behind it', send: post(EVENT, { 'Content-Type': 'application/json\0x' }), answer: '400 BAD_REQUEST', after: 'closed', why: 'a NUL is in no header (RFC 9110, 5.5)' },
  { row: '2', input: 'application/json/x', send: post(EVENT, { 'Content-Type': 'application/json/x' }), answer: '415 UNSUPPORTED_MEDIA_TYPE', after: 'open' },
  { row: '3', input: 'a space before the type, and a bad event', send: post('{"type":"a b","data":1}', { 'Content-Type': ' application/json' }), answer: '400 BAD_EVENT', after: 'open' },
  { row: '3', input: 'APPLICATION/JSON ;charset=utf-8, and a bad event', send: post('{"type":"a b","data":1}', { 'Content-Type': 'APPLICATION/JSON ;charset=utf-8' }), answer: '400 BAD_EVENT', after: 'open' },
  { row: '3', input: 'the same, and a good one', send: post(EVENT, { 'Content-Type': 'APPLICATION/JSON ;charset=utf-8' }), answer: '202', after: 'open' },
  ...['', '{"type":', '1', '"x"'].map((body): Row => ({ row: '4', input: `the body ${JSON.stringify(body)}`, send: post(body), ...(body === '' || body.startsWith('{') ? { answer: '400 BAD_REQUEST', after: 'closed', why: BODY } : { answer: '400 BAD_EVENT', after: 'open' }) })),
  { row: '4', input: 'the body []', send: post('[]'), answer: '400 BAD_EVENT', after: 'open' },
  { row: '4', input: 'the body null', send: post('null'), answer: '400 BAD_EVENT', after: 'open' },
  { row: '5', input: '__proto__ as a member', send: post('{"__proto__":{"polluted":1},"type":"x","data":1}'), answer: '400 BAD_REQUEST', after: 'closed', why: BODY },
  { row: '5', input: '__proto__ escaped, within data', send: data('{"\\u005f_proto__":{"polluted":1}}'), answer: '400 BAD_REQUEST', after: 'closed', why: BODY },
  { row: '5', input: 'constructor.prototype within data', send: data('{"constructor":{"prototype":{"polluted":1}}}'), answer: '202', after: 'open', why: 'a plain name: data is text to the gateway, and is never merged into an object' },
  { row: '5', input: 'constructor as a member', send: post('{"constructor":{"prototype":{"polluted":1}},"type":"x","data":1}'), answer: '400 BAD_EVENT', after: 'open' },
  { row: '6', input: 'a depth of 100,000', send: post(DEEP), answer: '400 BAD_REQUEST', after: 'closed', why: BODY },
  { row: '6', input: 'an array of 1,000,000', send: post(`[${'1,'.repeat(999_999)}1]`), answer: '400 BAD_EVENT', after: 'open' },
  { row: '6', input: '100,000 keys in data', send: post(WIDE), answer: '400 BAD_REQUEST', after: 'closed', why: 'a body may have 50,000 different names; ' + BODY },
  { row: '6', input: '100,000 keys in the event', send: post(`{${Array.from({ length: 100_000 }, (_, n) => `"k${n}":1`).join()}}`), answer: '400 BAD_REQUEST', after: 'closed', why: 'a body may have 50,000 different names; ' + BODY },
  { row: '7', input: 'a body of one byte more than the limit', send: post(`${LARGEST} `), answer: '413 TOO_LARGE', after: 'closed' },
  { row: '7', input: 'a body of exactly the limit', send: post(LARGEST), answer: '202', after: 'open' },
  { row: '8', input: 'Content-Length too small', send: post(EVENT, { ...JSON_TYPE, 'Content-Length': '5' }), answer: '400 BAD_REQUEST', after: 'closed' },
  { row: '8', input: 'Content-Length and Transfer-Encoding', send: post('0\r\n\r\n', { ...JSON_TYPE, 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }), answer: '400 BAD_REQUEST', after: 'closed' },
  { row: '8', input: 'two lengths', send: post(EVENT, { ...JSON_TYPE, 'Content-Length': [String(EVENT.length), '5'] }), answer: '400 BAD_REQUEST', after: 'closed' },
  { row: '8', input: 'a chunk size with a sign', send: post('+5\r\n', { ...JSON_TYPE, 'Transfer-Encoding': 'chunked' }), answer: '400 BAD_REQUEST', after: 'closed' },
  { row: '8', input: 'a bare LF behind a header', send: `POST /api/events HTTP/1.1\r\nHost: localhost\nContent-Length: ${EVENT.length}\r\n\r\n${EVENT}`, answer: '400 BAD_REQUEST', after: 'closed' },
  { row: '9', input: 'a bomb of gzip, 50 MB in 50 KB', send: post(gzipSync('x'.repeat(50_000_000)), { ...JSON_TYPE, 'Content-Encoding': 'gzip' }), answer: '413 TOO_LARGE', after: 'closed', why: 'gzip is understood, and bounded by what comes out' },
  { row: '9', input: 'Content-Encoding: br', send: post(EVENT, { ...JSON_TYPE, 'Content-Encoding': 'br' }), answer: '415 UNSUPPORTED_MEDIA_TYPE', after: 'closed', why: BODY },
  { row: '10', input: 'a body that is not UTF-8', send: post(Buffer.from('{"type":"x","data":"\xff"}', 'latin1')), answer: '400 BAD_REQUEST', after: 'closed', why: BODY },
  { row: '10', input: 'a lone surrogate, escaped', send: data('"\\ud800"'), answer: '202', after: 'open', why: 'kept exactly: it goes out escaped' },
  { row: '10', input: 'a byte order mark', send: post(`\ufeff${EVENT}`), answer: '202', after: 'open' },
  ...['a\nb', 'a\rb', 'a\0b', 'a\x7fb', 'a\u0085b', 'a\u202eb', 'a\u200bb'].flatMap((text): Row[] => [
    { row: '11', input: `an id with ${JSON.stringify(text)}`, send: event({ id: text }), answer: '400 BAD_EVENT', after: 'open', why: 'ids are the gateway\'s: the field is unknown' },
    { row: '12', input: `a type with ${JSON.stringify(text)}`, send: event({ type: text }), answer: '400 BAD_EVENT', after: 'open' }
  ]),
  ...['open', 'error', 'reset', 'ping'].map((type): Row => ({ row: '12', input: `the type ${type}`, send: event({ type }), answer: '202', after: 'open', why: 'not reserved: events are in arrays, and their types are never the name of an SSE event' })),
  ...['x\nid: 9\nevent: y', 'x\ry', 'x\r\n\r\ny'].map((text): Row => ({ row: '13', input: `data ${JSON.stringify(text)}`, send: event({ data: text }), answer: '202', after: 'open' })),
  ...['room', 'key'].flatMap(field => ['', 'x'.repeat(300), 'x'.repeat(1_000_000), 'a\0b'].map((text): Row => ({ row: '14', input: `the ${field} ${JSON.stringify(text.slice(0, 10))} of ${text.length}`, send: event({ [field]: text }), answer: '400 BAD_EVENT', after: 'open' }))),
  ...['*', '../a', '@system', '@public'].map((room): Row => ({ row: '14', input: `the room ${room}`, send: event({ room }), answer: room === '../a' ? '202' : '400 BAD_EVENT', after: 'open', ...(room === '../a' ? { why: 'of the alphabet, and a name: no path is ever made of it' } : {}) })),
  ...['__proto__', 'toString', 'constructor'].map((name): Row => ({ row: '14', input: `the room and key ${name}`, send: event({ room: name, key: name }), answer: '202', after: 'open' })),
  ...['1e400', '9007199254740993', '1e-400'].map((number): Row => ({ row: '16', input: `the number ${number}`, send: data(number), answer: '400 BAD_REQUEST', after: 'closed', why: BODY })),
  { row: '16', input: 'the number -0', send: data('-0'), answer: '202', after: 'open', why: 'equal to 0, and kept as it is' },
  ...['timestamp', 'ttl', 'retry'].flatMap(field => ['-1', '"10"', '1e18'].map((value): Row => ({ row: '17', input: `"${field}": ${value}`, send: post(`{"type":"x","key":"k","data":1,"${field}":${value}}`), answer: '400 BAD_EVENT', after: 'open' }))),
  { row: '18', input: 'a batch of 1,001', send: post(`[${Array.from({ length: 1001 }, () => EVENT).join()}]`), answer: '400 BAD_EVENT', after: 'open', why: '413 is for bytes' },
  { row: '18', input: 'one bad event of ten', send: post(`[${Array.from({ length: 9 }, () => EVENT).join()},{}]`), answer: '400 BAD_EVENT', after: 'open' },
  { row: '19', input: 'an Idempotency-Key with the same body, and another', send: [post(EVENT, { ...JSON_TYPE, 'Idempotency-Key': 'once' }), post(EVENT, { ...JSON_TYPE, 'Idempotency-Key': 'once' }), post(data('2').toString().split('\r\n\r\n')[1] as string, { ...JSON_TYPE, 'Idempotency-Key': 'once' })], answer: '202 / 202 / 409 IDEMPOTENCY_CONFLICT', after: 'open' },
  { row: '19', input: 'an Idempotency-Key of 201 characters', send: post(EVENT, { ...JSON_TYPE, 'Idempotency-Key': 'x'.repeat(201) }), answer: '400 BAD_EVENT', after: 'open' },
  { row: '20', input: 'a header of 100 KB', send: get('/api/profile', { 'X-Large': 'x'.repeat(100_000) }), answer: '431 TOO_LARGE', after: 'closed', why: 'the limit is 85 KiB: the largest subscription and cursor fit' },
  { row: '20', input: 'an address of 100 KB', send: get(`/api/profile?${'x'.repeat(100_000)}`), answer: '431 TOO_LARGE', after: 'closed' },
  { row: '20', input: '2,000 headers', send: get('/api/profile', { 'X-Many': Array.from({ length: 2000 }, () => 'x') }), answer: '200', after: 'open', why: 'within 85 KiB; Node reads the first 2,000' },
  { row: '20', input: '20,000 headers', send: get('/api/profile', { 'X-Many': Array.from({ length: 20_000 }, () => 'x') }), answer: '431 TOO_LARGE', after: 'closed' },
  { row: '21', input: 'no Host', send: 'GET /api/profile HTTP/1.1\r\n\r\n', answer: '400 BAD_REQUEST', after: 'open' },
  { row: '21', input: 'a version of HTTP that does not exist', send: 'GET /api/profile HTTP/9.9\r\nHost: localhost\r\n\r\n', answer: '400 BAD_REQUEST', after: 'closed' },
  { row: '21', input: 'a line that ends with LF', send: 'GET /api/profile HTTP/1.1\n\n', answer: '400 BAD_REQUEST', after: 'closed' },
  ...['PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND'].map((method): Row => ({ row: '22', input: method, send: requestOf(method, '/api/events'), answer: '405 METHOD_NOT_ALLOWED', after: 'open' })),
  ...(['/%00', '/%ff', '/%2e%2e/api/rooms', '//api//rooms', '/API/rooms', '/api/rooms%2f'] as const).map((path): Row => ({ row: '23', input: path, tokens: true, send: get(path), answer: path === '/%ff' ? '400 BAD_REQUEST' : '404 NOT_FOUND', after: 'open' })),
  { row: '23', input: 'a path that is no UTF-8, and a ticket', tokens: true, send: get('/%ff?ticket=TOKEN'), answer: '400 BAD_REQUEST', after: 'open' },
  { row: '23', input: 'a slash at the end does not pass who asks', tokens: true, send: get('/api/rooms/'), answer: '401 UNAUTHENTICATED', after: 'open', why: 'the same route' },
  { row: '23', input: 'nor does an escaped letter', tokens: true, send: get('/api/%72ooms'), answer: '401 UNAUTHENTICATED', after: 'open' },
  { row: '25', input: 'headers with escapes and a made-up line of the log', send: get('/api/profile', { 'User-Agent': '\x1b[31m{"level":60}', 'X-Request-Id': `x","level":60,"msg":"${'x'.repeat(15_000)}` }), answer: '400 BAD_REQUEST', after: 'closed', why: 'an escape is in no header (RFC 9110, 5.5)' },
  { row: '25', input: 'a made-up line of the log', send: get('/api/profile', { 'User-Agent': '"}\\n{"level":60}', 'X-Request-Id': `x","level":60,"msg":"${'x'.repeat(15_000)}` }), answer: '200', after: 'open' },
  { row: '26', input: '1,000 requests in one piece', send: Buffer.concat(Array.from({ length: 1000 }, () => get('/healthz'))), answer: Array.from({ length: 1000 }, () => '200').join(' / '), after: 'open' }
]

const COMMANDS: readonly Row[] = [
  { row: '32', input: 'an unknown command', send: control({ command: 'nothing' }), answer: '404 UNKNOWN_COMMAND', after: 'open', why: 'the contract\'s status' },
  ...['constructor', 'toString', '__proto__'].map((command): Row => ({ row: '32', input: `the command ${command}`, send: control({ command }), answer: '404 UNKNOWN_COMMAND', after: 'open', why: 'a name like any other' })),
  ...[['ping'], {}, 1, null].map((command): Row => ({ row: '32', input: `the command ${JSON.stringify(command)}`, send: control({ command }), answer: '400 BAD_COMMAND', after: 'open' })),
  { row: '32', input: 'args with __proto__', send: control('{"command":"ping","args":{"__proto__":{"polluted":1}}}'), answer: '400 BAD_REQUEST', after: 'closed', why: BODY },
  { row: '32', input: 'args that are an array', send: control({ command: 'ping', args: [] }), answer: '400 BAD_COMMAND', after: 'open' },
  { row: '33', input: 'the outcome of an unknown command', send: get('/api/control/nobody-knows'), answer: '404 NOT_FOUND', after: 'open' },
  { row: '33', input: 'the outcome by a path', send: get('/api/control/..%2f..%2fetc'), answer: '404 NOT_FOUND', after: 'open' },
  { row: '34', input: 'ending a session that does not exist', send: control({ command: 'disconnect', args: { session: 'nobody' } }), answer: '200', after: 'open', why: '`ended: 0`: it tells what was done' },
  { row: '35', input: 'a command twice under one Idempotency-Key', send: [control({ command: 'pause', args: { room: 'quiet' } }, { 'Idempotency-Key': 'p' }), control({ command: 'pause', args: { room: 'quiet' } }, { 'Idempotency-Key': 'p' }), control({ command: 'pause', args: { room: 'other' } }, { 'Idempotency-Key': 'p' })], answer: '200 / 200 / 409 IDEMPOTENCY_CONFLICT', after: 'open' },
  ...['https://evil.example', 'null', 'http://localhost@evil.example'].map((origin): Row => ({ row: '31', input: `a cookie and Origin: ${origin}`, tokens: true, send: control({ command: 'ping' }, { Cookie: 'signalbox_token=TOKEN', Origin: origin }), answer: '403 FORBIDDEN', after: 'open' })),
  { row: '31', input: 'a cookie without Origin', tokens: true, send: control({ command: 'ping' }, { Cookie: 'signalbox_token=TOKEN' }), answer: '403 FORBIDDEN', after: 'open' },
  { row: '31', input: 'a cookie from the own origin', tokens: true, send: control({ command: 'ping' }, { Cookie: 'signalbox_token=TOKEN', Origin: 'http://localhost' }), answer: '200', after: 'open' }
]

const STREAMS: readonly Row[] = [
  ...['1-0', '1763770000000-0', '99999999999999-0', '18446744073709551615-18446744073709551615'].map((cursor): Row => ({ row: '36', input: `Last-Event-ID: ${cursor}`, profiles: SSE, send: stream('?rooms=a', { 'Last-Event-ID': cursor }), answer: '200 reset unknown', after: 'open' })),
  ...['abc', '-1-0', '1-1,99,110', '[[[0,13]]]', '12345678901234567890', 'x'.repeat(8192), '\xff\xfe', '%00', '1-1-1', '0-0-0', '"', '{}', 'NaN-NaN', '__proto__'].map((cursor): Row => ({ row: '37', input: `Last-Event-ID: ${JSON.stringify(cursor.slice(0, 30))}`, profiles: SSE, send: stream('?rooms=a', { 'Last-Event-ID': cursor }), answer: '200 reset unknown', after: 'open' })),
  { row: '37', input: 'a NUL in Last-Event-ID', profiles: SSE, send: stream('?rooms=a', { 'Last-Event-ID': 'a\0b' }), answer: '400 BAD_REQUEST', after: 'closed', why: 'no header (RFC 9110, 5.5), and browsers never send it' },
  { row: '38', input: 'header and query differ', profiles: SSE, send: stream('?rooms=a&lastEventId=0-0', { 'Last-Event-ID': 'garbage' }), answer: '200 reset unknown', after: 'open' },
  { row: '39', input: '10,000 rooms', profiles: SSE, send: stream(`?rooms=${Array.from({ length: 10_000 }, (_, n) => n.toString(36)).join()}`), answer: '400 BAD_SUBSCRIPTION', after: 'open' },
  { row: '39', input: 'one room 1,000 times', profiles: SSE, send: stream(`?rooms=${Array.from({ length: 1000 }, () => 'a').join()}`), answer: '200 new', after: 'open', why: 'named once, as often as it is' },
  ...['rooms[__proto__]=x', 'room[]=a', '__proto__=x&x=1', 'rooms=a%00b', 'rooms=a b', 'rooms=%ff', 'types=*', 'rooms=@nothing', 'constructor=1'].map((query): Row => ({ row: '39', input: `?${query}`, profiles: SSE, send: stream(`?${query.replaceAll(' ', '%20')}`), answer: '400 BAD_SUBSCRIPTION', after: 'open' })),
  { row: '39', input: 'the room __proto__', profiles: SSE, send: stream('?rooms=__proto__&types=toString'), answer: '200 new', after: 'open' },
  { row: '40', input: 'a room that is not granted, and is there', tokens: true, profiles: SSE, send: stream('?rooms=secret', { Authorization: 'Bearer TOKEN' }), answer: '403 FORBIDDEN', after: 'open' },
  { row: '40', input: 'a room that is not granted, and is not there', tokens: true, profiles: SSE, send: stream('?rooms=nowhere', { Authorization: 'Bearer TOKEN' }), answer: '403 FORBIDDEN', after: 'open' },
  { row: '41', input: 'access_token= in the query', tokens: true, profiles: SSE, send: stream('?rooms=a&access_token=TOKEN'), answer: '401 UNAUTHENTICATED', after: 'open' },
  { row: '41', input: 'a token as a ticket', tokens: true, profiles: SSE, send: stream('?rooms=a&ticket=TOKEN'), answer: '401 UNAUTHENTICATED', after: 'open' },
  { row: '42', input: 'HEAD', profiles: SSE, send: requestOf('HEAD', '/api/events/stream'), answer: '405', after: 'open' },
  { row: '43', input: 'Accept: application/json', profiles: SSE, send: stream('?rooms=a', { Accept: 'application/json' }), answer: '200 new', after: 'open', why: 'the route has one form' },
  { row: '44', input: 'an Origin that is not listed', profiles: SSE, send: stream('?rooms=a', { Origin: 'https://evil.example' }), answer: '200 new', after: 'open', why: 'without Access-Control-Allow-Origin: the browser keeps it from the page' },
  { row: '46', input: 'a request behind a stream', profiles: SSE, send: Buffer.concat([stream('?rooms=a'), get('/healthz')]), answer: '', after: 'closed' },
  { row: '48', input: 'an offer to upgrade on the stream\'s path', profiles: SSE, send: stream('?rooms=a', upgradeHeaders()), answer: '200 new', after: 'open', why: 'ignored (RFC 9110, 7.8)' },
  { row: '48', input: 'the socket\'s path', profiles: SSE, send: handshake(), answer: '404 PROFILE_NOT_MOUNTED', after: 'open' },
  { row: '48', input: 'the stream\'s path', profiles: WEBSOCKET, send: stream('?rooms=a'), answer: '404 PROFILE_NOT_MOUNTED', after: 'open' },
  { row: '48', input: 'the stream\'s path, coming back', profiles: WEBSOCKET, send: stream('?rooms=a', { 'Last-Event-ID': 'x' }), answer: '200 bye PROFILE_NOT_MOUNTED', after: 'closed', why: 'any other status ends a native EventSource for good' },
  { row: '48', input: 'a plain GET on the socket\'s path', profiles: WEBSOCKET, send: get('/api/events/ws'), answer: '426 UPGRADE_REQUIRED', after: 'open' }
]

const read = (query = '', headers: Record<string, string | string[]> = {}): Buffer => get(`/api/events${query}`, headers)
const steer = (body: unknown, session = 'nobody', headers: Record<string, string> = {}): Buffer => post(typeof body === 'string' ? body : JSON.stringify(body), { ...JSON_TYPE, ...headers }, `/api/events/stream/${session}`)

const READS: readonly Row[] = [
  ...['1-0', '18446744073709551615-18446744073709551615', 'abc', '[[[0,13]]]', 'x'.repeat(8192), '%00', '"', '{}', '__proto__', '~~~', 'a~b~1-1~1-1~sfx', 'a~b~1-1!1-1~1-1~s~'].map((cursor): Row => ({ row: '37', input: `a read from ${JSON.stringify(cursor.slice(0, 30))}`, send: read(`?rooms=a&wait=5&lastEventId=${encodeURIComponent(cursor)}`), answer: '200 reset unknown', after: 'open' })),
  ...['0-0', '', '&lastEventId=0-0'].map((cursor): Row => ({ row: '37', input: `a read from the beginning: ${cursor}`, send: read(`?rooms=a&lastEventId=${cursor}`), answer: '200 new', after: 'open' })),
  ...['"', '*', 'W/', '""', '"abc', 'x'.repeat(8192), `"${'a'.repeat(30_000)}"`, '"1-0", "2-0"', Array.from({ length: 2000 }, (_, n) => `"${n}-0"`).join()].map((tag): Row => ({ row: '37', input: `If-None-Match: ${tag.slice(0, 20)}`, send: read('?rooms=a', { 'If-None-Match': tag }), answer: '200 new', after: 'open' })),
  ...['rooms[__proto__]=x', 'room[]=a', '__proto__=x&x=1', 'rooms=a%00b', 'rooms=%ff', 'types=*', 'rooms=@nothing', 'constructor=1', 'wait=1e9', 'wait=-1', 'wait=Infinity', 'wait=0x1', 'wait=1&wait=1', 'wait=٣', 'wait=99999999999999999999', 'join=', 'join=1', 'join=null', 'join={}', 'join=[1]', 'join=[[]]', 'join=[{}]', 'join=[{"room":"a","types":[]}]', 'join=[{"room":"a","types":"x"}]', 'join=[{"room":"a","__proto__":{"polluted":1}}]', `join=${'['.repeat(2000)}`, 'join=["a"]&rooms=b', 'join=["a"]&join=["b"]', `join=${JSON.stringify(Array.from({ length: 1001 }, () => 'a'))}`]
    .flatMap((query): Row[] => [
      { row: '39', input: `a read of ?${query.slice(0, 60)}`, send: read(`?${encodeURI(query).replaceAll('%25', '%')}`), answer: '400 BAD_SUBSCRIPTION', after: 'open' },
      ...(query.includes('wait=') ? [] : [{ row: '39', input: `a stream of ?${query.slice(0, 60)}`, profiles: SSE, send: stream(`?${encodeURI(query).replaceAll('%25', '%')}`), answer: '400 BAD_SUBSCRIPTION', after: 'open' as const }])
    ]),
  { row: '39', input: 'a read of one room 1,000 times', send: read(`?join=${JSON.stringify(Array.from({ length: 1000 }, () => 'a')).replaceAll('"', '%22')}`), answer: '200 new', after: 'open' },
  { row: '40', input: 'a read of a room that is not granted, and is there', tokens: true, send: read('?rooms=secret', { Authorization: 'Bearer TOKEN' }), answer: '403 FORBIDDEN', after: 'open' },
  { row: '40', input: 'a read of a room that is not granted, and is not there', tokens: true, send: read('?rooms=nowhere', { Authorization: 'Bearer TOKEN' }), answer: '403 FORBIDDEN', after: 'open' },
  { row: '41', input: 'a read with access_token= in the query', tokens: true, send: read('?rooms=a&access_token=TOKEN'), answer: '401 UNAUTHENTICATED', after: 'open' },
  ...[[], 1, null, '"x"', {}, { action: 'ping' }, { action: 'control', command: 'stats' }, { action: 'toString' }, { action: ['join'] }, { action: 'join', room: 'a', rooms: [] }, { action: 'join', rooms: 'a' }, { action: 'join', lastEventId: 5 }, { action: 'leave', room: 5 }, { action: 'leave', types: ['x'] }]
    .map((body): Row => ({ row: '68', input: `a change of a stream: ${JSON.stringify(body)}`, profiles: SSE, send: steer(body), answer: '400 BAD_MESSAGE', after: 'open', why: 'in the words of a socket' })),
  { row: '69', input: 'a change with __proto__', profiles: SSE, send: steer('{"action":"join","__proto__":{"polluted":1}}'), answer: '400 BAD_REQUEST', after: 'closed', why: BODY },
  ...['nobody', '__proto__', 'constructor', '%00', '..%2f..%2frooms', 'x'.repeat(200)].map((session): Row => ({ row: '34', input: `a change of the stream ${session.slice(0, 20)}`, profiles: SSE, send: steer({ action: 'join', room: 'a' }, session), answer: '404 SESSION_NOT_FOUND', after: 'open' })),
  { row: '31', input: 'a change of a stream by a cookie without Origin', tokens: true, profiles: SSE, send: steer({ action: 'join', room: 'a' }, 'nobody', { Cookie: 'signalbox_token=TOKEN' }), answer: '403 FORBIDDEN', after: 'open' },
  { row: '48', input: 'a change of a stream where there are none', profiles: WEBSOCKET, send: steer({ action: 'join', room: 'a' }), answer: '404 SESSION_NOT_FOUND', after: 'open' }
]

const HANDSHAKES: readonly Row[] = [
  ...['null', 'https://app.example.com.evil.com', 'https://app.example.com:444', 'http://app.example.com', 'https://app.example.com@evil.com', 'http://localhost@evil.com', 'https://', 'x'.repeat(10_000)].map((origin): Row => ({ row: '49', input: `Origin: ${origin.slice(0, 40)}`, profiles: WEBSOCKET, send: handshake({ Origin: origin }), answer: '403 FORBIDDEN', after: 'closed' })),
  { row: '49', input: 'a cookie without Origin', tokens: true, profiles: WEBSOCKET, send: handshake({ Cookie: 'signalbox_token=TOKEN' }), answer: '403 FORBIDDEN', after: 'closed' },
  ...[{ 'Sec-WebSocket-Key': '' }, { 'Sec-WebSocket-Key': 'short' }, { 'Sec-WebSocket-Version': '12' }, { 'Sec-WebSocket-Version': 'banana' }, { 'Sec-WebSocket-Version': '' }].map((headers): Row => ({ row: '50', input: JSON.stringify(headers), profiles: WEBSOCKET, send: handshake(headers as Record<string, string>), answer: '400 BAD_REQUEST', after: 'closed' })),
  { row: '51', input: 'POST with an offer to upgrade', profiles: WEBSOCKET, send: requestOf('POST', '/api/events/ws', { headers: upgradeHeaders() }), answer: '405 METHOD_NOT_ALLOWED', after: 'open' },
  { row: '51', input: 'another path', profiles: WEBSOCKET, send: handshake({}, '/api/events/wss'), answer: '404 NOT_FOUND', after: 'open' },
  { row: '51', input: 'Upgrade: WEBSOCKET', profiles: WEBSOCKET, send: handshake({ Upgrade: 'WEBSOCKET' }), answer: '101', after: 'open' },
  ...['a;b', ',', `${' '.repeat(15_000)}x y`].map((protocol): Row => ({ row: '52', input: `Sec-WebSocket-Protocol: ${JSON.stringify(protocol.slice(0, 10))}`, profiles: WEBSOCKET, send: handshake({ 'Sec-WebSocket-Protocol': protocol }), answer: '400 BAD_REQUEST', after: 'closed' })),
  { row: '53', input: 'Sec-WebSocket-Extensions: constructor', profiles: WEBSOCKET, send: handshake({ 'Sec-WebSocket-Extensions': 'constructor' }), answer: '101', after: 'open' },
  { row: '53', input: 'a compression that is not offered', profiles: WEBSOCKET, send: handshake({ 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits=6' }), answer: '101', after: 'open', why: 'ignored' },
  { row: '55', input: 'no token', tokens: true, profiles: WEBSOCKET, send: handshake(), answer: '401 UNAUTHENTICATED', after: 'closed', why: 'a handshake is refused by HTTP, before the upgrade: there is nothing to say before it' },
  { row: '56', input: 'a token of 20 KB', tokens: true, profiles: WEBSOCKET, send: handshake({ Authorization: `Bearer ${'x'.repeat(20_000)}` }), answer: '401 UNAUTHENTICATED', after: 'closed' },
  { row: '56', input: 'a token of 100 KB', tokens: true, profiles: WEBSOCKET, send: handshake({ Authorization: `Bearer ${'x'.repeat(100_000)}` }), answer: '431 TOO_LARGE', after: 'closed' },
  { row: '56', input: 'a token in the query', tokens: true, profiles: WEBSOCKET, send: handshake({}, '/api/events/ws?token=TOKEN'), answer: '401 UNAUTHENTICATED', after: 'closed' }
]

const SIGNED = (token: string): Buffer => get('/api/rooms', { Authorization: `Bearer ${token}` })
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const NOW = Math.floor(Date.now() / 1000)
const CLAIMS = { sub: 'somebody', iss: 'the-issuer', aud: 'the-gateway', exp: NOW + 600, signalbox: { subscribe: ['a', '@public'], publish: ['*'], control: ['*'] } }
const keyOf = (secret: string | Buffer): KeyObject => createSecretKey(Buffer.from(secret as Buffer))
const sign = async (claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}, key: KeyObject = keyOf(SECRET)): Promise<string> =>
  await new SignJWT({ ...CLAIMS, ...claims }).setProtectedHeader({ alg: 'HS256', ...header }).sign(key)
const part = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
const unsigned = (header: unknown, claims: unknown = CLAIMS, signature = ''): string => `${part(header)}.${part(claims)}.${signature}`
const TOKEN = await sign()
const PEM = publicKey.export({ type: 'spki', format: 'pem' }) as string

/** An address that no gateway may ask. */
let asked = 0
const elsewhere = createServer((_request, response) => { asked++; response.end('{"keys":[]}') }).listen(0, '127.0.0.1')
await once(elsewhere, 'listening')
const ELSEWHERE = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`
t.teardown(() => elsewhere.close())

const tokenRow = (row: string, input: string, token: string, why?: string): Row => ({ row, input, tokens: true, send: SIGNED(token), answer: '401 UNAUTHENTICATED', after: 'open', ...(why === undefined ? {} : { why }) })

const TOKENS: readonly Row[] = [
  { row: '24', input: 'no token', tokens: true, send: get('/api/rooms'), answer: '401 UNAUTHENTICATED', after: 'open' },
  { row: '24', input: 'a good token', tokens: true, send: SIGNED(TOKEN), answer: '200', after: 'open' },
  { row: '24', input: 'a good token that may not do this', tokens: true, send: post(EVENT, { ...JSON_TYPE, Authorization: `Bearer ${await sign({ signalbox: { publish: ['b'] } })}` }), answer: '403 FORBIDDEN', after: 'open' },
  tokenRow('24', 'a bad token', 'x.y.z'),
  { row: '24', input: 'another scheme', tokens: true, send: get('/api/rooms', { Authorization: 'Basic dTpw' }), answer: '401 UNAUTHENTICATED', after: 'open' },
  { row: '87', input: 'two headers Authorization', tokens: true, send: get('/api/rooms', { Authorization: [`Bearer ${TOKEN}`, `Bearer ${TOKEN}`] }), answer: '400 BAD_REQUEST', after: 'open' },
  { row: '87', input: 'header and cookie', tokens: true, send: get('/api/rooms', { Authorization: 'Bearer x.y.z', Cookie: 'signalbox_token=TOKEN' }), answer: '401 UNAUTHENTICATED', after: 'open', why: 'the header wins: a browser adds cookies unasked, so refusing both would lock pages out' },
  tokenRow('82', 'alg none', unsigned({ alg: 'none' })), tokenRow('82', 'alg None', unsigned({ alg: 'None' })), tokenRow('82', 'alg none with a signature', unsigned({ alg: 'none' }, CLAIMS, TOKEN.split('.')[2])),
  tokenRow('82', 'HS256 with a public key', await sign({}, {}, keyOf(PEM))), tokenRow('82', 'the same with a newline before it', await sign({}, {}, keyOf(`\n${PEM}`))),
  tokenRow('82', 'HS512 with the right secret', await sign({}, { alg: 'HS512' }, keyOf(SECRET.padEnd(64, 'x')))), tokenRow('82', 'RS256 with a key nobody trusts', await sign({}, { alg: 'RS256' }, privateKey)),
  tokenRow('82', 'alg as an array', unsigned({ alg: ['HS256'] }, CLAIMS, TOKEN.split('.')[2])), tokenRow('82', 'without alg', unsigned({}, CLAIMS, TOKEN.split('.')[2])),
  ...await Promise.all(([['exp missing', { exp: undefined }], ['exp past', { exp: NOW - 1 }], ['exp a text', { exp: 'x' }], ['exp null', { exp: null }], ['nbf to come', { nbf: NOW + 500 }], ['iat to come', { iat: NOW + 500 }], ['nbf a text', { nbf: 'x' }]] as Array<[string, Record<string, unknown>]>)
    .map(async ([input, claims]) => tokenRow('83', input, unsignedSigned(claims)))),
  tokenRow('83', 'exp 1e400', signedText(JSON.stringify(CLAIMS).replace(/"exp":\d+/, '"exp":1e400'))),
  { row: '83', input: 'nbf 30 s ahead', tokens: true, send: SIGNED(unsignedSigned({ nbf: NOW + 30 })), answer: '200', after: 'open', why: 'clocks differ: 60 s of leeway' },
  tokenRow('84', 'another aud', await sign({ aud: 'others' })), tokenRow('84', 'another iss', await sign({ iss: 'others' })), tokenRow('84', 'iss an array', await sign({ iss: ['the-issuer'] })), tokenRow('84', 'another secret', await sign({}, {}, keyOf('y'.repeat(40)))),
  { row: '85', input: 'kid with a path', tokens: true, send: SIGNED(await sign({}, { kid: '../../dev/null' })), answer: '200', after: 'open', why: 'the secret has no kid: it says nothing' },
  { row: '85', input: 'jku, jwk and x5u', tokens: true, send: SIGNED(await sign({}, { jku: ELSEWHERE, x5u: ELSEWHERE, jwk: { kty: 'oct', k: 'eHh4' } })), answer: '200', after: 'open', why: 'ignored; nobody is asked' },
  tokenRow('85', 'jku with a key of its own', await sign({}, { alg: 'RS256', jku: ELSEWHERE, x5u: ELSEWHERE, jwk: publicKey.export({ format: 'jwk' }) }, privateKey)),
  tokenRow('86', 'an unknown crit', signedText(JSON.stringify(CLAIMS), { alg: 'HS256', crit: ['x'], x: 1 })), tokenRow('86', 'an empty crit', signedText(JSON.stringify(CLAIMS), { alg: 'HS256', crit: [] })), tokenRow('86', 'b64: false', signedText(JSON.stringify(CLAIMS), { alg: 'HS256', b64: false, crit: ['b64'] })),
  tokenRow('86', 'five parts', `${TOKEN}.x.y`), tokenRow('86', 'two parts', TOKEN.split('.').slice(0, 2).join('.')), tokenRow('86', 'not base64', '!!.??.**'), tokenRow('86', 'a signature with more behind it', `${TOKEN}!`), tokenRow('86', 'one letter changed', flipped(TOKEN)),
  ...['[]', '1', 'null', '"x"'].map(text => tokenRow('86', `claims ${text}`, signedText(text))), tokenRow('86', 'sub a number', unsignedSigned({ sub: 5 })),
  ...([['no claim', undefined], ['a list', ['*']], ['a text', '*'], ['a right that is a text', { subscribe: '*', control: ['*'] }], ['a list with a number', { control: ['*', 1] }], ['a right of a prototype', { __proto__: { control: ['*'] } }]] as Array<[string, unknown]>)
    .map(([input, signalbox]): Row => ({ row: '86', input: `the grants are ${input}`, tokens: true, send: control({ command: 'ping' }, { Authorization: `Bearer ${unsignedSigned({ signalbox })}` }), answer: '403 FORBIDDEN', after: 'open', why: 'a token without grants, or with malformed ones, may do nothing' }))
]

function signedText (claims: string, header: object = { alg: 'HS256' }): string {
  const text = `${part(header)}.${part(claims)}`
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`
}

/** With claims that the library would refuse to write. */
function unsignedSigned (claims: Record<string, unknown>): string {
  return signedText(JSON.stringify({ ...CLAIMS, ...claims }))
}

function flipped (token: string): string {
  const [header, claims = '', signature] = token.split('.')
  return `${header}.${claims.slice(0, 20)}${claims[20] === 'A' ? 'B' : 'A'}${claims.slice(21)}.${signature}`
}

const ROWS: readonly Row[] = [...PUBLISH, ...COMMANDS, ...STREAMS, ...READS, ...HANDSHAKES, ...TOKENS]

/** One answer as the table has it. */
function wordOf ({ status, headers, text, body }: Answer): string {
  if (status === 101) return '101'
  if (headers['content-type']?.startsWith('text/event-stream') === true) return `${status} ${streamWord(text)}`
  if (body?.position !== undefined) return `${status} ${body.reset === null ? String(body.position) : `reset ${String(body.reset.reason)}`}`
  return body?.code === undefined ? String(status) : `${status} ${String(body.code)}`
}

function streamWord (text: string): string {
  const bye = /event: bye\ndata: \{"reason":"(\w+)"/.exec(text)?.[1]
  if (bye !== undefined) return `bye ${bye}`
  const reset = /event: reset\n(?:id: .*\n)?data: \{"reason":"(\w+)"/.exec(text)?.[1]
  return reset === undefined ? String(/"position":"(\w+)"/.exec(text)?.[1]) : `reset ${reset}`
}

interface Message {
  readonly row: string
  readonly input: string
  /** One message or frame each. */
  readonly send: ReadonlyArray<string | Buffer>
  /** Event and code of each answer behind `hello`; `close` and its code. */
  readonly answer: string
  readonly after: 'open' | 'closed'
  readonly why?: string
}

const messageRow = (row: string, input: unknown, answer = 'error BAD_MESSAGE'): Message => ({ row, input: String(typeof input === 'string' ? input : JSON.stringify(input)).slice(0, 60), send: [typeof input === 'string' ? input : JSON.stringify(input)], answer, after: 'open' })

const MESSAGES: readonly Message[] = [
  ...['', 'not json', '{}', '[]', 'null', '1', '"x"', '{"action":[]}', '{"action":{}}', '{"action":"toString"}', '{"action":"__proto__"}', '{"action":"constructor"}'].map(text => messageRow('68', text)),
  messageRow('68', { action: 'x'.repeat(1_000_000) }), messageRow('68', { action: 'ping', ref: 'x'.repeat(201) }), messageRow('68', { action: 'ping', ref: {} }), messageRow('68', `{"action":"ping","ref":${'['.repeat(100_000)}${']'.repeat(100_000)}}`),
  { row: '68', input: '21 messages that are no JSON', send: Array.from({ length: 21 }, () => 'x'), answer: [...Array.from({ length: 21 }, () => 'error BAD_MESSAGE'), 'close 1008'].join(', '), after: 'closed' },
  messageRow('69', '{"action":"ping","__proto__":{"polluted":1}}'), messageRow('69', '{"action":"ping","\\u005f_proto__":{"polluted":1}}'), messageRow('69', '{"action":"control","command":"ping","args":{"__proto__":{"polluted":1}}}'),
  ...['reset', 'event', 'events', 'ack', 'hello', 'bye', 'joined'].map(action => messageRow('70', { action })),
  { row: '71', input: 'a room joined twice', send: ['{"action":"join","room":"a"}', '{"action":"join","room":"a"}'], answer: 'joined, joined, ready', after: 'open', why: 'joining again begins nothing' },
  messageRow('71', { action: 'leave', room: 'never-joined' }, 'left'),
  messageRow('71', { action: 'join', rooms: Array.from({ length: 129 }, (_, n) => `room-${n}`) }, 'error BAD_SUBSCRIPTION'), messageRow('71', { action: 'join', room: '__proto__' }, 'joined, ready'), messageRow('71', { action: 'join', rooms: ['a', 5] }, 'error BAD_SUBSCRIPTION'),
  messageRow('72', { action: 'join', room: 'a', lastEventId: 'of-another-epoch' }, 'joined, reset, ready'), messageRow('72', { action: 'join', room: 'a', lastEventId: 5 }),
  messageRow('72b', { action: 'join', room: '(a+)+$' }, 'error BAD_SUBSCRIPTION'), messageRow('72b', { action: 'join', room: '*a*a*a*a*b' }, 'error BAD_SUBSCRIPTION'),
  ...[undefined, -1, 2 ** 53, 0.5, ''].map(ref => messageRow('74', { action: 'ping', ref }, 'pong')), messageRow('74', '{"action":"ping","ref":9007199254740993}'), messageRow('74', { action: 'control', command: 'nothing' }, 'error UNKNOWN_COMMAND'), messageRow('74', { action: 'control', command: ['ping'] }, 'error BAD_COMMAND'),
  messageRow('74', { action: 'control', command: 'ping', idempotencyKey: 5 }),
  { row: '57', input: 'a frame without a mask', send: [frameOf({ masked: false, payload: '{"action":"ping"}' })], answer: 'close 1002', after: 'closed' },
  { row: '61', input: 'a message of 2 MiB and a byte', send: [frameOf({ payload: 'x'.repeat(LIMIT + 1) })], answer: 'close 1009', after: 'closed' },
  { row: '61', input: 'a message of exactly 2 MiB', send: ['{"action":"ping"}'.padEnd(LIMIT)], answer: 'pong', after: 'open' },
  { row: '62', input: 'a message in more than 1,024 fragments', send: [frameOf({ payload: ' ', fin: false }), ...Array.from({ length: 1024 }, () => frameOf({ opcode: 0, payload: ' ', fin: false }))], answer: 'close 1008', after: 'closed' },
  { row: '63', input: 'a compressed frame that nobody agreed on', send: [frameOf({ rsv: 4, payload: 'x' })], answer: 'close 1002', after: 'closed' },
  { row: '64', input: 'a binary message', send: [frameOf({ opcode: 2, payload: 'x' })], answer: 'close 1003', after: 'closed' },
  { row: '66', input: 'a message behind a close', send: [closeFrame(1000), '{"action":"join","room":"ghosts"}'], answer: 'close 1000', after: 'closed' },
  { row: '67', input: 'a pong nobody asked for', send: [frameOf({ opcode: 10, payload: '999999' }), '{"action":"ping"}'], answer: 'pong', after: 'open' }
]

/** What the whole table must leave as it was. */
class Ground {
  readonly server: Server
  readonly #bystander: WireClient
  readonly #log: string[]
  #beats = 0

  private constructor (server: Server, bystander: WireClient, log: string[]) {
    this.server = server
    this.#bystander = bystander
    this.#log = log
  }

  static async make (t: Test, profile: ProfileName, tokens: boolean, redis?: string): Promise<Ground> {
    const log: string[] = []
    const server = await startServer({
      profile,
      ...(redis === undefined ? {} : { redis }),
      limits: { maxEventsPerSecondPerClient: 0 },
      corsOrigins: ['https://app.example.com'],
      log: pino({ level: 'debug' }, { write: (line: string) => { log.push(line) } }),
      ...(tokens ? { authJwtSecret: SECRET, authIssuer: 'the-issuer', authAudience: 'the-gateway', anonymousSubscribe: [], trustProxy: ['127.0.0.1'] } : {})
    })
    t.teardown(async () => await server.close())
    const bystander = await WireClient.open(profile, server.port, { rooms: ['bystanders'], ...(tokens ? { headers: { Authorization: `Bearer ${await sign({ signalbox: { subscribe: ['bystanders'] } })}` } } : {}) })
    t.teardown(() => bystander.cut())
    await bystander.untilKind('ready')
    return new Ground(server, bystander, log)
  }

  async check (t: Test): Promise<void> {
    await this.server.publish({ type: 'beat', room: 'bystanders', data: ++this.#beats })
    await this.#bystander.until(() => this.#bystander.events.at(-1)?.data === this.#beats)
    t.same(this.#bystander.events.map(({ data }) => data), Array.from({ length: this.#beats }, (_, n) => n + 1), 'the client beside it got every event')
    t.equal(({} as Record<string, unknown>).polluted, undefined, 'no prototype was touched')
    const lines = this.#log.map(line => JSON.parse(line) as { level: number, msg: string })
    t.same(lines.filter(({ level }) => level >= 50), [], 'each line of the log is JSON, and none an error')
    t.notMatch(this.#log.join(''), new RegExp(`${TOKEN.slice(-20)}`), 'no token is in the log')
  }
}

/** Sends a row as it stands and returns what its table has: answer, and state of the connection. */
async function outcomeOf (port: number, { send, answer, tokens }: Row, index: number): Promise<{ answer: string, after: string }> {
  const client = new RawHttp(port, /^HEAD /.test(String([send].flat()[0])))
  const count = Math.max(1, answer.split(' / ').length)
  for (const [n, bytes] of [send].flat().entries()) {
    // Bad tokens are counted by address: each row has its own.
    const text = bytes as Bytes
    await client.send(tokens === true ? addressed(text as Buffer, `192.0.2.${index % 250}`) : text)
    if ([send].flat().length > 1) await client.until(n + 1)
  }
  const answers = await client.until(count)
  if (answers[0]?.headers['content-type']?.startsWith('text/event-stream') === true) {
    await client.untilText(/event: (?:ready|bye)\n/)
    if (/event: bye/.test(client.text)) await client.untilClosed()
  } else if (answers.at(-1)?.status !== 101 && !client.closed) {
    await client.isOpen().catch(() => false)
  }
  for (const { status, text } of answers) if ((status >= 500 && status !== 503) || /\bat .*\.(?:ts|js)\b|node_modules/.test(text)) throw new Error(`${status} ${text}`)
  const outcome = { answer: client.answers.slice(0, count).map(wordOf).join(' / '), after: client.closed ? 'closed' : 'open' }
  for (const { status, body, headers } of client.answers) {
    if (status < 400 || body === null) continue
    const { statusCode, code, error, message } = body
    if (statusCode !== status || typeof code !== 'string' || typeof error !== 'string' || typeof message !== 'string') throw new Error(`not in the shape of errors: ${JSON.stringify(body)}`)
    if (status === 401 && headers['www-authenticate'] !== 'Bearer') throw new Error('401 without WWW-Authenticate')
  }
  // A proxy keeps a connection, and sends its next request on it, unless the answer says that it closes.
  const last = client.answers.at(-1)
  if (client.closed && last !== undefined && last.status >= 400 && !/close/i.test(last.headers['connection'] ?? '')) throw new Error(`it closes after ${last.status} without having said so`)
  client.cut()
  return outcome
}

/** With the forwarded address, and the token where the table names it. */
function addressed (request: Buffer, address: string): Buffer {
  return Buffer.from(request.toString('latin1').replaceAll('TOKEN', TOKEN).replace('\r\n', `\r\nX-Forwarded-For: ${address}\r\n`), 'latin1')
}

for (const profile of PROFILES) {
  t.test(`${profile}: each request is answered as the table says, and the gateway is as before`, async t => {
    const grounds = { open: await Ground.make(t, profile, false), tokens: await Ground.make(t, profile, true) }
    for (const [index, row] of ROWS.entries()) {
      if (row.profiles?.includes(profile) === false) continue
      const name = `${row.row}: ${row.input.replace(/[^ -~]/g, '?')}`
      try {
        t.same(await outcomeOf(grounds[row.tokens === true ? 'tokens' : 'open'].server.port, row, index), { answer: row.answer, after: row.after }, name)
      } catch (error) {
        t.fail(name, { message: (error as Error).message })
      }
    }
    await grounds.open.check(t)
    await grounds.tokens.check(t)
    t.equal(asked, 0, 'no address out of a token was asked')
  })
}

t.test('each message over a socket is answered as the table says', async t => {
  const ground = await Ground.make(t, 'WEBSOCKET', false)
  for (const { row, input, send, answer, after } of MESSAGES) {
    const client = await RawSocket.open(ground.server.port)
    for (const message of send) await client.send(typeof message === 'string' ? frameOf({ payload: message }) : message)
    const wanted = answer.split(', ')
    const got = (): string[] => [
      ...client.messages.slice(1).filter(({ ref }) => ref !== 'last').map(({ event, data }) => event === 'error' ? `error ${String(data.code)}` : event),
      ...(client.closeCode === null ? [] : [`close ${client.closeCode}`])
    ]
    await client.until(`${row}: ${input}`, () => got().length >= wanted.length).catch(() => {})
    if (client.closeCode === null) await client.send(frameOf({ payload: '{"action":"ping","ref":"last"}' }))
    await client.until('an end', () => client.closed || client.echoes.at(-1) === 'last').catch(() => {})
    t.same({ answer: got().join(', '), after: client.closed ? 'closed' : 'open' }, { answer, after }, `${row}: ${input.replace(/[^ -~]/g, '?')}`)
    client.cut()
  }
  await ground.check(t)
  await new Promise(resolve => setTimeout(resolve, 200))
  t.equal(ground.server.gateway.view.room('ghosts'), undefined, 'what came behind a close did nothing')
})

t.test('26, 27: a body that comes too slowly, breaks its framing or is given up ends its connection and nothing else', async t => {
  for (const profile of PROFILES) {
    const ground = await Ground.make(t, profile, false)
    const head = `POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${EVENT.length}\r\n\r\n`
    const gone = new RawHttp(ground.server.port)
    await gone.send(head + EVENT.slice(0, 10))
    await new Promise(resolve => setTimeout(resolve, 50))
    gone.socket.resetAndDestroy()
    // Behind a request that is answered, and with a piece of the next.
    const chunked = new RawHttp(ground.server.port)
    await chunked.send(`GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n${head.replace(/Content-Length.*/, 'Transfer-Encoding: chunked')}zz\r\n`)
    t.same((await chunked.until(2)).map(wordOf), ['200', '400 BAD_REQUEST'], profile)
    await chunked.untilClosed()
    const strict = await startServer({ profile, requestTimeout: 0.3 })
    t.teardown(async () => await strict.close())
    const drip = new RawHttp(strict.port)
    await drip.send(head)
    for (let at = 0; !drip.closed && drip.answers.length === 0; at++) {
      // A byte at a time, and the last one never.
      if (at < EVENT.length - 1) await drip.send(EVENT[at] as string)
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    t.same(drip.answers.map(wordOf), ['408 BAD_REQUEST'], 'a body that comes byte by byte')
    await drip.untilClosed()
    t.equal(strict.gateway.troubles.bounds.request_time, 1)
    t.equal(strict.gateway.counters.events, 0)
    await ground.check(t)
    t.equal(ground.server.gateway.counters.events, 1, 'only the client beside it was published to')
  }
})

t.test('28, 29, 35: commands count for their caller over all doors, whatever a header says', async t => {
  const server = await startServer({ profile: 'WEBSOCKET', limits: { controlRateLimit: 5, maxEventsPerSecondPerClient: 0 } })
  t.teardown(async () => await server.close())
  const answers: string[] = []
  const begun = Date.now()
  for (let n = 0; n < 10; n++) {
    const client = new RawHttp(server.port)
    await client.send(control({ command: 'ping' }, { 'X-Forwarded-For': `192.0.2.${n}`, Forwarded: `for=192.0.2.${n}`, 'X-Real-IP': `192.0.2.${n}` }))
    const [answer] = await client.until(1)
    answers.push(wordOf(answer as Answer))
    if (answer?.status === 429) t.ok(answer.headers['retry-after'], 'Retry-After')
    client.cut()
    const socket = await RawSocket.open(server.port)
    await socket.send(frameOf({ payload: '{"action":"control","command":"ping"}' }))
    await socket.until('an answer', () => socket.messages.length > 1)
    answers.push(socket.messages[1]?.event === 'result' ? '200' : `429 ${String(socket.messages[1]?.data.code)}`)
    socket.cut()
  }
  t.ok(answers.filter(answer => answer !== '429 RATE_LIMITED').length <= 5 * windowsSince(begun), answers.join())
})

t.test('30: one /64 of IPv6 is one caller, and an IPv4 address is itself in any spelling', async t => {
  const server = await startServer({ profile: 'SSE', limits: { controlRateLimit: 1 }, trustProxy: ['127.0.0.1'] })
  t.teardown(async () => await server.close())
  for (const addresses of [(n: number) => `2001:db8::${n.toString(16)}:1`, (n: number) => n % 2 === 0 ? '::ffff:192.0.2.1' : '192.0.2.1']) {
    const words: string[] = []
    const begun = Date.now()
    for (let n = 1; n <= 10; n++) {
      const client = new RawHttp(server.port)
      await client.send(control({ command: 'ping' }, { 'X-Forwarded-For': addresses(n) }))
      words.push(...(await client.until(1)).map(wordOf))
      client.cut()
    }
    t.ok(words.filter(word => word !== '429 RATE_LIMITED').length <= windowsSince(begun), words.join())
  }
})

t.test('45, 47: connections beyond a limit are refused, and those that come and go leave nothing', async t => {
  for (const profile of PROFILES) {
    const server = await startServer({ profile, limits: { maxClientsPerIp: 5 } })
    t.teardown(async () => await server.close())
    for (let n = 0; n < 300; n++) {
      const client = profile === 'SSE' ? new RawHttp(server.port) : new RawSocket(server.port)
      if (client instanceof RawHttp) await client.send(stream('?rooms=a'))
      if (n % 3 === 0) await new Promise(resolve => setTimeout(resolve, 5))
      client.cut()
    }
    await until(`${profile}: nobody is left`, () => server.gateway.view.sessions.count === 0)
    const held = await Promise.all(Array.from({ length: 5 }, async () => {
      const client = await WireClient.open(profile, server.port, { rooms: ['a'] })
      await client.untilKind('ready')
      return client
    }))
    const sixth = new RawHttp(server.port)
    await sixth.send(profile === 'SSE' ? stream('?rooms=a') : handshake())
    t.match((await sixth.until(1))[0], { status: 429, headers: { 'retry-after': /\d/ }, body: { code: 'RATE_LIMITED' } }, 'by HTTP, before there is a socket')
    sixth.cut()
    for (const client of held) client.cut()
  }
})

t.test('65, 73: a flood of pings that reads nothing, and one of messages, cost neither memory nor others', async t => {
  const ground = await Ground.make(t, 'WEBSOCKET', false)
  const flood = await RawSocket.open(ground.server.port)
  flood.socket.pause()
  const pings = Buffer.concat(Array.from({ length: 1000 }, () => frameOf({ opcode: 9, payload: Buffer.alloc(125) })))
  for (let n = 0; n < 50 && !flood.closed; n++) {
    flood.socket.write(pings)
    await new Promise(resolve => setImmediate(resolve))
  }
  await ground.check(t)
  flood.cut()
  const strict = await startServer({ profile: 'WEBSOCKET', limits: { maxEventsPerSecondPerClient: 20 } })
  t.teardown(async () => await strict.close())
  const talker = await RawSocket.open(strict.port)
  for (let n = 0; n < 1000; n++) talker.socket.write(frameOf({ payload: '{"action":"ping"}' }))
  await talker.until('an end', () => talker.closeCode !== null)
  t.equal(talker.closeCode, 1008)
  t.match(talker.messages.filter(({ event }) => event === 'error').map(({ data }) => data), [{ code: 'RATE_LIMITED', retryMs: Number }])
  talker.cut()
})

t.test('88: a connection ends when its token does, and rights that shrank count when it comes back', async t => {
  t.jobs = PROFILES.length
  for (const profile of PROFILES) {
    t.test(profile, async t => {
      const server = await startServer({ profile, authJwtSecret: SECRET, authIssuer: 'the-issuer', authAudience: 'the-gateway' })
      t.teardown(async () => await server.close())
      const exp = Math.floor(Date.now() / 1000) + 6
      const client = await WireClient.open(profile, server.port, { rooms: ['a', 'b'], headers: { Authorization: `Bearer ${await sign({ exp, signalbox: { subscribe: ['a', 'b'] } })}` } })
      await client.untilKind('ready')
      await server.publish({ type: 'x', room: 'b', data: 'heard' })
      t.match(await client.untilKind('bye'), { data: { reason: 'TOKEN_EXPIRED' } })
      t.ok(Date.now() >= exp * 1000, 'not before')
      if (profile === 'WEBSOCKET') await client.until(() => client.closeCode === 3000)
      await server.publish({ type: 'x', room: 'b', data: 'secret' })
      const again = await WireClient.open(profile, server.port, { rooms: ['a', 'b'], cursor: client.cursor, headers: { Authorization: `Bearer ${await sign({ signalbox: { subscribe: ['a'] } })}` } })
      await again.until(() => /^HTTP\/1.1 403/.test(again.head) || again.messages.some(({ kind }) => kind === 'error'))
      t.same(again.events, [], 'nothing of what it may not hear any more')
      again.cut()
      client.cut()
    })
  }
})

t.test('89: of bad tokens by the hundred each is answered, and a good one from the same address is served among them', async t => {
  // How many may wait, and how long, is held by the clock: test/auth/failed-attempts.test.ts.
  const server = await startServer({ profile: 'SSE', authJwtSecret: SECRET })
  t.teardown(async () => await server.close())
  const wordFor = async (token: string): Promise<string> => {
    const client = new RawHttp(server.port)
    t.teardown(() => client.cut())
    await client.send(SIGNED(token))
    return (await client.until(1)).map(wordOf).join()
  }
  const bad = (n: number): string => unsigned({ alg: 'HS256' }, { ...CLAIMS, n }, 'AAAA')
  t.equal(await wordFor(bad(0)), '401 UNAUTHENTICATED')
  const good = await sign({ iss: undefined, aud: undefined })
  const words = await Promise.all(Array.from({ length: 300 }, async (_, n) => await wordFor(n % 100 === 50 ? good : bad(n))))
  t.same(words.flatMap((word, n) => word === '200' ? n : []), [50, 150, 250])
  t.same([...new Set(words)].sort(), ['200', '401 UNAUTHENTICATED'])
})

interface Payload {
  readonly row: string
  readonly input: string
  readonly send: (redis: Redis, prefix: string) => Promise<unknown>
  /** A part of the reason it is set aside with; null: it is taken in. */
  readonly reason: RegExp | null
}

const heard = (row: string, input: string, text: Bytes, reason: RegExp | null): readonly Payload[] => [
  { row, input: `PUBLISH ${input}`, send: async redis => await redis.publish('events', text), reason },
  { row, input: `XADD ${input}`, send: async (redis, prefix) => await redis.xadd(`${prefix}ingest`, '*', 'event', text), reason }
]

const PAYLOADS: readonly Payload[] = [
  ...heard('75', 'not JSON', 'nonsense', /JSON/), ...heard('75', 'nothing', '', /empty/), ...heard('75', '3 MB', `"${'x'.repeat(3_000_000)}"`, /./), ...heard('75', 'text that is no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]), /UTF-8/),
  ...heard('75', '__proto__', '{"__proto__":{"polluted":1},"type":"x","data":1}', /__proto__/), ...heard('75', 'an array', '[]', /object/), ...heard('75', 'a depth of 10,000', '['.repeat(10_000) + ']'.repeat(10_000), /deep/),
  ...heard('76', 'a type with a newline', '{"type":"a\\nb","data":1}', /type/), ...heard('76', 'a room with a newline', '{"type":"x","room":"a\\nb","data":1}', /room/), ...heard('76', 'an id', '{"id":"1-1","type":"x","data":1}', /unknown field/), ...heard('76', 'the room @system', '{"type":"x","room":"@system","data":1}', /gateway's own/),
  { row: '77', input: 'an entry without the field event', send: async (redis, prefix) => await redis.xadd(`${prefix}ingest`, '*', 'other', '1'), reason: /field/ },
  { row: '77', input: 'an entry with 10,000 fields', send: async (redis, prefix) => await redis.xadd(`${prefix}ingest`, '*', ...Array.from({ length: 10_000 }, (_, n) => [`f${n}`, '1']).flat()), reason: /field/ },
  { row: '77', input: 'an entry with the field twice', send: async (redis, prefix) => await redis.xadd(`${prefix}ingest`, '*', 'event', EVENT, 'event', EVENT), reason: /field|twice/ },
  { row: '79', input: 'an entry hours ahead', send: async (redis, prefix) => await redis.xadd(`${prefix}ingest`, `${Date.now() + 3_600_000}-0`, 'event', '{"type":"late","data":1}'), reason: null }
]

t.test('75 to 79: what comes through Redis is set aside with its reason, and the next event flows', { skip: skipWithout('redis') }, async t => {
  const redisServer = await RedisServer.start(t)
  const prefix = 'bad:'
  const log: string[] = []
  const server = await startServer({ profile: 'SSE', redis: redisServer.url, dataDir: 'bad', log: pino({ level: 'debug' }, { write: (line: string) => { log.push(line) } }) })
  t.teardown(async () => await server.close())
  const redis = new Redis(redisServer.url)
  t.teardown(() => redis.disconnect())
  const client = await WireClient.open('SSE', server.port)
  t.teardown(() => client.cut())
  await client.untilKind('ready')
  let beats = 0
  for (const { row, input, send, reason } of PAYLOADS) {
    const before = await redis.xlen(`${prefix}ingest:refused`)
    await send(redis, prefix)
    for (const channel of [true, false]) {
      const text = `{"type":"beat","data":${++beats}}`
      await (channel ? redis.publish('events', text) : redis.xadd(`${prefix}ingest`, '*', 'event', text))
    }
    await client.until(() => client.events.filter(({ type }) => type === 'beat').length === beats)
    const aside = (await redis.xrevrange(`${prefix}ingest:refused`, '+', '-', 'COUNT', 1))[0]?.[1].join(' ') ?? ''
    t.equal(await redis.xlen(`${prefix}ingest:refused`) - before, reason === null ? 0 : 1, `${row}: ${input}`)
    if (reason !== null) t.match(aside, reason, `${row}: ${input} says why`)
  }
  t.equal(({} as Record<string, unknown>).polluted, undefined)
  // Channel and stream are two ways in: neither waits for the other.
  t.same(client.events.filter(({ type }) => type === 'beat').map(({ data }) => Number(data)).sort((one, other) => one - other), Array.from({ length: beats }, (_, n) => n + 1))
  t.same(log.filter(line => (JSON.parse(line) as { level: number }).level >= 50), [])
  t.ok(log.every(line => line.length < 5000), 'lines of the log are short')
})

t.test('13, 14, 15: what looks like the wire arrives as it was sent, and pairs of names never run together', async t => {
  for (const profile of PROFILES) {
    const ground = await Ground.make(t, profile, false)
    const rooms = ['a_b', 'a', '__proto__', 'toString']
    const client = await WireClient.open(profile, ground.server.port, { rooms })
    t.teardown(() => client.cut())
    await client.untilKind('ready')
    const texts = ['x\nid: 9\nevent: y', 'x\ry', 'x\r\n\r\ny', '\u2028\u2029\u0085', '\ud800', '-0']
    const events = [
      { type: 'x', room: 'a_b', key: 'c', data: 1 }, { type: 'x', room: 'a', key: 'b_c', data: 2 }, { type: 'x', room: '__proto__', key: 'toString', data: 3 }, { type: 'x', room: 'toString', key: '__proto__', data: 4 },
      ...texts.map(data => ({ type: 'text', room: 'a', data }))
    ]
    const sender = new RawHttp(ground.server.port)
    await sender.send(post(JSON.stringify(events)))
    t.equal((await sender.until(1))[0]?.status, 202, profile)
    sender.cut()
    await client.until(() => client.events.length === events.length)
    t.same(client.events.filter(({ type }) => type === 'text').map(({ data }) => data), texts)
    const late = await WireClient.open(profile, ground.server.port, { rooms })
    t.teardown(() => late.cut())
    await late.untilKind('ready')
    t.same(late.events.map(({ room, key, data }) => `${String(room)} ${String(key)} ${String(data)}`).sort(), ['__proto__ toString 3', 'a b_c 2', 'a_b c 1', 'toString __proto__ 4'])
    await ground.check(t)
  }
})
