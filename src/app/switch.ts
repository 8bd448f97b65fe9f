// The command `switch`: another profile is mounted over the same core, in all processes of the deployment or in one. The listening
// socket stays open. What was connected is told to return, which its client does over the other profile.
//
// First all are asked whether they can; then one order to all, which travels through the log, has each of them mount the
// profile. A process that is frozen meanwhile carries it out when it wakes, and one that has just started asks the others what
// the deployment was switched to. If one of them fails all the same, another order has everybody go back.

import os from 'node:os'
import { randomBytes } from 'node:crypto'
import { pause, within } from '../core/clock.ts'
import type { Clock } from '../core/clock.ts'
import { Refusal } from '../core/errors.ts'
import type { Gateway } from '../core/gateway.ts'
import type { Logger } from '../core/logger.ts'
import type { Session } from '../core/session.ts'
import type { Mounted, ProfileName } from './mounted.ts'

export interface SwitchRequest {
  readonly profile: ProfileName
  /** One process: its number, from 1, or where several have that number its key in `@system`. Default: all. */
  readonly worker?: number | string
}

export interface SwitchResult {
  readonly profile: ProfileName
  /** Whether a process had the other profile. */
  readonly changed: boolean
}

export interface ProfileSwitchOptions {
  readonly gateway: Gateway
  readonly clock: Clock
  readonly mounted: Mounted
  /** Mounts a profile. @throws Error: the one that was mounted still is */
  readonly mount: (profile: ProfileName) => void
  /** What this process is called. */
  readonly process: Pick<ProcessName, 'key' | 'worker'>
  /** What the deployment was switched to, as far as whoever started this process knows. Null: it was not. */
  readonly switchedTo: ProfileName | null
  /** The deployment was switched, or for null was not after all: for whoever starts further processes. */
  readonly onSwitched: (profile: ProfileName | null) => void
  readonly log: Pick<Logger, 'info' | 'error'>
}

interface ProcessName {
  /** In `@system`. */
  readonly key: string
  /** From 1. */
  readonly worker: number
  readonly host: string
}

interface Order {
  readonly id: string
  readonly profile: ProfileName
  /** Null: for all. */
  readonly key: string | null
}

/** Of a process to an order. Null: an earlier version, which knows no `switch`. */
type Answer = { readonly changed: boolean } | { readonly problem: string } | null

/** Time for the answers to those who gave the command, before connections are ended, ms. */
const GRACE_MS = 250
/** How long a start waits to hear what the others have mounted. What is heard later is mounted then. */
const ADOPT_MS = 500
const AGAIN_MS = 1000

export class ProfileSwitch {
  readonly #options: ProfileSwitchOptions
  /** What the deployment was switched to. */
  #switchedTo: ProfileName | null
  /** What the last order changed here. */
  #last: { readonly id: string, readonly profile: ProfileName, readonly switchedTo: ProfileName | null } | null = null
  /** Sessions that are ended soon. */
  #ending: { readonly sessions: ReadonlySet<Session>, readonly cancel: () => void } | null = null
  #stopped = false

  constructor (options: ProfileSwitchOptions) {
    this.#options = options
    this.#switchedTo = options.switchedTo
    const { operator } = options.gateway
    operator.onOrder('switch', (order: Order): Answer => this.#carryOut(order))
    operator.onOrder('switchBack', ({ id }: Pick<Order, 'id'>) => this.#goBack(id))
    operator.onOrder('switchedTo', ({ from }: { from: string }) => from === options.process.key ? null : this.#switchedTo)
    operator.onOrder('processes', (): ProcessName => ({ ...options.process, host: os.hostname() }))
  }

  /** @throws Refusal BAD_COMMAND, STORE_UNAVAILABLE; Error. Every process then has the profile it had */
  async run ({ profile, worker }: SwitchRequest): Promise<SwitchResult> {
    const { operator } = this.#options.gateway
    const key = worker === undefined ? null : await this.#keyOf(worker)
    // Where a process does not answer, though it lives, nothing has been changed yet.
    await operator.askAll('arrive', null)
    const id = randomBytes(9).toString('base64url')
    const answers = await operator.orderAll('switch', { id, profile, key } satisfies Order) as Answer[]
    const problem = answers.map(problemOf).find(text => text !== null)
    if (problem !== undefined) {
      await this.#undo(id)
      throw new Error(`${problem}; every process has the profile it had`)
    }
    return { profile, changed: answers.some(answer => answer !== null && 'changed' in answer && answer.changed) }
  }

  /** Half of the processes must not stay behind: it is tried until they can be reached. */
  async #undo (id: string): Promise<void> {
    const { gateway: { operator }, clock } = this.#options
    while (!this.#stopped) {
      try {
        await operator.orderAll('switchBack', { id })
        return
      } catch {
        await pause(clock, AGAIN_MS)
      }
    }
  }

  /**
   * What an operator should know: that a restart would mount another profile, or that this process alone was switched.
   * @param configured APP_PROFILE
   */
  warnings (configured: ProfileName): string[] {
    const { name } = this.#options.mounted
    const ofAll = this.#switchedTo ?? configured
    return [
      ...ofAll === configured ? [] : [`the command switch has mounted the profile ${ofAll}, and APP_PROFILE is ${configured}: a restart goes by APP_PROFILE. Set APP_PROFILE=${ofAll} to stay with it, or switch back.`],
      ...name === ofAll ? [] : [`the command switch has mounted the profile ${name} in this worker alone; the deployment has ${ofAll}, and so will whatever replaces this worker. Switch all of it, or this worker back.`]
    ]
  }

  /** Takes the profile that the deployment was switched to before this process came. */
  async adopt (): Promise<void> {
    const { clock } = this.#options
    await within(clock, ADOPT_MS, this.#ask(), undefined)
  }

  stop (): void {
    this.#stopped = true
    this.#ending?.cancel()
  }

  async #ask (): Promise<void> {
    const { gateway: { operator }, clock, log } = this.#options
    while (!this.#stopped && this.#last === null) {
      try {
        const profile = await operator.askAll('switchedTo', { from: this.#options.process.key }) as ProfileName | null
        // An order that came meanwhile is newer.
        if (profile !== null && this.#last === null) this.#become(profile, profile)
        return
      } catch (error) {
        // A question to all is refused where one of them is busy.
        if (!(error instanceof Refusal)) return log.error({ err: error }, 'the profile of the deployment could not be mounted')
        await pause(clock, AGAIN_MS)
      }
    }
  }

  /** @throws Refusal BAD_COMMAND */
  async #keyOf (worker: number | string): Promise<string> {
    const all = (await this.#options.gateway.operator.orderAll('processes') as Array<ProcessName | null>).filter(process => process !== null)
    const [found, second] = all.filter(process => process.key === worker || String(process.worker) === String(worker))
    if (found !== undefined && second === undefined) return found.key
    const list = all.sort((a, b) => a.host.localeCompare(b.host) || a.worker - b.worker).map(({ key, worker, host }) => `${worker} of ${host} (${JSON.stringify(key)})`)
    throw new Refusal('BAD_COMMAND', `switch: worker ${JSON.stringify(worker)} ${found === undefined ? 'does not exist' : 'is there more than once: name it by its key, the text in brackets'}; there are ${list.join(', ')}`)
  }

  #carryOut ({ id, profile, key }: Order): Answer {
    const { mounted, process } = this.#options
    if (key !== null && key !== process.key) return { changed: false }
    const before = { id, profile: mounted.name, switchedTo: this.#switchedTo }
    try {
      this.#become(profile, key === null ? profile : this.#switchedTo)
    } catch (error) {
      return { problem: `worker ${process.worker} of ${os.hostname()} could not mount ${profile}: ${(error as Error).message}` }
    }
    this.#last = before
    return { changed: before.profile !== profile }
  }

  #goBack (id: string): void {
    if (this.#last?.id === id) this.#become(this.#last.profile, this.#last.switchedTo)
  }

  #become (profile: ProfileName, switchedTo: ProfileName | null): void {
    const { mounted, mount, onSwitched, log } = this.#options
    const { name: before } = mounted
    if (profile !== before) {
      mount(profile)
      this.#endSoon()
      log.info({ profile, before }, `switched from ${before} to ${profile}; what is connected returns over it`)
    }
    if (switchedTo === this.#switchedTo) return
    this.#switchedTo = switchedTo
    onSwitched(switchedTo)
  }

  /** Ends the sessions that the other profile opened. */
  #endSoon (): void {
    if (this.#stopped) return
    const { gateway: { operator }, clock, log } = this.#options
    const pending = this.#ending
    pending?.cancel()
    // Back to the profile of those that were to be ended: it is the turn of those that came since.
    const sessions = new Set([...operator.sessions].filter(session => pending?.sessions.has(session) !== true))
    const cancel = clock.after(GRACE_MS, () => {
      this.#ending = null
      operator.end(sessions, 'SWITCHED').catch((err: unknown) => log.error({ err }, 'sessions of the other profile could not be ended'))
    })
    this.#ending = { sessions, cancel }
  }
}

function problemOf (answer: Answer): string | null {
  if (answer === null) return 'a process of an earlier version knows no switch: restart it with this version first'
  return 'problem' in answer ? answer.problem : null
}
