// The whole app on a real socket, and clients that read raw bytes: what is cut where is up to the test.

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { configFrom } from '../../config/index.ts'
import type { Config } from '../../config/index.ts'
import type { ProfileName } from '../../profiles/index.ts'
import { compile } from '../../src/app/commands.ts'
import type { CommandDefinition } from '../../src/app/commands.ts'
import type { Event } from '../../src/core/event.ts'
import type { Gateway } from '../../src/core/gateway.ts'
import { newWorker } from '../../src/core/group.ts'
import type { Limits } from '../../src/core/limits.ts'
import { createSignalbox } from '../../src/signalbox.ts'
import type { Signalbox } from '../../src/signalbox.ts'
import { LIMITS } from '../core/rig.ts'
import type { Received } from '../page.ts'

export const PROFILES: readonly ProfileName[] = ['SSE', 'WEBSOCKET']

export interface ServerOptions extends Partial<Config> {
  profile: ProfileName
  limits?: Partial<Limits>
  /** The log is kept on this Redis; `dataDir` is then a prefix. */
  redis?: string
  commands?: Record<string, CommandDefinition>
  port?: number
}

export interface Server {
  readonly app: FastifyInstance
  readonly gateway: Gateway
  readonly box: Signalbox
  readonly port: number
  readonly url: string
  publish (...events: object[]): Promise<string[]>
  close (): Promise<void>
}

/** Settings of a gateway in a test: nothing is kept, nothing waits, nothing is limited. Seconds may be fractions here. */
function configOf ({ profile, limits, redis, commands, port, ...settings }: ServerOptions): Config {
  const { dataDir } = settings
  const { tickMs, tickFloorMs, messagesPerSecond, bundleFacts, bundleBytes, slowMs, roomSize, rooms, roomsPerClient, clients, clientsPerAddress, controlPerSecond, publishPerSecond } = { ...LIMITS, tickMs: 20, tickFloorMs: 20, ...limits }
  return {
    ...configFrom({ appProfile: profile }),
    monitorTickMs: tickMs,
    flushIntervalMs: tickMs,
    tickFloorMs,
    maxEventsPerSecondPerClient: messagesPerSecond,
    maxQueuePerClient: bundleFacts,
    maxHttpBufferSize: bundleBytes,
    slowClientTimeout: slowMs / 1000,
    maxRoomSize: roomSize,
    // The settings know no gateway without a bound on rooms.
    maxRooms: rooms === 0 ? 100_000 : rooms,
    maxRoomsPerClient: roomsPerClient,
    maxClients: clients,
    maxClientsPerIp: clientsPerAddress,
    controlRateLimit: controlPerSecond,
    publishRateLimit: publishPerSecond,
    reconnectJitter: 0,
    stateTtl: 0,
    ...settings,
    dataDir: redis === undefined ? dataDir ?? ':memory:' : ':memory:',
    ...(redis === undefined ? {} : { redisUrl: redis, redisPrefix: `${dataDir ?? newWorker()}:` })
  }
}

export async function startServer (options: ServerOptions): Promise<Server> {
  const box = await createSignalbox({ config: configOf(options), log: pino({ level: 'silent' }) })
  const { gateway } = box
  for (const [name, definition] of Object.entries(options.commands ?? {})) gateway.commands.register(name, compile(definition))
  const app = await box.createServer()
  await box.start()
  await app.listen({ port: options.port ?? 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return {
    app,
    gateway,
    box,
    port,
    url: `http://127.0.0.1:${port}`,
    publish: async (...events) => await box.publish(events),
    close: async () => await app.close()
  }
}

/** A message as it came, and where in the stream of bytes it ended. */
export type Arrived = (Received | { readonly kind: 'hello' | 'bye' | 'left' | 'result' | 'error' | 'pong', readonly data: Record<string, unknown>, readonly cursor: string | null, readonly ref?: unknown }) & { readonly end: number }

export interface Wish {
  readonly rooms?: readonly string[]
  readonly types?: readonly string[]
  readonly cursor?: string | null
  /** False: over WebSocket, connects and joins nothing. */
  readonly join?: boolean
}

/** A client of either profile over a socket of its own. */
export class WireClient {
  readonly profile: ProfileName
  readonly socket: Socket
  readonly messages: Arrived[] = []
  /** Everything received behind the response's head. */
  bytes = Buffer.alloc(0)
  head = ''
  closed = false
  closeCode: number | null = null
  pongs = true
  #parsed = 0
  #waiting: Array<() => void> = []
  readonly #rooms: readonly string[]

  private constructor (profile: ProfileName, port: number, rooms: readonly string[]) {
    this.profile = profile
    this.#rooms = rooms
    this.socket = connect(port, '127.0.0.1')
    this.socket.on('data', data => this.#receive(data))
    this.socket.on('error', () => {})
    this.socket.on('close', () => {
      this.closed = true
      this.#wake()
    })
  }

  /** Connects, and with `rooms` joins them: by the query over SSE, by a message over WebSocket. */
  static async open (profile: ProfileName, port: number, wish: Wish = {}): Promise<WireClient> {
    const rooms = wish.rooms ?? []
    const client = new WireClient(profile, port, rooms.length === 0 ? ['@public'] : rooms)
    await new Promise((resolve, reject) => client.socket.once('connect', resolve).once('error', reject))
    if (profile === 'SSE') {
      const query = new URLSearchParams({ ...(rooms.length > 0 ? { rooms: rooms.join() } : {}), ...(wish.types ? { types: wish.types.join() } : {}) })
      client.socket.write(`GET /api/events/stream?${query} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n${wish.cursor == null ? '' : `Last-Event-ID: ${wish.cursor}\r\n`}\r\n`)
    } else {
      client.socket.write(`GET /api/events/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`)
      await client.until(() => client.head !== '')
      if (wish.join !== false) client.say({ action: 'join', ...(rooms.length > 0 ? { rooms } : {}), ...(wish.types ? { types: wish.types } : {}), ...(wish.cursor == null ? {} : { lastEventId: wish.cursor }) })
    }
    return client
  }

  /** Sends a WebSocket message. */
  say (message: unknown): void {
    this.sendFrame(1, Buffer.from(typeof message === 'string' ? message : JSON.stringify(message)))
  }

  /** Sends a frame, masked as clients must. */
  sendFrame (opcode: number, payload: Buffer): void {
    const mask = randomBytes(4)
    const header = payload.length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | payload.length])
      : payload.length < 65536
        ? Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255])
        : Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 127]), (() => { const size = Buffer.alloc(8); size.writeBigUInt64BE(BigInt(payload.length)); return size })()])
    this.socket.write(Buffer.concat([header, mask, Buffer.from(payload.map((byte, index) => byte ^ (mask[index & 3] as number)))]))
  }

  /** Resolves once `done` holds; looks whenever something has arrived, and now and then. */
  async until (done: () => boolean, ms = 10_000): Promise<void> {
    const deadline = Date.now() + ms
    while (!done()) {
      const left = deadline - Date.now()
      if (left <= 0) throw new Error(`not within ${ms} ms; ${this.messages.length} messages so far, the last: ${JSON.stringify(this.messages.at(-1) ?? null).slice(0, 300)}; ${this.head.slice(0, 100)}`)
      await new Promise<void>(resolve => {
        // Some conditions are the server's: they change without anything arriving here.
        const timer = setTimeout(resolve, Math.min(left, 50))
        this.#waiting.push(() => { clearTimeout(timer); resolve() })
      })
    }
  }

  async untilKind (kind: Arrived['kind'], count = 1): Promise<Arrived> {
    await this.until(() => this.messages.filter(message => message.kind === kind).length >= count)
    return this.messages.filter(message => message.kind === kind)[count - 1] as Arrived
  }

  get events (): Event[] {
    return this.messages.flatMap(message => message.kind === 'bundle' ? message.events : [])
  }

  get bundles (): Array<Extract<Arrived, { kind: 'bundle' }>> {
    return this.messages.filter(message => message.kind === 'bundle')
  }

  get cursor (): string | null {
    return this.messages.findLast(message => message.cursor !== null)?.cursor ?? null
  }

  /** What a page can act on: without the messages that are no event, value or position. */
  get pageMessages (): Received[] {
    return pageMessages(this.messages)
  }

  cut (): void {
    this.socket.destroy()
    this.closed = true
  }

  #receive (data: Buffer): void {
    this.bytes = Buffer.concat([this.bytes, data])
    if (this.head === '') {
      const end = this.bytes.indexOf('\r\n\r\n')
      if (end === -1) return
      this.head = this.bytes.subarray(0, end).toString('latin1')
      this.bytes = this.bytes.subarray(end + 4)
    }
    const { messages, parsed, closeCode, pings } = parse(this.profile, this.bytes, this.#parsed, this.#rooms)
    this.#parsed = parsed
    this.messages.push(...messages)
    if (closeCode !== null && this.closeCode === null) {
      this.closeCode = closeCode
      this.sendFrame(8, Buffer.from([closeCode >> 8, closeCode & 255]))
    }
    if (this.pongs) for (const ping of pings) this.sendFrame(10, ping)
    this.#wake()
  }

  #wake (): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}

export const pageMessages = (messages: readonly Arrived[]): Received[] =>
  messages.filter((message): message is Extract<Arrived, Received> => ['joined', 'bundle', 'reset', 'ready', 'position'].includes(message.kind))

interface Parsed {
  messages: Arrived[]
  parsed: number
  closeCode: number | null
  pings: Buffer[]
}

/** The whole messages in `bytes` from `from` on. */
export function parse (profile: ProfileName, bytes: Buffer, from: number, rooms: readonly string[]): Parsed {
  return profile === 'SSE' ? parseSse(bytes, from, rooms) : parseWs(bytes, from)
}

// Every chunk holds whole events here, which a test of the frames makes sure of; a cut one is not parsed.
function parseSse (bytes: Buffer, from: number, rooms: readonly string[]): Parsed {
  const messages: Arrived[] = []
  let at = from
  for (;;) {
    const line = bytes.indexOf('\r\n', at)
    if (line === -1) break
    const size = parseInt(bytes.subarray(at, line).toString('latin1'), 16)
    const end = line + 2 + size + 2
    if (!(size > 0) || bytes.length < end) break
    for (const block of bytes.subarray(line + 2, end - 2).toString('utf8').split('\n\n')) {
      const message = sseMessage(block, rooms)
      if (message !== null) messages.push({ ...message, end } as Arrived)
    }
    at = end
  }
  return { messages, parsed: at, closeCode: null, pings: [] }
}

function sseMessage (block: string, rooms: readonly string[]): object | null {
  const fields = new Map(block.split('\n').filter(line => line.includes(': ') && !line.startsWith(':')).map(line => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]))
  const text = fields.get('data')
  if (text === undefined) return null
  const data = JSON.parse(text) as Record<string, unknown>
  const cursor = fields.get('id') ?? null
  const kind = fields.get('event')
  if (kind === undefined) return { kind: 'bundle', events: data, cursor }
  if (kind === 'hello') return { kind: 'joined', rooms, position: data.position, cursor, data }
  if (kind === 'bye') return { kind, data, cursor }
  // SSE names the rooms too, but a plain page takes a reset for all it has.
  return { kind, ...data, cursor, data }
}

function parseWs (bytes: Buffer, from: number): Parsed {
  const messages: Arrived[] = []
  const pings: Buffer[] = []
  let closeCode: number | null = null
  let at = from
  while (bytes.length >= at + 2) {
    const opcode = (bytes[at] as number) & 15
    let size = (bytes[at + 1] as number) & 127
    let start = at + 2
    if (size === 126) { if (bytes.length < at + 4) break; size = bytes.readUInt16BE(at + 2); start = at + 4 } else if (size === 127) { if (bytes.length < at + 10) break; size = Number(bytes.readBigUInt64BE(at + 2)); start = at + 10 }
    const end = start + size
    if (bytes.length < end) break
    const payload = bytes.subarray(start, end)
    if (opcode === 1) {
      const { event, data, id, ref } = JSON.parse(payload.toString('utf8'))
      if (event === 'events') messages.push({ ...(data.length === 0 ? { kind: 'position', cursor: id } : { kind: 'bundle', events: data, cursor: id }), end } as Arrived)
      else messages.push({ kind: event, ...data, data, cursor: data.cursor ?? null, ref, end } as Arrived)
    } else if (opcode === 8) closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005
    else if (opcode === 9) pings.push(Buffer.from(payload))
    at = end
  }
  return { messages, parsed: at, closeCode, pings }
}
