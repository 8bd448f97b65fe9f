// One connection for all tabs of a browser that ask the same gateway for the same. The tab that holds a lock leads: it
// has the link, and passes on what that brings. When it closes, the browser gives the lock to another tab, which goes on
// from where it stood itself; whoever was a little further drops what it has had (see state.ts).
//
// A tab that cannot follow a leader's cursor has missed something, so it makes a connection of its own, and one whose
// lead was taken away keeps its own: nothing is lost for the sake of sharing.

import { Link } from './link.ts'
import type { LinkOptions } from './link.ts'
import type { ProfileInfo } from './profile.ts'
import { Watchdog } from './watchdog.ts'
import { uniqueId } from './wire.ts'
import type { Delivery, Event, GatewayAnswer, Hello, Status } from './wire.ts'

/** What a tab knows, for one that has just been opened. */
export interface TabSnapshot {
  readonly hello: Hello | null
  readonly values: readonly Event[]
  readonly status: Status
}

/** What tabs tell each other. `from`: who leads, or took itself for the leader when it said so. */
type TabMessage =
  | { readonly is: 'news', readonly from: string, readonly message: Delivery }
  | { readonly is: 'alive', readonly from: string }
  | { readonly is: 'lead', readonly from: string, readonly cursor: string }
  | { readonly is: 'welcome', readonly from: string, readonly cursor: string, readonly tab: string, readonly known: TabSnapshot }
  | { readonly is: 'hello?', readonly tab: string }

/** So many cursors are remembered: at ten bundles a second, those of the last half minute. */
const MAX_CURSORS = 300
/** A leader is heard so often, by news or by a heartbeat. One that says nothing for 2.5 times as long, not even when asked, is frozen. */
const SILENCE_MS = 16_000
const BEAT_MS = 5000

/** Locks are there on pages over HTTPS and on localhost only. Where they are, channels between tabs are too. */
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
  /** This tab's own connection: as the leader's, or because it could not follow one. */
  #link: Link | null = null
  /** Whom it follows: itself, where it leads. */
  #leader = ''
  /** Given back, so that another tab leads. */
  #release: () => void = () => {}
  #postedAt = 0

  /** @param snapshot what this tab would tell another */
  constructor (options: LinkOptions, snapshot: () => TabSnapshot) {
    this.#options = options
    this.#snapshot = snapshot
    const { base, rooms, types } = options
    this.#name = `signalbox ${JSON.stringify([base, [...rooms].sort(), [...types].sort()])}`
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

  /** Over this tab's own socket: answers are for who has asked. */
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

  /** Waits for its turn to lead, or takes it: a lock is either stolen or waited for. */
  #queue (how: LockOptions): void {
    navigator.locks.request(this.#name, how, async () => await this.#lead()).catch(() => {
      if (this.#closed.signal.aborted) return
      // Another tab took the lead, because this one slept; or there are no locks for this page.
      this.#leader = ''
      this.#link ??= new Link(this.#options)
    })
  }

  async #lead (): Promise<void> {
    // It went its own way meanwhile.
    if (this.#link !== null || this.#closed.signal.aborted) return
    const from = this.#leader = this.#tab
    this.#post({ is: 'lead', from, cursor: this.#options.cursor() })
    this.#link = new Link({
      ...this.#options,
      deliver: delivery => {
        this.#options.deliver(delivery)
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

  /** Somebody leads whom it does not follow yet. What a former leader says late is not listened to. */
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
    if (values.length > 0) this.#deliver({ kind: 'events', data: values, cursor })
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

  /** Bytes come in a hidden tab too, whose timers are slowed down. */
  #beat (): void {
    if (this.#leads && Date.now() - this.#postedAt >= BEAT_MS) this.#post({ is: 'alive', from: this.#tab })
  }

  #greet (): void {
    this.#post({ is: 'hello?', tab: this.#tab })
  }
}
