// Who the client is to the gateway: a token that goes with every request, or the browser's cookies.

import { ControlError } from './control.ts'
import type { ConnectOptions } from './options.ts'

export class Access {
  readonly #token: ConnectOptions['token']
  /** For `fetch`. */
  readonly #cookies: RequestInit
  /** The token, until the gateway refuses it. */
  #asked: Promise<string> | null = null
  /** The same, once it is there. */
  #given: string | null = null

  constructor ({ token, ...cookies }: Pick<ConnectOptions, 'token' | 'credentials'>) {
    this.#token = token
    this.#cookies = cookies
  }

  /** Whether a refused token can be replaced. */
  get isRenewable (): boolean {
    return typeof this.#token === 'function'
  }

  /** The token function has been called and has not answered yet. */
  get isAsking (): boolean {
    return this.#asked !== null && this.#given === null
  }

  /** @returns an empty text without a token @throws ControlError if there should be one; the signal's reason, because a token may take for ever */
  async token (signal?: AbortSignal | null): Promise<string> {
    if (this.#asked === null) {
      this.#asked = this.#ask()
      this.#asked.catch(() => this.forget())
    }
    return await Promise.race([this.#asked, new Promise<never>((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason))
    })])
  }

  /** The token is refused: the next request asks for another. */
  forget (): void {
    this.#asked = this.#given = null
  }

  /** Sends a request. If the gateway answers 401 and another token can be had, it is sent once more. */
  async fetch (url: string, init: RequestInit = {}, before?: string, refusal?: Response): Promise<Response> {
    const token = await this.token(init.signal)
    // The same token would be refused again.
    if (refusal !== undefined && token === before) return refusal
    const response = await fetch(url, { cache: 'no-store', ...this.#cookies, ...init, headers: { ...init.headers as object, ...token && { Authorization: `Bearer ${token}` } } })
    if (response.status !== 401) return response
    // Another request may have replaced it meanwhile.
    if (token === this.#given) this.forget()
    return refusal === undefined && this.isRenewable ? await this.fetch(url, init, token, response) : response
  }

  /** Whose token it is: tabs of one browser share a connection only if they are the same caller to the gateway. @throws as `token` */
  async who (): Promise<unknown> {
    const token = await this.token()
    try {
      const { iss, sub, signalbox } = JSON.parse(atob(String(token.split('.')[1]).replace(/-/g, '+').replace(/_/g, '/')))
      return [iss, sub, signalbox]
    } catch {
      return token.length
    }
  }

  async #ask (): Promise<string> {
    try {
      const text = (typeof this.#token === 'function' ? await this.#token() : this.#token) ?? ''
      // It throws for what no header can hold.
      void new Headers({ text })
      this.#given = text
      return text
    } catch (error) {
      throw new ControlError(`no token: ${(error as Error).message}`, 'NO_TOKEN', {})
    }
  }
}
