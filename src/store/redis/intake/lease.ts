// Which worker takes in events through Redis: one at a time, to keep the order they were sent in. It holds a lease, under a
// token that changes with each holding. Everything done in its name checks the token in the same atomic step (see
// append.ts): what a former holder sent has no effect, however late it arrives.

import type { RedisClient } from '../connect.ts'
import { script } from '../scripts.ts'

/** A holder that is gone is replaced after this, ms. */
const LEASE_MS = 1000

/** Key: intake. Arguments: token, prefix of all tokens of this worker, ms. Returns 0, or the ms until the lease is free. */
const take = script<[intake: string], [token: string, prefix: string, ms: number], number>('sbTake', `
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[2]) ~= ARGV[2] then
  local left = redis.call('PTTL', KEYS[1])
  -- More than it was taken for: the server's clock was set back since.
  if left < 0 or left > tonumber(ARGV[3]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    left = tonumber(ARGV[3])
  end
  return math.max(left, 1)
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 0
`)

const renew = script<[intake: string], [token: string, ms: number], number>('sbRenew', `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

const release = script<[intake: string], [token: string], null>('sbRelease', `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
`)

export class Lease {
  readonly #client: RedisClient
  readonly #key: string
  /** Prefix of all tokens of this worker: a lease with one of them is free to take. */
  readonly #prefix: string
  #holdings = 0

  constructor (client: RedisClient, key: string, worker: string) {
    this.#client = client
    this.#key = key
    this.#prefix = `${worker}.`
  }

  /** The content of the lease while this worker holds it; changes with each `take`. */
  get token (): string {
    return `${this.#prefix}${this.#holdings}`
  }

  /** @returns 0 if this worker holds it now, else the ms after which it is free unless renewed */
  async take (): Promise<number> {
    this.#holdings++
    return await take(this.#client, [this.#key], [this.token, this.#prefix, LEASE_MS])
  }

  /** @returns whether this worker still holds it */
  async renew (): Promise<boolean> {
    return await renew(this.#client, [this.#key], [this.token, LEASE_MS]) === 1
  }

  async release (): Promise<void> {
    await release(this.#client, [this.#key], [this.token])
  }
}
