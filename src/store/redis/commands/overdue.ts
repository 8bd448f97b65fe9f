// Commands that no backend has taken, or whose backend has not answered, within the timeout of their declaration. They are
// taken back and given to another backend, or settled. Every worker checks; each change is one atomic step for all.

import type { Declaration } from './declaration.ts'
import type { RedisStore } from '../log/store.ts'
import { BACKENDS, failed, isOpen, recordOf, settledRecord, WITH_ENTRY, WORKERS } from './command-record.ts'
import type { DispatchedCommand } from './command-record.ts'
import { NOW, PARTS, script } from '../scripts.ts'
import type { Logger } from '../../../core/logger.ts'

/** Backends that may be lost over one repeatable command: the command itself may crash them. */
const MAX_ATTEMPTS = 5
const FORGET_MS = 3_600_000

/**
 * Keys: the command's stream, results. First argument: the timeout, ms. `kindOf` returns whether an entry is overdue,
 * and why. Answers that no worker has read yet may be to any of them: the timeout is extended by the age of the oldest
 * of these.
 */
const KIND_OF = `${NOW}${PARTS}
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local patience = tonumber(ARGV[1]) + (first and math.max(0, now - parts(first[1])) or 0)
local lastMs, lastN
for _, group in ipairs(redis.call('EXISTS', KEYS[1]) == 1 and redis.call('XINFO', 'GROUPS', KEYS[1]) or {}) do
  local of = {}
  for at = 1, #group, 2 do of[group[at]] = group[at + 1] end
  if of.name == '${BACKENDS}' then lastMs, lastN = parts(of['last-delivered-id']) end
end
local function kindOf (entry)
  local ms, n = parts(entry)
  if now - ms < patience then return nil end
  if not lastMs or ms > lastMs or (ms == lastMs and n > lastN) then return 'waiting', '' end
  local taken = redis.call('XPENDING', KEYS[1], '${BACKENDS}', entry, entry, 1)[1]
  -- A backend that has acknowledged the entry must still answer.
  if not taken then return 'taken', '' end
  if taken[3] >= patience then return 'taken', taken[2] end
  return nil
end
`

const MAX_FOUND = 100

/** Returns the number of entries in the stream, and for each overdue one the entry, the reason, its backend, the command's id, the attempt. */
const look = script<[stream: string, results: string], [timeoutMs: number], [length: number, found: OverdueEntry[]]>('sbLook', `${KIND_OF}
local found, from = {}, '-'
while #found < ${MAX_FOUND} do
  local page = redis.call('XRANGE', KEYS[1], from, string.format('%.0f', math.max(0, now - patience)), 'COUNT', ${MAX_FOUND})
  for _, entry in ipairs(page) do
    local kind, by = kindOf(entry[1])
    if kind and #found < ${MAX_FOUND} then
      local of = {}
      for at = 1, #entry[2], 2 do of[entry[2][at]] = entry[2][at + 1] end
      found[#found + 1] = {entry[1], kind, by, of.id or '', of.attempt or '1'}
    end
  end
  if #page < ${MAX_FOUND} then break end
  from = '(' .. page[#page][1]
end
return {redis.call('XLEN', KEYS[1]), found}
`)

/**
 * Third key: the command's record. More arguments: 2 the entry, 3 why it is overdue, 4 the record as it was read ('':
 * none), 5 the new record ('': unchanged), 6 ms it is kept, 7 the number of the next attempt ('': none).
 * Returns 0 if any of this has changed since.
 */
const end = script<[stream: string, results: string, record: string], [timeoutMs: number, entry: string, kind: string, before: string, after: string, ttlMs: number, attempt: number | ''], number>('sbEnd', `${KIND_OF}${WITH_ENTRY}
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])[1]
if not entry or kindOf(ARGV[2]) ~= ARGV[3] or (redis.call('GET', KEYS[3]) or '') ~= ARGV[4] then return 0 end
if lastMs then redis.call('XACK', KEYS[1], '${BACKENDS}', ARGV[2]) end
redis.call('XDEL', KEYS[1], ARGV[2])
local record = ARGV[5]
if ARGV[7] ~= '' then
  local fields = entry[2]
  for at = 1, #fields, 2 do if fields[at] == 'attempt' then fields[at + 1] = ARGV[7] end end
  record = withEntry(record, redis.call('XADD', KEYS[1], '*', unpack(fields)))
end
if record ~= '' then redis.call('SET', KEYS[3], record, 'PX', ARGV[6]) end
return 1
`)

/** Deletes idle consumers: every start of a process adds one. Key: a stream. Arguments: group, ms. */
const tidy = script<[stream: string], [group: string, forgetMs: number], null>('sbTidy', `
if redis.call('EXISTS', KEYS[1]) == 0 then return end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for _, reader in ipairs(group[2] == ARGV[1] and redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1]) or {}) do
    local of = {}
    for at = 1, #reader, 2 do of[reader[at]] = reader[at + 1] end
    if of.pending == 0 and of.idle > tonumber(ARGV[2]) then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], of.name) end
  end
end
`)

type OverdueEntry = [entry: string, kind: 'waiting' | 'taken', backend: string, id: string, attempt: string]

export interface OverdueOptions {
  readonly store: RedisStore
  readonly idempotencyTtlMs: number
  readonly log: Pick<Logger, 'warn'>
}

export class Overdue {
  readonly #options: OverdueOptions

  constructor (options: OverdueOptions) {
    this.#options = options
  }

  /** @returns the ids of commands that have an outcome now, and whether the stream still holds any */
  async look (command: string, declaration: Declaration): Promise<{ settled: string[], holds: boolean }> {
    const { store } = this.#options
    const [length, found] = await store.ask(async client => await look(client, [store.keys.commands(command), store.keys.results], [declaration.timeoutMs]))
    const settled = await Promise.all(found.map(async one => await this.#end(command, declaration, one)))
    return { settled: settled.filter(id => id !== null), holds: length > 0 }
  }

  /** Deletes consumers that have nothing pending and were idle for `forgetMs`. */
  async tidy (commands: Iterable<string>, forgetMs = FORGET_MS): Promise<void> {
    const { store } = this.#options
    const { keys } = store
    await store.ask(async client => await Promise.all([
      tidy(client, [keys.results], [WORKERS, forgetMs]),
      ...Array.from(commands, async command => await tidy(client, [keys.commands(command)], [BACKENDS, forgetMs]))
    ]))
  }

  async #end (command: string, { timeoutMs, retry }: Declaration, [entry, kind, backend, id, text]: OverdueEntry): Promise<string | null> {
    const { store, idempotencyTtlMs, log } = this.#options
    const { keys } = store
    const recordKey = keys.command(id)
    const before = await store.ask(async client => await client.get(recordKey))
    const record = recordOf(before)
    const open = record !== null && isOpen(record) ? record : null
    const attempt = Number(text)
    const again = open !== null && kind === 'taken' && retry && attempt < MAX_ATTEMPTS
    const outcome = kind === 'waiting'
      ? failed(`no backend took ${command} within ${timeoutMs / 1000} s: it was not started and is withdrawn`)
      : retry
        ? failed(`${attempt} backends took ${command} in turn, and none answered within ${timeoutMs / 1000} s`)
        : { status: 'unknown' } as const
    const after = open === null ? '' : again ? runningRecord(open) : settledRecord(open, outcome)
    const ttlMs = again ? keptMs(idempotencyTtlMs, timeoutMs) : idempotencyTtlMs
    const ended = await store.ask(async client => await end(
      client, [keys.commands(command), keys.results, recordKey], [timeoutMs, entry, kind, before ?? '', after, ttlMs, again ? attempt + 1 : '']))
    if (ended === 0 || open === null) return null
    log.warn({ id, command, attempt, ...(backend === '' ? {} : { backend }) }, `command ${command} (${id}) ${describe(kind, timeoutMs, again, outcome.status)}`)
    return again ? null : id
  }
}

function describe (kind: OverdueEntry[1], timeoutMs: number, again: boolean, status: DispatchedCommand['status']): string {
  const within = `within ${timeoutMs / 1000} s`
  if (kind === 'waiting') return `was not taken by any backend ${within} and is withdrawn`
  return `was taken by a backend that did not answer ${within}; ${again ? 'it is given to another' : `it is ${status} now`}`
}

const runningRecord = ({ command, status, fingerprint, by, owner }: DispatchedCommand): string => JSON.stringify({ command, status, fingerprint, by, owner })

/** How long an open record is kept, ms: it must not expire before it is settled. */
export const keptMs = (ttlMs: number, timeoutMs: number): number => Math.ceil(Math.max(ttlMs, 2 * MAX_ATTEMPTS * timeoutMs))
