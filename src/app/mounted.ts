// Both profiles have their routes, and one of them is mounted. Those of the other one are refused before anybody is asked who he is.

import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'

export const PROFILE_NAMES = ['SSE', 'WEBSOCKET'] as const

export type ProfileName = (typeof PROFILE_NAMES)[number]

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The profile whose clients connect here. Default: the route is there in both. */
    profile?: ProfileName
  }
}

/** Which profile is mounted; it may change from one look to the next. */
export interface Mounted {
  readonly name: ProfileName
  /** The paths that `/api/profile` returns; null if not mounted. */
  readonly paths: { readonly stream: string | null, readonly websocket: string | null }
  /** @throws Refusal PROFILE_NOT_MOUNTED */
  check (profile: ProfileName): void
}

export default fp(async (app: FastifyInstance, { mounted }: { mounted: Mounted }) => {
  app.addHook('onRequest', ({ routeOptions }, _reply, done) => {
    const { profile } = routeOptions.config
    if (profile !== undefined) mounted.check(profile)
    done()
  })
}, { name: 'mounted' })
