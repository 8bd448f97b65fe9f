// The record of a chaos run: JSON lines, written at the sockets and in the order of their time, that say what was asked of the
// gateway and what came of it. The checker (checker.ts) reads nothing else. Several processes of a run write a file each.

import { closeSync, openSync, readSync, writeSync } from 'node:fs'

export type Profile = 'SSE' | 'WEBSOCKET'
export type ResetReason = 'trimmed' | 'unknown' | 'ahead' | 'subscription'
/** What a join names: a room (`@public`: the feed), or a room and the types that are heard of it. */
export type Join = string | { room: string, types: string[] }

/** The first line: what was run, and what the checker may hold it to. */
export interface Run {
  t: number,
  f: 'run',
  seed: number,
  profile: Profile | 'both',
  store: 'embedded' | 'redis',
  workers: number
  /** `none`, or the faults' name. */
  fault: string
  commit?: string
  /** HISTORY_SIZE (events) and HISTORY_TTL, the only reasons for `trimmed`. */
  history?: { size: number, ttlMs: number }
  /** What must have happened, else the verdict is `unknown`: events received (1,000 if absent), and how many of the chains have
   * come back at least once (`all` if absent and there was a fault). */
  expect?: { received?: number, reconnects?: 'all' | 'some' | 'none' }
  /** Bounds: the resident memory of any gateway process, the ms in which each chain must be back, and in which publishing goes on
   * again after the last fault. None is checked that is not given. */
  limits?: { rssBytes?: number, backMs?: number, publishAgainMs?: number }
}

/** `value` is `<producer>-<counter>`, unique in the run; null deletes a key. A repeat with the same Idempotency-Key is an
 * operation of its own with the same value. `room` of a public event: `@public`. */
export interface PublishInvoke {
  t: number,
  f: 'publish',
  type: 'invoke',
  op: number,
  producer: string,
  room: string,
  event: string,
  key?: string,
  value: string | null
  idem?: string
  /** Seconds; the value may then be deleted without a publish. */
  ttl?: number
  /** Checksum of the JSON of `data`, where that is more than the value. */
  sum?: number
}
/** `info`: nobody knows. Cut, timed out, or refused with 503, which may come too late. */
type PublishResult =
  | { t: number, f: 'publish', type: 'ok', op: number, id: string }
  | { t: number, f: 'publish', type: 'fail', op: number, code: string }
  | { t: number, f: 'publish', type: 'info', op: number, why: string }

/** A chain is one logical client over all of its connections. Without `cursor` it starts as new. */
export interface ConnectInvoke {
  t: number,
  f: 'connect',
  type: 'invoke',
  chain: string,
  profile: Profile,
  rooms: Join[],
  cursor?: string
  /** What the chain's token may hear; absent: everything. */
  grants?: string[]
}
/** SSE: `hello`. WebSocket: `joined` of the first join, with its position, and hello's `session` and `head`. */
export type ConnectResult =
  | { t: number, f: 'connect', type: 'ok', chain: string, session: string, position: 'new' | 'resumed' | 'reset', head?: string }
  | { t: number, f: 'connect', type: 'fail', chain: string, code: string }
  | { t: number, f: 'connect', type: 'info', chain: string, why: string }

/** The snapshot of these rooms is complete. */
export interface Ready { t: number, f: 'ready', chain: string, rooms: string[] }

/** An event at the socket. `bundle` counts the bundles (messages, answers of a read) of the chain. A deletion is `value: null`. */
export interface Received {
  t: number,
  f: 'recv' | 'removed',
  chain: string,
  id: string,
  room: string,
  event: string,
  key?: string,
  value: string | null,
  bundle: number
  patched?: boolean
  sum?: number
}
export interface Reset { t: number, f: 'reset', chain: string, reason: ResetReason, rooms?: string[], missed?: number | null }

export interface Membership { t: number, f: 'join' | 'leave', type: 'invoke' | 'ok' | 'fail' | 'info', chain: string, room: Join, code?: string }

/** The end of a connection. `reason`: that of `bye`, where there was one. `code`: a socket's close code. */
export interface Close { t: number, f: 'close', chain: string, code?: number, reason?: string, by: 'server' | 'client' | 'fault' }

/** A read without a stream: what it brings follows as `recv`, before `ok`. */
export interface Read {
  t: number,
  f: 'read',
  type: 'invoke' | 'ok' | 'fail' | 'info',
  chain: string,
  room: string,
  cursor?: string,
  code?: string,
  why?: string
  position?: 'new' | 'resumed' | 'reset',
  more?: boolean
}

/** `evidence` shows that the fault hit, and stands on one of the two lines: a pid that is gone, bytes swallowed, a role changed.
 * `causes`: the resets that it may cause, once to each chain. */
export interface Fault {
  t: number, f: 'fault', type: 'start' | 'stop', fault: string, target?: string | number, evidence?: unknown, causes?: ResetReason[]
}
export interface Sample { t: number, f: 'sample', process: string, rssBytes: number, heapBytes?: number, fds?: number, sessions?: number, lagMs?: number }
/** The last event of a room, a fact, published when all faults were healed. Its `recv` ends the room for a chain. */
export interface Final { t: number, f: 'final', room: string, value: string, id: string }
/** The gateway's own counters, of all its processes together: before the first client, and after the last one has left. */
export interface Metrics { t: number, f: 'metrics', at: 'start' | 'end', values: Record<string, number> }

export type Line = Run | PublishInvoke | PublishResult | ConnectInvoke | ConnectResult | Ready | Received | Reset | Membership | Close | Read
  | Fault | Sample | Final | Metrics

/** Milliseconds of the one clock that all processes of this machine share, and that nobody sets. */
const now = (): number => {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + Math.round(nanoseconds / 1e3) / 1e3
}

type WithoutTime<L> = L extends Line ? Omit<L, 't'> & { t?: number } : never

/** Appends lines to a file. They are gathered to writes of 64 KiB: a line costs its JSON and little else. */
export class HistoryWriter {
  #file: number
  #text = ''

  constructor (path: string) {
    this.#file = openSync(path, 'w')
  }

  write (line: WithoutTime<Line>): void {
    const { t = now(), ...rest } = line
    this.#text += `${JSON.stringify({ t, ...rest })}\n`
    if (this.#text.length > 65536) this.flush()
  }

  flush (): void {
    if (this.#text !== '') writeSync(this.#file, this.#text)
    this.#text = ''
  }

  close (): void {
    this.flush()
    closeSync(this.#file)
  }
}

/** A line and where it stands: its file's number in the list, and its own, from 1. */
export interface Recorded { line: Line, file: number, number: number }

/** The lines of one file. A last line without its end belongs to a writer that was killed, and is left out. */
function * linesOf (path: string, file: number): Generator<Recorded> {
  const input = openSync(path, 'r')
  try {
    const chunk = Buffer.allocUnsafe(1 << 20)
    const decoder = new TextDecoder()
    let rest = ''
    let number = 0
    for (let length = readSync(input, chunk); length > 0; length = readSync(input, chunk)) {
      const lines = (rest + decoder.decode(chunk.subarray(0, length), { stream: true })).split('\n')
      rest = lines.pop() as string
      for (const text of lines) {
        number += 1
        if (text === '') continue
        try {
          yield { line: JSON.parse(text) as Line, file, number }
        } catch {
          throw new Error(`${path}:${number} is not a JSON line: ${text.slice(0, 100)}`)
        }
      }
    }
  } finally {
    closeSync(input)
  }
}

/** The lines of all files of a run, in the order of their time. */
export function * readHistory (...paths: string[]): Generator<Recorded> {
  const sources = paths.map((path, file) => linesOf(path, file))
  const heads = sources.map(source => source.next())
  for (;;) {
    let first = -1
    for (const [index, head] of heads.entries()) {
      if (head.done !== true && (first === -1 || head.value.line.t < (heads[first]?.value as Recorded).line.t)) first = index
    }
    const source = sources[first]
    if (source === undefined) return
    yield heads[first]?.value as Recorded
    heads[first] = source.next()
  }
}
