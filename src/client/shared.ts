// One connection for all tabs of a browser that ask the same gateway for the same rooms and types, as the same caller. The tab that holds a
// lock leads: it has the link and forwards everything the link delivers. When it closes, the browser gives the lock to
// another tab, which resumes from that tab's own cursor; a tab that was further along drops duplicates (see state.ts).
//
// A tab that does not know the leader's cursor has missed something, and opens a separate connection. So does one that joins
// or leaves rooms: the others did not ask for it. A leader whose lock is stolen keeps its connection. Sharing never loses events.

import { openLink } from './link.ts'
import type { Link, LinkOptions } from './link.ts'
import { remember } from './state.ts'
import { watch } from './watchdog.ts'
import { uniqueId } from './wire.ts'
import type { Delivery } from './wire.ts'

/** Messages between tabs. `from`: the leading tab, or one that believed it was leading. */
type TabMessage =
  | { readonly is: 'news', readonly from: string, readonly message: Delivery }
  | { readonly is: 'alive', readonly from: string }
  | { readonly is: 'lead', readonly from: string, readonly cursor: string }
  | { readonly is: 'welcome', readonly from: string, readonly cursor: string, readonly tab: string, readonly known: readonly Delivery[] }
  | { readonly is: 'hello?', readonly from: string }

/** Number of cursors remembered: 30 seconds at ten bundles a second. */
const MAX_CURSORS = 300
/** A leader that sends neither news nor heartbeats for 2.5 times this long, not even when asked, is frozen. */
const SILENCE_MS = 16_000
const BEAT_MS = 5000

/** Browsers have locks only over HTTPS and on localhost. Those with locks also have BroadcastChannel. */
export const canShare = (): boolean => globalThis.navigator?.locks !== undefined

/** @param who the caller; tabs of another one have another connection @param snapshot this tab's current state, as a new tab is to receive it */
export function openSharedLink (options: LinkOptions, who: unknown, snapshot: () => Delivery[]): Link {
  const { base_, wishes_, cursor_, deliver_ } = options
  const name = `signalbox ${JSON.stringify([base_, wishes_().map(({ room, types }) => [room, [...types].sort()]).sort(), who])}`
  const tab = uniqueId()
  const channel = new BroadcastChannel(name)
  const closed = new AbortController()
  const { signal } = closed
  const cursors = new Set<string>()
  /** This tab's connection, if it leads or could not follow a leader. */
  let link: Link | null = null
  /** The tab it follows: itself if it leads. */
  let leader = ''
  /** Releases the lock, and another tab leads. */
  let release = (): void => {}
  let postedAt = 0

  function post (message: TabMessage): void {
    if (signal.aborted) return
    postedAt = Date.now()
    channel.postMessage(message)
  }

  const greet = (): void => post({ is: 'hello?', from: tab })

  /** Called on incoming bytes too, because browsers slow down the timers of hidden tabs. */
  const beat = (): void => { if (leader === tab && Date.now() - postedAt >= BEAT_MS) post({ is: 'alive', from: tab }) }

  /** Has a connection of its own from now on, and whoever waits for the lock leads. */
  function goAlone (): void {
    leader = ''
    release()
    link ??= openLink(options)
  }

  /** Waits for the lock, or steals it. */
  function queue (how: LockOptions): void {
    // It fails if another tab stole the lock because this one slept, or if the page may not use locks.
    navigator.locks.request(name, how, lead).catch(() => { if (!signal.aborted) goAlone() })
  }

  async function lead (): Promise<void> {
    // It opened a separate connection meanwhile.
    if (link || signal.aborted) return
    leader = tab
    post({ is: 'lead', from: tab, cursor: cursor_() })
    link = openLink({
      ...options,
      deliver_ (message) {
        deliver_(message)
        // Another tab may have a newer token: it leads now, and finds out.
        if (message.kind === 'status' && message.data.state === 'refused') goAlone()
        if (leader === tab) post({ is: 'news', from: tab, message })
      },
      alive_: beat
    })
    await new Promise<void>(resolve => { release = resolve })
  }

  function deliver (delivery: Delivery): void {
    if (delivery.cursor) remember(cursors, delivery.cursor, MAX_CURSORS)
    deliver_(delivery)
  }

  /** Another tab leads. Late messages of a former leader are ignored. */
  function meet (message: TabMessage): void {
    if (message.is !== 'lead' && (message.is !== 'welcome' || message.tab !== tab)) return
    const { from, cursor } = message
    if (cursor_() === '') {
      if (message.is === 'lead') return greet()
      leader = from
      message.known.forEach(deliver)
    } else if (cursors.has(cursor)) leader = from
    else goAlone()
  }

  channel.onmessage = ({ data }: MessageEvent<TabMessage>) => {
    const { is, from } = data
    if (is === 'hello?') {
      if (leader === tab) post({ is: 'welcome', from: tab, cursor: cursor_(), tab: from, known: snapshot() })
      return
    }
    if (link) return
    if (from !== leader) meet(data)
    if (from !== leader) return
    watchdog.alive_()
    if (is === 'news') deliver(data.message)
  }
  const timer = setInterval(beat, BEAT_MS)
  const watchdog = watch(SILENCE_MS, greet, () => { if (!link && !document.hidden) queue({ steal: true }) })
  greet()
  queue({ signal })

  return {
    /** An answer goes to the connection that asked, so it takes one of this tab's own. */
    async ask_ (message, signal) {
      if (message.action !== 'control') goAlone()
      link ??= openLink(options)
      return await link.ask_(message, signal)
    },
    close_ () {
      clearInterval(timer)
      watchdog.stop_()
      closed.abort()
      channel.close()
      link?.close_()
      release()
    }
  }
}
