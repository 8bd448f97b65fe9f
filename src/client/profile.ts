// Which profile runs, and where it is mounted.

import { endOfRefusal, readAnswer } from './wire.ts'
import type { End } from './wire.ts'

/** GET /api/profile, as far as it matters here. */
export interface ProfileInfo {
  readonly stream: string | null
  readonly websocket: string | null
  readonly control: string | null
  readonly pingIntervalMs: number
}

/** Which profile runs, and where it is mounted. */
export async function fetchProfile (base: string, headers: Record<string, string>, signal: AbortSignal): Promise<ProfileInfo | End> {
  const response = await fetch(`${base}/api/profile`, { headers, cache: 'no-store', signal })
  return response.ok ? await response.json() as ProfileInfo : endOfRefusal(await readAnswer(response))
}
