// What a program sees of its gateway. Types only: nothing here reaches into the rest, so a program gets no more of it than this.

import type { Event } from '../core/event.ts'

/** An event to be published; `Events` maps types to the data of their events. */
export type NewEvent<Events extends object = Record<string, unknown>> = {
  [Type in keyof Events & string]: {
    readonly type: Type
    /** Who hears it. Absent: a public event. */
    readonly room?: string | null | undefined
    /** Present: state, the newest value per (room, type, key) wins. Absent: a fact, every one is delivered. */
    readonly key?: string | null | undefined
    /** Any JSON value; null on a keyed event deletes the key. */
    readonly data: Events[Type] | null
    /** Milliseconds since 1970. Absent: now. */
    readonly timestamp?: number | null | undefined
    /** Seconds after which the value of a key ends by itself. */
    readonly ttl?: number | null | undefined
  }
}[keyof Events & string]

/** An event as it is read; `Events` maps types to the data of their events. */
export type ReadEvent<Events extends object = Record<string, unknown>> = {
  [Type in keyof Events & string]: Omit<Event, 'type' | 'data'> & { readonly type: Type, readonly data: Events[Type] | null }
}[keyof Events & string]

export interface Once {
  /** Makes a repeat return the first answer, for idempotencyTtl seconds. */
  readonly idempotencyKey?: string | undefined
}

export interface ReadRequest {
  /** Rooms, each with the types of `types` or with its own. Default: the public feed. */
  readonly rooms?: ReadonlyArray<string | { readonly room: string, readonly types?: readonly string[] }> | undefined
  /** Default: every type. */
  readonly types?: readonly string[] | undefined
  /** The cursor of an earlier answer. Without it: the present values. */
  readonly lastEventId?: string | null | undefined
  /** Seconds to wait where nothing is new since `lastEventId`, 0 to 60. Default 0. */
  readonly wait?: number | undefined
}

export interface ReadAnswer<Events extends object = Record<string, unknown>> {
  /** `new`: the present values; `resumed`: what is new since the cursor; `reset`: forget what you have, these are the present values. */
  readonly position: 'new' | 'resumed' | 'reset'
  /** The next `lastEventId`, here or of a page's stream. */
  readonly cursor: string
  readonly reset: { readonly reason: string, readonly missed: number | null } | null
  /** Ask again at once. */
  readonly more: boolean
  readonly events: ReadonlyArray<ReadEvent<Events>>
}

/** What became of a command. One that failed is thrown, with the code COMMAND_FAILED. */
export interface CommandAnswer {
  readonly id: string
  readonly command: string
  /** `running`: it takes longer than commandTimeout; `unknown`: it was started, and its outcome was lost. */
  readonly status: 'done' | 'running' | 'unknown'
  readonly result?: unknown
  /** The result was too large to be kept for a repeat. */
  readonly resultOmitted?: true | undefined
}

/** A gateway in this process. What it refuses is thrown as an error with `code` and `statusCode`, as in docs/protocol.md. */
export interface Signalbox<Events extends object = Record<string, unknown>> {
  /**
   * Publishes one event, or up to 1000: all or none.
   * @returns their ids, once the events are durable
   */
  publish<Typed extends object = Events> (events: NewEvent<Typed> | ReadonlyArray<NewEvent<Typed>>, options?: Once): Promise<string[]>
  /** Reads once, without a stream: what GET /api/events answers. */
  read<Typed extends object = Events> (request?: ReadRequest): Promise<ReadAnswer<Typed>>
  /** Runs a command, as POST /api/control does. */
  control (command: string, args?: Readonly<Record<string, unknown>>, options?: Once): Promise<CommandAnswer>
  /**
   * Calls `listener` with each room that gets its first member in the whole deployment, or has had none for a second. Rooms
   * that are occupied already come at once. An error that it throws, or rejects with, is logged.
   * @returns what ends it
   */
  on (change: 'occupied' | 'vacated', listener: (room: string) => unknown): () => void
  /** Refuses what is new, finishes what is under way, and ends all connections so that clients come back. Closing does it too. Idempotent. */
  drain (): Promise<void>
}
