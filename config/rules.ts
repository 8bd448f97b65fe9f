// Rules about several settings together, which a schema of single settings cannot express. Each rule names the settings it
// reads. It is skipped if one of them is invalid by itself, because that is reported already.

import { BlockList, isIP } from 'node:net'
import { parseRedisUrl } from './redis-url.ts'
import type { SettingName, ProfileName, Values } from './schema.ts'

/** Settings that are known but refused: the gateway must not run without something the operator asked for. */
export const NOT_YET: Readonly<Partial<Record<SettingName, string>>> = {
  AUTH_JWT_SECRET: 'authentication comes with a later release; leave it empty',
  AUTH_JWKS_URL: 'authentication comes with a later release; leave it empty',
  AUTH_ISSUER: 'authentication comes with a later release; leave it empty',
  AUTH_AUDIENCE: 'authentication comes with a later release; leave it empty'
}

interface Rule {
  readonly reads: readonly SettingName[]
  /** @returns a sentence about the conflict; undefined if there is none */
  readonly check: (values: Values) => string | undefined
}

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
    reads: ['HOST', 'ALLOW_ANONYMOUS'],
    check: ({ HOST, ALLOW_ANONYMOUS }) => !ALLOW_ANONYMOUS && !isLoopback(HOST)
      ? `HOST is "${HOST}"; any address other than loopback (127.0.0.0/8, ::1, localhost) needs ALLOW_ANONYMOUS=true, because there is no authentication yet: anybody who can reach the port could publish, read and control.`
      : undefined
  }
]

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

/** The setting that holds the longest tick of the mounted profile. */
export function tickName ({ APP_PROFILE }: Pick<Values, 'APP_PROFILE'>): 'MONITOR_TICK_MS' | 'FLUSH_INTERVAL_MS' {
  return APP_PROFILE === 'SSE' ? 'MONITOR_TICK_MS' : 'FLUSH_INTERVAL_MS'
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

// A name other than localhost may resolve to any address, and to another one tomorrow.
function isLoopback (host: string): boolean {
  const version = isIP(host)
  return version === 0 ? host.toLowerCase() === 'localhost' : LOOPBACK.check(host, version === 4 ? 'ipv4' : 'ipv6')
}
