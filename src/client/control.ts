// Commands. Each carries an Idempotency-Key, and can be sent again after a lost answer or a rate limit without running
// twice. They go over HTTP or over the WebSocket, depending on what the gateway mounts.

import { checked, CONTROL } from './options.ts'
import { backoff, endOfRefusal, pause, readAnswer, uniqueId } from './wire.ts'
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
  readonly code: string
  /** The gateway's whole answer. */
  readonly answer: Readonly<Record<string, unknown>>

  constructor (message: string, code: string, answer: Readonly<Record<string, unknown>>) {
    super(message)
    this.code = code
    this.answer = answer
  }
}

/** How commands reach the gateway. */
export interface ControlRoute {
  /** @returns the URL for commands; null if they go over the socket. @throws if the gateway does not answer; ControlError if it accepts no commands at all */
  address (): Promise<string | null>
  fetch (url: string, init: RequestInit): Promise<Response>
  /** Sends over the socket. @returns null without a socket, or without an answer before the signal */
  ask (message: object, signal: AbortSignal): Promise<GatewayAnswer | null>
}

interface CommandRequest {
  readonly command: string
  readonly args: object
  readonly idempotencyKey: string
  readonly signal: AbortSignal | undefined
}

/** Statuses that a retry may change. */
const TRANSIENT = [429, 502, 503, 504]
/** How long a command is retried while the gateway does not answer or accept it. */
const PATIENCE_MS = 60_000
const ANSWER_MS = 30_000
const RETRY_MIN_MS = 500
const RETRY_MAX_MS = 5000
const GIVEN_UP: GatewayAnswer = { status: 0, body: { code: 'UNREACHABLE', message: 'the gateway does not answer; the command may have run' } }

/** Runs a command and waits for its result, for as long as it runs. @throws ControlError; the signal's reason */
export async function run (route: ControlRoute, command: string, args: object, options: ControlOptions): Promise<CommandResult> {
  const { idempotencyKey = uniqueId(), signal, onWait } = checked(options, CONTROL)
  // What cannot be sent must not look like a lost answer: both of these throw a TypeError.
  JSON.stringify(args)
  void new Headers({ 'Idempotency-Key': idempotencyKey })
  const request: CommandRequest = { command, args, idempotencyKey, signal }
  let until = Date.now() + PATIENCE_MS
  let running = ''
  for (let asked = 0; ; asked++) {
    signal?.throwIfAborted()
    const answer = await ask(route, request, running).catch(error => {
      if (error instanceof ControlError) throw error
      return null
    })
    signal?.throwIfAborted()
    const waitMs = backoff(asked, RETRY_MIN_MS, RETRY_MAX_MS, answer?.retryMs)
    if (answer?.body.status === 'running') {
      running = String(answer.body.id)
      until = Date.now() + PATIENCE_MS
    } else if ((answer !== null && !TRANSIENT.includes(answer.status)) || Date.now() + waitMs > until) {
      return resultOf(answer ?? GIVEN_UP, command)
    } else onWait?.(waitMs, endOfRefusal(answer ?? GIVEN_UP).code)
    await pause(waitMs, signal)
  }
}

function resultOf ({ status, body }: GatewayAnswer, command: string): CommandResult {
  if (body.ok === true || body.status === 'done') return { id: String(body.id), command, result: body.result }
  if (body.status === 'unknown') throw new ControlError('the command was started, and its outcome is lost', 'UNKNOWN', body)
  const error = (body.error ?? {}) as { code?: unknown, message?: unknown }
  throw new ControlError(String(body.message ?? error.message ?? `the answer was ${status}`), String(body.code ?? error.code ?? status), body)
}

/** @param running id of the command if it is known to run: then asks for its outcome. Over the socket, sending the command again asks for that */
async function ask (route: ControlRoute, { signal, idempotencyKey, ...request }: CommandRequest, running: string): Promise<GatewayAnswer | null> {
  const address = await route.address()
  const timeout = AbortSignal.timeout(ANSWER_MS)
  const within = AbortSignal.any([timeout, signal ?? timeout])
  if (address === null) return await route.ask({ action: 'control', ...request, idempotencyKey }, within)
  return await readAnswer(await (running === ''
    ? route.fetch(address, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': idempotencyKey },
      body: JSON.stringify(request),
      signal: within
    })
    : route.fetch(`${address}/${encodeURIComponent(running)}`, { signal: within })))
}
