// The only table of settings. Validation, the `Config` type, `.env.example` and the listing of `check` are derived from
// it: a setting is added, renamed or changed only here. Ranges are wide on purpose. They exclude values that cannot work
// (a timer beyond 2^31 ms, a text beyond V8's longest string), not values that are merely unusual.

import { choice, flag, list, text, whole, type Setting } from './setting.ts'

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
  APP_PROFILE: choice(PROFILE, 'The transport at start. The command switch changes it while the gateway runs; clients follow by themselves.',
    { default: 'SSE', choices: ['SSE', 'WEBSOCKET'] }),
  ENABLE_SSE: flag(PROFILE, 'The older switch for SSE. Selects the profile if APP_PROFILE and ENABLE_WS are not set; must not contradict them.',
    { default: true }),
  ENABLE_WS: flag(PROFILE, 'The older switch for WEBSOCKET. Selects the profile if APP_PROFILE and ENABLE_SSE are not set; must not contradict them.',
    { default: false }),
  ENABLE_CONTROL_HTTP: flag(PROFILE, 'Mount /api/control: commands over HTTP.',
    { default: true }),

  HOST: text(NETWORK, 'Address to listen on. Any address other than loopback needs authentication (AUTH_JWT_SECRET or AUTH_JWKS_URL), or ALLOW_ANONYMOUS=true.',
    { default: '127.0.0.1', format: 'host' }),
  PORT: whole(NETWORK, 'Port to listen on.',
    { default: 3000, minimum: 0, maximum: 65_535, zero: 'any free port' }),
  CORS_ORIGINS: list(NETWORK, 'Other origins whose pages may use the gateway, over HTTP and WebSocket. Empty: only the gateway\'s own origin.',
    { default: [], format: 'origin' }),
  TRUST_PROXY: list(NETWORK, 'Proxies whose forwarded headers are trusted. Only these may set the address of a client.',
    { default: [], format: 'proxy', none: 'false' }),
  ALLOWED_HOSTS: list(NETWORK, 'Host names under which clients reach the gateway, besides loopback, HOST and those of CORS_ORIGINS; *.example.com allows all below. While it is open, requests for other names are refused. Empty: none, or with ALLOW_ANONYMOUS=true all.',
    { default: [], format: 'host-name' }),
  REQUEST_TIMEOUT: whole(NETWORK, 'Time for a request, or a WebSocket message, to arrive whole; and for the first message of a WebSocket.',
    { default: 60, minimum: 1, maximum: DAY, unit: 'seconds' }),
  MAX_HTTP_BUFFER_SIZE: whole(NETWORK, 'Largest request body (after decompression), received WebSocket message, and event.',
    { default: 2_097_152, minimum: 1, maximum: 268_435_456, unit: 'bytes' }),
  COMPRESSION: choice(NETWORK, 'Compress streams, sockets and answers for clients that accept it: each frame once, for all viewers.',
    { default: 'on', choices: ['on', 'off'] }),
  KEEP_ALIVE_TIMEOUT: whole(NETWORK, 'Time an idle HTTP connection is kept. Longer than that of a proxy in front.',
    { default: 72, minimum: 1, maximum: DAY, unit: 'seconds' }),

  MONITOR_TICK_MS: whole(TICKS, 'Longest tick of the SSE profile: under load, a client gets one bundle per tick.',
    { default: 200, minimum: 0, maximum: MINUTE_MS, unit: 'ms', zero: 'bundling off', tunable: true }),
  FLUSH_INTERVAL_MS: whole(TICKS, 'Longest tick of the WEBSOCKET profile.',
    { default: 250, minimum: 0, maximum: MINUTE_MS, unit: 'ms', zero: 'bundling off', tunable: true }),
  TICK_FLOOR_MS: whole(TICKS, 'Shortest tick, used while the process is idle. If not set, it is lowered to the longest tick where needed. If both are equal, the tick is fixed.',
    { default: 100, minimum: 0, maximum: MINUTE_MS, unit: 'ms', tunable: true }),
  MAX_EVENTS_PER_SECOND_PER_CLIENT: whole(TICKS, 'Messages (bundles) sent to one client per second, and messages accepted from one WebSocket client.',
    { default: 20, minimum: 0, maximum: 1_000_000, unit: 'messages/s', zero: 'no limit', tunable: true }),
  MAX_QUEUE_PER_CLIENT: whole(TICKS, 'Facts (un-keyed events) handed to a client before it has read what it was sent; also the most in one bundle.',
    { default: 100, minimum: 1, maximum: 1_000_000, unit: 'events', tunable: true }),
  MAX_BUNDLE_BYTES: whole(TICKS, 'Largest bundle sent to a client, before compression; an event larger than half of it goes alone.',
    { default: 262_144, minimum: 1, maximum: 268_435_456, unit: 'bytes', tunable: true }),
  SLOW_CLIENT_TIMEOUT: whole(TICKS, 'A connection whose client reads nothing for this long is closed; the client may reconnect and resume.',
    { default: 30, minimum: 1, maximum: DAY, unit: 'seconds', tunable: true }),

  MAX_ROOM_SIZE: whole(ROOMS, 'Members of one named room; the next join is refused with ROOM_FULL.',
    { default: 50, minimum: 0, maximum: MANY, unit: 'members', zero: 'no limit', tunable: true }),
  MAX_ROOM_SIZE_PER_CALLER: whole(ROOMS, 'Members of one named room from one caller (the subject of a token, else an address), per worker. Below MAX_ROOM_SIZE nobody alone can fill a room.',
    { default: 0, minimum: 0, maximum: MANY, unit: 'members', zero: 'no limit', tunable: true }),
  MAX_ROOMS: whole(ROOMS, 'Rooms the gateway keeps; an event for one more is refused with ROOMS_FULL.',
    { default: 100_000, minimum: 1, maximum: MANY, unit: 'rooms', tunable: true }),
  MAX_ROOMS_PER_CLIENT: whole(ROOMS, 'Rooms one connection may be in. How long an address may be follows it at the start only: after the command tune, join further rooms by message.',
    { default: 100, minimum: 1, maximum: MANY, unit: 'rooms', tunable: true }),
  MAX_KEYS_PER_ROOM: whole(ROOMS, 'Keys with a current value in one room, or in the public feed; one more is refused with KEYS_FULL.',
    { default: 10_000, minimum: 1, maximum: MANY, unit: 'keys' }),
  STATE_BYTES: whole(ROOMS, 'Memory for the current values of all rooms, each with its text and 500 bytes; what would add to more is refused with STATE_FULL.',
    { default: 0, minimum: 0, maximum: 1_099_511_627_776, unit: 'bytes', zero: 'a quarter of the heap limit', tunable: true }),
  STATE_TTL: whole(ROOMS, 'A key that was not updated for this long is deleted; a value with a ttl of its own after that.',
    { default: DAY, minimum: 0, maximum: YEAR, unit: 'seconds', zero: 'never' }),
  STATE_TYPES: list(ROOMS, 'Treat un-keyed events of these types as state: the newest per type and room wins. For publishers that cannot send keys.',
    { default: [], format: 'type' }),

  MAX_CLIENTS: whole(CONNECTIONS, 'Connections per worker: streams, sockets and reads that wait.',
    { default: 0, minimum: 0, maximum: MANY, unit: 'connections', zero: 'no limit', tunable: true }),
  MAX_CLIENTS_PER_IP: whole(CONNECTIONS, 'Connections per client address, per worker; waiting reads count too.',
    { default: 0, minimum: 0, maximum: MANY, unit: 'connections', zero: 'no limit', tunable: true }),
  MAX_CLIENTS_PER_SUBJECT: whole(CONNECTIONS, 'Connections per subject of a token, per worker.',
    { default: 0, minimum: 0, maximum: MANY, unit: 'connections', zero: 'no limit', tunable: true }),
  PING_INTERVAL: whole(CONNECTIONS, 'Time between heartbeats.',
    { default: 10, minimum: 1, maximum: DAY, unit: 'seconds' }),
  PING_TIMEOUT: whole(CONNECTIONS, 'A WebSocket that does not answer a ping in this time is closed. At most PING_INTERVAL.',
    { default: 5, minimum: 1, maximum: DAY, unit: 'seconds' }),
  RECONNECT_JITTER: whole(CONNECTIONS, 'Clients that the gateway disconnects spread their reconnects over this time.',
    { default: 3, minimum: 0, maximum: DAY, unit: 'seconds', zero: 'all at once' }),

  CONTROL_RATE_LIMIT: whole(COMMANDS, 'Commands accepted from one caller.',
    { default: 5, minimum: 0, maximum: 1_000_000, unit: 'commands/s', zero: 'no limit', tunable: true }),
  PUBLISH_RATE_LIMIT: whole(COMMANDS, 'Publishing requests accepted from one caller.',
    { default: 0, minimum: 0, maximum: 1_000_000, unit: 'requests/s', zero: 'no limit', tunable: true }),
  COMMANDS_MODULE: text(COMMANDS, 'Path of an ES module with your own commands. Empty: only the built-in commands.',
    { default: '', format: 'path' }),
  COMMAND_TIMEOUT: whole(COMMANDS, 'A command that takes longer is answered with 202 and continues; its result can be fetched later.',
    { default: 10, minimum: 1, maximum: DAY, unit: 'seconds' }),
  IDEMPOTENCY_TTL: whole(COMMANDS, 'Time an Idempotency-Key is kept. A retry within it does nothing twice.',
    { default: 3600, minimum: 1, maximum: YEAR, unit: 'seconds' }),

  DATA_DIR: text(STORE, 'Directory of the embedded store, or :memory: to keep nothing on disk.',
    { default: './data', format: 'path' }),
  DURABILITY: choice(STORE, 'fsync: acknowledged events survive a loss of power. process: they survive a crash of the process only; faster.',
    { default: 'fsync', choices: ['fsync', 'process'] }),
  HISTORY_SIZE: whole(STORE, 'Number of un-keyed events kept for returning clients. The first of the three HISTORY_ limits that is reached applies.',
    { default: 100_000, minimum: 1, maximum: MANY, unit: 'events' }),
  HISTORY_TTL: whole(STORE, 'Maximum age of un-keyed events that are kept.',
    { default: 300, minimum: 1, maximum: YEAR, unit: 'seconds' }),
  HISTORY_BYTES: whole(STORE, 'Maximum total size of un-keyed events that are kept.',
    { default: 67_108_864, minimum: 1, maximum: 1_099_511_627_776, unit: 'bytes' }),

  WORKERS: whole(REDIS, 'Processes to run. More than 1 needs REDIS_URL.',
    { default: 1, minimum: 1, maximum: 1024 }),
  REDIS_URL: text(REDIS, 'Redis as the store. Empty: the embedded store.',
    { default: '', format: 'redis', secret: 'credentials', fromFile: true }),
  REDIS_PREFIX: text(REDIS, 'Prefix of every Redis key, used literally. For Redis Cluster it needs a hash tag: {signalbox}:',
    { default: 'signalbox:', format: 'redis-name' }),
  REDIS_CHANNEL: text(REDIS, 'Pub/Sub channel to which publishers may send events. A channel belongs to the whole Redis, whatever prefix or database: each deployment needs its own.',
    { default: 'events', format: 'redis-name' }),

  AUTH_JWT_SECRET: text(AUTH, 'Secret that signs the tokens of callers (HS256). During a change several, separated by commas: each verifies, the first one signs.',
    { default: '', format: 'secrets', secret: 'whole', fromFile: true }),
  AUTH_JWKS_URL: text(AUTH, 'URL of the public keys that verify the tokens of callers (RS256, PS256, ES256, EdDSA).',
    { default: '', format: 'jwks', secret: 'credentials', fromFile: true }),
  AUTH_ISSUER: text(AUTH, 'Issuer a token must name (iss). Empty: any.',
    { default: '', format: 'any' }),
  AUTH_AUDIENCE: text(AUTH, 'Audience a token must name (aud). Empty: any.',
    { default: '', format: 'any' }),
  ANONYMOUS_SUBSCRIBE: list(AUTH, 'Rooms that everybody may hear without a token: names, or patterns with *; @public for the public feed.',
    { default: [], format: 'pattern' }),
  METRICS_TOKEN: text(AUTH, 'Token that a scrape of /metrics sends as Authorization: Bearer. Empty: /metrics is open while the gateway is; with authentication it needs control on metrics.',
    { default: '', format: 'token', secret: 'whole', fromFile: true }),
  ALLOW_ANONYMOUS: flag(AUTH, 'Let anybody who can reach HOST publish, read and control. Only for networks where that is intended.',
    { default: false }),

  SHUTDOWN_DELAY: whole(PROCESS, 'Before a drain, /readyz answers 503 for this long while everything is still served. For balancers that notice late.',
    { default: 0, minimum: 0, maximum: 3600, unit: 'seconds', zero: 'drain at once' }),
  SHUTDOWN_TIMEOUT: whole(PROCESS, 'Maximum time for draining before exit is forced.',
    { default: 10, minimum: 1, maximum: DAY, unit: 'seconds' }),
  LOG_LEVEL: choice(PROCESS, 'Minimum log level.',
    { default: 'info', choices: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], tunable: true }),
  DEMO_FEED: flag(PROCESS, "Publish this machine's own CPU, memory, load, disk and network metrics.",
    { default: false })
}

type Table = typeof TABLE

/** The name of a setting, as in the environment. */
export type SettingName = keyof Table

type ValueOf<S> =
  S extends { type: 'integer' } ? number
    : S extends { type: 'boolean' } ? boolean
      : S extends { choices: readonly (infer C)[] } ? C
        : S extends { type: 'list' } ? readonly string[]
          : string

type Pascal<N extends string> =
  N extends `${infer Head}_${infer Tail}` ? `${Capitalize<Lowercase<Head>>}${Pascal<Tail>}` : Capitalize<Lowercase<N>>

/** The values by their names in the environment: `values.MAX_ROOM_SIZE`. */
export type Values = { readonly [N in SettingName]: ValueOf<Table[N]> }

/** The values as the rest of the project reads them: `config.maxRoomSize`. */
export type Config = { readonly [N in SettingName as Uncapitalize<Pascal<N>>]: ValueOf<Table[N]> } & {
  /** TICK_FLOOR_MS as it was set. `tickFloorMs` is the current value: it follows the longest tick down, and up again to this one. */
  readonly wantedTickFloorMs: number
}

export type ProfileName = Config['appProfile']

export const SETTINGS: Readonly<Record<SettingName, Setting>> = TABLE
export const NAMES = Object.keys(TABLE) as readonly SettingName[]
export const TUNABLE: readonly SettingName[] = NAMES.filter((name) => SETTINGS[name].tunable)

export function isName (name: string): name is SettingName {
  return Object.hasOwn(TABLE, name)
}

export function toConfig (values: Values, wantedTickFloorMs: number): Config {
  const config = Object.fromEntries(NAMES.map((name) => [camelCase(name), Object.freeze(values[name])]))
  return Object.freeze({ ...config, wantedTickFloorMs }) as Config
}

export function toValues (config: Config): Values {
  const byKey: Readonly<Record<string, unknown>> = config
  return Object.fromEntries(NAMES.map((name) => [name, byKey[camelCase(name)]])) as Values
}

/** The name of a setting in a program: `maxRoomSize` for MAX_ROOM_SIZE. */
export function camelCase (name: string): string {
  return name.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase())
}
