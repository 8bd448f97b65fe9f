// The names that a store keeps the Idempotency-Keys of publishes under: one for each route, caller and key.

import { digest } from '../core/command.ts'

/** How events are published: over HTTP, or by the program around the gateway. */
const ROUTES = ['POST /api/events', 'publish'] as const

export const onceName = (route: typeof ROUTES[number], caller: string, key: string): string => digest(route, caller, key)

/** All that a caller may have published with a key. */
export const onceNames = (caller: string, key: string): string[] => ROUTES.map(route => onceName(route, caller, key))
