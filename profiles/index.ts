// The table of profiles. Both have their routes, one of them is mounted: the path of the other one refuses clients and names
// the mounted path. Which one it is may change while the gateway runs.

import type { FastifyInstance } from 'fastify'
import type { Arrivals } from '../src/app/arrivals.ts'
import type { Effort } from '../src/app/effort.ts'
import { PROFILE_NAMES } from '../src/app/mounted.ts'
import type { ProfileName } from '../src/app/mounted.ts'
import { Refusal } from '../src/core/errors.ts'
import type { Gateway } from '../src/core/gateway.ts'

export { PROFILE_NAMES } from '../src/app/mounted.ts'
export type { ProfileName } from '../src/app/mounted.ts'

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

/** What a profile's plugin gets. */
interface MountOptions extends ProfileOptions {
  readonly path: string
  /** For the moment before a session is opened: the profile may have changed since the request came. @throws Refusal PROFILE_NOT_MOUNTED */
  readonly checkMounted: () => void
}

interface Profile {
  readonly path: string
  /** The field of `/api/profile` that holds the path. */
  readonly field: 'stream' | 'websocket'
  readonly mount: (app: FastifyInstance, options: MountOptions) => Promise<void>
}

const PROFILES = {
  SSE: {
    path: '/api/events/stream',
    field: 'stream',
    mount: async (app, options) => { await app.register((await import('./sse/index.ts')).default, options) }
  },
  WEBSOCKET: {
    path: '/api/events/ws',
    field: 'websocket',
    mount: async (app, options) => { await app.register((await import('./websocket/index.ts')).default, options) }
  }
} as const satisfies Record<ProfileName, Profile>

/** Which profile is mounted. */
export class MountedProfile {
  #name: ProfileName
  readonly #returnAfterMs: () => number

  constructor (name: ProfileName, returnAfterMs: () => number) {
    this.#name = name
    this.#returnAfterMs = returnAfterMs
  }

  get name (): ProfileName {
    return this.#name
  }

  set name (name: ProfileName) {
    this.#name = name
  }

  /** The paths as `/api/profile` returns them: null if not mounted. */
  get paths (): { readonly stream: string | null, readonly websocket: string | null } {
    const { field, path } = PROFILES[this.#name]
    return { stream: null, websocket: null, [field]: path }
  }

  /** @throws Refusal PROFILE_NOT_MOUNTED */
  check (name: ProfileName): void {
    if (name === this.#name) return
    // Programs that know plain HTTP alone, such as curl, can read in both profiles.
    const instead = name === 'SSE' ? 'connect there, read with GET /api/events (wait=20 waits for news),' : 'connect there,'
    throw new Refusal('PROFILE_NOT_MOUNTED', `${PROFILES[name].path} is not mounted: this gateway runs the profile ${this.#name}, at ${PROFILES[this.#name].path}; ${instead} or start the gateway with APP_PROFILE=${name} (or run: signalbox switch ${name})`, { retryMs: this.#returnAfterMs() })
  }
}

/** Registers the routes of both profiles. */
export async function mountProfiles (app: FastifyInstance, mounted: MountedProfile, options: ProfileOptions): Promise<void> {
  for (const name of PROFILE_NAMES) {
    const { path, mount } = PROFILES[name]
    await mount(app, { ...options, path, checkMounted: () => mounted.check(name) })
  }
}
