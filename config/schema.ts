// The one table of settings. Validation, the `Config` type, `.env.example`, the listing of `--check` and the
// table of the README are all derived from it, so a setting is added, renamed or widened here and nowhere else.
// Ranges are wide on purpose: they keep out what cannot work (a timer beyond 2^31 ms, a text beyond V8's longest
// string), not what is merely unusual.

import type { Format } from './format.ts'

interface Common {
  readonly section: string
  /** One line for the operator. */
  readonly meaning: string
  /** Whether the command `tune` may change it while the gateway runs. */
  readonly tunable?: true
  /** What must never be shown: the value as a whole, or the credentials inside a URL. */
  readonly secret?: 'whole' | 'credentials'
}

interface WholeNumber extends Common {
  readonly type: 'integer'
  readonly default: number
  readonly minimum: number
  readonly maximum: number
  readonly unit?: string
  /** What 0 stands for, where it is not just a small number. */
  readonly zero?: string
}

interface Flag extends Common {
  readonly type: 'boolean'
  readonly default: boolean
}

interface Choice extends Common {
  readonly type: 'choice'
  readonly default: string
  readonly choices: readonly string[]
}

interface Text extends Common {
  readonly type: 'text'
  readonly default: string
  readonly format: Format
}

interface List extends Common {
  readonly type: 'list'
  readonly default: readonly string[]
  readonly format: Format
  /** The word for the empty list. */
  readonly none?: string
}

export type Setting = WholeNumber | Flag | Choice | Text | List

const PROFILE = 'Transport'
const NETWORK = 'Network'
const TICKS = 'Ticks and limits per client'
const ROOMS = 'Rooms and keys'
const CONNECTIONS = 'Connections'
const COMMANDS = 'Commands and publishing'
const STORE = 'Store and history'
const REDIS = 'Several workers, Redis'
const AUTH = 'Authentication'
const PROCESS = 'Process'

const MINUTE_MS = 60_000
const DAY = 86_400
const YEAR = 31_536_000
const MANY = 100_000_000

const TABLE = {
  APP_PROFILE: {
    section: PROFILE, type: 'choice', default: 'SSE', choices: ['SSE', 'WEBSOCKET'],
    meaning: 'The one transport to mount. Changing it is a restart; clients follow by themselves.'
  },
  ENABLE_SSE: {
    section: PROFILE, type: 'boolean', default: true,
    meaning: 'The older switch for SSE. Decides where APP_PROFILE and ENABLE_WS are not set; must not contradict them.'
  },
  ENABLE_WS: {
    section: PROFILE, type: 'boolean', default: false,
    meaning: 'The older switch for WEBSOCKET. Decides where APP_PROFILE and ENABLE_SSE are not set; must not contradict them.'
  },
  ENABLE_CONTROL_HTTP: {
    section: PROFILE, type: 'boolean', default: true,
    meaning: 'Mount POST /api/control, the commands over HTTP.'
  },

  HOST: {
    section: NETWORK, type: 'text', default: '127.0.0.1', format: 'host',
    meaning: 'Address to listen on. Any other than loopback needs ALLOW_ANONYMOUS=true.'
  },
  PORT: {
    section: NETWORK, type: 'integer', default: 3000, minimum: 0, maximum: 65_535, zero: 'any free port',
    meaning: 'Port to listen on.'
  },
  CORS_ORIGINS: {
    section: NETWORK, type: 'list', default: [], format: 'origin',
    meaning: 'Other origins whose pages may use the gateway, over HTTP and WebSocket. Empty: only its own.'
  },
  TRUST_PROXY: {
    section: NETWORK, type: 'list', default: [], format: 'proxy', none: 'false',
    meaning: 'Proxies whose forwarded headers count. Only these may say where a client comes from.'
  },
  MAX_HTTP_BUFFER_SIZE: {
    section: NETWORK, type: 'integer', default: 2_097_152, minimum: 1, maximum: 268_435_456, unit: 'bytes',
    meaning: 'Largest request body, WebSocket message, event and bundle.'
  },

  MONITOR_TICK_MS: {
    section: TICKS, type: 'integer', default: 200, minimum: 0, maximum: MINUTE_MS, unit: 'ms', zero: 'bundling off', tunable: true,
    meaning: 'Longest tick of the SSE profile: under load a client gets one bundle per tick.'
  },
  FLUSH_INTERVAL_MS: {
    section: TICKS, type: 'integer', default: 250, minimum: 0, maximum: MINUTE_MS, unit: 'ms', zero: 'bundling off', tunable: true,
    meaning: 'Longest tick of the WEBSOCKET profile.'
  },
  TICK_FLOOR_MS: {
    section: TICKS, type: 'integer', default: 100, minimum: 0, maximum: MINUTE_MS, unit: 'ms', tunable: true,
    meaning: 'Shortest tick, used while the process is idle. Not set, it is never above the longest tick; equal to it, the tick is fixed.'
  },
  MAX_EVENTS_PER_SECOND_PER_CLIENT: {
    section: TICKS, type: 'integer', default: 20, minimum: 0, maximum: 1_000_000, unit: 'messages/s', zero: 'no limit', tunable: true,
    meaning: 'Messages (bundles) sent to one client per second, and messages accepted from one WebSocket client.'
  },
  MAX_QUEUE_PER_CLIENT: {
    section: TICKS, type: 'integer', default: 100, minimum: 1, maximum: 1_000_000, unit: 'events', tunable: true,
    meaning: 'Un-keyed events handed to a client before its socket drains, and the most in one bundle.'
  },
  SLOW_CLIENT_TIMEOUT: {
    section: TICKS, type: 'integer', default: 30, minimum: 1, maximum: DAY, unit: 's', tunable: true,
    meaning: 'A socket that has not drained for so long is ended; the client may come back and resume.'
  },

  MAX_ROOM_SIZE: {
    section: ROOMS, type: 'integer', default: 50, minimum: 0, maximum: MANY, unit: 'members', zero: 'no limit', tunable: true,
    meaning: 'Members of one named room; the next join is refused with ROOM_FULL.'
  },
  MAX_ROOMS: {
    section: ROOMS, type: 'integer', default: 100_000, minimum: 1, maximum: MANY, unit: 'rooms', tunable: true,
    meaning: 'Rooms the gateway keeps; an event for a further one is refused with ROOMS_FULL.'
  },
  MAX_ROOMS_PER_CLIENT: {
    section: ROOMS, type: 'integer', default: 100, minimum: 1, maximum: MANY, unit: 'rooms', tunable: true,
    meaning: 'Rooms one connection may be in.'
  },
  MAX_KEYS_PER_ROOM: {
    section: ROOMS, type: 'integer', default: 10_000, minimum: 1, maximum: MANY, unit: 'keys',
    meaning: 'Keys with a present value in one room, or in the public feed; a further one is refused with KEYS_FULL.'
  },
  STATE_TTL: {
    section: ROOMS, type: 'integer', default: DAY, minimum: 0, maximum: YEAR, unit: 's', zero: 'never',
    meaning: 'A key that was not updated for so long is deleted.'
  },
  STATE_TYPES: {
    section: ROOMS, type: 'list', default: [], format: 'type',
    meaning: 'Types whose un-keyed events are state all the same: of each type and room the newest counts. For publishers that know no keys.'
  },

  MAX_CLIENTS: {
    section: CONNECTIONS, type: 'integer', default: 0, minimum: 0, maximum: MANY, unit: 'connections', zero: 'no limit', tunable: true,
    meaning: 'Connections per worker.'
  },
  MAX_CLIENTS_PER_IP: {
    section: CONNECTIONS, type: 'integer', default: 0, minimum: 0, maximum: MANY, unit: 'connections', zero: 'no limit', tunable: true,
    meaning: 'Connections per client address.'
  },
  PING_INTERVAL: {
    section: CONNECTIONS, type: 'integer', default: 10, minimum: 1, maximum: DAY, unit: 's',
    meaning: 'Time between heartbeats.'
  },
  PING_TIMEOUT: {
    section: CONNECTIONS, type: 'integer', default: 5, minimum: 1, maximum: DAY, unit: 's',
    meaning: 'A WebSocket that leaves a ping unanswered for so long is ended. At most PING_INTERVAL.'
  },
  RECONNECT_JITTER: {
    section: CONNECTIONS, type: 'integer', default: 3, minimum: 0, maximum: DAY, unit: 's', zero: 'all at once',
    meaning: 'Clients sent away come back spread over this time.'
  },

  CONTROL_RATE_LIMIT: {
    section: COMMANDS, type: 'integer', default: 5, minimum: 0, maximum: 1_000_000, unit: 'commands/s', zero: 'no limit', tunable: true,
    meaning: 'Commands accepted from one caller.'
  },
  PUBLISH_RATE_LIMIT: {
    section: COMMANDS, type: 'integer', default: 0, minimum: 0, maximum: 1_000_000, unit: 'requests/s', zero: 'no limit', tunable: true,
    meaning: 'Publishing requests accepted from one caller.'
  },
  COMMANDS_MODULE: {
    section: COMMANDS, type: 'text', default: '', format: 'path',
    meaning: 'Your own commands: the path of an ES module. Empty: only the built-in ones.'
  },
  COMMAND_TIMEOUT: {
    section: COMMANDS, type: 'integer', default: 10, minimum: 1, maximum: DAY, unit: 's',
    meaning: 'A command that takes longer is answered with 202 and goes on; its result can be fetched later.'
  },
  IDEMPOTENCY_TTL: {
    section: COMMANDS, type: 'integer', default: 3600, minimum: 1, maximum: YEAR, unit: 's',
    meaning: 'How long an Idempotency-Key is remembered, so that a retry does nothing twice.'
  },

  DATA_DIR: {
    section: STORE, type: 'text', default: './data', format: 'path',
    meaning: 'Directory of the embedded store, or :memory: to keep nothing on disk.'
  },
  DURABILITY: {
    section: STORE, type: 'choice', default: 'fsync', choices: ['fsync', 'process'],
    meaning: 'What an acknowledged event survives: fsync, also a loss of power; process, only the end of the process, but faster.'
  },
  HISTORY_SIZE: {
    section: STORE, type: 'integer', default: 100_000, minimum: 1, maximum: MANY, unit: 'events',
    meaning: 'Un-keyed events kept for returning clients. Of the three HISTORY_ limits the first to be reached counts.'
  },
  HISTORY_TTL: {
    section: STORE, type: 'integer', default: 300, minimum: 1, maximum: YEAR, unit: 's',
    meaning: 'Age up to which un-keyed events are kept.'
  },
  HISTORY_BYTES: {
    section: STORE, type: 'integer', default: 67_108_864, minimum: 1, maximum: 1_099_511_627_776, unit: 'bytes',
    meaning: 'Size up to which un-keyed events are kept.'
  },

  WORKERS: {
    section: REDIS, type: 'integer', default: 1, minimum: 1, maximum: 1024, unit: 'processes',
    meaning: 'Processes to run. More than 1 needs REDIS_URL.'
  },
  REDIS_URL: {
    section: REDIS, type: 'text', default: '', format: 'redis', secret: 'credentials',
    meaning: 'Redis as the store. Empty: the embedded store.'
  },
  REDIS_PREFIX: {
    section: REDIS, type: 'text', default: 'signalbox:', format: 'redis-name',
    meaning: 'Put literally before the name of every Redis key. For Redis Cluster with a hash tag: {signalbox}:'
  },
  REDIS_CHANNEL: {
    section: REDIS, type: 'text', default: 'events', format: 'redis-name',
    meaning: 'Pub/Sub channel on which publishers may send events.'
  },

  AUTH_JWT_SECRET: {
    section: AUTH, type: 'text', default: '', format: 'any', secret: 'whole',
    meaning: 'Shared secret of the signed tokens callers bring.'
  },
  AUTH_JWKS_URL: {
    section: AUTH, type: 'text', default: '', format: 'http', secret: 'credentials',
    meaning: 'Where the public keys of the signed tokens are published.'
  },
  AUTH_ISSUER: {
    section: AUTH, type: 'text', default: '', format: 'any',
    meaning: 'Issuer a token must name.'
  },
  AUTH_AUDIENCE: {
    section: AUTH, type: 'text', default: '', format: 'any',
    meaning: 'Audience a token must name.'
  },
  ALLOW_ANONYMOUS: {
    section: AUTH, type: 'boolean', default: false,
    meaning: 'Let everybody who reaches HOST publish, read and control. For networks where that is meant.'
  },

  SHUTDOWN_TIMEOUT: {
    section: PROCESS, type: 'integer', default: 10, minimum: 1, maximum: DAY, unit: 's',
    meaning: 'Time to drain before the process ends all the same.'
  },
  LOG_LEVEL: {
    section: PROCESS, type: 'choice', default: 'info', choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], tunable: true,
    meaning: 'Least grave messages to log.'
  },
  DEMO_FEED: {
    section: PROCESS, type: 'boolean', default: false,
    meaning: "Publish this machine's own CPU, memory, load, disk and network figures."
  }
} as const satisfies Record<string, Setting>

type Table = typeof TABLE

/** The name of a setting, as in the environment. */
export type Name = keyof Table

type ValueOf<S> =
  S extends { type: 'integer' } ? number
    : S extends { type: 'boolean' } ? boolean
      : S extends { choices: readonly (infer C)[] } ? C
        : S extends { type: 'list' } ? readonly string[]
          : string

type Pascal<N extends string> =
  N extends `${infer Head}_${infer Tail}` ? `${Capitalize<Lowercase<Head>>}${Pascal<Tail>}` : Capitalize<Lowercase<N>>

/** The values by their names in the environment: `values.MAX_ROOM_SIZE`. */
export type Values = { readonly [N in Name]: ValueOf<Table[N]> }

/** The values as the rest of the project reads them: `config.maxRoomSize`. */
export type Config = { readonly [N in Name as Uncapitalize<Pascal<N>>]: ValueOf<Table[N]> }

export type Profile = Config['appProfile']

export const SETTINGS: Readonly<Record<Name, Setting>> = TABLE
export const NAMES = Object.keys(TABLE) as readonly Name[]
export const TUNABLE: readonly Name[] = NAMES.filter((name) => SETTINGS[name].tunable)

export function isName (name: string): name is Name {
  return Object.hasOwn(TABLE, name)
}

export function toConfig (values: Values): Config {
  const config = Object.fromEntries(NAMES.map((name) => [camelCase(name), Object.freeze(values[name])]))
  return Object.freeze(config) as Config
}

export function toValues (config: Config): Values {
  const byKey: Readonly<Record<string, unknown>> = config
  return Object.fromEntries(NAMES.map((name) => [name, byKey[camelCase(name)]])) as Values
}

function camelCase (name: string): string {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
}
