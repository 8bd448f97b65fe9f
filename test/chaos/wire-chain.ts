// A client that speaks the wire itself: what it writes down has passed through none of the product's code.

import { setTimeout as delay } from 'node:timers/promises'
import type { Event } from '../../src/core/event.ts'
import { mergePatch } from '../page.ts'
import { WireClient } from '../wire/client.ts'
import type { Arrived } from '../wire/client.ts'
import { authHeaders } from './auth.ts'
import { Chain, SILENT_MS } from './chain.ts'
import type { Profile, ResetReason } from './history.ts'

const OPEN_MS = 15_000
/** The longest wait after a connection, doubled with each failure in a row. */
const AGAIN_MS = 400
const MAX_DOUBLINGS = 3

type Notice = Record<string, any>
type Outcome = { readonly type: 'ok', readonly cursor?: string } | { readonly type: 'info', readonly cursor?: never } | { readonly type: 'fail', readonly code: string, readonly cursor?: never }

/** Cursors are opaque to clients; a test may know their second part (src/core/cursor.ts). */
const subscriptionOf = (cursor: string | null): string | null => cursor?.split('~')[1] ?? null

export class WireChain extends Chain {
  #profile: Profile = 'SSE'
  #cursor: string | null = null
  #client: WireClient | null = null
  #loop: Promise<void> = Promise.resolve()
  readonly #values = new Map<string, unknown>()
  #rooms: readonly string[] = []
  #isSettled = false
  #failures = 0
  #change: Promise<void> = Promise.resolve()
  /** A join or leave beside the stream that the stream has not come to yet. */
  #awaited: { readonly subscription: string | null, readonly end: () => void } | null = null
  /** How a join or leave on the open socket ends. */
  #answer: ((message: Arrived) => void) | null = null

  start (): void {
    this.#profile = this.plan.profile
    this.#rooms = this.plan.rooms
    this.#loop = this.#run()
  }

  async stop (): Promise<void> {
    this.stopped = true
    this.#client?.cut()
    await this.#loop
  }

  override async settle (): Promise<void> {
    this.#isSettled = true
    await this.#change
  }

  protected override get rooms (): readonly string[] {
    return this.#rooms
  }

  async #run (): Promise<void> {
    while (!this.stopped) {
      this.#failures++
      await this.#connect()
      if (!this.stopped) await delay(Math.random() * AGAIN_MS * 2 ** Math.min(this.#failures, MAX_DOUBLINGS))
    }
  }

  async #connect (): Promise<void> {
    const rooms = this.#rooms
    const { name: chain, compressed, patch, paceMs, port, auth } = this.plan
    const profile = this.#profile
    const headers = await authHeaders(auth)
    this.history.write({ f: 'connect', type: 'invoke', chain, profile, rooms: [...rooms], ...(this.#cursor === null ? {} : { cursor: this.#cursor }) })
    let session = ''
    let head: string | undefined
    let isOpen = false
    let bye: string | undefined
    const joined = (position: 'new' | 'resumed' | 'reset'): void => {
      isOpen = this.isConnected = true
      this.#failures = 0
      this.history.write({ f: 'connect', type: 'ok', chain, session, position, ...(head === undefined ? {} : { head }) })
    }
    const take = (message: Arrived): void => {
      const data = (message as Notice).data as Notice
      if (message.kind === 'hello' || (message.kind === 'joined' && profile === 'SSE')) ({ session, head } = data as { session: string, head?: string })
      if (message.kind === 'joined' && !isOpen) joined(message.position)
      else if (message.kind === 'joined' || message.kind === 'left' || message.kind === 'error') this.#answer?.(message)
      if (message.kind === 'bye') bye = data.reason
      if (message.kind === 'error') bye = data.code
      this.#take(message)
    }
    const opening = WireClient.open(profile, port, {
      rooms,
      cursor: this.#cursor,
      compressed,
      onMessage: take,
      ...(patch ? { patch: 'merge' } : {}),
      ...(paceMs > 0 ? { paceMs } : {}),
      headers
    })
    let client: WireClient | null
    try {
      client = await Promise.race([opening, delay(OPEN_MS, null, { ref: false })])
    } catch (error) {
      this.history.write({ f: 'connect', type: 'fail', chain, code: (error as NodeJS.ErrnoException).code ?? 'LOST' })
      return
    }
    if (client === null) {
      opening.then(late => late.cut(), () => {})
      this.history.write({ f: 'connect', type: 'info', chain, why: 'no answer' })
      return
    }
    this.#client = client
    const steering = this.#steer(client, () => session)
    const by = await this.#follow(client)
    this.isConnected = false
    await steering
    if (by === 'client' && !this.stopped) bye ??= 'silent'
    const status = /^HTTP\/1.1 (\d+)/.exec(client.head)?.[1]
    const code = client.closeCode
    if (isOpen) this.history.write({ f: 'close', chain, by, ...(bye === undefined ? {} : { reason: bye }), ...(code === null ? {} : { code }) })
    else if ((bye !== undefined && bye !== 'silent') || (status !== undefined && !['101', '200'].includes(status))) this.history.write({ f: 'connect', type: 'fail', chain, code: bye ?? status ?? '' })
    else this.history.write({ f: 'connect', type: 'info', chain, why: by === 'client' ? 'silent' : 'cut' })
    if (status === '404' || bye === 'PROFILE_NOT_MOUNTED' || bye === 'SWITCHED') this.#profile = profile === 'SSE' ? 'WEBSOCKET' : 'SSE'
  }

  /** @returns who ended the connection */
  async #follow (client: WireClient): Promise<'server' | 'client'> {
    let heardAt = performance.now()
    client.socket.on('data', () => { heardAt = performance.now() })
    // A refusal leaves the connection open.
    const isRefused = (): boolean => client.head !== '' && (!/^HTTP\/1.1 (101|200) /.test(client.head) || /\r\ncontent-length:/i.test(client.head))
    let by: 'server' | 'client' = 'server'
    const watch = setInterval(() => {
      if (!this.stopped && performance.now() - heardAt < SILENT_MS && !isRefused()) return
      if (!isRefused()) by = 'client'
      client.cut()
      client.socket.emit('close')
    }, 250)
    if (!client.closed) await new Promise(resolve => client.socket.once('close', resolve))
    clearInterval(watch)
    client.cut()
    if (this.stopped) by = 'client'
    return by
  }

  /** Joins a room and leaves it, until the connection ends. */
  async #steer (client: WireClient, session: () => string): Promise<void> {
    const { extraRoom } = this.plan
    if (extraRoom === undefined) return
    const isOver = (): boolean => client.closed || this.stopped || this.#isSettled
    const ending = new AbortController()
    client.socket.once('close', () => ending.abort())
    while (!isOver()) {
      await delay(300 + Math.random() * 1500, undefined, { signal: ending.signal }).catch(() => {})
      if (isOver() || session() === '' || !this.isReady) continue
      this.#change = this.#changeRooms(client, session(), extraRoom, ending.signal)
      await this.#change
    }
  }

  async #changeRooms (client: WireClient, session: string, room: string, signal: AbortSignal): Promise<void> {
    const { name: chain, rooms } = this.plan
    const f = this.#rooms === rooms ? 'join' : 'leave'
    this.history.write({ f, type: 'invoke', chain, room })
    const { cursor, ...result } = await (client.profile === 'SSE' ? this.#post(session, f, room, signal) : this.#say(client, f, room, signal))
    const change = (): void => {
      this.history.write({ f, chain, room, ...result })
      if (result.type === 'ok') this.#rooms = f === 'join' ? [...rooms, room] : rooms
      if (f === 'leave' && result.type === 'ok') this.#forget(room)
    }
    if (cursor === undefined) change()
    else await this.#inStream(cursor, change, signal)
    // A new connection knows its rooms.
    if (result.type === 'info') client.cut()
  }

  async #post (session: string, action: 'join' | 'leave', room: string, signal: AbortSignal): Promise<Outcome> {
    try {
      const headers = { 'content-type': 'application/json', ...await authHeaders(this.plan.auth) }
      const response = await fetch(`http://127.0.0.1:${this.plan.port}/api/events/stream/${session}`, { method: 'POST', body: JSON.stringify({ action, rooms: [room] }), headers, signal })
      const body = await response.json() as { code: string, cursor: string | null }
      // Another worker may still make the change.
      if (response.status === 503) return { type: 'info' }
      return response.status === 200 ? { type: 'ok', ...(body.cursor === null ? {} : { cursor: body.cursor }) } : { type: 'fail', code: body.code }
    } catch {
      return { type: 'info' }
    }
  }

  /**
   * The answer comes beside the stream, which may still hold seconds of what was sent before. It changes, for the client, where the
   * stream says so: by the first cursor of the new subscription.
   */
  async #inStream (cursor: string, change: () => void, signal: AbortSignal): Promise<void> {
    if (subscriptionOf(cursor) === subscriptionOf(this.#cursor) || signal.aborted) return change()
    await new Promise<void>(resolve => {
      const end = (): void => {
        signal.removeEventListener('abort', end)
        this.#awaited = null
        change()
        resolve()
      }
      signal.addEventListener('abort', end)
      this.#awaited = { subscription: subscriptionOf(cursor), end }
    })
  }

  async #say (client: WireClient, action: 'join' | 'leave', room: string, signal: AbortSignal): Promise<Outcome> {
    client.say({ action, rooms: [room], ...(this.plan.patch && action === 'join' ? { patch: 'merge' } : {}) })
    return await new Promise(resolve => {
      const end = (outcome: Outcome): void => {
        signal.removeEventListener('abort', cut)
        this.#answer = null
        resolve(outcome)
      }
      const cut = (): void => end({ type: 'info' })
      signal.addEventListener('abort', cut)
      this.#answer = message => end(message.kind === 'error' ? { type: 'fail', code: String((message.data as Notice).code) } : { type: 'ok' })
    })
  }

  #forget (room: string): void {
    for (const field of [...this.#values.keys()]) if (field.startsWith(`${room} `)) this.#values.delete(field)
  }

  #take (message: Arrived): void {
    if (message.cursor !== null) this.#cursor = message.cursor
    // Before its events are written down.
    if (this.#awaited?.subscription === subscriptionOf(message.cursor)) this.#awaited.end()
    if (message.kind === 'ready') this.takeReady(message.rooms)
    if (message.kind === 'reset') {
      const { reason, rooms, missed } = message
      this.history.write({ f: 'reset', chain: this.plan.name, reason: reason as ResetReason, rooms: [...rooms], missed })
      for (const room of rooms) this.#forget(room)
    }
    if (message.kind !== 'bundle') return
    this.nextBundle()
    for (const event of message.events) this.#takeEvent(event)
  }

  #takeEvent (event: Event & { readonly patch?: unknown }): void {
    if (event.key === undefined || !this.plan.patch) return this.takeEvent(event)
    const field = `${event.room ?? '@public'} ${event.type} ${event.key}`
    const patched = 'patch' in event
    const data = patched ? mergePatch(this.#values.get(field), event.patch) : event.data
    this.#values.set(field, data)
    this.takeEvent({ ...event, data }, patched)
  }
}
