// The way to a gateway over HTTP: its address, the token, and patience with one that does not answer yet.

import { baseOf } from '../client/options.ts'
import { backoff, endOfRefusal, pause, readAnswer } from '../client/wire.ts'
import type { GatewayAnswer } from '../client/wire.ts'
import type { Box } from '../client/node.ts'
import { Failure, WRONG_USE } from './failure.ts'
import { harmless, say } from './terminal.ts'

export interface GatewayOptions {
  readonly url?: string | undefined
  readonly token?: string | undefined
}

/** What of a gateway's profile matters here. A path is null if it is not mounted. */
export interface Mounted {
  readonly control: string | null
}

/** How long a gateway that does not answer, or has no place just now, is tried. */
const PATIENCE_MS = 30_000
const ANSWER_MS = 10_000
const RETRY_MIN_MS = 250
const RETRY_MAX_MS = 2000
/** Refusals that end by themselves. */
const PASSING = [429, 502, 503, 504]
const CERTIFICATE = /CERT|SELF_SIGNED|UNABLE_TO/
/** No repetition helps: a certificate, or a port that fetch never opens. */
const HOPELESS = new RegExp(`${CERTIFICATE.source}|ERR_TLS|ERR_SSL|bad port|unknown scheme`)

/** Nobody answered in time. */
export class Unreachable extends Failure {
  /** The gateway may have got the request. */
  readonly isOutcomeUnknown: boolean

  constructor (message: string, isOutcomeUnknown: boolean) {
    super(message)
    this.isOutcomeUnknown = isOutcomeUnknown
  }
}

export class Gateway {
  /** Without a slash at its end. */
  readonly base: string
  readonly token: string
  /** Ctrl-C. */
  readonly signal: AbortSignal
  #isAnnounced = false

  constructor ({ url, token }: GatewayOptions, signal: AbortSignal) {
    const { SIGNALBOX_URL, SIGNALBOX_TOKEN } = process.env
    const address = url ?? (SIGNALBOX_URL?.trim() || 'http://127.0.0.1:3000')
    this.token = (token ?? SIGNALBOX_TOKEN ?? '').trim()
    this.signal = signal
    try {
      this.base = baseOf(address)
    } catch (error) {
      throw new Failure(`${url === undefined ? 'SIGNALBOX_URL' : '--url'}: ${(error as Error).message}`, WRONG_USE)
    }
    if (!/^[!-~]*$/.test(this.token)) throw new Failure(`${token === undefined ? 'SIGNALBOX_TOKEN' : '--token'} holds characters that no token has`, WRONG_USE)
  }

  /** What the gateway mounts. @throws Failure if there is no gateway at the address */
  async profile (): Promise<Mounted> {
    const answer = await this.ask('/api/profile')
    if (answer.status !== 200) refuse(answer)
    const { control = null, stream, websocket } = answer.body as Partial<Mounted> & Record<string, unknown>
    if (typeof (stream ?? websocket) !== 'string') throw this.stranger()
    return { control }
  }

  stranger (): Failure {
    return new Failure(`${this.base} is not answered by a Signalbox gateway; --url and SIGNALBOX_URL set the address`)
  }

  /** Asks until there is an answer that counts. A request that changes something needs an Idempotency-Key. @throws Unreachable */
  async ask (path: string, init: RequestInit = {}): Promise<GatewayAnswer> {
    return await this.#insist(async () => await readAnswer(await this.fetch(this.base + path, init)))
  }

  /** @throws Failure where repeating cannot help; else whatever fetch does */
  async fetch (url: string, init: RequestInit = {}): Promise<Response> {
    const headers = { ...init.headers as object, ...this.token !== '' && { Authorization: `Bearer ${this.token}` } }
    const response = await fetch(url, { ...init, headers, redirect: 'manual', signal: AbortSignal.any([this.signal, init.signal ?? AbortSignal.timeout(ANSWER_MS)]) })
    const location = response.headers.get('Location')
    if (response.status >= 300 && response.status < 400 && location !== null) {
      throw new Failure(`${this.base} redirects to ${harmless(new URL(location, url).origin)}: set --url or SIGNALBOX_URL to the gateway's own address`)
    }
    return response
  }

  async #insist (attempt: () => Promise<GatewayAnswer>): Promise<GatewayAnswer> {
    const until = Date.now() + PATIENCE_MS
    let isOutcomeUnknown = false
    for (let failures = 0; ; failures++) {
      let answer: GatewayAnswer | null = null
      let reason: string
      try {
        answer = await attempt()
        if (!PASSING.includes(answer.status)) return answer
        isOutcomeUnknown ||= answer.status !== 429
        reason = reasonOf(answer)
      } catch (error) {
        this.signal.throwIfAborted()
        if (error instanceof Failure) throw error
        const cause = causeOf(error)
        reason = CERTIFICATE.test(cause) ? `its certificate is not trusted (${cause}): NODE_EXTRA_CA_CERTS names the file of your own authority` : `it does not answer (${cause})`
        if (HOPELESS.test(reason)) throw new Failure(`${this.base}: ${reason}`)
        isOutcomeUnknown ||= !/ECONNREFUSED|ENOTFOUND|EAI_AGAIN/.test(reason)
      }
      const waitMs = backoff(failures, RETRY_MIN_MS, RETRY_MAX_MS, answer?.retryMs)
      if (Date.now() + waitMs > until) throw new Unreachable(`${this.base}: ${reason}, for ${PATIENCE_MS / 1000} s${answer === null ? '; is the gateway running there? --url and SIGNALBOX_URL set the address' : ''}`, isOutcomeUnknown)
      if (!this.#isAnnounced) say(`${this.base}: ${reason}; ${answer?.status === 429 ? 'waiting for its turn' : `trying for ${PATIENCE_MS / 1000} s`}`)
      this.#isAnnounced = true
      await pause(waitMs, this.signal)
      this.signal.throwIfAborted()
    }
  }
}

/** Calls `end` if a connection has said no `hello` when patience is over. @returns what stops the watch */
export function hurry (box: Box, base: string, end: (failure: Failure) => void): () => void {
  const timer = setTimeout(() => {
    const { status } = box
    end(new Failure(`${base}: ${'reason' in status && status.reason !== undefined ? harmless(status.reason) : 'it does not answer'}, for ${PATIENCE_MS / 1000} s`))
  }, PATIENCE_MS)
  const stop = (): void => clearTimeout(timer)
  box.on('hello', stop)
  return stop
}

/** The sentence of a refusal. */
export const reasonOf = (answer: GatewayAnswer): string => harmless(endOfRefusal(answer).reason)

/** @throws Failure with the gateway's sentence */
export function refuse (answer: GatewayAnswer): never {
  const { code } = answer.body
  throw failureOf(reasonOf(answer), typeof code === 'string' ? code : null)
}

/** What the gateway says of itself, and what to do about it. */
export const failureOf = (reason: string, code: string | null): Failure =>
  new Failure(`${harmless(reason)}${code === null ? '' : ` (${harmless(code)})`}${code === 'UNAUTHENTICATED' ? ' (set SIGNALBOX_TOKEN, or --token)' : ''}`)

function causeOf (error: unknown): string {
  if ((error as Error).name === 'TimeoutError') return `nothing for ${ANSWER_MS / 1000} s`
  const { code, message } = ((error as Error).cause ?? error) as NodeJS.ErrnoException
  return code ?? message
}
