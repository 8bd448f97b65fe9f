// One table of all refusals: code, HTTP status, title, and whether trying again helps. A refusal reaches a client
// unchanged over HTTP and over a socket; its sentence, which names what was wrong and what to do, is written where the
// problem is found.

interface Kind {
  readonly status: number
  readonly title: string
  /** Milliseconds after which the same request may succeed; absent where it must be changed first. */
  readonly retryMs?: number
}

const KINDS = {
  BAD_EVENT: { status: 400, title: 'Bad Request' },
  BAD_COMMAND: { status: 400, title: 'Bad Request' },
  BAD_SUBSCRIPTION: { status: 400, title: 'Bad Request' },
  BAD_MESSAGE: { status: 400, title: 'Bad Request' },
  BAD_REQUEST: { status: 400, title: 'Bad Request' },
  UNAUTHENTICATED: { status: 401, title: 'Unauthorized' },
  TICKET_USED: { status: 401, title: 'Unauthorized' },
  FORBIDDEN: { status: 403, title: 'Forbidden' },
  NOT_FOUND: { status: 404, title: 'Not Found' },
  SESSION_NOT_FOUND: { status: 404, title: 'Not Found' },
  PROFILE_NOT_MOUNTED: { status: 404, title: 'Not Found', retryMs: 1000 },
  UNKNOWN_COMMAND: { status: 404, title: 'Not Found' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'Method Not Allowed' },
  ROOM_FULL: { status: 409, title: 'Conflict', retryMs: 1000 },
  ROOM_PAUSED: { status: 409, title: 'Conflict', retryMs: 1000 },
  ROOMS_FULL: { status: 409, title: 'Conflict', retryMs: 1000 },
  KEYS_FULL: { status: 409, title: 'Conflict' },
  STATE_FULL: { status: 409, title: 'Conflict' },
  IDEMPOTENCY_CONFLICT: { status: 409, title: 'Conflict' },
  TOO_LARGE: { status: 413, title: 'Payload Too Large' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'Unsupported Media Type' },
  EXPECTATION_FAILED: { status: 417, title: 'Expectation Failed' },
  HOST_NOT_ALLOWED: { status: 421, title: 'Misdirected Request' },
  UPGRADE_REQUIRED: { status: 426, title: 'Upgrade Required' },
  RATE_LIMITED: { status: 429, title: 'Too Many Requests', retryMs: 1000 },
  COMMAND_FAILED: { status: 500, title: 'Internal Server Error' },
  INTERNAL: { status: 500, title: 'Internal Server Error' },
  NOT_IMPLEMENTED: { status: 501, title: 'Not Implemented' },
  DRAINING: { status: 503, title: 'Service Unavailable', retryMs: 1000 },
  KEYS_UNAVAILABLE: { status: 503, title: 'Service Unavailable', retryMs: 5000 },
  STORE_UNAVAILABLE: { status: 503, title: 'Service Unavailable', retryMs: 1000 },
  OVERLOADED: { status: 503, title: 'Service Unavailable', retryMs: 1000 }
} as const satisfies Record<string, Kind>

export type Code = keyof typeof KINDS

export const CODES = Object.keys(KINDS) as readonly Code[]

/**
 * Bounds that a code does not tell apart, for the count of what ran into each. The table "What is bounded" of
 * docs/operations.md has a row for each.
 */
export const BOUNDS = [
  'descriptors', 'clients', 'address', 'subject', 'places', 'catching_up', 'appends', 'commands', 'rate', 'messages', 'errors', 'attempts',
  'headers', 'request_time', 'message_time', 'first_message', 'pong', 'arriving', 'pieces', 'pings', 'pipelined', 'unread', 'work', 'load', 'memory'
] as const

export type Bound = typeof BOUNDS[number]

/** A refusal as clients receive it: the same object in an HTTP body and in a WebSocket `error`. */
export interface ErrorBody {
  readonly statusCode: number
  readonly code: Code
  readonly error: string
  readonly message: string
  /** The rooms it is about. */
  readonly rooms?: readonly string[]
}

interface RefusalDetails {
  /** Milliseconds to wait before trying again. Default: that of the code; without one trying again is useless. */
  readonly retryMs?: number | undefined
  /** What it ran into, where the code does not tell. */
  readonly bound?: Bound | undefined
  /** The rooms it is about, where a client goes by them. */
  readonly rooms?: readonly string[] | undefined
}

/** A request that was turned down. It has changed nothing. */
export class Refusal extends Error {
  readonly code: Code
  readonly statusCode: number
  readonly retryMs: number | undefined
  readonly bound: Bound | undefined
  readonly rooms: readonly string[] | undefined

  constructor (code: Code, message: string, { retryMs, bound, rooms }: RefusalDetails = {}) {
    super(message)
    const kind: Kind = KINDS[code]
    this.name = 'Refusal'
    this.code = code
    this.statusCode = kind.status
    this.retryMs = retryMs ?? kind.retryMs
    this.bound = bound
    this.rooms = rooms
  }

  get body (): ErrorBody {
    return { statusCode: this.statusCode, code: this.code, error: KINDS[this.code].title, message: this.message, ...(this.rooms === undefined ? {} : { rooms: this.rooms }) }
  }
}
