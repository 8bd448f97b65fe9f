// The client asks the gateway which profile runs, listens over SSE or WebSocket, and keeps the newest value of every
// key. After any disconnect it reconnects from its cursor, over the profile that runs by then. It stops only if the
// gateway rejects the request itself, and then reports why.
//
//     link.ts       stays connected             stream.ts, socket.ts   one connection each
//     shared.ts     one link for many tabs      watchdog.ts            detects a dead connection
//     state.ts      the newest values           catch-up.ts            when a connection has caught up
//     profile.ts    what the gateway mounts     control.ts             commands
//     options.ts    what callers may pass      access.ts              tokens and cookies

import { Access } from './access.ts'
import { ControlError, run } from './control.ts'
import type { CommandResult, ControlOptions } from './control.ts'
import { Link } from './link.ts'
import { baseOf, checked, CONNECT } from './options.ts'
import type { ConnectOptions } from './options.ts'
import { fetchProfile } from './profile.ts'
import { canShare, SharedLink } from './shared.ts'
import { guarded, State } from './state.ts'
import { isBefore } from './wire.ts'
import type { Delivery, Event, Hello, Problem, Ready, Reset, Status } from './wire.ts'

/** The names for `box.on`, and what each listener receives. */
export interface Happenings {
  /** Each event once and in order; `state` already includes it. */
  event: Event
  status: Status
  hello: Hello
  reset: Reset
  ready: Ready
  /** Something was lost that the client can't restore: a message that nobody could read. Without a listener it goes to the console. */
  error: Problem
}

export interface Box {
  readonly status: Status
  readonly state: Pick<State, 'get' | 'entries' | 'subscribe' | 'size'>
  /** The cursor after everything that listeners have received; empty before the first. */
  readonly lastEventId: string
  /** @returns a function that removes the listener @throws TypeError if there is no such name */
  on: <Name extends keyof Happenings>(name: Name, listener: (happening: Happenings[Name]) => void) => () => void
  /**
   * Runs a command and waits for its result. The command runs once, even if it had to be sent again after a lost answer
   * or a rate limit.
   * @throws ControlError with the gateway's message and `code`
   */
  control: (command: string, args?: object, options?: ControlOptions) => Promise<CommandResult>
  close: () => void
}

/**
 * Connects and stays connected until `close`, or until the gateway rejects the request for good.
 * @param url the gateway's address; `/` is the page's own host
 * @throws TypeError if the URL cannot be one, or naming an option that is unknown or of the wrong type
 */
export function connect (url: string | URL, options: ConnectOptions = {}): Box {
  const base = baseOf(url)
  const { rooms = [], types = [], share = false, lastEventId = '', WebSocket: Socket = globalThis.WebSocket, ...identity } = checked(options, CONNECT)
  const access = new Access(identity)
  const listeners = Object.fromEntries(['event', 'status', 'hello', 'reset', 'ready', 'error'].map(name => [name, new Set()])) as { [Name in keyof Happenings]: Set<(happening: Happenings[Name]) => void> }
  const state = new State()
  let status: Status = { state: 'connecting' }
  let hello: Hello | null = null
  let cursor = lastEventId
  let link: Link | SharedLink | null = null

  const open = (): boolean => status.state !== 'closed'

  function emit<Name extends keyof Happenings> (name: Name, happening: Happenings[Name]): void {
    for (const listener of listeners[name]) guarded(() => listener(happening))
  }

  function deliver (delivery: Delivery): void {
    if (!open()) return
    switch (delivery.kind) {
      case 'events': {
        const fresh = delivery.data.filter(event => state.take(event))
        for (const event of fresh) if (open()) emit('event', event)
        if (fresh.some(({ key }) => key !== undefined)) state.changed()
        break
      }
      case 'reset':
        state.forget(delivery.data.rooms)
        emit('reset', delivery.data)
        state.changed()
        break
      case 'status':
        setStatus(delivery.data)
        break
      case 'hello':
      case 'ready':
      case 'error':
        if (delivery.kind === 'hello') hello = delivery.data
        if (delivery.kind === 'error' && listeners.error.size === 0) console.error(delivery.data.reason)
        emit(delivery.kind, delivery.data)
    }
    // Only after listeners ran: a cursor they save during that may repeat events, but never skips one.
    if (typeof delivery.cursor === 'string') cursor = delivery.cursor
  }

  function setStatus (now: Status): void {
    if (now.state === status.state && !('retryMs' in now)) return
    status = now
    // Before the first hello there are no values that could be stale.
    if (now.state === 'stale' && hello === null) {
      const { since, ...why } = now
      status = { ...why, state: 'connecting' }
    }
    emit('status', status)
  }

  const route = {
    fetch: access.fetch.bind(access),
    async address () {
      const profile = link?.profile ?? await fetchProfile(base, async url => await access.fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) }))
      if ('code' in profile) throw new Error(profile.reason)
      if (profile.control !== null) return base + profile.control
      if (profile.websocket === null) throw new ControlError('this gateway accepts no commands', 'NOT_MOUNTED', {})
      return null
    },
    ask: async (message: object, signal: AbortSignal) => await link?.ask(message, signal) ?? null
  }

  // Deferred, to let the caller add listeners first.
  queueMicrotask(() => {
    if (!open()) return
    const how = { base, rooms, types, access, Socket, cursor: () => cursor, deliver }
    const connectAlone = (): void => { if (open()) link = new Link(how) }
    if (!share || !canShare()) return connectAlone()
    access.who().then(who => {
      if (open()) link = new SharedLink(how, who, () => ({ hello, values: [...state.entries()].sort((a, b) => isBefore(a.id, b.id) ? -1 : 1), status }))
    }).catch(connectAlone)
  })
  return {
    get status () { return status },
    get lastEventId () { return cursor },
    state,
    on (name, listener) {
      if (!Object.hasOwn(listeners, name) || typeof listener !== 'function') throw new TypeError(`on() takes one of ${Object.keys(listeners).join(', ')} and a function, not ${JSON.stringify(name)} and ${typeof listener}`)
      listeners[name].add(listener)
      return () => { listeners[name].delete(listener) }
    },
    control: async (command, args = {}, options = {}) => await run(route, command, args, options),
    close () {
      link?.close()
      setStatus({ state: 'closed' })
    }
  }
}

const ANSWER_MS = 10_000
