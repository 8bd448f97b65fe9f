// The workers of a deployment, over Redis. A worker's declarations are valid as long as its lease, which it renews. A killed
// worker leaves nothing behind once its lease has expired; a worker that wakes from a long sleep declares everything
// again. Members are declared as counts, never as steps.
//
// Orders to all workers and their answers travel through the log: every worker gets each once, after the events before it.

import { randomBytes } from 'node:crypto'
import { Refusal } from '../../core/errors.ts'
import { fullOf } from '../../core/group.ts'
import type { EnterResult, Group, Hit, OrderHandler } from '../../core/group.ts'
import { within } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { RedisClient } from './connect.ts'
import { isAnswer } from './health.ts'
import type { RedisStore } from './log/store.ts'
import { NOW, script } from './scripts.ts'

export interface GroupOptions {
  readonly worker: string
  readonly store: RedisStore
  readonly clock: Clock
  readonly log: Pick<Logger, 'warn'>
}

const LEASE_MS = 12_000
const BEAT_MS = 3000
/** Beats between two calls of `onGone` where nobody has gone. */
const LOOK_BEATS = 20
/** These figures are only limits: not worth a longer wait. */
const PATIENCE_MS = 500
/** How long it is known that a room lost members. */
const LEFT_MS = 10_000
/** Time for all workers to carry out an order and answer. */
const ANSWER_MS = 2000
/** A worker that has not renewed its lease for so long was killed, or hangs: a question to all of them does not wait for it. */
const SILENT_MS = BEAT_MS + 1000
/** Between two looks at who has. */
const LOOK_MS = 500

/** Keys: workers members. Arguments: worker, lease ms. Returns 1 if its lease had not expired, and who is alive. */
const beat = script<[workers: string, members: string], [worker: string, leaseMs: number], [valid: number, ...alive: string[]]>('sbBeat', `${NOW}
local me, lease = ARGV[1], tonumber(ARGV[2])
local score = redis.call('ZSCORE', KEYS[1], me)
redis.call('ZADD', KEYS[1], now + lease, me)
-- Leases that are longer than any can be: the server's clock was set back since.
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now + lease), '+inf')) do
  redis.call('ZADD', KEYS[1], now + lease, worker)
end
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))
if #dead > 0 then
  local gone = {}
  for _, worker in ipairs(dead) do gone[worker] = true end
  for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
    if gone[string.match(field, '^%S+')] then redis.call('HDEL', KEYS[2], field) end
  end
  for _, worker in ipairs(dead) do redis.call('ZREM', KEYS[1], worker) end
end
local answer = redis.call('ZRANGE', KEYS[1], 0, -1)
table.insert(answer, 1, (score and tonumber(score) >= now) and 1 or 0)
return answer
`)

/** Keys: workers members. Arguments: worker, limit, then room and count in turn. Returns totals, and the rooms that are full. */
const enter = script<[workers: string, members: string], [worker: string, limit: number, ...counts: Array<string | number>], [totals: number[], full: string[]]>('sbEnter', `${NOW}
local me, limit = ARGV[1], tonumber(ARGV[2])
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now), '+inf')
local totals, full = {}, {}
for at = 3, #ARGV, 2 do
  local room, total = ARGV[at], tonumber(ARGV[at + 1])
  for _, worker in ipairs(alive) do
    if worker ~= me then total = total + tonumber(redis.call('HGET', KEYS[2], worker .. ' ' .. room) or 0) end
  end
  totals[#totals + 1] = total
  if limit > 0 and total > limit and string.sub(room, 1, 1) ~= '@' then full[#full + 1] = room end
end
if #full == 0 then
  for at = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], me .. ' ' .. ARGV[at], ARGV[at + 1]) end
end
return {totals, full}
`)

/** Notes that a worker lost its last member of a room, until nobody asks for it any more. */
const LEAVE = `
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now - ${LEFT_MS}))
-- The server's clock was set back since.
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now), '+inf')
local function leave (field)
  if redis.call('HDEL', KEYS[1], field) == 1 then redis.call('ZADD', KEYS[2], now, string.match(field, '%S+$')) end
end
`

/** Keys: members left. Arguments: field and count in turn. */
const declare = script<[members: string, left: string], string[], null>('sbDeclare', `${NOW}${LEAVE}
for at = 1, #ARGV, 2 do
  if ARGV[at + 1] == '0' then leave(ARGV[at]) else redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
`)

/** Keys: members left. Arguments: worker, then field and count in turn. They replace everything the worker has declared. */
const replace = script<[members: string, left: string], [worker: string, ...counts: string[]], null>('sbReplace', `${NOW}${LEAVE}
local kept = {}
for at = 2, #ARGV, 2 do kept[ARGV[at]] = true end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.match(field, '^%S+') == ARGV[1] and not kept[field] then leave(field) end
end
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
`)

/** Keys: workers members left. Arguments: worker, ms, rooms. Returns for each room the ms that are left of these, -1 if it has members in other workers. */
const quiet = script<[workers: string, members: string, left: string], [worker: string, quietMs: number, ...rooms: string[]], number[]>('sbQuiet', `${NOW}
local me, ms = ARGV[1], tonumber(ARGV[2])
local alive = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now), '+inf')
local answer = {}
for at = 3, #ARGV do
  local room = ARGV[at]
  local since = now - (redis.call('ZSCORE', KEYS[3], room) or 0)
  local wait = since >= 0 and math.max(0, ms - since) or 0
  for _, worker in ipairs(alive) do
    if worker ~= me and tonumber(redis.call('HGET', KEYS[2], worker .. ' ' .. room) or 0) > 0 then wait = -1 end
  end
  answer[#answer + 1] = wait
end
return answer
`)

/** Key: workers. Argument: ms that a lease must still last. Returns the names of those whose lease does. */
const alive = script<[workers: string], [leftMs: number], string[]>('sbAlive', `${NOW}
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('%.0f', now + ARGV[1]), '+inf')
`)

/** Key: the counter. Returns the count in this second, and the ms left of it. */
const hit = script<[counter: string], [], [count: number, leftMs: number]>('sbHit', `
local t = redis.call('TIME')
local count = 1
if redis.call('HGET', KEYS[1], 'second') == t[1] then
  count = redis.call('HINCRBY', KEYS[1], 'count', 1)
else
  redis.call('HSET', KEYS[1], 'second', t[1], 'count', 1)
  redis.call('PEXPIRE', KEYS[1], 2000)
end
return {count, 1000 - math.floor(t[2] / 1000)}
`)

export class RedisGroup implements Group {
  readonly worker: string
  readonly #options: GroupOptions
  /** Members of this worker by room: what Redis should hold. */
  readonly #counts = new Map<string, number>()
  /** The rooms whose count in Redis may be out of date. */
  readonly #dirty = new Set<string>()
  #declaring: Promise<void> | null = null
  /** Calls of `enter` that are not answered yet: `#counts` does not include what they declare. */
  #entering = 0
  /** Redis may hold anything for this worker: all counts are sent again. */
  #isStale = true
  readonly #asked = new Map<string, (from: string, value: unknown) => void>()
  #run: OrderHandler = () => {}
  /** Those that were alive at the last beat. */
  #alive: readonly string[] = []
  /** Those that were alive when Redis was lost. Until then they may not have renewed their leases, or another server has taken over without them. */
  #returning: { readonly workers: readonly string[], readonly until: number } = { workers: [], until: 0 }
  #beats = 0
  #onGone: () => void = () => {}
  #stop = (): void => {}
  #closed = false
  /** The failure last reported. */
  #reported = ''

  constructor (options: GroupOptions) {
    const { store, worker } = options
    this.#options = options
    this.worker = worker
    store.listen({
      onNote: ({ field, text }) => {
        if (field === 'ask') this.#carryOut(text)
        if (field === 'answer') this.#takeAnswer(text)
      },
      onUsable: () => {
        this.#isStale = true
        this.#returning = { workers: this.#alive, until: options.clock.now() + SILENT_MS }
        void this.#beat()
      }
    })
    void this.#beat()
  }

  onOrder (run: OrderHandler): void {
    this.#run = run
  }

  async orderAll (name: string, args: unknown): Promise<unknown[]> {
    const { clock } = this.#options
    const missing = new Set(await this.#living())
    return await this.#order(name, args, missing, () => false, async over => { await within(clock, ANSWER_MS, over, undefined) })
  }

  async askAll (name: string, args: unknown): Promise<unknown> {
    const { clock } = this.#options
    const missing = new Set(await this.#living(LEASE_MS - SILENT_MS))
    const answers = await this.#order(name, args, missing, value => value !== null, async over => {
      for (let waited = 0; waited < SILENT_MS; waited += LOOK_MS) {
        if (await within(clock, LOOK_MS, over.then(() => true), false)) return
        const living = await this.#living(LEASE_MS - SILENT_MS)
        for (const worker of missing) if (!living.includes(worker)) missing.delete(worker)
        if (missing.size === 0) return
      }
    })
    const answer = answers.find(value => value !== null) ?? null
    // It may be the one that is slow, and may still carry it out.
    if (answer === null && missing.size > 0) throw new Refusal('STORE_UNAVAILABLE', 'not every worker has answered in time; try again in a moment')
    return answer
  }

  /**
   * @param missing the workers that are expected to answer; those that have are deleted from it
   * @param wait as long as is waited for all answers, or for one that is enough
   */
  async #order (name: string, args: unknown, missing: Set<string>, isEnough: (value: unknown) => boolean, wait: (over: Promise<void>) => Promise<void>): Promise<unknown[]> {
    const id = randomBytes(9).toString('base64url')
    const answers: unknown[] = []
    missing.add(this.worker)
    const over = new Promise<void>(resolve => {
      this.#asked.set(id, (from, value) => {
        answers.push(value)
        missing.delete(from)
        if (missing.size === 0 || isEnough(value)) resolve()
      })
    })
    try {
      await this.#options.store.note('ask', JSON.stringify({ id, name, args }))
      await wait(over)
      return answers
    } finally {
      this.#asked.delete(id)
    }
  }

  async isAlive (worker: string): Promise<boolean> {
    return worker === this.worker || (await this.#living()).includes(worker)
  }

  async enter (counts: ReadonlyMap<string, number>, limit: number): Promise<EnterResult> {
    const { store } = this.#options
    const { workers, members } = store.keys
    this.#entering++
    const answer = await this.#bounded(async client => await enter(client, [workers, members], [this.worker, limit, ...[...counts].flat()]))
    if (--this.#entering === 0) this.#options.clock.soon(() => this.#declareDue())
    // It is unknown whether Redis has taken the counts: they are sent again, with their values at that time.
    if (answer === null) {
      this.declare(counts)
      return { totals: counts, full: fullOf(counts, limit) }
    }
    const [totals, full] = answer
    if (full.length === 0) for (const [room, count] of counts) this.#counts.set(room, count)
    return { totals: new Map([...counts.keys()].map((room, at) => [room, totals[at] as number])), full }
  }

  declare (counts: ReadonlyMap<string, number>): void {
    for (const [room, count] of counts) {
      if ((this.#counts.get(room) ?? 0) === count && !this.#dirty.has(room)) continue
      if (count > 0) this.#counts.set(room, count)
      else this.#counts.delete(room)
      this.#dirty.add(room)
    }
    this.#declareDue()
  }

  async membersElsewhere (rooms?: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { members } = this.#options.store.keys
    const others = (await this.#living().catch(() => [])).filter(worker => worker !== this.worker)
    const totals = new Map<string, number>()
    if (others.length === 0) return totals
    const add = (room: string, count: string | null | undefined): void => {
      if (count != null) totals.set(room, (totals.get(room) ?? 0) + Number(count))
    }
    if (rooms === undefined) {
      for (const [field, count] of Object.entries(await this.#bounded(async client => await client.hgetall(members)) ?? {})) {
        const [worker = '', room = ''] = field.split(' ')
        if (others.includes(worker)) add(room, count)
      }
    } else {
      const pairs = rooms.flatMap(room => others.map(worker => ({ room, field: `${worker} ${room}` })))
      const counts = await this.#bounded(async client => await client.hmget(members, ...pairs.map(({ field }) => field))) ?? []
      for (const [at, { room }] of pairs.entries()) add(room, counts[at])
    }
    return totals
  }

  async quietElsewhere (rooms: readonly string[], quietMs: number): Promise<ReadonlyMap<string, number> | null> {
    const { workers, members, left } = this.#options.store.keys
    const answer = await this.#bounded(async client => await quiet(client, [workers, members, left], [this.worker, quietMs, ...rooms]))
    return answer === null ? null : new Map(rooms.flatMap((room, at) => (answer[at] as number) < 0 ? [] : [[room, answer[at] as number]]))
  }

  onGone (run: () => void): void {
    this.#onGone = run
  }

  async hit (limit: string, caller: string): Promise<Hit | null> {
    const { store } = this.#options
    const answer = await this.#bounded(async client => await hit(client, [store.keys.rate(limit, caller)], []))
    return answer === null ? null : { count: answer[0], resetMs: answer[1] }
  }

  /** Removes this worker from the deployment at once. */
  async close (): Promise<void> {
    this.#closed = true
    this.#stop()
    const { workers, members, left } = this.#options.store.keys
    await this.#bounded(async client => await Promise.all([client.zrem(workers, this.worker), replace(client, [members, left], [this.worker])]))
  }

  /** @throws Refusal STORE_UNAVAILABLE */
  async #living (leftMs = 0): Promise<string[]> {
    const { store } = this.#options
    return this.#withReturning(await store.ask(async client => await alive(client, [store.keys.workers], [leftMs])))
  }

  /** @param alive those that are by their leases */
  #withReturning (alive: readonly string[]): string[] {
    const { workers, until } = this.#returning
    return [...new Set([...alive, ...this.#options.clock.now() < until ? workers : []])]
  }

  /** Renews the lease, and sends the counts that are out of date. */
  async #beat (): Promise<void> {
    const { store, clock } = this.#options
    const { workers, members } = store.keys
    this.#stop()
    if (this.#closed) return
    this.#stop = clock.after(BEAT_MS, () => { void this.#beat() })
    const answer = await this.#bounded(async client => await beat(client, [workers, members], [this.worker, LEASE_MS]))
    const [isValid, ...leases] = answer ?? [0, ...this.#alive]
    // The lease had expired: others may have deleted the counts as those of a dead worker.
    if (isValid !== 1) this.#isStale = true
    this.#declareDue()
    const alive = this.#withReturning(leases)
    const isGone = this.#alive.some(worker => !alive.includes(worker))
    this.#alive = alive
    if (isGone || ++this.#beats % LOOK_BEATS === 0) this.#onGone()
  }

  /** Sends the counts of the rooms that changed, until Redis has taken them. */
  #declareDue (): void {
    if (this.#closed || (this.#dirty.size === 0 && !this.#isStale) || (this.#isStale && this.#entering > 0)) return
    this.#declaring ??= this.#sendCounts().finally(() => { this.#declaring = null })
  }

  async #sendCounts (): Promise<void> {
    const { members, left } = this.#options.store.keys
    const isStale = this.#isStale
    const rooms = isStale ? new Set([...this.#counts.keys(), ...this.#dirty]) : new Set(this.#dirty)
    const counts: string[] = []
    for (const room of rooms) {
      const count = this.#counts.get(room) ?? 0
      if (count > 0 || !isStale) counts.push(this.#field(room), String(count))
    }
    this.#isStale = false
    for (const room of rooms) this.#dirty.delete(room)
    // Everything is sent in this turn: these counts must not overtake a later `enter`.
    const answer = await this.#bounded(async client => {
      await (isStale ? replace(client, [members, left], [this.worker, ...counts]) : declare(client, [members, left], counts))
      return true
    })
    if (answer === null) {
      // The next beat sends them again.
      this.#isStale ||= isStale
      for (const room of rooms) this.#dirty.add(room)
    } else if (this.#dirty.size > 0) {
      this.#options.clock.soon(() => this.#declareDue())
    }
  }

  #carryOut (text: string): void {
    const { id, name, args } = JSON.parse(text) as { id: string, name: string, args: unknown }
    const { store, log } = this.#options
    void (async () => {
      const value = await this.#run(name, args)
      await store.note('answer', JSON.stringify({ id, from: this.worker, value: value ?? null }))
    })().catch((err: unknown) => log.warn({ err, name }, 'this worker did not carry out an order to all workers, or could not answer it'))
  }

  #takeAnswer (text: string): void {
    const { id, from, value } = JSON.parse(text) as { id: string, from: string, value: unknown }
    this.#asked.get(id)?.(from, value)
  }

  /** @returns null if Redis does not answer in time */
  async #bounded<T> (question: (client: RedisClient) => Promise<T>): Promise<T | null> {
    const { store, clock } = this.#options
    if (store.trouble !== null) return null
    return await within(clock, PATIENCE_MS, store.ask(question).catch((error: Error) => this.#report(error)), null)
  }

  /** Redis answers, but not as it should: a key has another type, for example. */
  #report ({ message }: Error): null {
    const { store, log } = this.#options
    if (store.trouble === null && isAnswer(message) && message !== this.#reported) {
      this.#reported = message
      log.warn({ reason: message }, `workers and members of the deployment cannot be counted, each worker goes by its own counts: ${store.keys.workers}, ${store.keys.members} or a key of ${store.keys.rate('', '')} cannot be used: ${message}`)
    }
    return null
  }

  #field (room: string): string {
    return `${this.worker} ${room}`
  }
}
