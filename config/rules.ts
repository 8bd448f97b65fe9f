// Rules about several settings together, which a schema of single settings cannot express. Each rule names the settings it
// reads. It is skipped if one of them is invalid by itself, because that is reported already.

import { BlockList, isIP } from 'node:net'
import { secretsOf } from './format.ts'
import { parseRedisUrl } from './redis-url.ts'
import type { SettingName, ProfileName, Values } from './schema.ts'

interface Rule {
  readonly reads: readonly SettingName[]
  /** @returns a sentence about the conflict; undefined if there is none */
  readonly check: (values: Values) => string | undefined
}

/** Seconds; a ticket can be used for 30. */
const MIN_TICKET_MEMORY = 60

const RULES: readonly Rule[] = [
  {
    reads: ['PING_TIMEOUT', 'PING_INTERVAL'],
    check: ({ PING_TIMEOUT, PING_INTERVAL }) => PING_TIMEOUT > PING_INTERVAL
      ? `PING_TIMEOUT is ${PING_TIMEOUT} seconds; allowed: at most PING_INTERVAL, which is ${PING_INTERVAL}.`
      : undefined
  },
  {
    reads: ['APP_PROFILE', 'TICK_FLOOR_MS', 'MONITOR_TICK_MS', 'FLUSH_INTERVAL_MS'],
    check: (values) => {
      const name = tickName(values)
      return values.TICK_FLOOR_MS > values[name]
        ? `TICK_FLOOR_MS is ${values.TICK_FLOOR_MS} ms; allowed: at most ${name}, which is ${values[name]}.`
        : undefined
    }
  },
  {
    reads: ['WORKERS', 'REDIS_URL'],
    check: ({ WORKERS, REDIS_URL }) => WORKERS > 1 && REDIS_URL === ''
      ? `WORKERS is ${WORKERS}; more than 1 needs REDIS_URL, for example redis://127.0.0.1:6379.`
      : undefined
  },
  {
    reads: ['REDIS_URL', 'REDIS_PREFIX'],
    check: ({ REDIS_URL, REDIS_PREFIX }) => isCluster(REDIS_URL) && !/\{[^{}]+\}/.test(REDIS_PREFIX)
      ? `REDIS_PREFIX is "${REDIS_PREFIX}"; on a cluster it needs a hash tag, for example {signalbox}:, because all keys must share a slot.`
      : undefined
  },
  {
    reads: ['HOST', 'ALLOW_ANONYMOUS', 'AUTH_JWT_SECRET', 'AUTH_JWKS_URL'],
    check: (values) => !values.ALLOW_ANONYMOUS && !hasAuth(values) && !isLoopback(values.HOST)
      ? `HOST is "${values.HOST}"; any address other than loopback (127.0.0.0/8, ::1, localhost) needs authentication: set AUTH_JWT_SECRET (openssl rand -base64 32) or AUTH_JWKS_URL. With ALLOW_ANONYMOUS=true anybody who can reach the port may publish, read and control.`
      : undefined
  },
  {
    reads: ['ALLOW_ANONYMOUS', 'AUTH_JWT_SECRET', 'AUTH_JWKS_URL'],
    check: (values) => values.ALLOW_ANONYMOUS && hasAuth(values)
      ? 'ALLOW_ANONYMOUS=true contradicts AUTH_JWT_SECRET and AUTH_JWKS_URL: set one of them. What everybody may hear without a token stands in ANONYMOUS_SUBSCRIBE.'
      : undefined
  },
  {
    reads: ['IDEMPOTENCY_TTL', 'AUTH_JWT_SECRET', 'AUTH_JWKS_URL'],
    check: (values) => values.IDEMPOTENCY_TTL < MIN_TICKET_MEMORY && hasAuth(values)
      ? `IDEMPOTENCY_TTL is ${values.IDEMPOTENCY_TTL} seconds; allowed with authentication: at least ${MIN_TICKET_MEMORY}, because used tickets are remembered that long.`
      : undefined
  },
  {
    reads: ['METRICS_TOKEN', 'AUTH_JWT_SECRET'],
    check: ({ METRICS_TOKEN, AUTH_JWT_SECRET }) => secretsOf(AUTH_JWT_SECRET).includes(METRICS_TOKEN)
      ? 'METRICS_TOKEN is one of AUTH_JWT_SECRET; allowed: another one, because whoever scrapes could sign tokens with it.'
      : undefined
  },
  ...(['AUTH_ISSUER', 'AUTH_AUDIENCE', 'ANONYMOUS_SUBSCRIBE'] as const).map((name): Rule => ({
    reads: [name, 'AUTH_JWT_SECRET', 'AUTH_JWKS_URL'],
    check: (values) => values[name].length > 0 && !hasAuth(values)
      ? `${name} is set, but neither AUTH_JWT_SECRET nor AUTH_JWKS_URL: no token would be checked, and everybody could do everything.`
      : undefined
  }))
]

/** Whether callers are known by tokens. */
function hasAuth ({ AUTH_JWT_SECRET, AUTH_JWKS_URL }: Pick<Values, 'AUTH_JWT_SECRET' | 'AUTH_JWKS_URL'>): boolean {
  return AUTH_JWT_SECRET !== '' || AUTH_JWKS_URL !== ''
}

function isCluster (url: string): boolean {
  const address = parseRedisUrl(url)
  return typeof address !== 'string' && address.kind === 'cluster'
}

export function checkRules (values: Values, isWrong: (name: SettingName) => boolean): string[] {
  return RULES
    .filter(({ reads }) => !reads.some(isWrong))
    .flatMap(({ check }) => check(values) ?? [])
}

/** The settings that determine the profile. The older switches count only if they are set. */
export const PROFILE_SETTINGS = ['APP_PROFILE', 'ENABLE_SSE', 'ENABLE_WS'] as const satisfies readonly SettingName[]

/** The profile that all given settings agree on, or a sentence about their conflict. */
export function chooseProfile (values: Values, isSet: (name: SettingName) => boolean): { profile: ProfileName } | { problem: string } {
  const meant = {
    APP_PROFILE: values.APP_PROFILE,
    ENABLE_SSE: values.ENABLE_SSE ? 'SSE' : 'WEBSOCKET',
    ENABLE_WS: values.ENABLE_WS ? 'WEBSOCKET' : 'SSE'
  } as const
  const given = PROFILE_SETTINGS.filter(isSet)
  const profile = given[0] === undefined ? 'SSE' : meant[given[0]]
  if (given.every((name) => meant[name] === profile)) return { profile }
  const shown = given.map((name) => `${name}=${values[name]}`)
  return { problem: `${shown.slice(0, -1).join(', ')} and ${shown.at(-1)} contradict each other; allowed: exactly one of SSE and WEBSOCKET. Setting APP_PROFILE alone is enough.` }
}

const TICK_NAMES = { SSE: 'MONITOR_TICK_MS', WEBSOCKET: 'FLUSH_INTERVAL_MS' } as const satisfies Record<ProfileName, SettingName>

/** The setting that holds the longest tick of the mounted profile. */
export const tickName = ({ APP_PROFILE }: Pick<Values, 'APP_PROFILE'>): typeof TICK_NAMES[ProfileName] => TICK_NAMES[APP_PROFILE]

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

// A name other than localhost may resolve to any address, and to another one tomorrow.
function isLoopback (host: string): boolean {
  const version = isIP(host)
  return version === 0 ? host.toLowerCase() === 'localhost' : LOOPBACK.check(host, version === 4 ? 'ipv4' : 'ipv6')
}
