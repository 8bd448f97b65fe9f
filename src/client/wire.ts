// Messages from the gateway and what they mean to a client: the same over both transports, and between tabs.

/** The room that stands for the public feed. */
export const PUBLIC = '@public'

interface EventOf<Type extends string, Data> {
  /** `<ms>-<n>`: when the gateway accepted it, ms since 1970 by its clock, and a number. */
  readonly id: string
  readonly type: Type
  /** Absent: a public event. */
  readonly room?: string
  /** Present: state, the newest value per (room, type, key) wins. Absent: a fact. */
  readonly key?: string
  readonly data: Data
  /** Milliseconds since 1970, by the publisher's clock if it sent one. */
  readonly timestamp: number
  /** Seconds after which the value ends by itself. */
  readonly ttl?: number
}

/** An event with the newest value of a key. `Events` maps types to their data. */
export type Value<Events extends object = Record<string, unknown>, Types extends keyof Events & string = keyof Events & string> =
  { [Type in Types]: EventOf<Type, Events[Type]> }[Types]

/** An event. `Events` maps types to their data, so that `event.type` tells what `event.data` is. The end of a key has the data `null`. */
export type Event<Events extends object = Record<string, unknown>> =
  { [Type in keyof Events & string]: EventOf<Type, Events[Type] | null> }[keyof Events & string]

export type ProfileName = 'SSE' | 'WEBSOCKET'

/** The fields of GET /api/profile that the client uses. A path is null if it is not mounted. */
export interface ProfileInfo {
  readonly stream: string | null
  readonly websocket: string | null
  readonly control: string | null
  readonly pingIntervalMs: number
  /** Tokens are checked. Absent: they are not. */
  readonly auth?: boolean
  /** The time at the gateway, ms since 1970. Absent: an older gateway. */
  readonly time?: number
  readonly features?: readonly string[]
}

/** The state of the connection. */
export type Status =
  /** Before the first connection. After a failed attempt it has a reason, a code and the time to the next attempt, as in `stale`. */
  | { readonly state: 'connecting', readonly reason?: string, readonly code?: string, readonly retryMs?: number | null }
  /** Connected. Present values or missed events are still arriving. */
  | { readonly state: 'catching-up', readonly profile: ProfileName }
  | { readonly state: 'connected', readonly profile: ProfileName }
  /** Not connected, reconnecting automatically. Values may be out of date. */
  | {
    readonly state: 'stale'
    /** When the gateway last sent something, ms since 1970. */
    readonly since: number
    readonly reason: string
    /** The gateway's code, or `UNREACHABLE`, `LOST`, `SILENT` or `OFFLINE`. */
    readonly code: string
    /** Delay before the next attempt; null during an attempt. */
    readonly retryMs: number | null
  }
  /** The gateway rejects the request and would reject it again. The client has stopped trying. */
  | { readonly state: 'refused', readonly reason: string, readonly code: string }
  | { readonly state: 'closed' }

export interface Hello {
  readonly profile: ProfileName
  readonly session: string
  readonly tickMs: number
  readonly position: 'new' | 'resumed' | 'reset'
  /** Id of the newest event at connect time. */
  readonly head?: string
}

/** The values of these rooms were dropped and are sent again. `missed`: number of events that are lost; null if unknown. */
export interface Reset {
  readonly reason: string
  readonly missed: number | null
  readonly rooms: readonly string[]
}

/** All present values of these rooms have arrived. */
export interface Ready {
  readonly keys: number
  readonly rooms: readonly string[]
}

/** The answer to a join. */
export interface Joined {
  readonly rooms: readonly string[]
  /** Of each room, over all processes of the gateway. */
  readonly members: Readonly<Record<string, number>>
  readonly position: 'new' | 'resumed' | 'reset'
  readonly cursor: string | null
}

/** The answer to a leave. */
export interface Left {
  readonly rooms: readonly string[]
  readonly cursor: string
}

/** A mistake that the client survives. */
export interface Problem {
  readonly code: string
  readonly reason: string
}

/** What a link or a leading tab delivers to a box. `cursor`: the position after it; none if it does not change. */
export type Delivery =
  | { readonly kind: 'hello', readonly data: Hello, readonly cursor: string | null }
  | { readonly kind: 'events', readonly data: readonly Event[], readonly cursor: string | null }
  | { readonly kind: 'reset', readonly data: Reset, readonly cursor: string | null }
  | { readonly kind: 'ready', readonly data: Ready, readonly cursor: string | null }
  | { readonly kind: 'position', readonly data: unknown, readonly cursor: string | null }
  | { readonly kind: 'error', readonly data: Problem, readonly cursor: string | null }
  | { readonly kind: 'status', readonly data: Status, readonly cursor?: null }
  | { readonly kind: 'profile', readonly data: ProfileInfo, readonly cursor?: null }

/** Why a connection ended. */
export interface End {
  readonly reason: string
  readonly code: string
  /** When to reconnect, ms, if the gateway said so. */
  readonly retryMs?: number | undefined
  /** The same request would be rejected again. */
  readonly forGood_?: boolean
  /** So it would, unless it came with another token. */
  readonly needsToken_?: boolean
}

/** Rooms to listen to, and the types of a room's join; none: every type. */
export interface Wish {
  readonly room: string
  readonly types: readonly string[]
}

/** Least time from one bundle with values to the next, ms; null: none come until it is set again. */
export type Pace = number | null

/** A wish as the gateway takes it. */
export const entryOf = ({ room, types }: Wish): string | Wish => types.length > 0 ? { room, types } : room

/** A message of the gateway, as it comes over the socket; over SSE without a `ref`. */
export interface Message {
  readonly event: string
  readonly data: any
  readonly id?: string | null
  /** Of the client's message that it answers. */
  readonly ref?: string
}

/** What both transports need of the connection that they carry. */
export interface Carrier {
  readonly wishes_: readonly Wish[]
  /** The cursor to resume from; empty for a new session. */
  readonly cursor_: string
  /** What else is asked of the connection, as far as the gateway knows it. `merge`: values may come as patches. */
  readonly extras_: { readonly patch?: 'merge', readonly paceMs?: Pace }
  /** Sends a request with what says who asks, until the connection ends. */
  readonly request_: Request
  /** Ends the connection. */
  readonly signal_: AbortSignal
  /** Bytes have arrived. */
  alive_: () => void
  /** Takes a message. @param cursor the position after it, in case it cannot be read @returns how the connection ends, if it does */
  hear_: (read: () => Message, cursor: string | null) => End | null
}

export type Request = (url: string, init?: RequestInit) => Promise<Response>

/** The gateway's answer to a request, the same over HTTP and over the socket. */
export interface GatewayAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly retryMs?: number | undefined
}

/** Floor for a refusal that names no time. */
export const REFUSED_MS = 1000

export const LOST: End = { code: 'LOST', reason: 'the connection was lost' }

const KINDS = ['hello', 'events', 'reset', 'ready', 'position']

/**
 * Checks a message before anything acts on it: half of a bundle must not count as delivered.
 * @returns null if this client does not know the kind
 * @throws TypeError if the message is not as the protocol has it
 */
export function deliveryOf (kind: string, data: any, cursor: string | null): Delivery | null {
  if (!KINDS.includes(kind)) return null
  const isReadable = kind === 'events'
    ? Array.isArray(data) && data.every(event => typeof event?.id === 'string' && typeof event.type === 'string')
    : isObject(data) && typeof (data.head ?? '') === 'string' && ((kind !== 'reset' && kind !== 'ready') || Array.isArray(data.rooms))
  if (!isReadable) throw new TypeError(kind)
  return { kind, data, cursor } as Delivery
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** The meaning of a `bye`. */
export function endOfBye (reason: string, retryMs?: number): End {
  return { code: reason, reason: `the gateway ended it: ${reason.toLowerCase().replaceAll('_', ' ')}`, retryMs }
}

/** The meaning of a refusal. Some reject the request itself, or its address as too long; all others are temporary. */
export function endOfRefusal ({ status, body: { code, message }, retryMs }: GatewayAnswer): End {
  const isTooLong = status === 414 || status === 431
  return {
    code: String(code ?? status),
    reason: String(message ?? `the answer was ${status}${isTooLong ? ': name fewer rooms' : ''}`),
    // An answer without a code comes from a proxy, not from the gateway. What has a code is a refusal even if it names no time.
    retryMs: retryMs ?? (code === undefined ? undefined : REFUSED_MS),
    forGood_: isTooLong || (code !== undefined && [400, 401, 403, 421].includes(status)),
    needsToken_: status === 401
  }
}

/** Something else answers in the gateway's place, such as a web server that has one page for every address. */
export function strangerAt ({ url, headers }: Response): End {
  return { code: 'NOT_A_GATEWAY', reason: `${url} is not answered by a Signalbox gateway; the answer is ${headers.get('Content-Type') ?? 'untyped'}`, retryMs: REFUSED_MS }
}

/** Reads an HTTP answer of the gateway or of a proxy. @throws if the body is cut off, because its content is unknown then */
export async function readAnswer (response: Response): Promise<GatewayAnswer> {
  const seconds = parseInt(response.headers.get('Retry-After') as string)
  const text = await response.text()
  return {
    status: response.status,
    body: await new Response(text).json().catch(() => null) ?? {},
    // Retry-After has whole seconds: spread clients that were refused together.
    retryMs: seconds >= 0 ? Math.round((seconds + Math.random()) * 1000) : undefined
  }
}

/**
 * A random time, so that clients refused or cut off together do not return together. Its range doubles from `minMs` to `maxMs`
 * with each failure in a row. `floorMs`: the time that the gateway asked for, which has some jitter of its own: the first wait is just that.
 */
export function backoff (failures: number, minMs: number, maxMs: number, floorMs?: number): number {
  const rangeMs = Math.min(maxMs, minMs * 2 ** failures)
  return Math.round(floorMs === undefined ? Math.random() * rangeMs : floorMs + Math.random() * (rangeMs - minMs))
}

/** Waits for the time or the signal, and leaves no timer or listener behind. */
export async function pause (ms: number, signal?: AbortSignal): Promise<void> {
  await new Promise<void>(resolve => {
    const end = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    signal?.addEventListener('abort', end)
    if (signal?.aborted) end()
  })
}

/** Works without `crypto.randomUUID`, which is missing on pages loaded over plain HTTP from another host. */
export function uniqueId (): string {
  return crypto.getRandomValues(new Uint32Array(4)).join('-')
}

/** Compares two ids `<ms>-<n>`, number by number. @returns below 0 if the first is the earlier one */
export const compareIds = (id: string, other: string): number => id.localeCompare(other, 'en', { numeric: true })
