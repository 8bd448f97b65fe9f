// Tokens of a run with auth, signed where they are used: they may live for two seconds only.

import { SignJWT } from 'jose'

export interface Auth {
  readonly secret: string
  readonly lifeS: number
}

const ALL = { subscribe: ['*'], publish: ['*'], control: ['*'] }

export const tokenOf = async ({ secret, lifeS }: Auth): Promise<string> =>
  await new SignJWT({ signalbox: ALL }).setProtectedHeader({ alg: 'HS256' }).setSubject('chaos').setExpirationTime(Math.floor(Date.now() / 1000) + lifeS).sign(new TextEncoder().encode(secret))

/** None without auth. */
export const authHeaders = async (auth: Auth | undefined): Promise<Record<string, string>> =>
  auth === undefined ? {} : { authorization: `Bearer ${await tokenOf(auth)}` }
