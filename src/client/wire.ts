// Messages from the gateway and what they mean to a client: the same over both transports, and between tabs.

import type { Event } from '../core/event.ts'

export type { Event }

export type ProfileName = 'SSE' | 'WEBSOCKET'

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

/** A mistake that the client survives. */
export interface Problem {
  readonly code: string
  readonly reason: string
}

/** What a link or a leading tab delivers to a box. `cursor`: the position after it; null if it does not change. */
export type Delivery =
  | { readonly kind: 'hello', readonly data: Hello, readonly cursor: string | null }
  | { readonly kind: 'events', readonly data: readonly Event[], readonly cursor: string | null }
  | { readonly kind: 'reset', readonly data: Reset, readonly cursor: string | null }
  | { readonly kind: 'ready', readonly data: Ready, readonly cursor: string | null }
  | { readonly kind: 'position', readonly data: unknown, readonly cursor: string | null }
  | { readonly kind: 'error', readonly data: Problem, readonly cursor: string | null }
  | { readonly kind: 'status', readonly data: Status, readonly cursor: null }

/** Why a connection ended. */
export interface End {
  readonly reason: string
  readonly code: string
  /** When to reconnect, ms, if the gateway said so. */
  readonly retryMs?: number | undefined
  /** The same request would be rejected again. */
  readonly forGood?: boolean
  /** So it would, unless it came with another token. */
  readonly needsToken?: boolean
}

/** A request with what says who asks, until the connection ends. */
export type Request = (url: string, init?: RequestInit) => Promise<Response>

/** Parameters and callbacks of one connection. */
export interface TransportOptions {
  readonly rooms: readonly string[]
  readonly types: readonly string[]
  /** The cursor to resume from; empty for a new session. */
  readonly cursor: string
  readonly request: Request
  /** The query for what cannot send headers: a socket in a browser. */
  readonly ticket: string
  /** The token is refused: the next connection asks for another. */
  forget: () => void
  /** Ends the connection. */
  readonly signal: AbortSignal
  /** Bytes have arrived. */
  alive: () => void
  deliver: (delivery: Delivery) => void
  /** A message could not be read. `cursor`: the position after it, if known. @returns the end of the connection; null to pass the message over */
  unreadable: (cursor: string | null) => End | null
  /** Called if the connection can also send messages. */
  onOpen: (send: (message: object) => void) => void
  /** The gateway has answered the message with this `ref`. */
  onAnswer: (ref: string, answer: GatewayAnswer) => void
}

/** Runs one connection to its end. @throws the error that ended it early */
export type Transport = (address: string, options: TransportOptions) => Promise<End>

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

const GOODBYES: Readonly<Record<string, string>> = {
  DRAINING: 'the gateway is restarting',
  SLOW: 'this client read its events too slowly',
  DISCONNECTED: 'the gateway ended this connection',
  TOKEN_EXPIRED: 'the token has expired'
}

/** The meaning of a `bye`. */
export function endOfBye ({ reason, retryMs }: { readonly reason: string, readonly retryMs?: number }): End {
  return { code: reason, reason: GOODBYES[reason] ?? `the gateway ended this connection (${reason})`, retryMs }
}

/** The meaning of a refusal. Some reject the request itself, or its address as too long; all others are temporary. */
export function endOfRefusal ({ status, body: { code, message }, retryMs }: GatewayAnswer): End {
  const isTooLong = status === 414 || status === 431
  return {
    code: String(code ?? status),
    reason: String(message ?? `the answer was ${status}${isTooLong ? ': name fewer rooms and types' : ''}`),
    // An answer without a code comes from a proxy, not from the gateway. What has a code is a refusal even if it names no time.
    retryMs: retryMs ?? (code === undefined ? undefined : REFUSED_MS),
    forGood: isTooLong || (code !== undefined && [400, 401, 403, 421].includes(status)),
    needsToken: status === 401
  }
}

/** Something else answers in the gateway's place, such as a web server that has one page for every address. */
export function strangerAt ({ url, headers }: Response): End {
  return { code: 'NOT_A_GATEWAY', reason: `${url} is not answered by a Signalbox gateway; the answer is ${headers.get('Content-Type') ?? 'without a type'}`, retryMs: REFUSED_MS }
}

/** Reads an HTTP answer of the gateway or of a proxy. @throws if the body is cut off, because its content is unknown then */
export async function readAnswer (response: Response): Promise<GatewayAnswer> {
  const seconds = Number(response.headers.get('Retry-After') ?? NaN)
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
    if (signal?.aborted === true) end()
  })
}

/** Works without `crypto.randomUUID`, which is missing on pages loaded over plain HTTP from another host. */
export function uniqueId (): string {
  return crypto.getRandomValues(new Uint32Array(4)).join('-')
}

/** Compares two ids `<ms>-<n>`. */
export function isBefore (id: string, other: string): boolean {
  const [ms, n = 0] = id.split('-')
  const [otherMs, otherN = 0] = other.split('-')
  return (Number(ms) - Number(otherMs) || Number(n) - Number(otherN)) < 0
}
