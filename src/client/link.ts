// Stays connected until it is closed, or refused for good: asks which profile runs, hears it to the end of the
// connection, and comes back from where it stood. So a restart, even into the other profile, loses and repeats nothing.

import { hearSocket } from './socket.ts'
import { hearStream } from './stream.ts'
import { Watch } from './watch.ts'
import { answerOf, endOfRefusal, LOST, pause, uniqueId } from './wire.ts'
import type { Answer, Call, End, Hello, Message, ProfileName, Status } from './wire.ts'

/** GET /api/profile, as far as it matters here. */
export interface Profile {
  readonly stream: string | null
  readonly websocket: string | null
  readonly control: string | null
  readonly pingIntervalMs: number
}

export interface LinkOptions {
  /** Where the gateway is, without a slash at the end. */
  readonly base: string
  readonly rooms: readonly string[]
  readonly types: readonly string[]
  /** What every request carries. */
  readonly headers: () => Promise<Record<string, string>>
  readonly Socket: typeof WebSocket
  /** Where to go on from. */
  readonly cursor: () => string
  readonly deliver: (message: Message) => void
  /** The gateway was heard. */
  readonly alive?: () => void
}

const RETRY_MIN_MS = 1000
const RETRY_MAX_MS = 30_000
/** A connection that stood so long was a good one: the next failure counts as the first. */
const STABLE_MS = 5000
/** Until the gateway has answered, and said hello. */
const ANSWER_MS = 15_000
/** A client that was sent nothing for so long has nothing left to catch up with. */
const QUIET_MS = 1000

const OFFLINE: End = { code: 'OFFLINE', reason: 'this device is offline' }

export class Link {
  /** As the gateway told it last. */
  profile: Profile | null = null

  readonly #options: LinkOptions
  readonly #closed = new AbortController()
  readonly #pending = new Map<string, (answer: Answer | null) => void>()
  #watch: Watch | null = null
  #heardAt = Date.now()
  #failures = 0
  #send: ((message: object) => void) | null = null
  /** Ends what goes on just now. */
  #cut: (end: End) => void = () => {}
  /** Ends a wait that nobody has ordered. */
  #hurry: () => void = () => {}

  constructor (options: LinkOptions) {
    this.#options = options
    const { signal } = this.#closed
    const on = (target: unknown, name: string, act: () => void): void => (target as EventTarget | undefined)?.addEventListener?.(name, act, { signal })
    const back = (): void => {
      this.#hurry()
      this.#watch?.suspect()
    }
    on(globalThis, 'online', back)
    on(globalThis, 'pageshow', back)
    on(globalThis.document, 'resume', back)
    on(globalThis.document, 'visibilitychange', () => { if (!document.hidden) back() })
    on(globalThis, 'offline', () => this.#cut(OFFLINE))
    void this.#stayConnected()
  }

  close (): void {
    this.#closed.abort()
    this.#cut(LOST)
  }

  /** Sends a message over the socket. @returns its answer; null where there is no connection for it, or no longer, or none before the signal */
  async ask (message: object, signal: AbortSignal): Promise<Answer | null> {
    const send = this.#send
    if (send === null || signal.aborted) return null
    const ref = uniqueId()
    return await new Promise(resolve => {
      this.#pending.set(ref, resolve)
      signal.addEventListener('abort', () => {
        this.#pending.delete(ref)
        resolve(null)
      })
      send({ ...message, ref })
    })
  }

  async #stayConnected (): Promise<void> {
    const { signal } = this.#closed
    while (!signal.aborted) {
      const { code, reason, retryMs, forGood } = await this.#connect()
      if (signal.aborted) return
      if (forGood === true) return this.#become({ state: 'refused', code, reason })
      const waitMs = retryMs ?? this.#backoff()
      const stale = { state: 'stale', since: this.#heardAt, code, reason } as const
      this.#become({ ...stale, retryMs: waitMs })
      const wait = new AbortController()
      // Where the gateway has said when to come, it is not asked before.
      if (retryMs === undefined) this.#hurry = () => wait.abort()
      await pause(waitMs, AbortSignal.any([signal, wait.signal]))
      this.#become({ ...stale, retryMs: null })
    }
  }

  /** Full jitter: clients that lost the gateway together do not come back together. */
  #backoff (): number {
    return Math.round(Math.random() * Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#failures++))
  }

  /** One connection, from the question after the profile to its end. */
  async #connect (): Promise<End> {
    const { base, rooms, types, headers, Socket, cursor } = this.#options
    const ended = new AbortController()
    let early: End | null = null
    const cut = (end: End): void => {
      early ??= end
      ended.abort()
    }
    this.#cut = cut
    const opening = setTimeout(() => ended.abort(), ANSWER_MS)
    let greetedAt = Infinity
    const standing = new Standing(status => this.#become(status))
    try {
      const profile = await askProfile(base, await headers(), ended.signal)
      if ('code' in profile) return profile
      this.profile = profile
      const { stream, websocket, pingIntervalMs } = profile
      const call: Call = {
        rooms,
        types,
        cursor: cursor(),
        headers: await headers(),
        signal: ended.signal,
        alive: () => {
          this.#heardAt = Date.now()
          this.#watch?.alive()
          this.#options.alive?.()
        },
        take: message => {
          if (ended.signal.aborted) return
          if (message.kind === 'hello') {
            greetedAt = performance.now()
            clearTimeout(opening)
            this.#watch ??= new Watch({
              intervalMs: pingIntervalMs,
              probe: () => this.#send?.({ action: 'ping' }),
              onDead: () => cut({ code: 'SILENT', reason: 'nothing was heard of the gateway any more' })
            })
          }
          this.#options.deliver(message)
          standing.take(message)
        },
        speak: send => { this.#send = send },
        answer: (ref, answer) => {
          this.#pending.get(ref)?.(answer)
          this.#pending.delete(ref)
        }
      }
      ended.signal.throwIfAborted()
      if (stream !== null) return await hearStream(base + stream, call)
      return await hearSocket(Socket)(base + String(websocket), call)
    } catch {
      // What fetch says differs from browser to browser, and a socket says nothing.
      if (globalThis.navigator?.onLine === false) return OFFLINE
      if (early !== null || greetedAt < Infinity) return early ?? LOST
      // Nor do browsers tell a page of another origin that it is not wanted.
      const isStranger = !`${base}/`.startsWith(`${globalThis.location?.origin ?? base}/`)
      return { code: 'UNREACHABLE', reason: `the gateway does not answer${isStranger ? ", or this page's origin is not in its CORS_ORIGINS" : ''}` }
    } finally {
      clearTimeout(opening)
      standing.end()
      this.#watch?.stop()
      this.#watch = null
      this.#send = null
      for (const resolve of this.#pending.values()) resolve(null)
      this.#pending.clear()
      if (performance.now() - greetedAt > STABLE_MS) this.#failures = 0
    }
  }

  #become (status: Status): void {
    this.#options.deliver({ kind: 'status', data: status, cursor: null })
  }
}

/** Whether a connection has caught up: all present values have come, and what had happened when it was made. */
class Standing {
  readonly #become: (status: Status) => void
  #profile: ProfileName = 'SSE'
  #head = ''
  #snapshot = false
  #behind = false
  #quiet: ReturnType<typeof setTimeout> | undefined

  constructor (become: (status: Status) => void) {
    this.#become = become
  }

  take ({ kind, data }: Message): void {
    switch (kind) {
      case 'hello':
      case 'reset': {
        const { profile = this.#profile, head = this.#head, position } = data as Partial<Hello>
        this.#profile = profile
        this.#head = head
        this.#snapshot = position !== 'resumed'
        this.#behind = position !== 'new'
        this.#become({ state: 'catching-up', profile })
        this.#wait()
        break
      }
      case 'ready':
        this.#snapshot = false
        this.#settle()
        break
      case 'events': {
        // Present values run ahead of facts that are still owed.
        const last = data.findLast(({ key }) => key === undefined) ?? data.at(-1)
        if (!this.#behind || last === undefined) break
        if (isBefore(last.id, this.#head)) this.#wait()
        else this.#arrive()
      }
    }
  }

  end (): void {
    clearTimeout(this.#quiet)
  }

  #wait (): void {
    clearTimeout(this.#quiet)
    this.#quiet = setTimeout(() => this.#arrive(), QUIET_MS)
  }

  #arrive (): void {
    clearTimeout(this.#quiet)
    this.#behind = false
    this.#settle()
  }

  #settle (): void {
    if (!this.#snapshot && !this.#behind) this.#become({ state: 'connected', profile: this.#profile })
  }
}

/** Which profile runs, and where it is mounted. */
export async function askProfile (base: string, headers: Record<string, string>, signal: AbortSignal): Promise<Profile | End> {
  const response = await fetch(`${base}/api/profile`, { headers, cache: 'no-store', signal })
  return response.ok ? await response.json() as Profile : endOfRefusal(await answerOf(response))
}

/** Of two ids `<ms>-<n>`. */
export function isBefore (id: string, other: string): boolean {
  const [ms = 0, n = 0] = id.split('-').map(Number)
  const [otherMs = 0, otherN = 0] = other.split('-').map(Number)
  return ms === otherMs ? n < otherN : ms < otherMs
}
