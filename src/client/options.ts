// What callers pass to the client, checked at once: a mistake must not look like a gateway that does not answer.

export interface ConnectOptions {
  /** Rooms to listen to. Default: none, which means the public feed. */
  readonly rooms?: readonly string[]
  /** Event types to listen to. Default: none, which means every type. */
  readonly types?: readonly string[]
  /**
   * Tabs of this browser with the same rooms and types share one connection. Requires HTTPS or localhost; elsewhere
   * each tab has its own connection. Default false.
   */
  readonly share?: boolean
  /** Least time from one bundle with values to the next, ms, at most 60,000: of each key comes the newest. Un-keyed events come at once. Default 0. */
  readonly paceMs?: number
  /** No values come while the page is hidden, and the newest ones when it is shown; un-keyed events come as ever. Default true. */
  readonly pauseHidden?: boolean
  /** Where to resume: a saved `box.lastEventId`. Default: none, and all present values come first. */
  readonly lastEventId?: string
  /**
   * Sent with every request as `Authorization: Bearer`, and over WEBSOCKET exchanged for a ticket. A function is called once, and
   * again each time the gateway refuses its token; null: without a token. A string that the gateway refuses ends the box as `refused`.
   */
  readonly token?: string | (() => string | null | Promise<string | null>)
  /** Whether requests to another origin carry the browser's cookies: `include`. Default `same-origin`. */
  readonly credentials?: 'same-origin' | 'include'
  /** The WebSocket class, if the platform has none. Default: `globalThis.WebSocket`. */
  readonly WebSocket?: typeof WebSocket
}

type Rule = readonly [isRight: (value: any) => boolean, what: string]

const isText = (value: unknown): boolean => typeof value === 'string'
const isFunction = (value: unknown): boolean => typeof value === 'function'
// Over SSE a comma would divide a name, and an empty one would mean the public feed.
const NAMES: Rule = [value => Array.isArray(value) && value.every(name => isText(name) && /^[^,]+$/.test(name)), 'a list of names']

const FLAG: Rule = [value => typeof value === 'boolean', 'true or false']

export const CONNECT: Readonly<Record<string, Rule>> = {
  rooms: NAMES,
  types: NAMES,
  share: FLAG,
  paceMs: [value => Number.isInteger(value) && value >= 0 && value <= 60_000, 'a whole number up to 60000'],
  pauseHidden: FLAG,
  lastEventId: [isText, 'a string'],
  token: [value => isText(value) || isFunction(value), 'a string or a function'],
  credentials: [value => value === 'same-origin' || value === 'include', 'same-origin or include'],
  WebSocket: [isFunction, 'a class']
}

/** A room with types of its own. */
export interface RoomName {
  readonly room: string
  /** Default: every type. */
  readonly types?: readonly string[]
}

/** @throws TypeError */
export function checkRooms<Room extends string | RoomName> (rooms: readonly Room[]): readonly Room[] {
  const [isRight, what] = NAMES
  if (!Array.isArray(rooms) || rooms.length === 0 || !rooms.every(room => isText(room) ? isRight([room]) : isRight([room?.room]) && isRight(room.types ?? []))) throw new TypeError(`rooms must be ${what}, or { room, types }`)
  return rooms
}

export const CONTROL: Readonly<Record<string, Rule>> = {
  idempotencyKey: [isText, 'a string'],
  signal: [value => typeof value.aborted === 'boolean', 'an AbortSignal'],
  onWait: [isFunction, 'a function']
}

/** Null counts as absent. @returns the options that are set @throws TypeError naming an unknown one or one of the wrong type */
export function checked<Options extends object> (options: Options | null, rules: Readonly<Record<string, Rule>>): Partial<Options> {
  if (typeof (options ?? {}) !== 'object') throw new TypeError('options must be an object')
  const set = Object.entries(options ?? {}).filter(([, value]) => value !== undefined && value !== null)
  for (const [name, value] of set) {
    if (!Object.hasOwn(rules, name)) throw new TypeError(`unknown option ${JSON.stringify(name)}; there are ${Object.keys(rules).join(', ')}`)
    // A token must not end up in a log.
    const [isRight, what] = rules[name] as Rule
    if (!isRight(value)) throw new TypeError(`${name} must be ${what}`)
  }
  return Object.fromEntries(set) as Partial<Options>
}

/** @returns the gateway's address without a slash at its end @throws TypeError if the client could never reach it */
export function baseOf (url: unknown): string {
  const text = String(url)
  const page = globalThis.location?.href
  if (!/^(https?:\/\/|\.{0,2}\/|\.{1,2}$)/i.test(text) || !URL.canParse(text, page)) throw new TypeError(`url must begin with http:// or https://, or on a page be a path, not ${JSON.stringify(text)}`)
  const { origin, pathname, username, password } = new URL(text, page)
  // Browsers refuse to fetch it.
  if (username + password !== '') throw new TypeError('url must have no user name or password')
  return (origin + pathname).replace(/\/+$/, '')
}
