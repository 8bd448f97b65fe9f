// The browser client: one module without imports. It asks the gateway which profile runs, listens over SSE or
// WebSocket, and keeps the newest value of every key. After any end it comes back from its cursor, asking for the
// profile again, so a restart, even into the other profile, loses and repeats nothing. Only where the gateway refuses
// what is asked for does it stop, and says why.

import type { Event } from '../core/event.ts'

export type { Event } from '../core/event.ts'

export interface ConnectOptions {
  /** Rooms to hear; none: the public feed. */
  readonly rooms?: readonly string[]
  /** Types to hear in them; none: every type. */
  readonly types?: readonly string[]
}

/** `waiting`: not connected, and coming back by itself. `closed`: by `close`, or refused for good. */
export type Status = 'connecting' | 'live' | 'waiting' | 'closed'

/** What can be listened to, and what a listener is given. */
export interface Happenings {
  /** An event of a subscribed room; `state` knows it already. */
  event: Event
  /** `reason` and `retryMs` come with `waiting`; `reason` with `closed`, where the gateway refused. */
  status: { readonly status: Status, readonly reason?: string, readonly retryMs?: number }
  hello: { readonly profile: 'SSE' | 'WEBSOCKET', readonly session: string, readonly tickMs: number, readonly position: 'new' | 'resumed' | 'reset' }
  /** Values of these rooms were forgotten, and come anew. */
  reset: { readonly reason: string, readonly missed: number | null, readonly rooms: readonly string[] }
  /** All present values of these rooms have come. */
  ready: { readonly keys: number, readonly rooms: readonly string[] }
}

export interface Box {
  readonly status: Status
  readonly state: {
    /** The newest value of a key, as the event that brought it; of the public feed with the room `@public`. */
    get: (room: string, type: string, key: string) => Event | undefined
    entries: () => IterableIterator<Event>
  }
  /** @returns what ends the listening */
  on: <Name extends keyof Happenings>(name: Name, listener: (happening: Happenings[Name]) => void) => () => void
  /**
   * Runs a command.
   * @throws Error with the refusal's message, and its `code`
   */
  control: (command: string, args?: object) => Promise<Record<string, unknown>>
  close: () => void
}

interface Profile {
  readonly stream: string | null
  readonly websocket: string | null
}

/** Why a connection ended, and when to come back where the gateway has said so. */
interface End {
  readonly reason: string
  readonly retryMs?: number | undefined
  /** Asking again for the same would be refused again. */
  readonly forGood?: boolean
}

type Data = Record<string, unknown>

const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000
/** A connection that stood so long was a good one: the next failure counts as the first. */
const STABLE_MS = 5000
const ANSWER_MS = 10_000
const NOT_OPENED = 'the gateway did not open the stream'

/**
 * Connects, and stays connected until `close`, or until the gateway refuses for good what is asked for.
 * @param url where the gateway is: `/` for the page's own host
 */
export function connect (url: string, { rooms = [], types = [] }: ConnectOptions = {}): Box {
  const base = new URL(url, globalThis.location?.href).href.replace(/\/$/, '')
  const values = new Map<string, Event>()
  const listeners: { [Name in keyof Happenings]: Set<(happening: Happenings[Name]) => void> } = {
    event: new Set(), status: new Set(), hello: new Set(), reset: new Set(), ready: new Set()
  }
  let status: Status = 'connecting'
  let cursor = ''
  let failures = 0
  let liveSince = Infinity
  /** Ends what goes on just now: the connection, or the wait for the next one. */
  let cut = (): void => {}

  const isClosed = (): boolean => status === 'closed'

  function tell<Name extends keyof Happenings> (name: Name, happening: unknown): void {
    for (const listener of listeners[name]) {
      try {
        listener(happening as Happenings[Name])
      } catch (error) {
        // Another's mistake must not cost the events behind it.
        console.error(error)
      }
    }
  }

  function become (now: Status, why: object = {}): void {
    status = now
    if (now === 'live') liveSince = performance.now()
    tell('status', { status, ...why })
  }

  function moveTo (position: unknown): void {
    if (typeof position === 'string' && position !== '') cursor = position
  }

  function take (events: Event[]): void {
    for (const event of events) {
      if (event.key !== undefined) {
        if (event.data === null) values.delete(nameOf(event.room, event.type, event.key))
        else values.set(nameOf(event.room, event.type, event.key), event)
      }
      tell('event', event)
    }
  }

  function forget (told: Data): void {
    const lost = told.rooms as string[]
    for (const [name, event] of values) {
      if (lost.includes(event.room ?? '@public')) values.delete(name)
    }
    tell('reset', told)
  }

  async function stayConnected (): Promise<void> {
    while (!isClosed()) {
      become('connecting')
      const end = await hear().catch((error: Error): End => ({ reason: error.message }))
      if (isClosed()) return
      if (end.forGood === true) return become('closed', { reason: end.reason })
      if (performance.now() - liveSince > STABLE_MS) failures = 0
      liveSince = Infinity
      const retryMs = end.retryMs ?? backoff()
      become('waiting', { reason: end.reason, retryMs })
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, retryMs)
        cut = () => { clearTimeout(timer); resolve() }
      })
    }
  }

  /** Full jitter: clients that lost the gateway together do not come back together. */
  function backoff (): number {
    return Math.round(Math.random() * Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** failures++))
  }

  /** One connection, from the question after the profile to its end. */
  async function hear (): Promise<End> {
    const response = await fetch(`${base}/api/profile`, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
    if (!response.ok) return { reason: `the gateway answered ${response.status}`, retryMs: retryAfter(response) }
    const { stream, websocket } = await response.json() as Profile
    if (isClosed()) return { reason: 'closed' }
    if (stream !== null) return await hearStream(`${base}${stream}`)
    if (websocket !== null) return await hearSocket(`${base}${websocket}`.replace(/^http/, 'ws'))
    return { reason: 'the gateway has neither a stream nor a socket' }
  }

  function hearStream (address: string): Promise<End> {
    const query = Object.entries({ rooms: rooms.join(), types: types.join(), lastEventId: cursor }).filter(([, value]) => value !== '')
    const url = `${address}?${new URLSearchParams(query)}`
    const source = new EventSource(url)
    return new Promise(resolve => {
      const end = (why: End | Promise<End>): void => {
        // Its own way of coming back knows neither another profile nor full jitter.
        source.close()
        resolve(why)
      }
      const on = (name: string, handle: (data: unknown) => void): void => source.addEventListener(name, ({ data, lastEventId }: MessageEvent<string>) => {
        moveTo(lastEventId)
        handle(JSON.parse(data))
      })
      cut = () => end({ reason: 'closed' })
      source.onerror = () => {
        if (status === 'live') end({ reason: 'the connection was lost' })
        else end(source.readyState === EventSource.CLOSED ? whyRefused(url) : { reason: NOT_OPENED })
      }
      on('message', events => take(events as Event[]))
      on('position', () => {})
      on('reset', data => forget(data as Data))
      on('ready', data => tell('ready', data))
      on('bye', data => end(data as End))
      on('hello', data => {
        become('live')
        tell('hello', data)
      })
    })
  }

  function hearSocket (address: string): Promise<End> {
    const socket = new WebSocket(address)
    return new Promise(resolve => {
      let hello: Data = {}
      const end = (why: End): void => {
        resolve(why)
        socket.onmessage = null
        socket.close()
      }
      const handlers: Record<string, (data: Data) => void> = {
        events: data => take(data as unknown as Event[]),
        hello: data => { hello = data },
        // All rooms in one message: a cursor counts in the first join only.
        joined: data => {
          become('live')
          tell('hello', { ...hello, position: data.position })
        },
        reset: forget,
        ready: data => tell('ready', data),
        bye: data => end(data as unknown as End),
        error: data => end(refused(data, data.retryMs as number | undefined))
      }
      cut = () => end({ reason: 'closed' })
      socket.onclose = ({ code }) => end({ reason: `the connection was lost (${code})` })
      socket.onopen = () => socket.send(JSON.stringify({
        action: 'join',
        ...(rooms.length === 0 ? {} : { rooms }),
        ...(types.length === 0 ? {} : { types }),
        ...(cursor === '' ? {} : { lastEventId: cursor })
      }))
      socket.onmessage = ({ data: text }) => {
        const { event, id, data } = JSON.parse(text)
        moveTo(id ?? data.cursor)
        handlers[event]?.(data)
      }
    })
  }

  async function control (command: string, args: object = {}): Promise<Record<string, unknown>> {
    const response = await fetch(`${base}/api/control`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': uniqueId() },
      body: JSON.stringify({ command, args })
    })
    const body = await response.json() as Record<string, unknown>
    if (!response.ok) throw Object.assign(new Error(String(body.message)), { code: body.code })
    return body
  }

  // Later, so that whoever connects can listen first.
  queueMicrotask(stayConnected)
  return {
    get status () { return status },
    state: {
      get: (room, type, key) => values.get(nameOf(room, type, key)),
      entries: () => values.values()
    },
    on (name, listener) {
      listeners[name].add(listener)
      return () => { listeners[name].delete(listener) }
    },
    control,
    close () {
      if (isClosed()) return
      become('closed')
      cut()
    }
  }
}

/** An EventSource does not tell the status of a refused stream, so it is asked for once more. */
async function whyRefused (url: string): Promise<End> {
  const response = await fetch(url, { headers: { Accept: 'text/event-stream' }, cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
  if (response.ok) {
    await response.body?.cancel()
    return { reason: NOT_OPENED }
  }
  // Without a code it is not the gateway's answer, but that of something in front of it.
  const told = await response.json().catch(() => null) as Data | null
  if (typeof told?.code !== 'string') return { reason: `the stream was answered with ${response.status}`, retryMs: retryAfter(response) }
  return refused(told, retryAfter(response))
}

/** The gateway's refusal, the same over both doors: 400 and 403 are about what was asked for, all others pass. */
const refused = ({ statusCode, message }: Data, retryMs: number | undefined): End =>
  ({ reason: String(message), retryMs, forGood: statusCode === 400 || statusCode === 403 })

/** Neither part can hold a NUL. */
const nameOf = (room: string | undefined, type: string, key: string): string => `${room ?? '@public'}\0${type}\0${key}`

function retryAfter (response: Response): number | undefined {
  const seconds = Number(response.headers.get('Retry-After') ?? NaN)
  return Number.isFinite(seconds) ? seconds * 1000 : undefined
}

/** `crypto.randomUUID` is missing where the page came over plain HTTP from another host. */
function uniqueId (): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID()
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('')
}
