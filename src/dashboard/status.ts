// How the connection stands, in a word for the head and in sentences for the line below it: what is going on, what that
// means for what is shown, and when it goes on.

import type { Box, Hello, Status } from '../client/index.ts'
import { byId, mark, show, write } from './element.ts'
import { clock, duration } from './format.ts'
import type { Silence } from './silence.ts'

type ProfileName = Hello['profile']

/** How long the page tells of an interruption that is over. */
const TOLD_MS = 20_000

/** Longer than a restart takes. */
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
  /** The gateway said goodbye by itself. */
  isRestart: boolean
  /** History did not reach back to where the page stood. */
  isReset: boolean
}

export class StatusLine {
  readonly #box: Box
  readonly #silence: Silence
  readonly #word = byId('status')
  readonly #banner = byId('banner')
  readonly #profile = byId('profile')
  #lastProfile: ProfileName | null = null
  #interruption: Interruption | null = null
  #retryAt: number | null = null
  /** This page has ended the gateway. */
  #isEnded = false
  #told: { readonly text: string, readonly until: number } | null = null

  /** @param silence what a gateway that is connected keeps silent about */
  constructor (box: Box, silence: Silence, changed: () => void) {
    this.#box = box
    this.#silence = silence
    box.on('status', status => {
      this.#hear(status)
      this.draw()
      changed()
    })
    box.on('reset', () => {
      if (this.#interruption !== null) this.#interruption.isReset = true
    })
  }

  /** Whether what is shown are the last values, and no more than that. */
  get isStale (): boolean {
    return this.#interruption !== null || this.#silence.isSilent || this.#box.status.state === 'refused' || this.#box.status.state === 'closed'
  }

  get isConnected (): boolean {
    return this.#box.status.state === 'connected'
  }

  /** The gateway was told to end, from here. */
  expectEnd (): void {
    this.#isEnded = true
    this.draw()
  }

  /** Told at once, and once a second for the countdown. */
  draw (): void {
    const { state } = this.#box.status
    mark(this.#word, { 'data-state': state })
    write(this.#word, WORDS[state])
    mark(document.body, { 'data-stale': this.isStale })
    const text = this.#sentence(this.#box.status)
    mark(this.#banner, { 'data-kind': this.isStale || state === 'connecting' ? 'trouble' : 'good' })
    show(this.#banner, text !== '')
    this.#say(text)
  }

  #hear (status: Status): void {
    const retryMs = 'retryMs' in status ? status.retryMs ?? null : null
    this.#retryAt = retryMs === null ? null : Date.now() + retryMs
    if (status.state === 'stale') {
      this.#told = null
      this.#interruption ??= { since: status.since, profile: this.#lastProfile, isRestart: false, isReset: false }
      if (status.code === 'DRAINING') this.#interruption.isRestart = true
    }
    if (status.state === 'connected' || status.state === 'catching-up') {
      this.#lastProfile = status.profile
      write(this.#profile, NAMES[status.profile])
    }
    if (status.state === 'connected' && this.#interruption !== null) {
      this.#told = { text: back(this.#interruption, status.profile), until: Date.now() + TOLD_MS }
      this.#interruption = null
      this.#isEnded = false
    }
  }

  #sentence (status: Status): string {
    switch (status.state) {
      case 'connecting': return status.reason === undefined ? '' : `Not connected yet: ${status.reason}. ${this.#next()}`
      case 'catching-up': return this.#interruption === null ? '' : `Connected again over ${NAMES[status.profile]}; what was missed is on its way.`
      case 'connected':
        if (this.#told !== null && Date.now() > this.#told.until) this.#told = null
        return this.#silence.sentence || (this.#told?.text ?? '')
      case 'stale': return `${this.#why(status)} ${this.#next()} What you see are the last values, from ${clock(status.since)}.`
      case 'refused': return `The gateway refused this page: ${status.reason}. It will not try again by itself; reload it when that is mended.`
      case 'closed': return 'This page has ended its connection.'
    }
  }

  #why ({ code, reason, since }: Extract<Status, { state: 'stale' }>): string {
    if (this.#isEnded) return 'The gateway was shut down from this page, and comes back only if something starts it.'
    if (this.#interruption?.isRestart === true) {
      return Date.now() - since < RESTART_MS ? 'The gateway is restarting, perhaps into its other profile.' : 'The gateway went away for a restart and does not answer yet.'
    }
    return code === 'UNREACHABLE' ? 'The gateway does not answer.' : `Interrupted: ${reason}.`
  }

  #next (): string {
    const seconds = Math.ceil(((this.#retryAt ?? 0) - Date.now()) / 1000)
    return seconds <= 0 ? 'Trying just now.' : `Trying again in ${seconds} s.`
  }

  /** What is read out is said once: not the countdown's every second. */
  #say (text: string): void {
    const [told, counted] = [byId('banner-told'), byId('banner-shown')]
    write(counted, text)
    const said = text.replace(/Trying (again in \d+ s|just now)\./, 'It is tried again by itself.')
    write(told, said)
  }
}

/** What an interruption was, when it is over. */
function back ({ since, profile, isReset, isRestart }: Interruption, now: ProfileName): string {
  const how = `${isRestart ? 'The gateway has restarted; back' : 'Back'} after ${duration(Math.max(1, (Date.now() - since) / 1000))}`
  const over = profile === null || profile === now ? `still over ${NAMES[now]}` : `now over ${NAMES[now]} instead of ${NAMES[profile]}`
  return `${how}, ${over}. ${isReset ? 'It was away for longer than history holds, so all values were fetched anew.' : 'Nothing was lost in between.'}`
}
