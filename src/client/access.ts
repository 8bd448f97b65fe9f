// Who the client is to the gateway: a token that goes with every request, or the browser's cookies.

import { ControlError } from './control.ts'
import type { ConnectOptions } from './options.ts'
import { readAnswer } from './wire.ts'
import type { GatewayAnswer } from './wire.ts'

export interface Access {
  /** Whether a refused token can be replaced. */
  readonly isRenewable_: boolean
  /** The token function has been called and has not answered yet. */
  isAsking_: () => boolean
  /** @returns an empty text without a token @throws ControlError if there should be one; the signal's reason, because a token may take for ever */
  token_: (signal?: AbortSignal | null) => Promise<string>
  /** The token is refused: the next request asks for another. */
  forget_: () => void
  /** Sends a request. If the gateway answers 401 and another token can be had, it is sent once more. */
  fetch_: (url: string, init?: RequestInit) => Promise<Response>
  /** The same with a JSON body, and reads the answer. */
  post_: (url: string, body: object, init?: RequestInit) => Promise<GatewayAnswer>
  /** Whose token it is: tabs of one browser share a connection only if they are the same caller to the gateway. @throws as `token_` */
  who_: () => Promise<unknown>
}

export function accessOf ({ token, ...cookies }: Pick<ConnectOptions, 'token' | 'credentials'>): Access {
  const isRenewable_ = typeof token === 'function'
  /** The token, until the gateway refuses it. */
  let asked: Promise<string> | null = null
  /** The same, once it is there. */
  let given: string | null = null

  async function ask (): Promise<string> {
    try {
      const text = (typeof token === 'function' ? await token() : token) ?? ''
      // It throws for what no header can hold.
      void new Headers({ text })
      given = text
      return text
    } catch (error) {
      throw new ControlError(`no token: ${(error as Error).message}`, 'NO_TOKEN')
    }
  }

  async function token_ (signal?: AbortSignal | null): Promise<string> {
    if (asked === null) {
      asked = ask()
      asked.catch(forget_)
    }
    return await Promise.race([asked, new Promise<never>((_resolve, reject) => {
      signal?.addEventListener('abort', () => reject(signal.reason))
    })])
  }

  function forget_ (): void {
    asked = given = null
  }

  async function send (url: string, init: RequestInit, before?: string, refusal?: Response): Promise<Response> {
    const text = await token_(init.signal)
    // The same token would be refused again.
    if (refusal !== undefined && text === before) return refusal
    const response = await fetch(url, { cache: 'no-store', ...cookies, ...init, headers: { ...init.headers as object, ...text && { Authorization: `Bearer ${text}` } } })
    if (response.status !== 401) return response
    // Another request may have replaced it meanwhile.
    if (text === given) forget_()
    return refusal === undefined && isRenewable_ ? await send(url, init, text, response) : response
  }

  const fetch_: Access['fetch_'] = async (url, init = {}) => await send(url, init)

  return {
    isRenewable_,
    isAsking_: () => asked !== null && given === null,
    token_,
    forget_,
    fetch_,
    post_: async (url, body, init) => await readAnswer(await fetch_(url, {
      method: 'POST',
      body: JSON.stringify(body),
      ...init,
      headers: { 'Content-Type': 'application/json', ...init?.headers as object }
    })),
    async who_ () {
      const text = await token_()
      try {
        const { iss, sub, signalbox } = JSON.parse(atob(String(text.split('.')[1]).replace(/-/g, '+').replace(/_/g, '/')))
        return [iss, sub, signalbox]
      } catch {
        return text.length
      }
    }
  }
}
