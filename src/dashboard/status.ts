// The state of the connection: one word in the header, and sentences in the banner below it that say what is happening, what
// it means for the figures shown, and when the next attempt is.

import type { Box, Hello, Status } from '../client/index.ts'
import { byId, mark, show, write } from './element.ts'
import { clock, duration } from './format.ts'
import { NOT_SIGNED_IN } from './sign-in.ts'
import type { SignIn } from './sign-in.ts'
import type { Silence } from './silence.ts'

type ProfileName = Hello['profile']

/** How long the banner reports an interruption that is over. */
const NOTICE_MS = 20_000

/** A restart takes less than this. */
const RESTART_MS = 20_000

const NAMES: Record<ProfileName, string> = { SSE: 'SSE', WEBSOCKET: 'WebSocket' }
const WORDS: Record<Status['state'], string> = {
  connecting: 'Connecting',
  'catching-up': 'Catching up',
  connected: 'Live',
  stale: 'Interrupted',
  refused: 'Refused',
  closed: 'Closed'
}

interface Interruption {
  readonly since: number
  readonly profile: ProfileName | null
  /** The gateway announced a restart, or another profile. */
  announced: 'DRAINING' | 'SWITCHED' | null
  /** History did not reach back to the page's cursor. */
  isReset: boolean
}

export class StatusLine {
  readonly #box: Box
  readonly #silence: Silence
  readonly #signIn: Pick<SignIn, 'isAsking'>
  readonly #word = byId('status')
  readonly #banner = byId('banner')
  readonly #profile = byId('profile')
  #lastProfile: ProfileName | null = null
  #interruption: Interruption | null = null
  #retryAt: number | null = null
  /** This page has shut the gateway down. */
  #isEnded = false
  #notice: { readonly text: string, readonly until: number } | null = null

  /** @param silence detects a connected gateway without figures */
  constructor (box: Box, silence: Silence, signIn: Pick<SignIn, 'isAsking'>, changed: () => void) {
    this.#box = box
    this.#silence = silence
    this.#signIn = signIn
    box.on('status', status => {
      this.#hear(status)
      this.draw()
      changed()
    })
    box.on('reset', ({ missed }) => {
      // With 0 all facts are here; only values were loaded again.
      if (this.#interruption !== null && missed !== 0) this.#interruption.isReset = true
    })
  }

  /** Whether the page shows last values rather than current ones. */
  get isStale (): boolean {
    return this.#interruption !== null || this.#silence.isSilent || this.#box.status.state === 'refused' || this.#box.status.state === 'closed'
  }

  /** Why the figures shown are not current, in a few words; null while they are. */
  get fault (): string | null {
    if (!this.isStale) return null
    if (this.#silence.isSilent) return this.#silence.code === null ? 'No figures' : `Not ready: ${this.#silence.code}`
    return this.#box.status.state === 'refused' ? 'Refused' : 'Not connected'
  }

  /** Connected, but no current figures have come yet. */
  get isWaiting (): boolean {
    return this.#silence.isWaiting
  }

  /** The gateway works, and warns of something. */
  get hasWarnings (): boolean {
    return this.#silence.warnings.length > 0
  }

  /** This page has sent `shutdown`. */
  expectEnd (): void {
    this.#isEnded = true
    this.draw()
  }

  /** Called after each change, and once a second for the countdown. */
  draw (): void {
    const { state } = this.#box.status
    const isSilent = this.#silence.isSilent
    mark(this.#word, { 'data-state': isSilent ? 'stale' : state })
    write(this.#word, this.#signIn.isAsking ? NOT_SIGNED_IN : isSilent ? 'No figures' : WORDS[state])
    mark(document.body, { 'data-stale': this.isStale })
    const text = this.#sentence(this.#box.status)
    mark(this.#banner, { 'data-kind': this.isStale || this.hasWarnings || state === 'connecting' ? 'trouble' : 'good' })
    show(this.#banner, text !== '')
    this.#say(text)
  }

  #hear (status: Status): void {
    const retryMs = 'retryMs' in status ? status.retryMs ?? null : null
    this.#retryAt = retryMs === null ? null : Date.now() + retryMs
    if (status.state === 'stale') {
      this.#notice = null
      this.#interruption ??= { since: status.since, profile: this.#lastProfile, announced: null, isReset: false }
      if (status.code === 'DRAINING' || status.code === 'SWITCHED') this.#interruption.announced = status.code
    }
    if (status.state === 'connected' || status.state === 'catching-up') {
      this.#lastProfile = status.profile
      write(this.#profile, NAMES[status.profile])
    }
    if (status.state === 'connected' && this.#interruption !== null) {
      this.#notice = { text: back(this.#interruption, status.profile), until: Date.now() + NOTICE_MS }
      this.#interruption = null
      this.#isEnded = false
    }
  }

  #sentence (status: Status): string {
    switch (status.state) {
      case 'connecting': return status.reason === undefined || this.#signIn.isAsking ? '' : `Not connected yet: ${status.reason}. ${this.#next()}`
      case 'catching-up': return this.#interruption === null ? '' : `Reconnected over ${NAMES[status.profile]}. Missed events are arriving.`
      case 'connected':
        if (this.#notice !== null && Date.now() > this.#notice.until) this.#notice = null
        return [this.#notice?.text ?? '', this.#silence.sentence].filter(text => text !== '').join(' ')
      case 'stale': return this.#signIn.isAsking ? `Interrupted: the gateway waits for a token. These are the last values, from ${clock(status.since)}.` : `${this.#why(status)} ${this.#next()} These are the last values, from ${clock(status.since)}.`
      case 'refused': return `The gateway refused this page: ${status.reason}. The page will not retry; reload it when the problem is fixed${status.code === 'FORBIDDEN' ? ', or sign out and in with another token' : ''}.`
      case 'closed': return 'This page has closed its connection.'
    }
  }

  #why ({ code, reason, since }: Extract<Status, { state: 'stale' }>): string {
    if (this.#isEnded) return 'The gateway was shut down from this page and stays down until something starts it.'
    if (this.#interruption?.announced === 'SWITCHED' && code === 'SWITCHED') return 'The gateway is switching to the other profile.'
    if (this.#interruption?.announced === 'DRAINING') {
      return Date.now() - since < RESTART_MS ? 'The gateway is restarting, possibly into the other profile.' : 'The gateway announced a restart and does not answer yet.'
    }
    return code === 'UNREACHABLE' ? 'The gateway does not answer.' : `Interrupted: ${reason}.`
  }

  #next (): string {
    const seconds = Math.ceil(((this.#retryAt ?? 0) - Date.now()) / 1000)
    return seconds <= 0 ? 'Retrying now.' : `Retrying in ${seconds} s.`
  }

  /** Screen readers get each sentence once, without the countdown. */
  #say (text: string): void {
    const [spoken, shown] = [byId('banner-told'), byId('banner-shown')]
    write(shown, text)
    write(spoken, text.replace(/Retrying (in \d+ s|now)\./, 'It retries automatically.'))
  }
}

const OVER = { DRAINING: 'The gateway has restarted. Reconnected', SWITCHED: 'The gateway was switched. Reconnected' } as const

/** Describes an interruption that is over. */
function back ({ since, profile, isReset, announced }: Interruption, now: ProfileName): string {
  const how = `${announced === null ? 'Reconnected' : OVER[announced]} after ${duration(Math.max(1, (Date.now() - since) / 1000))}`
  const over = profile === null || profile === now ? `still over ${NAMES[now]}` : `now over ${NAMES[now]} instead of ${NAMES[profile]}`
  return `${how}, ${over}. ${isReset ? 'The interruption was longer than history covers, so all values were loaded again.' : 'Nothing was lost.'}`
}
