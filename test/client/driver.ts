// Drives a client in this process or in a page of a real browser. Everything its listeners receive is recorded in order, and
// a test reads the same log from both.

import type { ConnectOptions, Event, Hello, Joined, Left, Problem, Ready, Reset, RoomName, Status } from '../../src/client/index.ts'
import type { Test } from '../tools/daemon.ts'

/** What a listener received. `values`: listeners of `state.subscribe`, with the size; `mistake`: an uncaught error. */
export type Happening = { /** Milliseconds since 1970. */ readonly at: number } & (
  | { readonly name: 'event', readonly value: Event }
  | { readonly name: 'status', readonly value: Status }
  | { readonly name: 'hello', readonly value: Hello }
  | { readonly name: 'reset', readonly value: Reset }
  | { readonly name: 'ready', readonly value: Ready }
  | { readonly name: 'error', readonly value: Problem }
  | { readonly name: 'values', readonly value: number }
  | { readonly name: 'mistake', readonly value: string }
)

export type HappeningValue<Name extends Happening['name']> = Extract<Happening, { readonly name: Name }>['value']

export type RemoteOptions = Pick<ConnectOptions, 'rooms' | 'types' | 'share' | 'lastEventId' | 'credentials' | 'paceMs' | 'pauseHidden'> & {
  /** A function stays in this process: a page calls it here. */
  readonly token?: string | (() => string) | undefined
}

export interface RemoteCommandOptions {
  readonly idempotencyKey?: string
  /** Aborts the waiting after this long. */
  readonly abortMs?: number
}

export interface RemoteOutcome {
  readonly id?: string
  readonly command?: string
  readonly result?: unknown
  /** If it threw. */
  readonly error?: { readonly name: string, readonly message: string, readonly code?: unknown }
}

/** A client in this process or in a page. */
export interface Remote {
  /** The log, from this index on. */
  happenings (from: number): Promise<readonly Happening[]>
  status (): Promise<Status>
  value (room: string, type: string, key: string): Promise<Event | undefined>
  entries (): Promise<readonly Event[]>
  size (): Promise<number>
  /** Never throws. */
  control (command: string, args?: object, order?: RemoteCommandOptions): Promise<RemoteOutcome>
  /** Never throw. */
  join (rooms: ReadonlyArray<string | RoomName>): Promise<RemoteOutcome & Partial<Joined>>
  leave (rooms: readonly string[]): Promise<RemoteOutcome & Partial<Left>>
  close (): Promise<void>
}

export interface Driver {
  readonly name: string
  /** Why it is not available here. */
  readonly skip?: string | false
  open (t: Test, url: string, options?: RemoteOptions): Promise<Remote>
}
