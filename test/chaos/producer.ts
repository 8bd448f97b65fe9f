// Publishes one request after the other: facts, values and deletions, alone and in batches. With Idempotency-Keys it repeats what
// has an unknown outcome until that is known, and now and then what was acknowledged; without, an unknown outcome stays unknown.

import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { authHeaders } from './auth.ts'
import type { Auth } from './auth.ts'
import { dataOf, sumOf } from './data.ts'
import type { HistoryWriter } from './history.ts'
import { Random } from './random.ts'

export interface ProducerPlan {
  readonly name: string
  /** Its operations are numbered from here on. */
  readonly firstOp: number
  readonly seed: number
  readonly port: number
  readonly rooms: readonly string[]
  readonly gapMs: number
  readonly maxBatch: number
  /** Its requests have Idempotency-Keys. */
  readonly keyed: boolean
  /** Bytes that do not change from one value to the next. */
  readonly padding: number
  readonly auth?: Auth
}

interface Item {
  readonly room: string
  readonly type: string
  readonly key?: string
  /** Null: deletes the key. */
  readonly value: string | null
}

type Outcome = { readonly type: 'ok', readonly ids: readonly string[] } | { readonly type: 'fail', readonly code: string } | { readonly type: 'info', readonly why: string }

/** Far longer than the gateway takes, as a machine may be slow: without a fault no answer is missing. */
const TIMEOUT_MS = 15_000
const AGAIN_MS = 100
const KEYS = 6

export class Producer {
  readonly #plan: ProducerPlan
  readonly #history: HistoryWriter
  readonly #random: Random
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  #op: number
  #n = 0
  #requests = 0
  #state: 'running' | 'ending' | 'over' = 'running'
  #loop: Promise<void> = Promise.resolve()

  constructor (plan: ProducerPlan, history: HistoryWriter) {
    this.#plan = plan
    this.#history = history
    this.#random = new Random(plan.seed)
    this.#op = plan.firstOp
  }

  start (): void {
    this.#loop = this.#run()
  }

  /** Resolves when the outcome of its last request is known, where it can be. */
  async finish (): Promise<void> {
    if (this.#state === 'running') this.#state = 'ending'
    await this.#loop
    this.#agent.destroy()
  }

  /** Unknown outcomes stay unknown. */
  async giveUp (): Promise<void> {
    this.#state = 'over'
    await this.finish()
  }

  async #run (): Promise<void> {
    while (this.#state === 'running') {
      await this.#publish()
      await delay(this.#plan.gapMs * this.#random.between(0.2, 1.8))
    }
  }

  #item (): Item {
    const { name, rooms } = this.#plan
    const room = this.#random.pick(rooms)
    const value = `${name}-${++this.#n}`
    if (this.#random.chance(0.5)) return { room, type: 'fact', value }
    // Some keys have several publishers.
    const key = this.#random.chance(0.1) ? 'shared' : `${name}.k${this.#random.below(KEYS)}`
    return { room, type: 'value', key, value: this.#random.chance(0.2) ? null : value }
  }

  async #publish (): Promise<void> {
    const { name, seed, maxBatch, keyed, padding } = this.#plan
    const items = Array.from({ length: this.#random.chance(0.5) ? 1 : 1 + this.#random.below(maxBatch) }, () => this.#item())
    const events = items.map(({ room, type, key, value }) =>
      ({ type, ...(room === '@public' ? {} : { room }), ...(key === undefined ? {} : { key }), data: value === null ? null : dataOf(value, padding) }))
    // Another round may have the same gateway.
    const idem = keyed ? `${name}-${seed}-${++this.#requests}` : undefined
    const body = JSON.stringify(events.length === 1 ? events[0] : events)
    for (let isKnown = false; ;) {
      const ops = items.map(({ room, type, key, value }, index) => {
        const op = this.#op++
        // The key is the batch's.
        const more = { ...(key === undefined ? {} : { key }), ...(idem === undefined ? {} : { idem: `${idem}.${index}` }), ...(value === null ? {} : { sum: sumOf(events[index]?.data) }) }
        this.#history.write({ f: 'publish', type: 'invoke', op, producer: name, room, event: type, value, ...more })
        return op
      })
      const outcome = await this.#ask(body, idem)
      for (const [index, op] of ops.entries()) this.#write(op, outcome, index)
      isKnown ||= outcome.type === 'ok' || (outcome.type === 'fail' && !/^ECONN/.test(outcome.code))
      if (outcome.type !== 'ok') await delay(AGAIN_MS * this.#random.between(0.5, 1.5))
      if (this.#state === 'over' || idem === undefined || (isKnown && !this.#random.chance(0.02))) return
    }
  }

  #write (op: number, outcome: Outcome, index: number): void {
    if (outcome.type === 'ok') this.#history.write({ f: 'publish', type: 'ok', op, id: outcome.ids[index] as string })
    else if (outcome.type === 'fail') this.#history.write({ f: 'publish', type: 'fail', op, code: outcome.code })
    else this.#history.write({ f: 'publish', type: 'info', op, why: outcome.why })
  }

  async #ask (body: string, idem: string | undefined): Promise<Outcome> {
    const { port, auth } = this.#plan
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      ...(idem === undefined ? {} : { 'idempotency-key': idem }),
      ...await authHeaders(auth)
    }
    return await new Promise(resolve => {
      const sent = request({ host: '127.0.0.1', port, path: '/api/events', method: 'POST', agent: this.#agent, headers }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', part => { text += part }).on('error', () => {}).on('close', () => {
          if (!response.complete) return resolve({ type: 'info', why: 'cut' })
          if (response.statusCode === 202) return resolve({ type: 'ok', ids: JSON.parse(text).ids })
          const code = String(JSON.parse(text).code)
          // It may have come while the publish was on its way.
          resolve(response.statusCode === 503 ? { type: 'info', why: code } : { type: 'fail', code })
        })
      }).on('error', (error: NodeJS.ErrnoException) => {
        const code = error.code ?? error.message
        resolve(code === 'ECONNREFUSED' ? { type: 'fail', code } : { type: 'info', why: code })
      })
      sent.setTimeout(TIMEOUT_MS, () => sent.destroy(new Error('timeout')))
      sent.end(body)
    })
  }
}
