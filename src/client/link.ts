// Stays connected until it is closed or rejected for good. It asks which profile runs, listens until the connection
// ends, and resumes from its cursor. A restart, even into the other profile, loses and repeats nothing.

import type { Access } from './access.ts'
import { catchUpOf } from './catch-up.ts'
import { ControlError } from './control.ts'
import { fetchProfile } from './profile.ts'
import { runSocket } from './socket.ts'
import { readStream } from './stream.ts'
import { watch } from './watchdog.ts'
import type { Watchdog } from './watchdog.ts'
import { backoff, deliveryOf, endOfBye, endOfRefusal, LOST, pause, readAnswer, REFUSED_MS, uniqueId } from './wire.ts'
import type { Carrier, Delivery, End, GatewayAnswer, Hello, Message, ProfileInfo, Request, Status, Wish } from './wire.ts'

export interface LinkOptions {
  /** The gateway's address, without a trailing slash. */
  readonly base_: string
  readonly access_: Access
  readonly Socket_: typeof WebSocket
  /** What to listen to, at least one room. */
  readonly wishes_: () => readonly Wish[]
  /** The cursor to resume from. */
  readonly cursor_: () => string
  /** How often values are to come over a new connection. */
  readonly pace_: () => Carrier['extras_']
  /** Called when the page is hidden or shown. */
  readonly look_: () => void
  /** @throws for a patch of a value that is not held */
  readonly deliver_: (delivery: Delivery) => void
  /** The values as of the cursor are held. */
  readonly isHolding_: boolean
  /** Called when bytes arrive from the gateway. */
  readonly alive_?: () => void
}

/** Sends a message of the protocol. @returns its answer; null if there is no connection, if it ends, or after the signal */
export type Ask = (message: { readonly action: string, readonly [field: string]: unknown }, signal: AbortSignal) => Promise<GatewayAnswer | null>

export interface Link {
  readonly ask_: Ask
  close_: () => void
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

const UNREADABLE: End = { code: 'UNREADABLE', reason: 'the gateway sent what cannot be read' }
const OFFLINE: End = { code: 'OFFLINE', reason: 'the device is offline' }

export function openLink ({ base_, access_, Socket_, wishes_, cursor_, pace_, look_, deliver_, isHolding_, alive_ }: LinkOptions): Link {
  const closed = new AbortController()
  /** Questions sent over the socket. */
  const pending = new Map<string, (answer: GatewayAnswer | null) => void>()
  let known: ProfileInfo | null = null
  let extras: Carrier['extras_'] = {}
  /** During an upgrade a newer gateway may answer for the profile, and an older one refuse what it does not know. */
  let isPlain = false
  let watchdog: Watchdog | null = null
  let heardAt = Date.now()
  /** In a row and of one kind. */
  let failures = 0
  let wasRefused = false
  let unreadableAt = -Infinity
  let ask: Ask | null = null
  /** Ends the current connection. */
  let cut: (end: End) => void = () => {}
  /** Ends a backoff. A wait that the gateway asked for is not shortened. */
  let hurry: () => void = () => {}

  const on = (target: unknown, name: string, act: () => void): void => (target as EventTarget | undefined)?.addEventListener?.(name, act, { signal: closed.signal })
  const back = (): void => {
    hurry()
    watchdog?.suspect_()
  }
  const { document: page } = globalThis
  on(globalThis, 'online', back)
  on(globalThis, 'pageshow', back)
  on(page, 'resume', back)
  on(page, 'visibilitychange', () => {
    if (!page.hidden) back()
    look_()
  })
  on(globalThis, 'offline', () => cut(OFFLINE))

  const setStatus = (data: Status): void => deliver_({ kind: 'status', data })

  async function stayConnected ({ signal }: AbortController): Promise<void> {
    while (!signal.aborted) {
      const { code, reason, retryMs, forGood_, needsToken_ } = await connect()
      if (signal.aborted) return
      if (code === 'TOKEN_EXPIRED') access_.forget_()
      if (!isPlain && /^BAD_/.test(code)) {
        isPlain = true
        continue
      }
      if (forGood_ && !(needsToken_ && access_.isRenewable_)) return setStatus({ state: 'refused', code, reason })
      // A refusal after a downtime is the first one.
      const isRefused = retryMs !== undefined
      if (isRefused !== wasRefused) failures = 0
      wasRefused = isRefused
      const waitMs = backoff(failures++, RETRY_MIN_MS, isRefused ? REFUSED_MAX_MS : RETRY_MAX_MS, retryMs)
      const stale = { state: 'stale', since: heardAt, code, reason } as const
      setStatus({ ...stale, retryMs: waitMs })
      const wait = new AbortController()
      hurry = () => wait.abort()
      const floorMs = retryMs ?? 0
      await pause(floorMs, signal)
      await pause(waitMs - floorMs, AbortSignal.any([signal, wait.signal]))
      setStatus({ ...stale, retryMs: null })
    }
  }

  /** One connection, from fetching the profile to its end. */
  async function connect (): Promise<End> {
    const ended = new AbortController()
    const signal_ = ended.signal
    let early: End | null = null
    cut = end => {
      early ??= end
      ended.abort()
    }
    const opening = setTimeout(() => cut(access_.isAsking_() ? { code: 'NO_TOKEN', reason: 'token() has not answered' } : noAnswer()), ANSWER_MS)
    const request_: Request = async (url, init) => await access_.fetch_(url, { ...init, signal: signal_ })
    let greetedAt = Infinity
    const catchUp = catchUpOf(setStatus)
    try {
      const askedAt = performance.now()
      const profile = await fetchProfile(base_, request_)
      if ('code' in profile) return profile
      known = profile
      const { stream, websocket, pingIntervalMs, auth, time = NaN } = profile
      // The answer was on its way for about half of the time.
      deliver_({ kind: 'profile', data: { ...profile, time: time + (performance.now() - askedAt) / 2 } })
      extras = isPlain ? {} : { ...isHolding_ && profile.features?.includes('patch') && { patch: 'merge' }, ...pace_() }
      const isStream = typeof stream === 'string'
      let ticket_ = ''
      if (!isStream) {
        if (typeof Socket_ !== 'function') return { code: 'NO_WEBSOCKET', reason: 'pass the option WebSocket: there is none', retryMs: REFUSED_MS }
        if (auth === true && await access_.token_(signal_) !== '') {
          const answer = await readAnswer(await request_(`${base_}/api/ticket`, { method: 'POST' }))
          if (typeof answer.body.ticket !== 'string') return endOfRefusal(answer)
          ticket_ = `?ticket=${answer.body.ticket}`
        }
      }

      let hello: Partial<Hello> = {}
      const take = ({ event, data, id, ref }: Message): End | null => {
        if (event === 'bye') return endOfBye(data.reason, data.retryMs)
        const { statusCode, retryMs, position, cursor = null } = data ?? {}
        const answer: GatewayAnswer = { status: statusCode ?? 200, body: data, retryMs }
        if (ref !== undefined) {
          pending.get(ref)?.(answer)
          pending.delete(ref)
        } else if (event === 'error') {
          if (answer.status === 401) access_.forget_()
          return endOfRefusal(answer)
        }
        if (event === 'hello') {
          hello = data
          // Over the socket it is a greeting only with the position of the first join.
          if (!isStream) return null
        }
        const isJoined = event === 'joined' && ref === undefined
        const delivery = deliveryOf(ref !== undefined ? 'position' : isJoined ? 'hello' : event, isJoined ? { ...hello, position } : data, id ?? cursor)
        if (delivery === null || signal_.aborted) return null
        if (delivery.kind === 'hello') {
          greetedAt = performance.now()
          clearTimeout(opening)
          watchdog ??= watch(pingIntervalMs, () => send?.({ action: 'ping' }), () => cut({ code: 'SILENT', reason: 'the gateway has gone silent' }))
          if (isStream) ask = askStream
        }
        deliver_(delivery)
        catchUp.take_(delivery)
        return null
      }

      /** What an earlier connection joined does not count. */
      const askStream: Ask = async (message, signal) => {
        const answer = await access_.post_(`${base_}${stream}/${hello.session}`, message, { signal })
        return ask === askStream && answer.body.code !== 'SESSION_NOT_FOUND' ? answer : null
      }

      let send: ((message: object) => void) | null = null
      const carrier = {
        wishes_: wishes_(),
        cursor_: cursor_(),
        extras_: extras,
        request_,
        signal_,
        alive_ () {
          heardAt = Date.now()
          watchdog?.alive_()
          alive_?.()
        },
        hear_ (read: () => Message, cursor: string | null): End | null {
          try {
            return take(read())
          } catch {
            isHolding_ = false
            const now = performance.now()
            // Before the greeting a stranger may be speaking.
            if (greetedAt === Infinity) return UNREADABLE
            if (now - unreadableAt > REREAD_MS) {
              unreadableAt = now
              return UNREADABLE
            }
            deliver_({ kind: 'error', data: { ...UNREADABLE, reason: `${UNREADABLE.reason}; it was passed over` }, cursor })
            return null
          }
        },
        Socket_,
        ticket_,
        onOpen_ (speak: (message: object) => void) {
          send = speak
          ask = async (message, signal) => await new Promise(resolve => {
            const ref = uniqueId()
            pending.set(ref, resolve)
            signal.addEventListener('abort', () => {
              pending.delete(ref)
              resolve(null)
            })
            speak({ ...message, ref })
          })
        }
      }
      signal_.throwIfAborted()
      return isStream ? await readStream(base_ + stream, carrier) : await runSocket(`${base_}${websocket}`, carrier)
    } catch (error) {
      if (error instanceof ControlError) return { code: error.code, reason: error.message }
      // Messages of fetch differ between browsers, and a socket has none.
      if (globalThis.navigator?.onLine === false) return OFFLINE
      if (early !== null || greetedAt < Infinity) return early ?? LOST
      // Browsers hide the reason from the page.
      const isStranger = !`${base_}/`.startsWith(`${globalThis.location?.origin ?? base_}/`)
      return { code: 'UNREACHABLE', reason: `the gateway does not answer${isStranger ? ', or CORS_ORIGINS does not list this origin' : ''}` }
    } finally {
      clearTimeout(opening)
      catchUp.end_()
      watchdog?.stop_()
      watchdog = ask = null
      for (const resolve of pending.values()) resolve(null)
      pending.clear()
      if (performance.now() - greetedAt > STABLE_MS) failures = 0
    }
  }

  function noAnswer (): End {
    // A browser holds a seventh request back in silence.
    const isFull = page !== undefined && typeof known?.websocket !== 'string'
    return { code: 'UNREACHABLE', reason: `the gateway has not answered for ${ANSWER_MS / 1000} s${isFull ? ', or other tabs hold the six connections of a browser: use share: true or HTTP/2' : ''}` }
  }

  void stayConnected(closed)
  return {
    ask_: async (message, signal) => await ask?.(message.action === 'join' ? { ...message, patch: extras.patch } : message, signal) ?? null,
    close_ () {
      closed.abort()
      cut(LOST)
    }
  }
}
