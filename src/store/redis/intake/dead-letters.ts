// Events that came in through Redis and were refused. They are set aside in `<prefix>ingest:refused`, where an operator can
// look at them and send them again, and reported in the log, at most a few lines a minute.

import type { Clock } from '../../../core/clock.ts'
import { Refusal } from '../../../core/errors.ts'
import type { Logger } from '../../../core/logger.ts'
import { reasonOf, replaceIfSilent } from '../connect.ts'
import type { RedisClient } from '../connect.ts'
import { LeaseLost } from '../log/store.ts'
import { INTAKE_GROUP } from '../keys.ts'
import type { Keys } from '../keys.ts'
import { script } from '../scripts.ts'

/** Characters kept of a refused event. */
export const KEPT_CHARACTERS = 64 * 1024
const MAX_KEPT = 1000
const LINES = 10
const WINDOW_MS = 60_000
const SHOWN = 120

/**
 * Keys: intake ingest refused. Arguments: token, number of events kept, then four for each event: id of the entry of `ingest` ('' for a message on
 * the channel), its origin, the reason, the text. Returns 'OK', 'FENCED' if another worker holds the lease, or the name that a key of
 * another type in the place of `refused` has now.
 */
const setAside = script<[intake: string, ingest: string, refused: string], [token: string, kept: number, ...events: string[]], string>('sbSetAside', `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'FENCED' end
local kind, moved = redis.call('TYPE', KEYS[3]).ok, nil
if kind ~= 'stream' and kind ~= 'none' then
  moved = KEYS[3] .. ':' .. kind
  redis.call('RENAME', KEYS[3], moved)
end
for at = 3, #ARGV, 4 do
  local id, source, reason, text = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if id == '' or #redis.call('XPENDING', KEYS[2], '${INTAKE_GROUP}', id, id, 1) > 0 then
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'source', source, 'reason', reason, 'event', text)
    if id ~= '' then
      redis.call('XACK', KEYS[2], '${INTAKE_GROUP}', id)
      redis.call('XDEL', KEYS[2], id)
    end
  end
end
return moved or 'OK'
`)

export interface DeadLetter {
  /** The entry of `ingest`, or the channel. */
  readonly from: { readonly entry: string } | 'channel'
  readonly text: string
  readonly why: Error
}

export interface DeadLettersOptions {
  /** The connection of the intake. */
  readonly client: RedisClient
  readonly keys: Keys
  readonly clock: Clock
  readonly log: Pick<Logger, 'warn'>
}

export class DeadLetters {
  readonly #options: DeadLettersOptions
  #windowAt = -Infinity
  #lines = 0
  #unreported = 0

  constructor (options: DeadLettersOptions) {
    this.#options = options
  }

  /** @throws LeaseLost; Refusal STORE_UNAVAILABLE */
  async setAside (events: readonly DeadLetter[], token: string): Promise<void> {
    if (events.length === 0) return
    const { client, keys, log } = this.#options
    const args = events.flatMap(({ from, text, why }) => {
      const id = from === 'channel' ? '' : from.entry
      return [id, from === 'channel' ? from : id, sentenceOf(why), text.slice(0, KEPT_CHARACTERS)]
    })
    const done = await setAside(client, [keys.intake, keys.ingest, keys.refused], [token, MAX_KEPT, ...args]).catch((error: unknown) => {
      replaceIfSilent(client, error)
      throw new Refusal('STORE_UNAVAILABLE', reasonOf(error))
    })
    if (done === 'FENCED') throw new LeaseLost()
    if (done !== 'OK') log.warn({ key: done }, `${keys.refused} was no stream: what it was is ${done} now`)
    for (const event of events) this.#report(event)
  }

  #report ({ from, text, why }: DeadLetter): void {
    const { clock, keys, log } = this.#options
    if (clock.now() - this.#windowAt > WINDOW_MS) {
      if (this.#unreported > 0) log.warn({ refused: this.#unreported }, `${this.#unreported} more events that came in through Redis were refused since`)
      this.#windowAt = clock.now()
      this.#lines = this.#unreported = 0
    }
    if (this.#lines === LINES) {
      this.#unreported++
      return
    }
    this.#lines++
    const what = from === 'channel' ? 'a message on the channel' : `entry ${from.entry} of ${keys.ingest}`
    log.warn({ event: text.slice(0, SHOWN) }, `${what} was refused (${sentenceOf(why).slice(0, 2 * SHOWN)}) and set aside in ${keys.refused}`)
  }
}

const sentenceOf = (why: Error): string => why instanceof Refusal ? `${why.code}: ${why.message}` : why.message
