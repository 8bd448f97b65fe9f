// A client as a test sees it, in Node or in a page, and the check for completeness.

import { setTimeout as delay } from 'node:timers/promises'
import type { Test as Tap } from 'tap'
import type { Event, Status } from '../../src/client/index.ts'
import { compareIds } from '../../src/core/id.ts'
import { until } from '../process/harness.ts'
import type { Publisher, Stage } from '../process/harness.ts'
import type { Test } from '../tools/daemon.ts'
import type { Driver, Happening, Remote, HappeningValue, RemoteOptions } from './driver.ts'

export const idsOf = (events: readonly Event[]): string[] => events.map(({ id }) => id)

export class Seat {
  /** The log up to the last look. */
  readonly seen: Happening[] = []
  readonly remote: Remote

  constructor (remote: Remote) {
    this.remote = remote
  }

  static async open (driver: Driver, t: Test, url: string, options: RemoteOptions = {}): Promise<Seat> {
    return await new Seat(await driver.open(t, url, options)).look()
  }

  async look (): Promise<this> {
    this.seen.push(...await this.remote.happenings(this.seen.length))
    return this
  }

  received<Name extends Happening['name']> (name: Name): Array<HappeningValue<Name>> {
    return this.seen.filter(happening => happening.name === name).map(({ value }) => value as HappeningValue<Name>)
  }

  get events (): Event[] { return this.received('event') }
  get facts (): Event[] { return this.events.filter(({ key }) => key === undefined) }
  get statuses (): Status[] { return this.received('status') }
  get states (): string[] { return this.statuses.map(({ state }) => state) }
  get now (): Status | undefined { return this.statuses.at(-1) }

  /** The first `stale` since `from`, ms since 1970. */
  stale (from = 0): Extract<Status, { state: 'stale' }> & { at: number } | undefined {
    for (const { name, value, at } of this.seen) if (name === 'status' && value.state === 'stale' && at >= from) return { ...value, at }
  }

  /** Looks until `done` holds. @throws Error with the last statuses after `ms` */
  async until (what: string, done: () => boolean, ms = 120_000): Promise<void> {
    const deadline = Date.now() + ms
    for (;;) {
      await this.look()
      if (done()) return
      if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}; ${this.events.length} events, statuses ${JSON.stringify(this.statuses.slice(-6))}`)
      await delay(25)
    }
  }

  /** @param since counts only statuses from then on, ms since 1970 */
  async untilConnected (since = 0): Promise<void> {
    await this.until('it is connected', () => this.now?.state === 'connected' && this.seen.some(({ name, at }) => name === 'status' && at >= since))
  }
}

/** Asserts that everything a publisher sent has arrived: every fact once and in order, and the newest value of every key. */
export async function hasAll (t: Tap, seat: Seat, publisher: Publisher): Promise<void> {
  await publisher.finish()
  const facts = [...publisher.acknowledged.values()].map(({ id }) => id).sort(compareIds)
  const newest = async (): Promise<boolean> => {
    for (const [field, { id }] of publisher.newest) if ((await seat.remote.value(...field.split(' ') as [string, string, string]))?.id !== id) return false
    return true
  }
  await seat.until('every fact has come', () => seat.facts.length >= facts.length).catch(error => t.fail(error))
  await until('the newest values have come', newest).catch(error => t.fail(error))
  await delay(100)
  await seat.look()
  t.same(idsOf(seat.facts), facts, `each of ${facts.length} facts once, and in order`)
  t.same(seat.received('mistake'), [], 'no mistakes')
}

/** Starts 50 events a second, in one room. */
export const load = (stage: Stage, url: string, room: string): Publisher => stage.publisher({ name: 'p', url, rooms: [room], batch: 1, pauseMs: 16 }).start()
