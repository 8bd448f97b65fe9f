// `signalbox publish`: one event from options, or NDJSON in batches. Each request has an Idempotency-Key, so that one sent
// again after a lost answer publishes nothing twice.

import { randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { addAbortSignal } from 'node:stream'
import type { Readable } from 'node:stream'
import type { GatewayAnswer } from '../client/wire.ts'
import { Failure, FAILED, INTERRUPTED, WRONG_USE } from './failure.ts'
import { Gateway, reasonOf, refuse, Unreachable } from './gateway.ts'
import { batchesOf } from './lines.ts'
import type { Line } from './lines.ts'
import { outliveReader, print, say } from './terminal.ts'

export interface EventOptions {
  readonly type?: string
  readonly room?: string
  readonly key?: string
  /** JSON. */
  readonly data?: string
  /** Seconds. */
  readonly ttl?: number
  readonly idempotencyKey?: string
}

/** The most that the gateway takes in one request. */
const MAX_BATCH = 1000
/** At most about this much of a file goes into one request; a pipe hands over less. The gateway's smallest usual limit is far above. */
const CHUNK_BYTES = 262_144
/** What may be wrong with one event of a batch, and right with the others. */
const OF_ONE_EVENT = [400, 403, 409, 413]

export async function publish (gateway: Gateway, file: string | undefined, options: EventOptions): Promise<void> {
  outliveReader()
  const given = Object.keys(options).filter(name => options[name as keyof EventOptions] !== undefined)
  if (file !== undefined && given.length > 0) throw new Failure(`publish takes a file or the options of one event, not both (${given.map(name => `--${name}`).join(', ')})`, WRONG_USE)
  if (given.length > 0) return await publishOne(gateway, options)
  if (file === undefined && process.stdin.isTTY) throw new Failure('nothing to publish: name a file, pipe NDJSON in (- reads it from the keyboard), or give --type and --data', WRONG_USE)
  await new Publication(gateway).run(file === undefined || file === '-' ? process.stdin : createReadStream(file, { highWaterMark: CHUNK_BYTES }))
}

async function publishOne (gateway: Gateway, { type, room, key, data, ttl, idempotencyKey = randomUUID() }: EventOptions): Promise<void> {
  if (type === undefined) throw new Failure('--type is missing: what kind of event it is, such as --type cpu', WRONG_USE)
  if (data === undefined) throw new Failure('--data is missing: a JSON value, such as --data 42; with --key, --data null deletes the key', WRONG_USE)
  const rest = JSON.stringify({ type, room, key, ttl })
  const answer = await gateway.ask('/api/events', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey },
    body: `${rest.slice(0, -1)},"data":${data}}`
  })
  for (const id of idsOf(gateway, answer, 1)) await print(id)
}

/** NDJSON on its way. Batches go one after the other: events keep their order, and a slow gateway slows the reading down. */
class Publication {
  readonly #gateway: Gateway
  #events = 0
  /** Number of the last line that is published. */
  #through = 0
  /** The last line that may be published although no answer says so. */
  #maybeThrough = 0

  constructor (gateway: Gateway) {
    this.#gateway = gateway
  }

  async run (input: Readable): Promise<void> {
    try {
      for await (const lines of batchesOf(addAbortSignal(this.#gateway.signal, input), MAX_BATCH)) {
        const bad = lines.findIndex(({ fault }) => fault !== null)
        await this.#send(bad === -1 ? lines : lines.slice(0, bad))
        if (bad !== -1) throw new Failure(`line ${lines[bad]?.number}: ${lines[bad]?.fault}`, WRONG_USE)
      }
    } catch (error) {
      throw this.#account(error)
    }
    say(`published ${count(this.#events)}`)
  }

  async #send (lines: readonly Line[]): Promise<void> {
    const last = lines.at(-1)
    if (last === undefined) return
    const begun = this.#maybeThrough
    this.#maybeThrough = last.number
    const answer = await this.#gateway.ask('/api/events', {
      method: 'POST',
      headers: { 'Content-Type': 'application/x-ndjson', 'Idempotency-Key': randomUUID() },
      body: lines.map(({ text }) => text).join('\n')
    }).catch(error => {
      if (!(error instanceof Failure) || (error instanceof Unreachable && error.isOutcomeUnknown)) throw error
      this.#maybeThrough = begun
      throw error
    })
    if (answer.status >= 400) {
      // Nothing of a refused request is published.
      this.#maybeThrough = begun
      if (lines.length === 1 && OF_ONE_EVENT.includes(answer.status)) throw new Failure(`line ${last.number}: ${reasonOf(answer).replace(/^line 1: /, '')}`)
      if (!OF_ONE_EVENT.includes(answer.status)) refuse(answer)
      // Halves lead to the line that is refused, and publish all before it.
      const middle = lines.length >> 1
      await this.#send(lines.slice(0, middle))
      return await this.#send(lines.slice(middle))
    }
    const ids = idsOf(this.#gateway, answer, lines.length)
    this.#events += ids.length
    this.#through = last.number
    await print(ids.join('\n'))
  }

  /** The error, and what is published by then. */
  #account (error: unknown): Failure {
    const isInterrupted = this.#gateway.signal.aborted
    const { message, code } = error as NodeJS.ErrnoException
    const reason = isInterrupted ? 'interrupted' : code === 'ENOENT' ? message.replace('ENOENT: ', '') : message
    const open = this.#maybeThrough > this.#through ? `; whether those up to line ${this.#maybeThrough} are, too, is unknown` : ''
    const exitCode = isInterrupted ? INTERRUPTED : error instanceof Failure ? error.exitCode : FAILED
    return new Failure(`${reason}\n${this.#events === 0 ? 'Nothing is published' : `Published: ${count(this.#events)}, all up to line ${this.#through}`}${open}.`, exitCode)
  }
}

const count = (events: number): string => `${events} event${events === 1 ? '' : 's'}`

function idsOf (gateway: Gateway, answer: GatewayAnswer, expected: number): readonly string[] {
  if (answer.status >= 400) refuse(answer)
  const { ids } = answer.body
  if (!Array.isArray(ids) || ids.length !== expected) throw gateway.stranger()
  return ids
}
