// The contract of a transport, as a session needs it. Both profiles implement it; the core knows nothing else of them.

import type { Entry } from './event.ts'
import type { ResetReason } from './standing.ts'

/** Events in id order and the position behind them. */
export interface Bundle {
  readonly entries: readonly Entry[]
  readonly cursor: string
  /** The bytes on the wire where they are not compressed, made by the profile on first use and shared by all connections the bundle goes to: those of one format. */
  frame?: Buffer
  /** The same for connections that are compressed. */
  compressed?: Buffer
}

/** A message of a session other than a bundle. `cursor` is the position a client has with it. */
export type Notice =
  | { readonly kind: 'reset', readonly reason: ResetReason, readonly missed: number | null, readonly rooms: readonly string[], readonly cursor: string }
  | { readonly kind: 'ready', readonly keys: number, readonly rooms: readonly string[], readonly cursor: string }

/** Why the gateway ends a connection. After each a client may return with its cursor, after TOKEN_EXPIRED with a new token. */
export type EndReason = 'DRAINING' | 'SWITCHED' | 'SLOW' | 'DISCONNECTED' | 'TOKEN_EXPIRED'

export interface Connection {
  /** How bundles become bytes. After a switch connections of both profiles hear the same for a moment, and only those of one format may share bytes. */
  readonly format: string
  /** Bytes handed over that the system has not taken yet. Above 0 nothing more is handed over. */
  readonly pending: number
  /** @returns the bytes handed over */
  send (bundle: Bundle): number
  tell (notice: Notice): void
  /**
   * A sign of life: it shows proxies and the client that the connection stands.
   * @param cursor the client's position, where the log has moved on with nothing for it; else null
   */
  ping (cursor: string | null): void
  /** Sends the reason and when to return, as far as the client still listens, and ends the connection. */
  close (reason: EndReason, retryMs: number): void
}
