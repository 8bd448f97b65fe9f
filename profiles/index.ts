// The table of profiles. The one that APP_PROFILE names is mounted; the path of the other one refuses clients and names
// the mounted path.

import type { FastifyInstance } from 'fastify'
import type { Arrivals } from '../src/app/arrivals.ts'
import type { Effort } from '../src/app/effort.ts'
import { Refusal } from '../src/core/errors.ts'
import type { Gateway } from '../src/core/gateway.ts'

export interface ProfileOptions {
  readonly gateway: Gateway
  /** What has arrived in part. */
  readonly arrivals: Arrivals
  /** What reading large messages took. */
  readonly effort: Effort
  readonly pingTimeoutMs: number
  /** Time for a message to arrive whole, and for a socket's first one, ms. */
  readonly requestTimeoutMs: number
  /** Largest message, bytes. */
  readonly maxHttpBufferSize: number
  /** COMPRESSION: clients that accept it are sent compressed bytes. */
  readonly compresses: boolean
}

interface Profile {
  readonly path: string
  /** The field of `/api/profile` that holds the path. */
  readonly field: 'stream' | 'websocket'
  /** The setting that holds the longest tick. */
  readonly tick: 'monitorTickMs' | 'flushIntervalMs'
  readonly mount: (app: FastifyInstance, options: ProfileOptions & { readonly path: string }) => Promise<void>
  /** Whether returning clients of this path are refused by a stream with `bye`: see src/app/bye.ts. */
  readonly isStream: boolean
}

const PROFILES = {
  SSE: {
    path: '/api/events/stream',
    field: 'stream',
    tick: 'monitorTickMs',
    mount: async (app, options) => { await app.register((await import('./sse/index.ts')).default, options) },
    isStream: true
  },
  WEBSOCKET: {
    path: '/api/events/ws',
    field: 'websocket',
    tick: 'flushIntervalMs',
    mount: async (app, options) => { await app.register((await import('./websocket/index.ts')).default, options) },
    isStream: false
  }
} as const satisfies Record<string, Profile>

export type ProfileName = keyof typeof PROFILES

export const PROFILE_NAMES = Object.keys(PROFILES) as readonly ProfileName[]

/** The setting that holds the longest tick of a profile. */
export const tickSettingOf = (name: ProfileName): Profile['tick'] => PROFILES[name].tick

/** The paths as `/api/profile` returns them: null if not mounted. */
export function pathsOf (name: ProfileName): { stream: string | null, websocket: string | null } {
  const { field, path } = PROFILES[name]
  return { stream: null, websocket: null, [field]: path }
}

export async function mountProfile (app: FastifyInstance, name: ProfileName, options: ProfileOptions): Promise<void> {
  const mounted = PROFILES[name]
  await mounted.mount(app, { ...options, path: mounted.path })
  for (const other of PROFILE_NAMES) if (other !== name) await redirectFrom(app, other, { name, path: mounted.path }, options.gateway)
}

async function redirectFrom (app: FastifyInstance, name: ProfileName, mounted: { name: ProfileName, path: string }, gateway: Gateway): Promise<void> {
  const { path, isStream } = PROFILES[name]
  // Programs that know plain HTTP alone, such as curl, can read in both profiles.
  const instead = isStream ? 'connect there, read with GET /api/events (wait=20 waits for news),' : 'connect there,'
  const notMounted = (): Refusal => new Refusal('PROFILE_NOT_MOUNTED', `${path} is not mounted: this gateway runs the profile ${mounted.name}, at ${mounted.path}; ${instead} or start the gateway with APP_PROFILE=${name}`, gateway.returnAfterMs())
  app.get(path, { exposeHeadRoute: false, config: { access: 'all', isStream }, schema: { hide: true } }, async () => { throw notMounted() })
  if (!isStream) return
  // While a deployment changes its profile other workers may still have streams. Those of nobody are unknown here as there.
  const steering = new (await import('./sse/steering.ts')).Steering(gateway)
  app.post<{ Params: { session: string } }>(`${path}/:session`, { config: { isShed: true }, schema: { hide: true } }, async ({ params, body, identity }) =>
    await steering.steer(params.session, body, identity))
}
