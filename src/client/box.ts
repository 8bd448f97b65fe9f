// The client asks the gateway which profile runs, listens over SSE or WebSocket, and keeps the newest value of every
// key. After any disconnect it reconnects from its cursor, over the profile that runs by then. It stops only if the
// gateway rejects the request itself, and then reports why.
//
//     link.ts       stays connected             stream.ts, socket.ts   one connection each
//     shared.ts     one link for many tabs      watchdog.ts            detects a dead connection
//     state.ts      the newest values           catch-up.ts            when a connection has caught up
//     profile.ts    what the gateway mounts     control.ts             commands
//     options.ts    what callers may pass      access.ts              tokens and cookies

import { accessOf } from './access.ts'
import { ControlError, errorOf, isTransient, retryAfter, run } from './control.ts'
import type { CommandResult, ControlOptions } from './control.ts'
import { openLink } from './link.ts'
import type { Ask, Link } from './link.ts'
import { baseOf, checked, checkRooms, CONNECT } from './options.ts'
import type { ConnectOptions, RoomName } from './options.ts'
import { fetchProfile } from './profile.ts'
import { canShare, openSharedLink } from './shared.ts'
import { createValues, guarded } from './state.ts'
import type { State } from './state.ts'
import { compareIds, entryOf, pause, PUBLIC, readAnswer } from './wire.ts'
import type { Delivery, Event, Hello, Joined, Left, Pace, Problem, ProfileInfo, Ready, Reset, Status, Wish } from './wire.ts'

/** The names for `box.on`, and what each listener receives. */
export interface Happenings<Events extends object = Record<string, unknown>> {
  /** Each event once and in order; `state` already includes it. */
  event: Event<Events>
  status: Status
  hello: Hello
  reset: Reset
  ready: Ready
  /** Something was lost that the client can't restore: a message that nobody could read. Without a listener it goes to the console. */
  error: Problem
}

/** `Events` maps types to the data of their events. */
export interface Box<Events extends object = Record<string, unknown>> {
  readonly status: Status
  readonly state: State<Events>
  /** The cursor after everything that listeners have received; empty before the first. */
  readonly lastEventId: string
  /** @returns a function that removes the listener @throws TypeError if there is no such name */
  on: <Name extends keyof Happenings>(name: Name, listener: (happening: Happenings<Events>[Name]) => void) => () => void
  /**
   * Listens to more rooms from now on, also after reconnects. Waits for a connection.
   * @param rooms names, which get the box's `types`, or `{ room, types }`
   * @returns once the gateway has agreed; present values follow, then `ready`
   * @throws ControlError with the gateway's message and `code`, such as ROOM_FULL or FORBIDDEN: nothing was joined then. TypeError naming what is no room
   */
  join: (rooms: ReadonlyArray<string | RoomName>) => Promise<Joined>
  /**
   * Stops listening to rooms; `state` forgets them.
   * @throws ControlError LAST_ROOM if no room would be left: close the box instead; else as `join`
   */
  leave: (rooms: readonly string[]) => Promise<Left>
  /** Milliseconds since the gateway accepted the event, by the gateway's clock: that of this device may be wrong. */
  age: (event: Pick<Event, 'id'>) => number
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
export function connect<Events extends object = Record<string, unknown>> (url: string | URL, options: ConnectOptions = {}): Box<Events> {
  const base_ = baseOf(url)
  const { rooms = [], types = [], share = false, lastEventId = '', paceMs = 0, pauseHidden = true, WebSocket: Socket_ = globalThis.WebSocket, ...identity } = checked(options, CONNECT)
  const access_ = accessOf(identity)
  const listeners = Object.fromEntries(['event', 'status', 'hello', 'reset', 'ready', 'error'].map(name => [name, new Set()])) as { [Name in keyof Happenings]: Set<(happening: Happenings[Name]) => void> }
  const values = createValues()
  let wishes: readonly Wish[] = (rooms.length > 0 ? rooms : [PUBLIC]).map(room => ({ room, types }))
  /** Over SSE their events may still arrive after the gateway has agreed. */
  const left = new Set<string>()
  let status: Status = { state: 'connecting' }
  let hello: Hello | null = null
  let cursor = lastEventId
  let link: Link | null = null
  let profile: ProfileInfo | null = null
  /** Joins and leaves that wait for a connection. */
  const waiting: Array<() => void> = []
  let turn: Promise<unknown> = Promise.resolve()
  /** How far the gateway's clock is ahead of `performance.now()`, which nobody sets. */
  let aheadMs = -Infinity

  // Of tabs that share a connection another may be shown.
  const isShared = share && canShare()
  /** What the gateway was told, or is about to be. */
  let toldMs: Pace = 0
  /** Present values have arrived, as far as is known. Until then the page gets them also while it is hidden. */
  let isFilled = lastEventId !== ''

  /** How often values are to come. */
  const pace = (): Pace => profile?.features?.includes('pace') ? pauseHidden && !isShared && isFilled && globalThis.document?.hidden ? null : paceMs : 0

  /** Of a new connection, which begins with 0. */
  function pace_ (): { paceMs?: Pace } {
    toldMs = pace()
    return toldMs === 0 ? {} : { paceMs: toldMs }
  }

  /** The page may be hidden or shown now, or have its values. A gateway that does not know it refuses it once. */
  function look_ (): void {
    if (isShared || !isConnected() || pace() === toldMs) return
    toldMs = pace()
    inTurn(async () => await steer(() => ({ action: 'pace', paceMs: toldMs }))).catch(() => {})
  }

  const isConnected = (): boolean => 'profile' in status
  const isClosed = (): boolean => status.state === 'closed'
  const time = (): number => performance.now() + aheadMs

  function emit<Name extends keyof Happenings> (name: Name, happening: Happenings[Name]): void {
    for (const listener of listeners[name]) guarded(() => listener(happening))
  }

  /** An event of a room that was left, on its way then. Joins with types also hear public events of these types. */
  const isLate = ({ room, type }: Event): boolean => left.has(room ?? PUBLIC) && (room !== undefined || !wishes.some(({ types }) => types.includes(type)))

  function deliver_ ({ kind, data, cursor: at }: Delivery): void {
    if (isClosed()) return
    if (kind === 'events') {
      try {
        for (const event of data) {
          if (isClosed() || isLate(event) || !values.take_(event, isFilled)) continue
          // The gateway's clock is never behind an id that it has given.
          aheadMs = Math.max(aheadMs, msOf(event) - performance.now())
          // At once: behind it may come a patch that does not fit, and what was taken is not taken again.
          emit('event', event)
        }
      } finally {
        if (data.some(({ key }) => key)) values.changed_()
      }
    } else if (kind === 'status') {
      setStatus(data)
    } else if (kind === 'profile') {
      profile = data
      // Without it, of an older gateway, ids alone tell.
      if (data.time) aheadMs = data.time - performance.now()
    } else if (kind !== 'position') {
      if (kind === 'hello') hello = data
      if (kind === 'reset') {
        isFilled = false
        values.forget_(({ room = PUBLIC }) => data.rooms.includes(room))
      }
      if (kind === 'ready') isFilled = true
      if (kind === 'error' && listeners.error.size === 0) console.error(data.reason)
      emit(kind, data as never)
      if (kind === 'reset') values.changed_()
    }
    // Only after listeners ran: a cursor they save during that may repeat events, but never skips one.
    if (typeof at === 'string') cursor = at
    look_()
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
    for (const go of waiting.splice(0)) go()
  }

  /** Joins and leaves one after the other: over SSE each is a request of its own, which another could overtake. */
  const inTurn = async <Answer>(act: () => Promise<Answer>): Promise<Answer> => await (turn = turn.catch(() => {}).then(act)) as Answer

  /** Joins, leaves or sets the pace, over the connection that there is by then. What was lost is sent again: it changes nothing more. */
  async function steer (message: () => Parameters<Ask>[0]): Promise<any> {
    for (let asked = 0; ; asked++) {
      while (!isConnected()) {
        if (isClosed()) throw new ControlError('the box is closed', 'CLOSED')
        if (status.state === 'refused') throw new ControlError(status.reason, status.code)
        await new Promise<void>(resolve => waiting.push(resolve))
      }
      const answer = await link?.ask_(message(), AbortSignal.timeout(ANSWER_MS)).catch(() => null) ?? null
      if (answer?.status === 200) return answer.body
      if (answer !== null && !isTransient(answer)) throw errorOf(answer)
      await pause(retryAfter(asked, answer))
    }
  }

  /** What there is, for another tab. */
  function snapshot (): Delivery[] {
    const events = [...values.state_.entries()].sort((a, b) => compareIds(a.id, b.id))
    return [
      { kind: 'profile', data: profile && { ...profile, time: time() } },
      { kind: 'hello', data: hello, cursor },
      { kind: 'events', data: events, cursor },
      { kind: 'ready', data: status.state === 'connected' && { keys: events.length, rooms: wishes.map(({ room }) => room) }, cursor },
      { kind: 'status', data: status }
    ].filter(({ data }) => data) as Delivery[]
  }

  // Deferred, to let the caller add listeners first.
  queueMicrotask(() => {
    if (isClosed()) return
    const how = { base_, access_, Socket_, wishes_: () => wishes, cursor_: () => cursor, pace_, look_, deliver_, isHolding_: lastEventId === '' }
    const connectAlone = (): void => { if (!isClosed()) link = openLink(how) }
    if (!isShared) return connectAlone()
    access_.who_().then(who => {
      if (!isClosed()) link = openSharedLink(how, [who, paceMs], snapshot)
    }).catch(connectAlone)
  })
  return {
    get status () { return status },
    get lastEventId () { return cursor },
    state: values.state_ as never,
    on (name, listener) {
      if (!Object.hasOwn(listeners, name) || typeof listener !== 'function') throw new TypeError(`on() takes ${Object.keys(listeners).join(', ')} and a function, not ${JSON.stringify(name)}, ${typeof listener}`)
      listeners[name].add(listener as never)
      return () => { listeners[name].delete(listener as never) }
    },
    async join (rooms) {
      const more = checkRooms(rooms).map(room => typeof room === 'string' ? { room, types } : { types: [], ...room })
      return await inTurn(async () => {
        // Present values may come ahead of the answer, and ahead of them what was on its way when the room was left.
        for (const { room } of more) if (left.delete(room)) isFilled = false
        const joined = await steer(() => ({ action: 'join', rooms: more.map(entryOf) }))
        // Each once, however often it is joined.
        wishes = [...new Map([...wishes, ...more].map(wish => [JSON.stringify(entryOf(wish)), wish])).values()]
        return joined
      })
    },
    async leave (rooms) {
      checkRooms(rooms)
      return await inTurn(async () => {
        const rest = wishes.filter(({ room }) => !rooms.includes(room))
        if (rest.length === 0) throw new ControlError('close the box to leave its last room', 'LAST_ROOM')
        const answer = await steer(() => ({ action: 'leave', rooms }))
        wishes = rest
        for (const room of rooms) left.add(room)
        values.forget_(isLate)
        values.changed_()
        return answer
      })
    },
    age: event => time() - msOf(event),
    control: async (command, args = {}, options = {}) => await run(async (request, idempotencyKey, signal, running) => {
      const known = profile ?? await fetchProfile(base_, async url => await access_.fetch_(url, { signal: AbortSignal.timeout(ANSWER_MS) }))
      if ('code' in known) return null
      const { control, websocket } = known
      if (control !== null) {
        return running === ''
          ? await access_.post_(base_ + control, request, { headers: { 'Idempotency-Key': idempotencyKey }, signal })
          : await readAnswer(await access_.fetch_(`${base_}${control}/${encodeURIComponent(running)}`, { signal }))
      }
      if (websocket === null) throw new ControlError('the gateway accepts no commands', 'NOT_MOUNTED')
      // Sending it again asks for the outcome.
      return await link?.ask_({ action: 'control', ...request, idempotencyKey }, signal) ?? null
    }, command, args, options),
    close () {
      link?.close_()
      setStatus({ state: 'closed' })
    }
  }
}

const ANSWER_MS = 10_000

/** When the gateway gave the id. */
const msOf = ({ id }: Pick<Event, 'id'>): number => parseInt(id)
