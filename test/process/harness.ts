// The built product as its users run it: a process, its ports, its signals. Publishers repeat each request until it is
// answered, and followers reconnect with their cursor: they count what the contract guarantees.

import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ProfileName } from '../../profiles/index.ts'
import type { Event } from '../../src/core/event.ts'
import { compareIds } from '../../src/core/id.ts'
import { Page } from '../page.ts'
import { watchAnswers } from '../tools/answers.ts'
import { mortal } from '../tools/daemon.ts'
import { pageMessages, WireClient } from '../wire/client.ts'
import type { Arrived } from '../wire/client.ts'

const LAUNCHER = fileURLToPath(new URL('../../dist/launcher.js', import.meta.url))
const START_MS = 180_000

export type Env = Record<string, string | number>

interface How {
  readonly ipc?: boolean
  readonly group?: boolean
  readonly descriptors?: number
}

/** A line of the product's log. */
export type LogLine = { readonly level: number, readonly msg: string } & Record<string, unknown>

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Launched {
  readonly port: number
  readonly url: string
  readonly pid: number
  readonly child: ChildProcess
  /** Its log so far. */
  log (): LogLine[]
  /** Sends a signal and does not wait. */
  signal (signal: NodeJS.Signals): void
  /** Ends it with a signal. @returns its exit code, null if the signal itself ended it */
  stop (signal?: NodeJS.Signals): Promise<number | null>
  kill9 (): Promise<void>
  readonly ended: Promise<Ended>
}

const children = new Set<ChildProcess>()
const folders = new Set<string>()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Everything that a test starts, ended with the test. */
export class Stage {
  readonly #closers: Array<() => unknown> = []

  constructor (t: { teardown (close: () => unknown): void }) {
    t.teardown(async () => {
      for (const close of this.#closers.reverse()) await close()
    })
  }

  /** An empty folder. */
  folder (): string {
    const folder = mkdtempSync(join(tmpdir(), 'signalbox-process-'))
    folders.add(folder)
    this.#closers.push(() => {
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
      folders.delete(folder)
    })
    return folder
  }

  /**
   * Starts the product and waits until it listens, with all of its workers if there are several.
   * @param how `ipc`: with an IPC channel, as under a supervisor; `group`: in a new process group; `descriptors`: with so many files
   * @throws Error with its output if it does not listen
   */
  async launch (env: Env, how: How = {}): Promise<Launched> {
    const { child, ended, output } = this.#spawn(env, [], how)
    const log = (): LogLine[] => output().stdout.split('\n').slice(0, -1).map(line => {
      try {
        return JSON.parse(line) as LogLine
      } catch {
        return { level: 0, msg: line }
      }
    })
    let over = false
    ended.then(() => { over = true }, () => { over = true })
    const deadline = Date.now() + START_MS
    for (;;) {
      const url = log().map(({ msg }) => / on (http:\S+)$/.exec(msg)?.[1]).find(url => url !== undefined)
      if (url !== undefined) {
        const signal = (name: NodeJS.Signals): void => { child.kill(name) }
        const stop = async (name: NodeJS.Signals = 'SIGTERM'): Promise<number | null> => {
          signal(name)
          return (await ended).code
        }
        const port = Number(new URL(url).port)
        watchAnswers(port, ended)
        return { port, url, pid: child.pid as number, child, log, signal, stop, kill9: async () => { await stop('SIGKILL') }, ended }
      }
      if (over || Date.now() > deadline) throw new Error(`it does not listen: ${JSON.stringify(output())}`)
      await delay(10)
    }
  }

  /** Runs the product to its end. */
  async run (env: Env, args: readonly string[] = []): Promise<Ended> {
    return await this.#spawn(env, args).ended
  }

  publisher (options: ConstructorParameters<typeof Publisher>[0]): Publisher {
    const publisher = new Publisher(options)
    this.#closers.push(async () => await publisher.giveUp())
    return publisher
  }

  follower (to: number | Way, wish: Wish = {}): Follower {
    const follower = new Follower(to, wish)
    this.#closers.push(async () => await follower.stop())
    return follower
  }

  /** A new connection, cut at the end. */
  async client (...open: Parameters<typeof WireClient.open>): Promise<WireClient> {
    const client = await WireClient.open(...open)
    this.#closers.push(() => client.cut())
    return client
  }

  #spawn (env: Env, args: readonly string[], { ipc = false, group = false, descriptors }: How = {}): { child: ChildProcess, ended: Promise<Ended>, output: () => { stdout: string, stderr: string } } {
    if (!existsSync(LAUNCHER)) throw new Error(`${LAUNCHER} is missing: npm run build makes it`)
    // Of this process's environment only what the system needs, and a folder without `.env`.
    const { PATH, SystemRoot, TMPDIR } = process.env
    const options = {
      cwd: this.folder(),
      detached: group,
      env: Object.fromEntries(Object.entries({ PATH, SystemRoot, TMPDIR, LOG_LEVEL: 'info', ...env }).filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)]))
    }
    // A test that is killed takes its gateway along.
    const limited = descriptors === undefined ? [] : ['sh', '-c', `ulimit -n ${descriptors} && exec "$0" "$@"`]
    const command = mortal([...limited, process.execPath, LAUNCHER, ...args])
    const child = spawn(command.file, command.args, { ...options, stdio: ['ignore', 'pipe', 'pipe', ...(ipc ? ['ipc' as const] : [])] })
    children.add(child)
    let stdout = ''
    let stderr = ''
    child.stdout?.setEncoding('utf8').on('data', text => { stdout += text })
    child.stderr?.setEncoding('utf8').on('data', text => { stderr += text })
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', code => {
        children.delete(child)
        resolve({ code, stdout, stderr })
      })
    })
    this.#closers.push(async () => {
      child.kill('SIGKILL')
      await ended
    })
    return { child, ended, output: () => ({ stdout, stderr }) }
  }
}

/** How long a follower waits for the head of a response. */
const UNSERVED_MS = 10_000

const given = new Set<number>()

/**
 * A port that nothing listens on, below those the system gives to outgoing connections: a client that keeps connecting while
 * the server is away might otherwise be given this port and connect to itself.
 */
export async function freePort (): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    const free = await new Promise<boolean>(resolve => {
      const server = createServer().once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
    // A process that got this port may not have begun to listen yet.
    if (free && !given.has(port)) {
      given.add(port)
      return port
    }
  }
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** Null if it is not JSON. */
  readonly body: any
}

/** A request on a new connection. @throws Error if there is no answer */
export async function request (url: string, init: RequestInit & { json?: unknown } = {}): Promise<Answer> {
  const { json, headers, ...rest } = init
  const response = await fetch(url, {
    signal: AbortSignal.timeout(120_000),
    ...rest,
    ...(json === undefined ? {} : { method: 'POST', body: JSON.stringify(json) }),
    headers: { connection: 'close', ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers }
  })
  const text = await textOf(response)
  let body = null
  try { body = JSON.parse(text) } catch {}
  return { status: response.status, headers: response.headers, text, body }
}

/** A stream that the gateway ends breaks off; what had come before counts. */
async function textOf (response: Response): Promise<string> {
  if (!/^text\/event-stream/.test(response.headers.get('content-type') ?? '')) return await response.text()
  const parts: Uint8Array[] = []
  try {
    for await (const part of response.body ?? []) parts.push(part)
  } catch {}
  return Buffer.concat(parts).toString()
}

/** Patient: the machine may be busy, and what comes in time costs nothing. */
export async function until (what: string, done: () => boolean | Promise<boolean>, ms = 120_000): Promise<void> {
  const deadline = Date.now() + ms
  while (!await done()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
    await delay(10)
  }
}

export interface Wish {
  readonly rooms?: readonly string[]
  readonly types?: readonly string[]
}

/** Section 3 of the contract. */
export function hears ({ rooms = [], types }: Wish, event: { room?: string | undefined, type: string }): boolean {
  const wanted = types === undefined || types.includes(event.type)
  if (event.room !== undefined) return rooms.includes(event.room) && wanted
  return rooms.length === 0 || rooms.includes('@public') ? wanted : types !== undefined && wanted
}

/** An event as a publisher sends it; `data` says which one it is, whatever id it gets. */
interface Sent {
  readonly type: string
  readonly room?: string
  readonly key?: string
  readonly data: { readonly producer: string, readonly n: number, readonly padding?: string }
}

const labelOf = ({ data }: Pick<Event, 'data'> | Sent): string => {
  const { producer, n } = data as Sent['data']
  return `${producer}/${n}`
}

const PUBLISH_TIMEOUT_MS = 2000
const AGAIN_MS = 40

export interface PublisherOptions {
  readonly name: string
  readonly url: string
  /** Rooms it publishes to, in turn; null: publicly. */
  readonly rooms: ReadonlyArray<string | null>
  /** Events in a request, alternately facts and values; default 4. */
  readonly batch?: number
  readonly keys?: number
  readonly pauseMs?: number
  readonly bytes?: number
  /** It abandons some requests after a few milliseconds and never repeats them: those facts may arrive or not. */
  readonly strays?: boolean
  /** False: its requests have no Idempotency-Key. */
  readonly keyed?: boolean
  /** How long it waits for an answer; default 2000. */
  readonly patienceMs?: number
}

/** Publishes batches one after the other, each until it is acknowledged. */
export class Publisher {
  /** Every fact sent, acknowledged or not, by its label. */
  readonly attempted = new Map<string, Sent>()
  /** Those that were acknowledged, and their ids. */
  readonly acknowledged = new Map<string, { sent: Sent, id: string }>()
  /** The last acknowledged value by `room type key`. */
  readonly newest = new Map<string, { sent: Sent, id: string }>()
  /** Requests sent again, and those of them that failed again; answers other than acceptance and "try later". */
  retries = 0
  refusedTwice = 0
  readonly refused: string[] = []
  readonly #options: PublisherOptions
  #n = 0
  #requests = 0
  #state: 'new' | 'running' | 'ending' | 'over' = 'new'
  #loop: Promise<void> = Promise.resolve()

  constructor (options: PublisherOptions) {
    this.#options = options
  }

  /** Publishes until `finish`, or `count` events. */
  start (count = Infinity): this {
    this.#state = 'running'
    this.#loop = (async () => {
      const end = this.#n + count
      while (this.#state === 'running' && this.#n < end) {
        await this.#publish()
        await delay(this.#options.pauseMs ?? 10)
      }
    })()
    return this
  }

  /** Resolves when the last request is acknowledged. */
  async finish (): Promise<void> {
    if (this.#state === 'running') this.#state = 'ending'
    await this.#loop
  }

  /** Resolves when all of its events are acknowledged. */
  async done (): Promise<void> {
    await this.#loop
  }

  async giveUp (): Promise<void> {
    this.#state = 'over'
    await this.#loop
  }

  async #publish (): Promise<void> {
    const { name, url, rooms, batch = 4, keys = 5, bytes = 0, strays = false } = this.#options
    const stray = strays && ++this.#requests % 10 === 0
    const events: Sent[] = Array.from({ length: batch }, () => {
      const n = ++this.#n
      const room = rooms[n % rooms.length] ?? undefined
      const fact = stray || n % 2 === 0
      return {
        type: `${fact ? 'fact' : 'value'}-${n % 3}`,
        ...(room === undefined ? {} : { room }),
        ...(fact ? {} : { key: `${name}-${Math.floor(n / 2) % keys}` }),
        data: { producer: name, n, ...(bytes === 0 ? {} : { padding: 'x'.repeat(bytes) }) }
      }
    })
    for (const event of events) if (event.key === undefined) this.attempted.set(labelOf(event), event)
    const ids = await this.#ask(url, JSON.stringify(events.length === 1 ? events[0] : events), `${name}-${this.#n}`, stray)
    for (const [index, sent] of events.entries()) {
      const id = ids?.[index]
      if (id === undefined) continue
      if (sent.key === undefined) this.acknowledged.set(labelOf(sent), { sent, id })
      else this.newest.set(`${sent.room ?? '@public'} ${sent.type} ${sent.key}`, { sent, id })
    }
  }

  async #ask (url: string, body: string, key: string, stray: boolean): Promise<string[] | null> {
    const { keyed = true, patienceMs = PUBLISH_TIMEOUT_MS } = this.#options
    const headers = { 'content-type': 'application/json', ...(keyed ? { 'idempotency-key': key } : {}) }
    for (let refusals = 1; ; refusals++) {
      try {
        const signal = AbortSignal.timeout(stray ? Math.ceil(Math.random() * 4) : patienceMs)
        const response = await fetch(`${url}/api/events`, { method: 'POST', body, headers, signal })
        const text = await response.text()
        if (response.status === 202) return (JSON.parse(text) as { ids: string[] }).ids
        if (response.status !== 503 && response.status !== 429) {
          this.refused.push(`${response.status} ${text}`)
          return null
        }
      } catch {}
      if (stray || this.#state === 'over') return null
      this.retries++
      if (refusals === 2) this.refusedTwice++
      await delay(AGAIN_MS)
    }
  }
}

/** The part of a connection that a follower uses. */
export type Client = Pick<WireClient, 'messages' | 'head' | 'closed' | 'until' | 'cut'> & { readonly socket: Pick<WireClient['socket'], 'pause' | 'resume'> }

/** How a follower reaches the gateway. */
export interface Way {
  /** Null if nothing answers. */
  profile (): Promise<ProfileName | null>
  /** @throws Error if there is no connection */
  open (profile: ProfileName, wish: Wish & { readonly cursor: string | null }): Promise<Client>
}

const straightTo = (port: number): Way => ({
  profile: async () => await profileOf(port),
  open: async (profile, wish) => await WireClient.open(profile, port, wish)
})

/** A page that reconnects with its cursor however its connection ends, and counts what it receives. */
export class Follower {
  readonly wish: Wish
  readonly page = new Page()
  /** Facts received, by label. */
  readonly facts = new Map<string, Event>()
  twice = 0
  disorder = 0
  connections = 0
  readonly profiles = new Set<ProfileName>()
  readonly complaints: string[] = []
  readonly #way: Way
  #ready = false
  #lastFact: string | null = null
  #client: Client | null = null
  #stopped = false
  #paused = false
  #loop: Promise<void> = Promise.resolve()

  /** @param to a port of this machine, or the way there */
  constructor (to: number | Way, wish: Wish) {
    this.#way = typeof to === 'number' ? straightTo(to) : to
    this.wish = wish
  }

  /** Resolves when the first snapshot is complete. */
  async start (): Promise<this> {
    this.#loop = this.#run()
    await until(`a follower of ${JSON.stringify(this.wish)} is ready`, () => this.#ready)
    return this
  }

  async stop (): Promise<void> {
    this.#stopped = true
    this.#client?.cut()
    await this.#loop
  }

  /** Stops reading: bytes stay in the system's buffers, and then in the server. */
  pause (): void {
    this.#paused = true
    this.#client?.socket.pause()
  }

  resume (): void {
    this.#paused = false
    this.#client?.socket.resume()
  }

  async #run (): Promise<void> {
    while (!this.#stopped) {
      const profile = await this.#way.profile()
      this.#client = profile === null ? null : await this.#open(profile)
      if (this.#client !== null) await this.#follow(this.#client)
      if (!this.#stopped) await delay(20 + Math.random() * 80)
    }
  }

  async #open (profile: ProfileName): Promise<Client | null> {
    const { cursor } = this.page
    const opening = this.#way.open(profile, { ...this.wish, cursor })
    const client = await Promise.race([opening.catch(() => null), delay(5000, null, { ref: false })])
    if (client === null) {
      // The server died during a handshake. A connection that still comes of it is cut.
      opening.then(late => late.cut(), () => {})
      return null
    }
    this.connections++
    this.profiles.add(profile)
    if (this.#stopped) client.cut()
    if (this.#paused) client.socket.pause()
    return client
  }

  async #follow (client: Client): Promise<void> {
    let taken = 0
    // A refusal, or the short stream of one, leaves the connection open.
    const refused = (): boolean => client.head !== '' && (!/^HTTP\/1.1 (101|200) /.test(client.head) || /\r\ncontent-length:/i.test(client.head))
    // A connection that the primary handed to a worker which was killed before it took it stays open, and no process serves
    // it: Node's cluster forgets it. Clients give such a connection up, as ours does (src/client/watchdog.ts).
    await client.until(() => client.head !== '' || client.closed, UNSERVED_MS).catch(() => client.cut())
    for (;;) {
      while (taken < client.messages.length) this.#take(client.messages[taken++] as Arrived)
      if (client.closed || refused()) break
      await client.until(() => taken < client.messages.length || client.closed || refused(), 600_000)
    }
    client.cut()
  }

  #take (message: Arrived): void {
    if (message.kind === 'error') this.complaints.push(JSON.stringify(message.data))
    if (message.kind === 'reset') this.#lastFact = null
    if (message.kind === 'bundle') {
      for (const event of message.events) {
        if (event.key !== undefined) continue
        const label = labelOf(event)
        if (this.facts.has(label)) this.twice++
        else if (this.#lastFact !== null && compareIds(event.id, this.#lastFact) <= 0) this.disorder++
        this.#lastFact = event.id
        this.facts.set(label, event)
      }
    }
    try {
      for (const received of pageMessages([message])) this.page.apply(received)
    } catch (error) {
      this.complaints.push((error as Error).message)
    }
    if (message.kind === 'ready') this.#ready = true
  }
}

export async function profileOf (port: number): Promise<ProfileName | null> {
  try {
    return (await request(`http://127.0.0.1:${port}/api/profile`, { signal: AbortSignal.timeout(1000) })).body.profile ?? null
  } catch {
    return null
  }
}

export interface Tally {
  /** Facts sent, and acknowledged. */
  readonly attempted: number
  readonly acknowledged: number
  /** Over all followers: facts received, and acknowledged ones not received though they match the wish. */
  readonly received: number
  readonly lost: number
  readonly twice: number
  readonly disorder: number
  /** Facts nobody sent. */
  readonly foreign: number
  /** Facts never acknowledged that some followers received and others with a matching wish did not. */
  readonly torn: number
  /** Keys whose value at a follower is not the last acknowledged one. */
  readonly stale: number
  readonly resets: number
  readonly connections: number
  readonly retries: number
  readonly complaints: readonly string[]
}

/** Compares everything published with everything received, for followers connected from the start. */
export function tally (publishers: readonly Publisher[], followers: readonly Follower[]): Tally {
  const sum = (numbers: Iterable<number>): number => [...numbers].reduce((total, number) => total + number, 0)
  const attempted = new Set(publishers.flatMap(({ attempted }) => [...attempted.keys()]))
  const acknowledged = publishers.flatMap(({ acknowledged }) => [...acknowledged.values()])
  const newest = publishers.flatMap(({ newest }) => [...newest])
  const open = publishers.flatMap(({ attempted, acknowledged }) => [...attempted].filter(([label]) => !acknowledged.has(label)))
  return {
    attempted: attempted.size,
    acknowledged: acknowledged.length,
    received: sum(followers.map(({ facts }) => facts.size)),
    lost: sum(followers.map(({ wish, facts }) => acknowledged.filter(({ sent, id }) => hears(wish, sent) && facts.get(labelOf(sent))?.id !== id).length)),
    twice: sum(followers.map(({ twice }) => twice)),
    disorder: sum(followers.map(({ disorder }) => disorder)),
    foreign: sum(followers.map(({ facts }) => [...facts.keys()].filter(label => !attempted.has(label)).length)),
    torn: open.filter(([label, sent]) => new Set(followers.filter(({ wish }) => hears(wish, sent)).map(({ facts }) => facts.has(label))).size > 1).length,
    stale: sum(followers.map(({ wish, page }) => newest.filter(([field, { sent, id }]) => hears(wish, sent) && page.values.get(field)?.id !== id).length)),
    resets: sum(followers.map(({ page }) => page.resets.length)),
    connections: sum(followers.map(({ connections }) => connections)),
    retries: sum(publishers.map(({ retries }) => retries)),
    complaints: [...followers.flatMap(({ complaints }) => complaints), ...publishers.flatMap(({ refused }) => refused)]
  }
}

/** The tally once everything has arrived, after `ms` at most, and after a moment for events that should not arrive. */
export async function finalTally (publishers: readonly Publisher[], followers: readonly Follower[], ms: number): Promise<Tally> {
  const complete = (): boolean => {
    const { lost, stale } = tally(publishers, followers)
    return lost === 0 && stale === 0
  }
  await until('everybody has everything', complete, ms).catch(() => {})
  await delay(300)
  return tally(publishers, followers)
}

/** The tally as a sentence. */
export const sentence = (counts: Tally): string =>
  `attempted ${counts.attempted}, acknowledged ${counts.acknowledged}, received ${counts.received}, lost ${counts.lost}, twice ${counts.twice}, out of order ${counts.disorder}, ` +
  `stale values ${counts.stale}, resets ${counts.resets}; ${counts.connections} connections, ${counts.retries} publishes repeated`

/** Resident memory of a process in MiB; null if the system does not report it. */
export function residentMiB (pid: number): number | null {
  try {
    const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return kib === undefined ? null : Number(kib) / 1024
  } catch {
    return null
  }
}
