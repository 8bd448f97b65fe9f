// Asks the gateway what it mounts.

import { endOfRefusal, isObject, readAnswer, strangerAt } from './wire.ts'
import type { End, ProfileInfo, Request } from './wire.ts'

/** @throws if the gateway does not answer */
export async function fetchProfile (base: string, request: Request): Promise<ProfileInfo | End> {
  const response = await request(`${base}/api/profile`)
  const answer = await readAnswer(response)
  return !response.ok ? endOfRefusal(answer) : isProfile(answer.body) ? answer.body : strangerAt(response)
}

function isProfile (body: unknown): body is ProfileInfo {
  return isObject(body) && typeof (body.stream ?? body.websocket) === 'string' && Number(body.pingIntervalMs) > 0
}
