// Who uses the page. A gateway that needs a token, and does not know the browser by its cookies, is given one by a form. The token stays in this tab until one signs out or
// closes it; nothing writes it into the page, its address or the console.

import { byId, make, mark, show, write } from './element.ts'
import { clock, duration } from './format.ts'
import { here } from './here.ts'

export const NOT_SIGNED_IN = 'Not signed in'

const KEPT = 'signalbox-token'
const ANSWER_MS = 10_000
/** Those that the page listens to. */
const ROOMS = ['@public', '@system']
const RIGHTS = { subscribe: 'May hear', publish: 'May publish to', control: 'May run' } as const

export type Right = keyof typeof RIGHTS

/** What a token says of itself. The gateway alone decides what it is worth. */
interface TokenClaims {
  readonly sub?: string
  readonly iss?: string
  readonly exp?: number
  readonly signalbox?: Readonly<Partial<Record<Right, readonly string[]>>>
}

export class SignIn {
  /** Whether the gateway needs a token. */
  isNeeded = false
  #token = read()
  /** Rooms that the gateway does not let the browser hear whom it knows by a cookie; null where it does not know it. */
  #closed: ReadonlySet<string> | null = null
  /** The page shows what the token's owner may see. */
  #hasBegun = false
  #asking: Promise<void> | null = null
  #answered: () => void = () => {}
  readonly #form = byId<HTMLFormElement>('sign-in')
  readonly #field = byId<HTMLInputElement>('token')

  constructor () {
    this.#form.addEventListener('submit', event => {
      event.preventDefault()
      void this.#submit()
    })
    byId('without-token').addEventListener('click', () => this.#accept(null))
    // How long the token still counts is told when it is looked at.
    byId('caller').addEventListener('toggle', () => this.#draw())
    byId('sign-out').addEventListener('click', () => {
      if (this.#token === null) void this.#ask('')
      else leave()
    })
  }

  /** Waits until the page may begin: the gateway needs no token, or there is one. */
  async begin (): Promise<void> {
    const profile = await fetch(here('/api/profile'), { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
      .then(async response => await response.json() as { auth?: boolean }).catch(() => null)
    // A gateway that does not answer is waited for by the connection, with what the tab has.
    this.isNeeded = profile?.auth ?? this.#token !== null
    if (this.isNeeded && this.#token === null) this.#closed = await closedRooms()
    if (this.isNeeded && this.#token === null && this.#closed === null) {
      write(byId('status'), NOT_SIGNED_IN)
      await this.#ask('')
    }
    this.#hasBegun = true
    mark(document.body, { 'data-waiting': false })
    this.#draw()
  }

  /** The form is shown, and a connection may be waiting for it. */
  get isAsking (): boolean {
    return this.#asking !== null
  }

  /** A token is asked for, and there is none. */
  get isAnonymous (): boolean {
    return this.isNeeded && this.#token === null
  }

  /** The token function of one connection: it is called again only after its token was refused. */
  tokens (): () => Promise<string | null> {
    let last: string | null | undefined
    return async () => {
      if (last === this.#token) await this.#ask(last === null ? 'The gateway needs a token for this.' : isOver(claimsOf(last)) ? 'The token has expired. Enter another to go on.' : 'The gateway no longer accepts the token.')
      last = this.#token
      return last
    }
  }

  /** Requests with the token. */
  async fetch (path: string): Promise<Response> {
    return await fetch(here(path), { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS), headers: authorization(this.#token) })
  }

  /** Whether the token grants a right, as far as the page can tell. Without one only the gateway knows. */
  may (right: Right, name: string): boolean {
    if (!this.isNeeded) return true
    if (this.#token === null) return right !== 'subscribe' || this.#closed?.has(name) !== true
    const patterns = grantsOf(claimsOf(this.#token), right)
    return patterns.some(pattern => pattern === name || (pattern === '*' && name === '@public') || (!name.startsWith('@') && matches(pattern, name)))
  }

  /** Shows the form until there is another token. @param why the reason, as a sentence */
  async #ask (why: string): Promise<void> {
    this.isNeeded = true
    this.#asking ??= new Promise<void>(resolve => { this.#answered = resolve }).finally(() => { this.#asking = null })
    this.#say(why)
    if (this.#form.hidden) {
      show(this.#form, true)
      this.#field.focus()
    }
    await this.#asking
  }

  async #submit (): Promise<void> {
    const token = this.#field.value.trim().replace(/^Bearer\s+/i, '')
    this.#field.value = ''
    if (token === '') return this.#say('Enter a token.')
    const problem = await refusalOf(token)
    if (problem !== null) {
      this.#say(problem)
      this.#field.focus()
      return
    }
    this.#accept(token)
  }

  #accept (token: string | null): void {
    const before = this.#token
    this.#token = token
    keep(token)
    // What the page shows was meant for somebody else.
    if (this.#hasBegun && callerOf(before) !== callerOf(token)) return window.location.reload()
    show(this.#form, false)
    this.#draw()
    this.#answered()
  }

  #say (text: string): void {
    write(byId('sign-in-problem'), text)
    mark(this.#field, { 'aria-invalid': text !== '' })
  }

  #draw (): void {
    show(byId('caller'), this.isNeeded)
    // A link cannot carry the token.
    show(byId('metrics-link'), !this.isNeeded)
    if (!this.isNeeded) return
    const claims = claimsOf(this.#token)
    const isAnybody = this.#token === null
    const isKnown = isAnybody && this.#closed !== null
    write(byId('caller-name'), isKnown ? 'Known by a cookie' : isAnybody ? 'No token' : claims.sub ?? 'Signed in')
    write(byId('sign-out'), isAnybody ? 'Enter a token' : 'Sign out')
    const until = (): string => claims.exp === undefined ? 'not known' : `${clock(claims.exp * 1000)}, in ${duration(Math.max(0, claims.exp - Date.now() / 1000))}`
    const facts: Array<readonly [string, string]> = isAnybody
      ? [['May hear', isKnown ? 'what this server grants' : 'what everybody may']]
      : [['Subject', claims.sub ?? 'none'], ...claims.iss === undefined ? [] : [['Issuer', claims.iss] as const], ['Expires', until()],
          ...Object.entries(RIGHTS).map(([right, text]) => [text, grantsOf(claims, right as Right).join(', ') || 'nothing'] as const)]
    byId('caller-facts').replaceChildren(...facts.map(([name, text]) => make('div', {}, make('dt', {}, name), make('dd', {}, text))))
  }
}

/** @returns the rooms of the page that the browser may not hear; null where the gateway does not know it by its cookies */
async function closedRooms (): Promise<ReadonlySet<string> | null> {
  const statusOf = async (path: string, method = 'GET'): Promise<number> =>
    await fetch(here(path), { method, cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) }).then(({ status }) => status, () => 0)
  // Nobody unknown gets a ticket, though he may hear what everybody may.
  if (await statusOf('/api/ticket', 'POST') !== 200) return null
  const statuses = await Promise.all(ROOMS.map(async room => await statusOf(`/api/events?rooms=${room}`)))
  return new Set(ROOMS.filter((_room, index) => statuses[index] === 403))
}

/** @returns why the gateway does not accept a token, as a sentence; null where it does */
async function refusalOf (token: string): Promise<string | null> {
  try {
    const response = await fetch(here('/api/rooms?limit=1'), { cache: 'no-store', headers: authorization(token), signal: AbortSignal.timeout(ANSWER_MS) })
    if (response.ok || response.status === 403) return null
    const { message } = await response.json() as { message?: string }
    return capital(message ?? `the answer was ${response.status}`)
  } catch (error) {
    return (error as Error).name === 'TypeError' && !/^[\x21-\x7e]+$/.test(token) ? 'This is no token: it has characters that no header can hold.' : 'The gateway does not answer.'
  }
}

const capital = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, '')}.`

const authorization = (token: string | null): Record<string, string> => token === null ? {} : { Authorization: `Bearer ${token}` }

/** @returns nothing where it is no token */
function claimsOf (token: string | null | undefined): TokenClaims {
  try {
    const bytes = Uint8Array.from(atob(String(token?.split('.')[1]).replace(/-/g, '+').replace(/_/g, '/')), text => text.charCodeAt(0))
    return JSON.parse(new TextDecoder().decode(bytes)) as TokenClaims
  } catch {
    return {}
  }
}

function grantsOf ({ signalbox }: TokenClaims, right: Right): readonly string[] {
  const patterns: unknown = signalbox?.[right]
  return Array.isArray(patterns) ? patterns.filter(pattern => typeof pattern === 'string') : []
}

/** `*` stands for any run of characters. */
const matches = (pattern: string, name: string): boolean =>
  new RegExp(`^${pattern.split(/\*+/).map(text => text.replace(/[^\w]/g, '\\$&')).join('.*')}$`, 's').test(name)

const isOver = ({ exp }: TokenClaims): boolean => exp !== undefined && exp * 1000 <= Date.now()

function callerOf (token: string | null): string {
  const { iss, sub, signalbox } = claimsOf(token)
  return JSON.stringify([token === null, iss, sub, signalbox])
}

// A browser may be set to keep nothing.
function read (): string | null {
  try {
    return window.sessionStorage.getItem(KEPT)
  } catch {
    return null
  }
}

function keep (token: string | null): void {
  try {
    if (token === null) window.sessionStorage.removeItem(KEPT)
    else window.sessionStorage.setItem(KEPT, token)
  } catch {}
}

/** Nothing of what was shown stays. */
function leave (): void {
  keep(null)
  window.location.reload()
}
