// Asks the gateway what it mounts.

import { endOfRefusal, isObject, readAnswer, strangerAt } from './wire.ts'
import type { End, Request } from './wire.ts'

/** The fields of GET /api/profile that the client uses. A path is null if it is not mounted. */
export interface ProfileInfo {
  readonly stream: string | null
  readonly websocket: string | null
  readonly control: string | null
  readonly pingIntervalMs: number
  /** Tokens are checked. Absent: they are not. */
  readonly auth?: boolean
  /** The time at the gateway, ms since 1970. Absent: an older gateway. */
  readonly time?: number
}

/** @throws if the gateway does not answer */
export async function fetchProfile (base: string, request: Request): Promise<ProfileInfo | End> {
  const response = await request(`${base}/api/profile`)
  const answer = await readAnswer(response)
  return !response.ok ? endOfRefusal(answer) : isProfile(answer.body) ? answer.body : strangerAt(response)
}

function isProfile (body: unknown): body is ProfileInfo {
  return isObject(body) && typeof (body.stream ?? body.websocket) === 'string' && Number(body.pingIntervalMs) > 0
}
