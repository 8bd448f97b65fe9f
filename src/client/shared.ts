// One connection for all tabs of a browser that ask the same gateway for the same rooms and types, as the same caller. The tab that holds a
// lock leads: it has the link and forwards everything the link delivers. When it closes, the browser gives the lock to
// another tab, which resumes from that tab's own cursor; a tab that was further along drops duplicates (see state.ts).
//
// A tab that does not know the leader's cursor has missed something, and opens a separate connection. A leader whose
// lock is stolen keeps its connection. Sharing never loses events.

import { Link } from './link.ts'
import type { LinkOptions } from './link.ts'
import type { ProfileInfo } from './profile.ts'
import { Watchdog } from './watchdog.ts'
import { uniqueId } from './wire.ts'
import type { Delivery, Event, GatewayAnswer, Hello, Status } from './wire.ts'

/** A tab's state, for a tab that has just opened. */
export interface TabSnapshot {
  readonly hello: Hello | null
  readonly values: readonly Event[]
  readonly status: Status
}

/** Messages between tabs. `from`: the leading tab, or one that believed it was leading. */
type TabMessage =
  | { readonly is: 'news', readonly from: string, readonly message: Delivery }
  | { readonly is: 'alive', readonly from: string }
  | { readonly is: 'lead', readonly from: string, readonly cursor: string }
  | { readonly is: 'welcome', readonly from: string, readonly cursor: string, readonly tab: string, readonly known: TabSnapshot }
  | { readonly is: 'hello?', readonly tab: string }

/** Number of cursors remembered: 30 seconds at ten bundles a second. */
const MAX_CURSORS = 300
/** A leader that sends neither news nor heartbeats for 2.5 times this long, not even when asked, is frozen. */
const SILENCE_MS = 16_000
const BEAT_MS = 5000

/** Browsers have locks only over HTTPS and on localhost. Those with locks also have BroadcastChannel. */
export const canShare = (): boolean => globalThis.navigator?.locks !== undefined

export class SharedLink {
  readonly #options: LinkOptions
  readonly #snapshot: () => TabSnapshot
  readonly #name: string
  readonly #tab = uniqueId()
  readonly #channel: BroadcastChannel
  readonly #closed = new AbortController()
  readonly #cursors = new Set<string>()
  readonly #watchdog: Watchdog
  readonly #timer: ReturnType<typeof setInterval>
  /** This tab's connection, if it leads or could not follow a leader. */
  #link: Link | null = null
  /** The tab it follows: itself if it leads. */
  #leader = ''
  /** Releases the lock, and another tab leads. */
  #release: () => void = () => {}
  #postedAt = 0

  /** @param who the caller; tabs of another one have another connection @param snapshot this tab's current state, for new tabs */
  constructor (options: LinkOptions, who: unknown, snapshot: () => TabSnapshot) {
    this.#options = options
    this.#snapshot = snapshot
    const { base, rooms, types } = options
    this.#name = `signalbox ${JSON.stringify([base, [...rooms].sort(), [...types].sort(), who])}`
    this.#channel = new BroadcastChannel(this.#name)
    this.#channel.onmessage = ({ data }) => this.#read(data as TabMessage)
    this.#greet()
    this.#queue({ signal: this.#closed.signal })
    this.#timer = setInterval(() => this.#beat(), BEAT_MS)
    this.#watchdog = new Watchdog({
      intervalMs: SILENCE_MS,
      probe: () => this.#greet(),
      onDead: () => { if (this.#link === null && !document.hidden) this.#queue({ steal: true }) }
    })
  }

  get profile (): ProfileInfo | null {
    return this.#link?.profile ?? null
  }

  /** Uses this tab's own socket, because an answer goes to the connection that asked. */
  async ask (message: object, signal: AbortSignal): Promise<GatewayAnswer | null> {
    this.#link ??= new Link(this.#options)
    return await this.#link.ask(message, signal)
  }

  close (): void {
    clearInterval(this.#timer)
    this.#watchdog.stop()
    this.#closed.abort()
    this.#channel.close()
    this.#link?.close()
    this.#release()
  }

  #post (message: TabMessage): void {
    if (this.#closed.signal.aborted) return
    this.#postedAt = Date.now()
    this.#channel.postMessage(message)
  }

  /** Waits for the lock, or steals it. */
  #queue (how: LockOptions): void {
    navigator.locks.request(this.#name, how, async () => await this.#lead()).catch(() => {
      if (this.#closed.signal.aborted) return
      // Another tab stole the lock because this one slept, or the page may not use locks.
      this.#leader = ''
      this.#link ??= new Link(this.#options)
    })
  }

  async #lead (): Promise<void> {
    // It opened a separate connection meanwhile.
    if (this.#link !== null || this.#closed.signal.aborted) return
    const from = this.#leader = this.#tab
    this.#post({ is: 'lead', from, cursor: this.#options.cursor() })
    this.#link = new Link({
      ...this.#options,
      deliver: delivery => {
        this.#options.deliver(delivery)
        // Another tab may have a newer token: it leads now, and finds out.
        if (delivery.kind === 'status' && delivery.data.state === 'refused') {
          this.#leader = ''
          this.#release()
        }
        if (this.#leads) this.#post({ is: 'news', from, message: delivery })
      },
      alive: () => this.#beat()
    })
    await new Promise<void>(resolve => { this.#release = resolve })
  }

  get #leads (): boolean {
    return this.#leader === this.#tab
  }

  #read (message: TabMessage): void {
    if (message.is === 'hello?') {
      const cursor = this.#options.cursor()
      if (this.#leads) this.#post({ is: 'welcome', from: this.#tab, cursor, tab: message.tab, known: this.#snapshot() })
      return
    }
    if (this.#link !== null) return
    const { from } = message
    if (from !== this.#leader) this.#meet(message)
    if (from !== this.#leader) return
    this.#watchdog.alive()
    if (message.is === 'news') this.#deliver(message.message)
  }

  /** Another tab leads. Late messages of a former leader are ignored. */
  #meet (message: Exclude<TabMessage, { is: 'hello?' }>): void {
    if (message.is !== 'lead' && (message.is !== 'welcome' || message.tab !== this.#tab)) return
    if (this.#options.cursor() === '') {
      if (message.is === 'lead') return this.#greet()
      this.#leader = message.from
      this.#begin(message)
    } else if (this.#cursors.has(message.cursor)) this.#leader = message.from
    else this.#link = new Link(this.#options)
  }

  #begin ({ cursor, known: { hello, values, status } }: Extract<TabMessage, { is: 'welcome' }>): void {
    if (hello !== null) this.#deliver({ kind: 'hello', data: hello, cursor })
    this.#deliver({ kind: 'events', data: values, cursor })
    const { rooms } = this.#options
    if (status.state === 'connected') this.#deliver({ kind: 'ready', data: { keys: values.length, rooms: rooms.length === 0 ? ['@public'] : rooms }, cursor })
    this.#deliver({ kind: 'status', data: status, cursor: null })
  }

  #deliver (delivery: Delivery): void {
    const { cursor } = delivery
    if (cursor !== null) {
      this.#cursors.add(cursor)
      if (this.#cursors.size > MAX_CURSORS) this.#cursors.delete(this.#cursors.values().next().value as string)
    }
    this.#options.deliver(delivery)
  }

  /** Called on incoming bytes too, because browsers slow down the timers of hidden tabs. */
  #beat (): void {
    if (this.#leads && Date.now() - this.#postedAt >= BEAT_MS) this.#post({ is: 'alive', from: this.#tab })
  }

  #greet (): void {
    this.#post({ is: 'hello?', tab: this.#tab })
  }
}
