// Sends inputs to gateways as they are run, and checks what must hold whatever comes in: the process lives, nothing is a 5xx but
// 503, a refusal has the shape of all errors and a known code, the log has no error, a client beside it gets every event, no
// prototype is touched, and the heap is back where it was.

import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import { SignJWT } from 'jose'
import type { ProfileName } from '../../profiles/index.ts'
import { Refusal } from '../../src/core/errors.ts'
import type { Code } from '../../src/core/errors.ts'
import { request, Stage, until } from '../process/harness.ts'
import type { Launched } from '../process/harness.ts'
import { WireClient } from '../wire/client.ts'
import { answersOf, frameOf, RawSocket } from '../hostile/raw.ts'
import type { Answer } from '../hostile/raw.ts'
import { KINDS } from './inputs.ts'
import type { Material, Where } from './inputs.ts'

export interface Input {
  readonly kind: string
  /** base64; TOKEN stands for the run's own token. */
  readonly input: string
}

export interface Finding extends Input {
  readonly problem: string
}

export interface FuzzOptions {
  readonly seed: number
  readonly count: number
  /** Only these kinds. */
  readonly only?: readonly string[]
  /** A Redis for those kinds that need one. */
  readonly redisUrl?: string | undefined
  /** Inputs that failed once; they come first. */
  readonly stored?: readonly Input[]
  readonly report?: (line: string) => void
}

const SECRET = 'the secret of gateways that are fuzzed'
const PROBE = new URL('probe.mjs', import.meta.url)
/** Inputs of a kind in one go, and connections at once. */
const BATCH = 100
const LANES = 24
const PATIENCE_MS = 20_000
/** What compiled code and pools may add to the heap after the base was measured; one leaked session or body per input is far more. */
const HEAP_MIB = 12

const SETTINGS = {
  PORT: 0,
  AUTH_JWT_SECRET: SECRET,
  TRUST_PROXY: '127.0.0.1',
  DURABILITY: 'process',
  LOG_LEVEL: 'info',
  CONTROL_RATE_LIMIT: 0,
  MAX_EVENTS_PER_SECOND_PER_CLIENT: 0,
  MAX_HTTP_BUFFER_SIZE: 65_536,
  IDEMPOTENCY_TTL: 60,
  HISTORY_SIZE: 500,
  HISTORY_BYTES: 1_000_000,
  MAX_ROOMS: 50,
  MAX_KEYS_PER_ROOM: 20,
  MAX_ROOM_SIZE: 0,
  STATE_BYTES: 1_000_000,
  NODE_OPTIONS: `--import ${PROBE.href}`
}

const sign = async (signalbox: object, sub: string, ttl = '2h'): Promise<string> => await new SignJWT({ signalbox }).setProtectedHeader({ alg: 'HS256' }).setSubject(sub).setExpirationTime(ttl).sign(new TextEncoder().encode(SECRET))

/** A gateway, and the client beside it. */
class Target {
  readonly profile: ProfileName
  readonly server: Launched
  readonly #bystander: WireClient
  readonly #publisher: string
  #beats = 0

  private constructor (profile: ProfileName, server: Launched, bystander: WireClient, publisher: string) {
    this.profile = profile
    this.server = server
    this.#bystander = bystander
    this.#publisher = publisher
  }

  static async start (stage: Stage, profile: ProfileName, env: Record<string, string>): Promise<Target> {
    const server = await stage.launch({ ...SETTINGS, APP_PROFILE: profile, DATA_DIR: stage.folder(), ...env })
    const headers = { Authorization: `Bearer ${await sign({ subscribe: ['bystanders'] }, 'bystander')}` }
    const bystander = await stage.client(profile, server.port, { rooms: ['bystanders'], headers })
    await bystander.untilKind('ready')
    return new Target(profile, server, bystander, await sign({ publish: ['bystanders'] }, 'publisher'))
  }

  /** Publishes for the client beside it. */
  async beat (): Promise<void> {
    const answer = await request(`${this.server.url}/api/events`, { json: { type: 'beat', room: 'bystanders', data: ++this.#beats }, headers: { Authorization: `Bearer ${this.#publisher}` } }).catch(() => null)
    if (answer?.status === 202) return
    if (answer !== null) throw new Error(`a publisher beside it gets ${answer.status} ${answer.text}`)
    const ended = await Promise.race([this.server.ended, delay(5000, null, { ref: false })])
    throw new Error(ended === null ? 'the gateway answers nobody' : `the gateway has ended with ${String(ended.code)}: ${ended.stderr.slice(-3000)} ${ended.stdout.slice(-1000)}`)
  }

  /** Heap after a collection, MiB; and whether a prototype was touched. */
  async probe (): Promise<{ heap: number, polluted: boolean }> {
    const lines = (): Array<Record<string, unknown>> => this.server.log().filter(({ msg }) => msg === 'probe')
    const before = lines().length
    this.server.signal('SIGWINCH')
    await until('the process says how it is', () => lines().length > before)
    const { heap, polluted } = lines().at(-1) as { heap: number, polluted: boolean }
    return { heap: heap / 1024 / 1024, polluted }
  }

  /** What is not as it was. */
  async problems (baseMib: number): Promise<string[]> {
    const bystander = this.#bystander
    await bystander.until(() => bystander.events.length >= this.#beats || bystander.closed, PATIENCE_MS).catch(() => {})
    const heard = bystander.events.map(({ data }) => data).join()
    let probed = await this.probe()
    for (let n = 0; n < 20 && probed.heap > baseMib + HEAP_MIB; n++) {
      await delay(500)
      probed = await this.probe()
    }
    const errors = this.server.log().filter(({ level }) => level >= 50 || level === 0)
    return [
      ...(this.server.child.exitCode === null ? [] : ['the process has ended']),
      ...(heard === Array.from({ length: this.#beats }, (_, n) => n + 1).join() && !bystander.closed && !bystander.messages.some(({ kind }) => kind === 'reset') ? [] : [`the client beside it was disturbed: ${bystander.events.length} of ${this.#beats} events`]),
      ...(probed.polluted ? ['a prototype was touched'] : []),
      ...(probed.heap <= baseMib + HEAP_MIB ? [] : [`the heap grew from ${baseMib.toFixed(1)} to ${probed.heap.toFixed(1)} MiB`]),
      ...errors.slice(0, 3).map(line => `in the log: ${JSON.stringify(line).slice(0, 500)}`)
    ]
  }
}

/** @returns what was found, nothing where all is well */
export async function fuzz (t: { teardown (close: () => unknown): void }, { seed, count, only, redisUrl, stored = [], report = () => {} }: FuzzOptions): Promise<Finding[]> {
  const stage = new Stage(t)
  const redis = redisUrl === undefined ? null : new Redis(redisUrl)
  t.teardown(() => redis?.disconnect())
  const targets: Record<ProfileName, Target> = {
    SSE: await Target.start(stage, 'SSE', redisUrl === undefined ? {} : { REDIS_URL: redisUrl, REDIS_PREFIX: 'fuzz:', REDIS_CHANNEL: 'events' }),
    WEBSOCKET: await Target.start(stage, 'WEBSOCKET', {})
  }
  const material = await materialOf(targets.SSE)
  const kinds = Object.keys(KINDS).filter(kind => only === undefined || only.includes(kind)).filter(kind => redis !== null || !['XADD', 'PUBLISH'].includes(KINDS[kind]?.where as Where))
  const findings: Finding[] = []

  const run = async (kind: string, inputs: readonly Buffer[]): Promise<void> => {
    const { where } = KINDS[kind] as (typeof KINDS)[string]
    const target = targets[where === 'WEBSOCKET' || where === 'socket' ? 'WEBSOCKET' : 'SSE']
    const waiting = [...inputs]
    await Promise.all(Array.from({ length: LANES }, async () => {
      for (let input = waiting.pop(); input !== undefined; input = waiting.pop()) {
        try {
          await send(where, target.server.port, input, { token: material.token, redis })
        } catch (error) {
          findings.push({ kind, input: replaced(input, material.token, 'TOKEN').toString('base64'), problem: (error as Error).message })
        }
      }
    }))
    // What ends the gateway is one of these, or of the batches before.
    for (const each of Object.values(targets)) await each.beat().catch((error: Error) => { findings.push({ kind, input: '', problem: error.message }) })
  }
  const runAll = async (count: number, seed: number): Promise<void> => {
    for (let left = Math.ceil(count / kinds.length), batch = 0; left > 0; left -= BATCH, batch++) {
      for (const [index, kind] of kinds.entries()) {
        const numRuns = Math.min(BATCH, left)
        await run(kind, fc.sample((KINDS[kind] as (typeof KINDS)[string]).inputs(material), { seed: seed + batch * 1000 + index, numRuns }))
        if (findings.length >= 10) return
      }
      if (batch % 10 === 9) report(`${Math.min(count, (batch + 1) * BATCH * kinds.length)} inputs`)
    }
  }

  for (const { kind, input } of stored) if (kinds.includes(kind)) await run(kind, [replaced(Buffer.from(input, 'base64'), 'TOKEN', material.token)])
  // Code is compiled and caches are filled before the base of the heap is measured.
  await runAll(Math.max(kinds.length * 20, count / 10), seed + 500_000)
  const bases = findings.length > 0 ? [] : await Promise.all(Object.values(targets).map(async target => (await target.probe()).heap))
  if (findings.length === 0) await runAll(count, seed)
  if (findings.length > 0) return findings
  for (const [index, target] of Object.values(targets).entries()) {
    for (const problem of await target.problems(bases[index] as number)) findings.push({ kind: target.profile, input: '', problem })
  }
  return findings
}

const replaced = (bytes: Buffer, from: string, to: string): Buffer => Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1')

async function materialOf ({ server }: Target): Promise<Material> {
  const token = await sign({ subscribe: ['*', '@public', '@system'], publish: ['*'], control: ['ping', 'stats', 'rooms', 'clear', 'publish', 'nothing'] }, 'fuzzer')
  const headers = { Authorization: `Bearer ${token}` }
  const tickets = await Promise.all(Array.from({ length: 10 }, async () => (await request(`${server.url}/api/ticket`, { method: 'POST', headers })).body.ticket as string))
  const client = await WireClient.open('SSE', server.port, { rooms: ['fuzz-a', 'fuzz-b'], headers })
  await client.untilKind('ready')
  const cursors = [...client.messages.flatMap(({ cursor }) => cursor ?? []), '0-0', `${Date.now()}-0`]
  // It stays: it is the one that is steered.
  const { session } = (client.messages[0] as unknown as { data: { session: string } }).data
  return { token, session, tokens: [token, await sign({ subscribe: ['a'] }, 'other'), await sign({}, 'late', '-1s')], tickets, cursors }
}

async function send (where: Where, port: number, input: Buffer, { token, redis }: { token: string, redis: Redis | null }): Promise<void> {
  if (where === 'XADD') await redis?.xadd('fuzz:ingest', '*', 'event', input)
  else if (where === 'PUBLISH') await redis?.publish('events', input)
  else if (where === 'socket') await converse(port, token, input)
  else checkAnswers(await exchange(port, fromSomewhere(input)), input.toString('latin1', 0, 5) === 'HEAD ')
}

let sent = 0

/** Bad tokens are counted by address: those of one input are not held against the next. */
function fromSomewhere (request: Buffer): Buffer {
  const end = request.indexOf('\r\n') + 2
  sent++
  return end < 2 ? request : Buffer.concat([request.subarray(0, end), Buffer.from(`X-Forwarded-For: 198.51.${sent >> 8 & 255}.${sent & 255}\r\n`), request.subarray(end)])
}

/** Sends bytes, closes this side, and reads until the gateway closes or has begun a stream. */
async function exchange (port: number, bytes: Buffer): Promise<Buffer> {
  const socket: Socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const parts: Buffer[] = []
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`neither an answer nor an end within ${PATIENCE_MS} ms; so far ${JSON.stringify(Buffer.concat(parts).toString().slice(0, 200))}`)), PATIENCE_MS)
      const done = (): void => {
        clearTimeout(timer)
        resolve(Buffer.concat(parts))
      }
      socket.on('error', done).on('close', done).on('end', done)
      socket.on('data', data => {
        parts.push(data)
        const head = (parts[0] as Buffer).toString('latin1')
        if (/^HTTP\/1.1 101 /.test(head) || (/^HTTP\/1.1 200 [^]*text\/event-stream/.test(head) && Buffer.concat(parts).includes('event: '))) done()
      })
      socket.end(bytes)
    })
  } finally {
    // Leaves no port behind that the system keeps for a minute.
    socket.resetAndDestroy()
  }
}

function checkAnswers (bytes: Buffer, isHead: boolean): void {
  // Nothing at all: what was sent was not even a request.
  if (bytes.length === 0) return
  const answers = answersOf(bytes, isHead)
  if (answers.length === 0 || !(answers[0] as Answer).status) throw new Error(`no answer of HTTP: ${JSON.stringify(bytes.toString().slice(0, 300))}`)
  for (const { status, text, body } of answers) {
    if (status < 400) continue
    if (text !== '') checkRefusal(body, status)
    if (status >= 500 && ![501, 503].includes(status)) throw new Error(`${status}: ${text.slice(0, 500)}`)
  }
}

function checkRefusal (body: Record<string, unknown> | null, status?: number): void {
  const { statusCode, code, error, message } = body ?? {}
  if ((status !== undefined && statusCode !== status) || typeof error !== 'string' || typeof message !== 'string') throw new Error(`not in the shape of errors: ${JSON.stringify(body).slice(0, 300)}`)
  // Throws for a code that is in no table.
  const refusal = new Refusal(code as Code, '')
  if (refusal.code === 'INTERNAL' || refusal.code === 'COMMAND_FAILED') throw new Error(`${refusal.code}: ${message}`)
  if (/\bat .*\.(?:ts|js):\d|node_modules/.test(message)) throw new Error(`a stack in an answer: ${message}`)
}

/** Bytes over an open socket; whatever they are, its end is clean and each of its messages is one. */
async function converse (port: number, token: string, bytes: Buffer): Promise<void> {
  const client = await RawSocket.open(port, { headers: { Authorization: `Bearer ${token}` } })
  try {
    client.socket.write(bytes)
    client.socket.write(frameOf({ payload: '{"action":"ping","ref":"the last"}' }))
    // A frame that claims more than there is has taken the last one for its own.
    const isOver = (): boolean => client.closed || client.closeCode !== null || client.echoes.includes('the last')
    await client.until('an answer', isOver, 300).catch(() => {})
    if (!isOver()) {
      client.socket.end()
      await client.until('an end', () => client.closed || client.closeCode !== null, PATIENCE_MS)
    }
    for (const { event, data } of client.messages) if (event === 'error') checkRefusal(data)
  } finally {
    client.socket.resetAndDestroy()
  }
}
