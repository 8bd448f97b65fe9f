// What the gateway says, and what a client makes of it: the same over both transports, and between tabs.

import type { Event } from '../core/event.ts'

export type { Event }

export type ProfileName = 'SSE' | 'WEBSOCKET'

/** How it stands with the connection. */
export type Status =
  /** The first time, until that succeeds. After a try that failed it says why, and when the next one is; as `stale` does. */
  | { readonly state: 'connecting', readonly reason?: string, readonly code?: string, readonly retryMs?: number | null }
  /** Connected; the present values, or what was missed meanwhile, are still coming. */
  | { readonly state: 'catching-up', readonly profile: ProfileName }
  | { readonly state: 'connected', readonly profile: ProfileName }
  /** Not connected, and coming back by itself: what is shown may be old. */
  | {
    readonly state: 'stale'
    /** When the gateway was last heard, ms since 1970. */
    readonly since: number
    readonly reason: string
    /** The gateway's code, or one of `UNREACHABLE`, `LOST`, `SILENT`, `OFFLINE`. */
    readonly code: string
    /** Wait until the next try; null while it is trying. */
    readonly retryMs: number | null
  }
  /** The gateway refuses what was asked for, and would refuse it again: it is not tried any more. */
  | { readonly state: 'refused', readonly reason: string, readonly code: string }
  | { readonly state: 'closed' }

export interface Hello {
  readonly profile: ProfileName
  readonly session: string
  readonly tickMs: number
  readonly position: 'new' | 'resumed' | 'reset'
  /** The id of the last event there was then. */
  readonly head?: string
}

/** Values of these rooms were forgotten, and come anew. `missed` events are gone; null where their number is not known. */
export interface Reset {
  readonly reason: string
  readonly missed: number | null
  readonly rooms: readonly string[]
}

/** All present values of these rooms have come. */
export interface Ready {
  readonly keys: number
  readonly rooms: readonly string[]
}

/** What reaches a box. `cursor`: where it stands with it; null where that does not change. */
export type Delivery =
  | { readonly kind: 'hello', readonly data: Hello, readonly cursor: string | null }
  | { readonly kind: 'events', readonly data: readonly Event[], readonly cursor: string | null }
  | { readonly kind: 'reset', readonly data: Reset, readonly cursor: string | null }
  | { readonly kind: 'ready', readonly data: Ready, readonly cursor: string | null }
  | { readonly kind: 'position', readonly data: unknown, readonly cursor: string | null }
  | { readonly kind: 'status', readonly data: Status, readonly cursor: null }

/** Why a connection ended. */
export interface End {
  readonly reason: string
  readonly code: string
  /** When to come back, ms, where the gateway has said so. */
  readonly retryMs?: number | undefined
  /** Asking again for the same would be refused again. */
  readonly forGood?: boolean
}

/** What a transport is given for one connection. */
export interface TransportOptions {
  readonly rooms: readonly string[]
  readonly types: readonly string[]
  /** Where to go on from; empty: as new. */
  readonly cursor: string
  readonly headers: Readonly<Record<string, string>>
  /** Ends the connection. */
  readonly signal: AbortSignal
  /** Something came, whatever it was. */
  alive: () => void
  deliver: (delivery: Delivery) => void
  /** The connection takes messages to the gateway. */
  onOpen: (send: (message: object) => void) => void
  /** The gateway answers a message that had this `ref`. */
  onAnswer: (ref: string, answer: GatewayAnswer) => void
}

/** One connection, to its end. @throws what ended it early */
export type Transport = (address: string, options: TransportOptions) => Promise<End>

/** What a command is answered with, the same over HTTP and over the socket. */
export interface GatewayAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly retryMs?: number | undefined
}

export const LOST: End = { code: 'LOST', reason: 'the connection was lost' }

const GOODBYES: Readonly<Record<string, string>> = {
  DRAINING: 'the gateway is restarting',
  SLOW: 'this client did not take its events in time',
  DISCONNECTED: 'the gateway ended this connection'
}

/** What a goodbye means. */
export function endOfBye ({ reason, retryMs }: { readonly reason: string, readonly retryMs?: number }): End {
  return { code: reason, reason: GOODBYES[reason] ?? `the gateway said goodbye (${reason})`, retryMs }
}

/** What a refusal means: 400, 401 and 403 are about what was asked for, all others pass. */
export function endOfRefusal ({ status, body: { code, message }, retryMs }: GatewayAnswer): End {
  return {
    code: String(code ?? status),
    reason: String(message ?? `the answer was ${status}`),
    retryMs,
    // Without a code it is not the gateway's answer, but that of something in front of it.
    forGood: code !== undefined && [400, 401, 403].includes(status)
  }
}

/** An HTTP answer, whoever gave it. @throws where it was cut off: it may have said anything */
export async function readAnswer (response: Response): Promise<GatewayAnswer> {
  const seconds = Number(response.headers.get('Retry-After') ?? NaN)
  const text = await response.text()
  return {
    status: response.status,
    body: await new Response(text).json().catch(() => null) ?? {},
    // Whole seconds are the same for all who were refused together.
    retryMs: seconds >= 0 ? Math.round((seconds + Math.random()) * 1000) : undefined
  }
}

/** Waits so long, or until the signal. Nothing of it stays behind. */
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

/** `crypto.randomUUID` is missing where the page came over plain HTTP from another host. */
export function uniqueId (): string {
  return crypto.getRandomValues(new Uint32Array(4)).join('-')
}

/** Of two ids `<ms>-<n>`. */
export function isBefore (id: string, other: string): boolean {
  const [ms = 0, n = 0] = id.split('-').map(Number)
  const [otherMs = 0, otherN = 0] = other.split('-').map(Number)
  return ms === otherMs ? n < otherN : ms < otherMs
}
