// The client: it asks the gateway which profile runs, listens over SSE or WebSocket, and keeps the newest value of
// every key. After any end it comes back from its cursor, over whichever profile runs then. Only where the gateway
// refuses what is asked for does it stop, and says why.
//
//     link.ts      stays connected          stream.ts, socket.ts   one connection each
//     shared.ts    a link for many tabs     watch.ts               whether it still stands
//     state.ts     the newest values        control.ts             commands

import { ControlError, run } from './control.ts'
import type { CommandResult, ControlOptions } from './control.ts'
import { Link } from './link.ts'
import { fetchProfile } from './profile.ts'
import { canShare, SharedLink } from './shared.ts'
import { guarded, State } from './state.ts'
import { isBefore } from './wire.ts'
import type { Delivery, Event, Hello, Ready, Reset, Status } from './wire.ts'

export interface ConnectOptions {
  /** Rooms to hear; none: the public feed. */
  readonly rooms?: readonly string[]
  /** Types to hear in them; none: every type. */
  readonly types?: readonly string[]
  /**
   * Tabs of this browser that ask for the same share one connection. Needs a page over HTTPS or on localhost;
   * elsewhere each tab has its own. Default false.
   */
  readonly share?: boolean
  /** Where to go on from: a cursor that was kept, such as `box.lastEventId`. Without one everything present comes first. */
  readonly lastEventId?: string
  /** Sent with every HTTP request as `Authorization: Bearer`; a function is asked each time. The gateway does not ask for tokens yet. */
  readonly token?: string | (() => string | Promise<string>)
  /** The class to open sockets with, where the platform has none. */
  readonly WebSocket?: typeof WebSocket
}

/** What can be listened to, and what a listener is given. */
export interface Happenings {
  /** An event, each once and in order; `state` knows it already. */
  event: Event
  status: Status
  hello: Hello
  reset: Reset
  ready: Ready
}

export interface Box {
  readonly status: Status
  readonly state: Pick<State, 'get' | 'entries' | 'subscribe' | 'size'>
  /** The cursor behind all that was handed out; empty before there is one. */
  readonly lastEventId: string
  /** @returns what ends the listening */
  on: <Name extends keyof Happenings>(name: Name, listener: (happening: Happenings[Name]) => void) => () => void
  /**
   * Runs a command and waits for its end. Sent again after a lost answer or where it came too often, it is still carried
   * out once.
   * @throws ControlError with the refusal's message and `code`
   */
  control: (command: string, args?: object, options?: ControlOptions) => Promise<CommandResult>
  close: () => void
}

/**
 * Connects, and stays connected until `close`, or until the gateway refuses for good what is asked for.
 * @param url where the gateway is: `/` for the page's own host
 */
export function connect (url: string, { rooms = [], types = [], share = false, lastEventId = '', token, WebSocket: Socket = globalThis.WebSocket }: ConnectOptions = {}): Box {
  const base = new URL(url, globalThis.location?.href).href.replace(/\/+$/, '')
  const listeners: { [Name in keyof Happenings]: Set<(happening: Happenings[Name]) => void> } = {
    event: new Set(), status: new Set(), hello: new Set(), reset: new Set(), ready: new Set()
  }
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
      case 'hello':
        hello = delivery.data
        emit('hello', hello)
        break
      case 'ready':
        emit('ready', delivery.data)
        break
      case 'status':
        setStatus(delivery.data)
    }
    // Behind what was handed out: kept by a listener, it repeats rather than loses.
    if (typeof delivery.cursor === 'string') cursor = delivery.cursor
  }

  function setStatus (now: Status): void {
    if (now.state === status.state && !('retryMs' in now)) return
    status = now
    // Of a gateway that was never heard nothing is shown that could be old.
    if (now.state === 'stale' && hello === null) {
      const { since, ...why } = now
      status = { ...why, state: 'connecting' }
    }
    emit('status', status)
  }

  const headers = async (): Promise<Record<string, string>> =>
    token === undefined ? {} : { Authorization: `Bearer ${typeof token === 'function' ? await token() : token}` }

  const route = {
    headers,
    async address () {
      const profile = link?.profile ?? await fetchProfile(base, await headers(), AbortSignal.timeout(ANSWER_MS))
      if ('code' in profile) throw new Error(profile.reason)
      if (profile.control !== null) return base + profile.control
      if (profile.websocket === null) throw new ControlError('this gateway takes no commands', 'NOT_MOUNTED', {})
      return null
    },
    ask: async (message: object, signal: AbortSignal) => await link?.ask(message, signal) ?? null
  }

  // Later, so that whoever connects can listen first.
  queueMicrotask(() => {
    if (!open()) return
    const options = { base, rooms, types, headers, Socket, cursor: () => cursor, deliver }
    link = share && canShare()
      ? new SharedLink(options, () => ({ hello, values: [...state.entries()].sort((a, b) => isBefore(a.id, b.id) ? -1 : 1), status }))
      : new Link(options)
  })
  return {
    get status () { return status },
    get lastEventId () { return cursor },
    state,
    on (name, listener) {
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
