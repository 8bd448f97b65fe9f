// Commands. Each goes out under an Idempotency-Key, so it can be sent again after a lost answer or a full second
// without being carried out twice, through whichever door is open.

import { answerOf, uniqueId } from './wire.ts'
import type { Answer } from './wire.ts'

export interface ControlOptions {
  /** Names this order: the same name is carried out once, whoever sends it. Default: a new one. */
  readonly idempotencyKey?: string
  /** Ends the waiting, not the command. */
  readonly signal?: AbortSignal
}

export interface CommandResult {
  readonly id: string
  readonly command: string
  readonly result: unknown
}

/** A command that was refused, has failed, or whose outcome is not known. */
export class ControlError extends Error {
  override readonly name = 'ControlError'
  /** The gateway's; `UNREACHABLE` where it never answered, `UNKNOWN` where the outcome was lost. */
  readonly code: string
  /** The gateway's own words. */
  readonly answer: Readonly<Record<string, unknown>>

  constructor (message: string, code: string, answer: Readonly<Record<string, unknown>>) {
    super(message)
    this.code = code
    this.answer = answer
  }
}

export interface Door {
  /** The address for commands; null where there is none over HTTP. @throws where the gateway does not answer */
  address (): Promise<string | null>
  headers (): Promise<Record<string, string>>
  /** Over the socket; null where there is none. */
  ask (message: object): Promise<Answer | null>
}

interface Order {
  readonly command: string
  readonly args: object
  readonly idempotencyKey: string
  readonly signal: AbortSignal | undefined
}

/** Answers that may be another one a little later. */
const PASSING = [429, 502, 503, 504]
/** Until a gateway that does not answer, or has no time, is given up. */
const PATIENCE_MS = 60_000
const ANSWER_MS = 30_000
const RETRY_MIN_MS = 500
const RETRY_MAX_MS = 5000
const GIVEN_UP: Answer = { status: 0, body: { code: 'UNREACHABLE', message: 'the gateway does not answer; whether the command ran is not known' } }

/** Runs a command, and waits for its end however long it takes. @throws ControlError; the signal's reason */
export async function run (door: Door, command: string, args: object, { idempotencyKey = uniqueId(), signal }: ControlOptions): Promise<CommandResult> {
  const order: Order = { command, args, idempotencyKey, signal }
  let answer = await patiently(signal, PATIENCE_MS, async () => await send(door, order))
  if (answer.status === 202) {
    const { id } = answer.body
    answer = await patiently(signal, Infinity, async () => {
      const told = await look(door, String(id), order)
      return told?.body.status === 'running' ? null : told
    })
  }
  const { body, status } = answer
  const { id, result } = body
  if (body.ok === true || body.status === 'done') return { id: String(id), command, result }
  if (body.status === 'unknown') throw new ControlError('the command was started, and its outcome was lost; it was not run again', 'UNKNOWN', body)
  const error = (body.error ?? {}) as { code?: unknown, message?: unknown }
  throw new ControlError(String(body.message ?? error.message ?? `the answer was ${status}`), String(body.code ?? error.code ?? status), body)
}

/** Asks again where the answer is null, or a passing one, or there was none. */
async function patiently (signal: AbortSignal | undefined, patienceMs: number, ask: () => Promise<Answer | null>): Promise<Answer> {
  const until = Date.now() + patienceMs
  for (let asked = 0; ; asked++) {
    const answer = await ask().catch(() => null)
    signal?.throwIfAborted()
    if (answer !== null && !PASSING.includes(answer.status)) return answer
    const waitMs = answer?.retryMs ?? Math.random() * Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** asked)
    if (Date.now() + waitMs > until) return answer ?? GIVEN_UP
    await pause(waitMs, signal)
  }
}

async function send (door: Door, { signal, ...order }: Order): Promise<Answer | null> {
  const address = await door.address()
  if (address === null) return await Promise.race([door.ask({ action: 'control', ...order }), pause(ANSWER_MS, signal)])
  const { idempotencyKey, ...body } = order
  return await answerOf(await fetch(address, {
    method: 'POST',
    headers: { ...await door.headers(), 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey },
    body: JSON.stringify(body),
    signal: within(signal)
  }))
}

/** What became of a command; over the socket that is asked by sending it again. */
async function look (door: Door, id: string, order: Order): Promise<Answer | null> {
  const address = await door.address()
  if (address === null) return await send(door, order)
  return await answerOf(await fetch(`${address}/${encodeURIComponent(id)}`, { headers: await door.headers(), cache: 'no-store', signal: within(order.signal) }))
}

const within = (signal: AbortSignal | undefined): AbortSignal => AbortSignal.any([AbortSignal.timeout(ANSWER_MS), ...(signal === undefined ? [] : [signal])])

async function pause (ms: number, signal: AbortSignal | undefined): Promise<null> {
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms, null)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      reject(signal.reason)
    }, { once: true })
  })
}
