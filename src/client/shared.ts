// One connection for all tabs of a browser that ask the same gateway for the same. The tab that holds a lock leads: it
// has the link, and passes on what that brings. When it closes, the browser gives the lock to another tab, which goes on
// from where it stood itself; whoever was a little further drops what it has had (see state.ts).
//
// A tab that cannot follow a new leader's cursor has missed something, so it makes a connection of its own: nothing is
// lost for the sake of sharing.

import { Link } from './link.ts'
import type { LinkOptions } from './link.ts'
import { uniqueId } from './wire.ts'
import type { Event, Hello, Message, Status } from './wire.ts'

/** What a tab knows, for one that has just been opened. */
export interface Known {
  readonly cursor: string
  readonly hello: Hello | null
  readonly values: readonly Event[]
  readonly status: Status
}

/** What tabs tell each other. */
type Note =
  | { readonly is: 'news', readonly message: Message }
  | { readonly is: 'alive' }
  | { readonly is: 'lead', readonly cursor: string }
  | { readonly is: 'hello?', readonly tab: string }
  | { readonly is: 'welcome', readonly tab: string, readonly known: Known }

/** So many cursors are remembered: at ten bundles a second, those of the last half minute. */
const MAX_CURSORS = 300
/** A leader that says nothing for so long, neither news nor a heartbeat, is frozen. */
const SILENCE_MS = 40_000
const LOOK_MS = 5000

/** Locks are there on pages over HTTPS and on localhost only. */
export const canShare = (): boolean => globalThis.navigator?.locks !== undefined && globalThis.BroadcastChannel !== undefined

export class SharedLink {
  readonly #options: LinkOptions
  readonly #known: () => Known
  readonly #name: string
  readonly #tab = uniqueId()
  readonly #channel: BroadcastChannel
  readonly #closed = new AbortController()
  readonly #cursors = new Set<string>()
  readonly #timer: ReturnType<typeof setInterval>
  /** This tab's own connection: as the leader's, or because it could not follow one. */
  #link: Link | null = null
  #leads = false
  /** Given back, so that another tab leads. */
  #release: () => void = () => {}
  #welcomed = false
  #heardAt = Date.now()
  #toldAt = 0

  /** @param known what this tab would tell another */
  constructor (options: LinkOptions, known: () => Known) {
    this.#options = options
    this.#known = known
    const { base, rooms, types } = options
    this.#name = `signalbox ${JSON.stringify([base, [...rooms].sort(), [...types].sort()])}`
    this.#channel = new BroadcastChannel(this.#name)
    this.#channel.onmessage = ({ data }) => this.#read(data as Note)
    this.#tell({ is: 'hello?', tab: this.#tab })
    this.#queue()
    this.#timer = setInterval(() => this.#look(), LOOK_MS)
  }

  get link (): Link | null {
    return this.#link
  }

  close (): void {
    clearInterval(this.#timer)
    this.#closed.abort()
    this.#channel.close()
    this.#link?.close()
    this.#release()
  }

  #tell (note: Note): void {
    if (this.#closed.signal.aborted) return
    this.#toldAt = Date.now()
    this.#channel.postMessage(note)
  }

  /** Waits for its turn to lead. */
  #queue (steal = false): void {
    // A lock is either stolen or waited for.
    const how = steal ? { steal } : { signal: this.#closed.signal }
    navigator.locks.request(this.#name, how, async () => await this.#lead()).catch(() => {
      // Closed; or another tab took the lead, because this one slept.
      if (this.#closed.signal.aborted) return
      this.#leads = false
      this.#link?.close()
      this.#link = null
      this.#queue()
    })
  }

  async #lead (): Promise<void> {
    // It went its own way meanwhile.
    if (this.#link !== null || this.#closed.signal.aborted) return
    this.#leads = this.#welcomed = true
    this.#tell({ is: 'lead', cursor: this.#options.cursor() })
    this.#link = new Link({
      ...this.#options,
      deliver: message => {
        this.#deliver(message)
        this.#tell({ is: 'news', message })
      },
      alive: () => this.#beat()
    })
    await new Promise<void>(resolve => { this.#release = resolve })
  }

  #read (note: Note): void {
    this.#heardAt = Date.now()
    if (this.#leads && note.is === 'hello?') this.#tell({ is: 'welcome', tab: note.tab, known: this.#known() })
    if (this.#link !== null) return
    switch (note.is) {
      case 'news':
        if (this.#welcomed) this.#deliver(note.message)
        break
      case 'welcome':
        if (!this.#welcomed && note.tab === this.#tab) this.#begin(note.known)
        break
      case 'lead':
        if (!this.#welcomed) this.#tell({ is: 'hello?', tab: this.#tab })
        else if (!this.#cursors.has(note.cursor)) this.#link = new Link(this.#options)
    }
  }

  #begin ({ cursor, hello, values, status }: Known): void {
    this.#welcomed = true
    if (hello !== null) this.#deliver({ kind: 'hello', data: hello, cursor })
    if (values.length > 0) this.#deliver({ kind: 'events', data: values, cursor })
    const { rooms } = this.#options
    if (status.state === 'connected') this.#deliver({ kind: 'ready', data: { keys: values.length, rooms: rooms.length === 0 ? ['@public'] : rooms }, cursor })
    this.#deliver({ kind: 'status', data: status, cursor: null })
  }

  #deliver (message: Message): void {
    const { cursor } = message
    if (cursor !== null) {
      this.#cursors.add(cursor)
      if (this.#cursors.size > MAX_CURSORS) this.#cursors.delete(this.#cursors.values().next().value as string)
    }
    this.#options.deliver(message)
  }

  /** Bytes come in a hidden tab too, whose timers are slowed down. */
  #beat (): void {
    if (Date.now() - this.#toldAt >= LOOK_MS) this.#tell({ is: 'alive' })
  }

  #look (): void {
    if (this.#leads) this.#beat()
    if (this.#link !== null || document.visibilityState === 'hidden' || Date.now() - this.#heardAt < SILENCE_MS) return
    // Not all tabs at once.
    this.#heardAt = Date.now() - Math.random() * LOOK_MS
    this.#queue(true)
  }
}
