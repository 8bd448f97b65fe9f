// Stays connected until it is closed or rejected for good. It asks which profile runs, listens until the connection
// ends, and resumes from its cursor. A restart, even into the other profile, loses and repeats nothing.

import type { Access } from './access.ts'
import { CatchUp } from './catch-up.ts'
import { ControlError } from './control.ts'
import { fetchProfile } from './profile.ts'
import type { ProfileInfo } from './profile.ts'
import { socketTransport } from './socket.ts'
import { streamTransport } from './stream.ts'
import { Watchdog } from './watchdog.ts'
import { backoff, endOfRefusal, LOST, pause, readAnswer, REFUSED_MS, uniqueId } from './wire.ts'
import type { Delivery, End, GatewayAnswer, Problem, Request, Status, TransportOptions } from './wire.ts'

export interface LinkOptions {
  /** The gateway's address, without a trailing slash. */
  readonly base: string
  readonly rooms: readonly string[]
  readonly types: readonly string[]
  readonly access: Access
  readonly Socket: typeof WebSocket
  /** The cursor to resume from. */
  readonly cursor: () => string
  readonly deliver: (delivery: Delivery) => void
  /** Called when bytes arrive from the gateway. */
  readonly alive?: () => void
}

const RETRY_MIN_MS = 1000
/** While nobody answers, an attempt costs nobody anything, and the end of a downtime should be noticed soon. */
const RETRY_MAX_MS = 5000
/** Each attempt costs the gateway a refusal: a full room can have hundreds of clients at its door. */
const REFUSED_MAX_MS = 30_000
/** After a connection this long the backoff starts again from its minimum. */
const STABLE_MS = 5000
/** Time limit for the gateway to answer and say hello. */
const ANSWER_MS = 15_000

/**
 * A message that could not be read is asked for again, by reconnecting, since it may have been damaged on its way. After that,
 * for this long, further ones are passed over: reconnecting would go on for ever.
 */
const REREAD_MS = 60_000

const UNREADABLE: End = { code: 'UNREADABLE', reason: 'the gateway sent a message that cannot be read' }
const PASSED_OVER: Problem = { code: 'UNREADABLE', reason: `${UNREADABLE.reason}; it was passed over, and its events are missing` }
const NO_WEBSOCKET: End = { code: 'NO_WEBSOCKET', reason: 'this platform has no WebSocket: pass the option WebSocket', retryMs: REFUSED_MS }
const NO_TOKEN: End = { code: 'NO_TOKEN', reason: 'the token function has not answered' }
const OFFLINE: End = { code: 'OFFLINE', reason: 'this device is offline' }

export class Link {
  /** The gateway's last answer. */
  profile: ProfileInfo | null = null

  readonly #options: LinkOptions
  readonly #closed = new AbortController()
  readonly #pending = new Map<string, (answer: GatewayAnswer | null) => void>()
  #watchdog: Watchdog | null = null
  #heardAt = Date.now()
  /** In a row and of one kind. */
  #failures = 0
  #wasRefused = false
  #unreadableAt = -Infinity
  #send: ((message: object) => void) | null = null
  /** Ends the current connection. */
  #cut: (end: End) => void = () => {}
  /** Ends a backoff. A wait that the gateway asked for is not shortened. */
  #hurry: () => void = () => {}

  constructor (options: LinkOptions) {
    this.#options = options
    const { signal } = this.#closed
    const on = (target: unknown, name: string, act: () => void): void => (target as EventTarget | undefined)?.addEventListener?.(name, act, { signal })
    const back = (): void => {
      this.#hurry()
      this.#watchdog?.suspect()
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

  /** Sends a message over the socket. @returns its answer; null if there is no socket, if it closes, or after the signal */
  async ask (message: object, signal: AbortSignal): Promise<GatewayAnswer | null> {
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
      const { access } = this.#options
      const { code, reason, retryMs, forGood, needsToken } = await this.#connect()
      if (signal.aborted) return
      if (code === 'TOKEN_EXPIRED') access.forget()
      if (forGood === true && !(needsToken === true && access.isRenewable)) return this.#setStatus({ state: 'refused', code, reason })
      const waitMs = this.#backoff(retryMs)
      const stale = { state: 'stale', since: this.#heardAt, code, reason } as const
      this.#setStatus({ ...stale, retryMs: waitMs })
      const wait = new AbortController()
      this.#hurry = () => wait.abort()
      await pause(retryMs ?? 0, signal)
      await pause(waitMs - (retryMs ?? 0), AbortSignal.any([signal, wait.signal]))
      this.#setStatus({ ...stale, retryMs: null })
    }
  }

  /** @param floorMs the time that the gateway asked for */
  #backoff (floorMs: number | undefined): number {
    const isRefused = floorMs !== undefined
    // A refusal after a downtime is the first one.
    if (isRefused !== this.#wasRefused) this.#failures = 0
    this.#wasRefused = isRefused
    return backoff(this.#failures++, RETRY_MIN_MS, isRefused ? REFUSED_MAX_MS : RETRY_MAX_MS, floorMs)
  }

  /** One connection, from fetching the profile to its end. */
  async #connect (): Promise<End> {
    const { base, rooms, types, access, Socket, cursor } = this.#options
    const ended = new AbortController()
    let early: End | null = null
    const cut = (end: End): void => {
      early ??= end
      ended.abort()
    }
    this.#cut = cut
    const opening = setTimeout(() => cut(access.isAsking ? NO_TOKEN : this.#noAnswer()), ANSWER_MS)
    const request: Request = async (url, init) => await access.fetch(url, { ...init, signal: ended.signal })
    let greetedAt = Infinity
    const catchUp = new CatchUp(status => this.#setStatus(status))
    try {
      const profile = await fetchProfile(base, request)
      if ('code' in profile) return profile
      this.profile = profile
      const { stream, websocket, pingIntervalMs, auth } = profile
      let ticket = ''
      if (typeof stream !== 'string') {
        if (typeof Socket !== 'function') return NO_WEBSOCKET
        if (auth === true && await access.token(ended.signal) !== '') {
          const answer = await readAnswer(await request(`${base}/api/ticket`, { method: 'POST' }))
          if (typeof answer.body.ticket !== 'string') return endOfRefusal(answer)
          ticket = `?ticket=${answer.body.ticket}`
        }
      }
      const options: TransportOptions = {
        rooms,
        types,
        cursor: cursor(),
        request,
        ticket,
        forget: () => access.forget(),
        signal: ended.signal,
        alive: () => {
          this.#heardAt = Date.now()
          this.#watchdog?.alive()
          this.#options.alive?.()
        },
        deliver: delivery => {
          if (ended.signal.aborted) return
          if (delivery.kind === 'hello') {
            greetedAt = performance.now()
            clearTimeout(opening)
            this.#watchdog ??= new Watchdog({
              intervalMs: pingIntervalMs,
              probe: () => this.#send?.({ action: 'ping' }),
              onDead: () => cut({ code: 'SILENT', reason: 'the gateway has gone silent' })
            })
          }
          this.#options.deliver(delivery)
          catchUp.take(delivery)
        },
        unreadable: cursor => {
          // Before the greeting a stranger may be speaking.
          if (greetedAt === Infinity) return UNREADABLE
          if (performance.now() - this.#unreadableAt > REREAD_MS) {
            this.#unreadableAt = performance.now()
            return UNREADABLE
          }
          this.#options.deliver({ kind: 'error', data: PASSED_OVER, cursor })
          return null
        },
        onOpen: send => { this.#send = send },
        onAnswer: (ref, answer) => {
          this.#pending.get(ref)?.(answer)
          this.#pending.delete(ref)
        }
      }
      ended.signal.throwIfAborted()
      if (typeof stream === 'string') return await streamTransport(base + stream, options)
      return await socketTransport(Socket)(base + String(websocket), options)
    } catch (error) {
      if (error instanceof ControlError) return { code: error.code, reason: error.message }
      // Messages of fetch differ between browsers, and a socket has none.
      if (globalThis.navigator?.onLine === false) return OFFLINE
      if (early !== null || greetedAt < Infinity) return early ?? LOST
      // Browsers hide the reason from the page.
      const isStranger = !`${base}/`.startsWith(`${globalThis.location?.origin ?? base}/`)
      return { code: 'UNREACHABLE', reason: `the gateway does not answer${isStranger ? ", or this page's origin is not in its CORS_ORIGINS" : ''}` }
    } finally {
      clearTimeout(opening)
      catchUp.end()
      this.#watchdog?.stop()
      this.#watchdog = null
      this.#send = null
      for (const resolve of this.#pending.values()) resolve(null)
      this.#pending.clear()
      if (performance.now() - greetedAt > STABLE_MS) this.#failures = 0
    }
  }

  #noAnswer (): End {
    // A browser holds a seventh request back in silence.
    const isFull = globalThis.document !== undefined && typeof this.profile?.websocket !== 'string'
    return { code: 'UNREACHABLE', reason: `the gateway has not answered for ${ANSWER_MS / 1000} s${isFull ? ', or other tabs hold the six connections of a browser to a host: use share: true, or HTTP/2' : ''}` }
  }

  #setStatus (status: Status): void {
    this.#options.deliver({ kind: 'status', data: status, cursor: null })
  }
}
