// `signalbox token`: signs a token with the gateway's own secret, as settings name it.

import { SignJWT } from 'jose'
import { ConfigError, loadConfig } from '../../config/index.ts'
import { secretsOf } from '../../config/format.ts'
import { BAD_SETTINGS, Failure } from './failure.ts'
import { print, say } from './terminal.ts'

export interface TokenOptions {
  readonly sub?: string
  readonly subscribe?: readonly string[]
  readonly publish?: readonly string[]
  readonly control?: readonly string[]
  /** Seconds. */
  readonly ttl: number
}

/** The gateway refuses longer ones. */
const MAX_BYTES = 8192

export async function token ({ sub, ttl, ...lists }: TokenOptions): Promise<void> {
  const { authJwtSecret, authIssuer, authAudience } = settings()
  const [secret] = secretsOf(authJwtSecret)
  if (secret === undefined) throw new Failure('AUTH_JWT_SECRET is not set: the environment, .env, or a file named by AUTH_JWT_SECRET_FILE must hold the secret of the gateway. Tokens for AUTH_JWKS_URL are signed by whoever has the private key', BAD_SETTINGS)
  const grants = Object.fromEntries(Object.entries(lists).filter(([, list]) => list !== undefined))
  const now = Math.floor(Date.now() / 1000)
  const text = await new SignJWT({
    ...sub !== undefined && { sub },
    ...authIssuer !== '' && { iss: authIssuer },
    ...authAudience !== '' && { aud: authAudience },
    signalbox: grants
  }).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).setIssuedAt(now).setExpirationTime(now + ttl).sign(new TextEncoder().encode(secret))
  if (text.length > MAX_BYTES) throw new Failure(`the token would have ${text.length} characters, and a gateway takes ${MAX_BYTES}: use patterns such as plant-*`)
  if (Object.keys(grants).length === 0) say('this token grants nothing: --subscribe, --publish and --control do')
  await print(text)
}

function settings (): ReturnType<typeof loadConfig>['config'] {
  try {
    return loadConfig().config
  } catch (error) {
    if (error instanceof ConfigError) throw new Failure(error.problems.join('\n'), BAD_SETTINGS)
    throw error
  }
}
