// A client of Signalbox with nothing but a TCP socket, written from docs/protocol.md as it would be in Go: a buffered reader,
// blocking reads (`await`), one loop. Copy it, and put your own `view` in.
//
//   SIGNALBOX_TOKEN=… node client.mjs http://127.0.0.1:3000 plant-1 plant-2=alarm,cpu
//
// Without rooms it hears the public feed. For each line on stdin it prints its state as a line of JSON, and once more at its end.

import { createHash, randomBytes } from 'node:crypto'
import net from 'node:net'
import tls from 'node:tls'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const PROTOCOL = 1
const OPENING_MS = 15_000 // from the request to `hello` or `joined`
const LIVED_MS = 5000 // a connection that lived so long makes the waits short again

const [base, ...names] = process.argv.slice(2)
const url = new URL(base)
const rooms = names.map(name => name.split('=')).map(([room, types]) => types === undefined ? room : { room, types: types.split(',') })
const token = process.env.SIGNALBOX_TOKEN
const auth = token ? { Authorization: `Bearer ${token}` } : {}

/** Coming back is of no use: the message says why. */
class Stop extends Error {}

/** The connection is over. `asked`: the milliseconds that the gateway asked to wait; undefined: it said nothing. */
const back = asked => Object.assign(new Error('come back'), { asked })

// What the program makes of the events: here the newest values, and the ids of all facts.
const view = { values: new Map(), facts: [], resets: [] }
const state = { profile: null, ready: false, cursor: null, connections: 0, byes: [], error: null }

const show = () => console.log(JSON.stringify({ ...state, resets: view.resets, values: Object.fromEntries(view.values), facts: view.facts }))

function handle (events) {
  for (const { id, room = '@public', type, key, data } of events) {
    if (key === undefined) view.facts.push(id)
    else if (data === null) view.values.delete(`${room} ${type} ${key}`)
    else view.values.set(`${room} ${type} ${key}`, data)
  }
}

/** What bufio.Reader is in Go. */
class Reader {
  #source
  #buffer = Buffer.alloc(0)

  constructor (source) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** The next bytes up to `end(buffer)`, which is -1 while they are not complete. @throws Error at the end of the source */
  async #until (end) {
    for (;;) {
      const at = end(this.#buffer)
      const bytes = this.#buffer
      if (at >= 0) this.#buffer = bytes.subarray(at)
      if (at >= 0) return bytes.subarray(0, at)
      const { done, value } = await this.#source.next()
      if (done) throw new Error('the connection has ended')
      this.#buffer = Buffer.concat([this.#buffer, value])
    }
  }

  async full (size) {
    return await this.#until(buffer => buffer.length < size ? -1 : size)
  }

  async line () {
    return (await this.#until(buffer => buffer.indexOf('\n') + 1 || -1)).toString().replace(/\r?\n$/, '')
  }

  async * rest () {
    if (this.#buffer.length > 0) yield this.#buffer
    for (let next = await this.#source.next(); !next.done; next = await this.#source.next()) yield next.value
  }
}

/** The body of an HTTP/1.1 answer, as it comes. */
async function * body (reader, headers) {
  if (/chunked/i.test(headers.get('transfer-encoding') ?? '')) {
    for (;;) {
      const size = parseInt(await reader.line(), 16)
      if (!(size > 0)) return
      yield await reader.full(size)
      await reader.line()
    }
  } else if (headers.has('content-length')) yield await reader.full(Number(headers.get('content-length')))
  else yield * reader.rest()
}

/** Sends a GET and hands the answer to `use`, as it begins; the connection is closed behind it. */
async function get (path, headers, use) {
  const secure = url.protocol === 'https:'
  const to = { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port || (secure ? 443 : 80) }
  const socket = secure ? tls.connect({ ...to, servername: net.isIP(to.host) ? undefined : to.host }) : net.connect(to)
  socket.setTimeout(OPENING_MS).on('error', () => {}) // the read that waits throws it
  // After a sleep of the machine the timer fires first: what waits in the socket is read before it is judged.
  socket.on('timeout', () => {
    const { bytesRead } = socket
    setImmediate(() => { if (socket.bytesRead === bytesRead) socket.destroy(new Error('the connection is silent')) })
  })
  try {
    const lines = Object.entries({ Host: url.host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.write(`GET ${url.pathname.replace(/\/$/, '')}${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
    const reader = new Reader(socket)
    const status = Number((await reader.line()).split(' ')[1])
    const fields = new Map()
    for (let line = await reader.line(); line !== ''; line = await reader.line()) {
      const [, name, value] = /^([^:]*):\s*(.*)$/.exec(line)
      fields.set(name.toLowerCase(), value)
    }
    return await use({ status, headers: fields, reader, socket })
  } finally {
    socket.destroy()
  }
}

async function json ({ reader, headers }) {
  const parts = []
  for await (const part of body(reader, headers)) parts.push(part)
  return JSON.parse(Buffer.concat(parts).toString())
}

function refuse (status, error, asked) {
  const isGateway = error?.code !== undefined
  if ([414, 431].includes(status) || (isGateway && [400, 401, 403, 421].includes(status))) throw new Stop(error?.message ?? `the answer is ${status}`)
  throw back(asked ?? (isGateway ? 1000 : undefined))
}

/** An answer over HTTP in place of the one that was asked for. */
async function refused (answer) {
  const after = Number(answer.headers.get('retry-after') ?? NaN)
  const error = await json(answer).catch(() => null) // a page of a proxy has no JSON
  refuse(answer.status, error, Number.isNaN(after) ? undefined : 1000 * (after + Math.random()))
}

function check ({ protocol = 1 }) {
  state.error = protocol > PROTOCOL ? 'the gateway speaks a later protocol: this client must be updated' : null
  if (protocol > PROTOCOL) throw back(60_000)
}

/** A message as a whole; then its cursor counts. Names that are not known are skipped. What cannot be read cuts the connection. */
function take (name, data, cursor) {
  if (name === 'events') handle(data)
  else if (name === 'hello') check(data)
  else if (name === 'ready') state.ready = true
  else if (name === 'reset') {
    state.ready = false
    view.resets.push(data.reason)
    for (const name of view.values.keys()) if (data.rooms.includes(name.split(' ', 1)[0])) view.values.delete(name)
  } else if (name === 'bye') {
    state.byes.push(data.reason)
    if (data.reason === 'TOKEN_EXPIRED') throw new Stop('the token has expired')
    throw back(data.retryMs)
  } else if (name === 'error') refuse(data.statusCode, data, data.retryMs)
  if (cursor) state.cursor = cursor
}

async function stream (path, opened) {
  const query = rooms.length === 0 ? '' : `?join=${encodeURIComponent(JSON.stringify(rooms))}`
  let retry
  await get(path + query, { ...auth, Accept: 'text/event-stream', ...(state.cursor === null ? {} : { 'Last-Event-ID': state.cursor }) }, async answer => {
    if (answer.status !== 200 || !/^text\/event-stream/.test(answer.headers.get('content-type'))) await refused(answer)
    const reader = new Reader(body(answer.reader, answer.headers))
    for (let fields = {}, data = []; ;) {
      const line = await reader.line()
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line)
      if (field === 'data') data.push(value)
      else if (field === 'retry') retry = Number(value)
      else if (line !== '') fields[field] = value // a line that begins with a colon is a comment: the field ''
      else {
        if (fields.event === 'hello') opened(answer)
        if (data.length > 0) take(fields.event ?? 'events', JSON.parse(data.join('\n')), fields.id)
        fields = {}
        data = []
      }
    }
  }).catch(error => { throw error instanceof Stop || 'asked' in error ? error : back(retry) })
}

/** A frame of RFC 6455, masked as a client's frames must be. */
function frame (opcode, payload) {
  const [size, mask] = [payload.length, randomBytes(4)]
  const [first, ...more] = size < 126 ? [size] : size < 65_536 ? [126, size >> 8, size] : [127, 0, 0, 0, 0, size >> 24, size >> 16, size >> 8, size]
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | first, ...more]), mask, payload.map((byte, at) => byte ^ mask[at % 4])])
}

async function socket (path, opened) {
  const key = randomBytes(16).toString('base64')
  await get(path, { ...auth, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': key }, async answer => {
    const { reader, socket } = answer
    const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
    if (answer.status !== 101 || answer.headers.get('sec-websocket-accept') !== accept) await refused(answer)
    const join = { action: 'join', ...(rooms.length === 0 ? {} : { rooms }), ...(state.cursor === null ? {} : { lastEventId: state.cursor }) }
    socket.write(frame(1, Buffer.from(JSON.stringify(join))))
    for (let parts = []; ;) {
      const [first, second] = await reader.full(2)
      const size = second < 126 ? second : second === 126 ? (await reader.full(2)).readUInt16BE() : Number((await reader.full(8)).readBigUInt64BE())
      const payload = await reader.full(size)
      const opcode = first & 15
      if (opcode === 9) socket.write(frame(10, payload))
      if (opcode === 8) socket.write(frame(8, payload.subarray(0, 2)))
      if (opcode === 8) throw back()
      if (opcode > 2) continue
      parts.push(payload)
      if (first < 0x80) continue
      const { event, id, data } = JSON.parse(Buffer.concat(parts).toString())
      parts = []
      if (event === 'joined') opened(answer)
      take(event, data, id ?? data?.cursor)
    }
  })
}

async function connect (opened) {
  const profile = await get('/api/profile', {}, async answer => await (answer.status === 200 ? json : refused)(answer))
  check(profile)
  state.profile = profile.profile
  const live = ({ socket }) => opened(socket.setTimeout(2.5 * profile.pingIntervalMs))
  if (profile.stream !== null) await stream(profile.stream, live)
  if (profile.websocket !== null) await socket(profile.websocket, live)
  throw back() // it has neither
}

async function run () {
  for (let n = 0, before; ; n++) {
    let since = Infinity
    const opened = () => {
      since = performance.now()
      state.connections++
    }
    const error = await connect(opened).catch(error => error)
    if (error instanceof Stop) throw error
    const { asked } = error // nothing where nobody answers, or the connection was silent
    if (performance.now() - since >= LIVED_MS || (asked === undefined) !== (before === undefined)) n = 0
    before = asked
    const range = asked === undefined ? Math.min(5000, 1000 * 2 ** n) : n === 0 ? 0 : Math.min(30_000, 1000 * 2 ** (n - 1))
    await sleep((asked ?? 0) + Math.random() * range)
  }
}

createInterface({ input: process.stdin }).on('line', show)
process.on('exit', show).on('SIGTERM', () => process.exit())
run().catch(error => {
  state.error = error.message
  process.exit(1)
})
