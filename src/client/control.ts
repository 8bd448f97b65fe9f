// Commands. Each carries an Idempotency-Key, and can be sent again after a lost answer or a rate limit without running
// twice. They go over HTTP or over the WebSocket, depending on what the gateway mounts.

import { checked, CONTROL } from './options.ts'
import { backoff, endOfRefusal, pause, uniqueId } from './wire.ts'
import type { GatewayAnswer } from './wire.ts'

export interface ControlOptions {
  /** A command with the same key runs once, no matter which client sends it. Default: a new key. */
  readonly idempotencyKey?: string
  /** Stops waiting. The command itself continues. */
  readonly signal?: AbortSignal
  /** The command was not accepted and is sent again in `retryMs`. `code` is the gateway's, or `UNREACHABLE`. */
  readonly onWait?: (retryMs: number, code: string) => void
}

export interface CommandResult {
  readonly id: string
  readonly command: string
  readonly result: unknown
}

/** A command was refused, has failed, or has an unknown outcome. */
export class ControlError extends Error {
  override readonly name = 'ControlError'
  /** The gateway's code; `UNREACHABLE` if it never answered, `UNKNOWN` if the outcome was lost. */
  declare readonly code: string
  /** The gateway's whole answer. */
  declare readonly answer: Readonly<Record<string, unknown>>

  constructor (message: string, code: string, answer: Readonly<Record<string, unknown>> = {}) {
    super(message)
    this.code = code
    this.answer = answer
  }
}

/** Sends a command once. @param running id of the command if it is known to run: then asks for its outcome @returns null without an answer */
type Send = (request: CommandRequest, idempotencyKey: string, signal: AbortSignal, running: string) => Promise<GatewayAnswer | null>

interface CommandRequest {
  readonly command: string
  readonly args: object
}

/** How long a command is retried while the gateway does not answer or accept it. */
const PATIENCE_MS = 60_000
const ANSWER_MS = 30_000
const RETRY_MIN_MS = 500
const RETRY_MAX_MS = 5000
const GIVEN_UP: GatewayAnswer = { status: 0, body: { code: 'UNREACHABLE', message: 'the gateway does not answer; it may have run' } }

/** Refused, and a retry may change that. */
export const isTransient = ({ status }: GatewayAnswer): boolean => [429, 502, 503, 504].includes(status)

export const retryAfter = (failures: number, answer: GatewayAnswer | null): number => backoff(failures, RETRY_MIN_MS, RETRY_MAX_MS, answer?.retryMs)

/** Runs a command and waits for its result, for as long as it runs. @throws ControlError; the signal's reason */
export async function run (send: Send, command: string, args: object, options: ControlOptions): Promise<CommandResult> {
  const { idempotencyKey = uniqueId(), signal, onWait } = checked(options, CONTROL)
  // What cannot be sent must not look like a lost answer: both of these throw a TypeError.
  JSON.stringify(args)
  void new Headers({ 'Idempotency-Key': idempotencyKey })
  let until = Date.now() + PATIENCE_MS
  let running = ''
  for (let asked = 0; ; asked++) {
    signal?.throwIfAborted()
    const timeout = AbortSignal.timeout(ANSWER_MS)
    const answer = await send({ command, args }, idempotencyKey, AbortSignal.any([timeout, signal ?? timeout]), running).catch(error => {
      if (error instanceof ControlError) throw error
      return null
    })
    signal?.throwIfAborted()
    const waitMs = retryAfter(asked, answer)
    if (answer?.body.status === 'running') {
      running = String(answer.body.id)
      until = Date.now() + PATIENCE_MS
    } else if ((answer !== null && !isTransient(answer)) || Date.now() + waitMs > until) {
      const { body } = answer ?? GIVEN_UP
      if (body.ok === true || body.status === 'done') return { id: String(body.id), command, result: body.result }
      throw errorOf(answer ?? GIVEN_UP)
    } else onWait?.(waitMs, endOfRefusal(answer ?? GIVEN_UP).code)
    await pause(waitMs, signal)
  }
}

/** The refusal or failure that an answer tells of. */
export function errorOf ({ status, body }: GatewayAnswer): ControlError {
  if (body.status === 'unknown') return new ControlError('it was started, its outcome is lost', 'UNKNOWN', body)
  const { code, reason } = endOfRefusal({ status, body: { ...body.error as object, ...body } })
  return new ControlError(reason, code, body)
}
