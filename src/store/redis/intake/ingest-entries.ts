// Reads the stream `ingest` under the lease, in pages that fit into memory whatever was written to it. Entries that cannot be
// an event are marked as such and cut short at Redis.

import { isUtf8 } from 'node:buffer'
import { Refusal } from '../../../core/errors.ts'
import type { Id } from '../../../core/id.ts'
import type { RedisClient } from '../connect.ts'
import { LeaseLost } from '../log/store.ts'
import { INTAKE_GROUP } from '../keys.ts'
import type { Keys } from '../keys.ts'
import { script } from '../scripts.ts'
import { KEPT_CHARACTERS } from './dead-letters.ts'

/**
 * Keys: intake ingest. Arguments: token, what to read, maximum entries, bytes to stop at, largest event, characters kept of a larger one; then ids.
 * What to read: `>` for new entries, `=` for the ids, else pending entries of any worker, from this id on.
 * Returns {'OK', next, then in turn id, kind (event, large, fields), text} or {'FENCED'}. `next`: for pending entries the id to continue from;
 * without new entries, the entry that was delivered last; of the ids, how many were looked at.
 */
const readPage = script<[intake: string, ingest: string], [token: string, from: string, entries: number, bytes: number, largest: number, kept: number, ...ids: Id[]], Buffer[]>('sbRead', `
local ingest, from, most, bytesMost, largest, kept = KEYS[2], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'FENCED'} end
local answer, count, bytes, chunk = {'OK', ''}, 0, 0, 20

local function put (entry)
  -- Before Redis 7.0 a deleted entry is returned as nothing.
  if not entry or not entry[2] then return end
  local fields = entry[2]
  local kind, text = 'event', fields[2]
  if #fields ~= 2 or fields[1] ~= 'event' then
    local parts, length = {}, 0
    for at = 1, #fields do
      if length > kept then break end
      parts[at] = string.sub(fields[at], 1, kept)
      length = length + #parts[at] + 1
    end
    kind, text = 'fields', table.concat(parts, ' ')
  elseif #text > largest then
    kind = 'large'
  end
  if kind ~= 'event' then text = string.sub(text, 1, kept) end
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = entry[1], kind, text
  count, bytes = count + 1, bytes + #text
end

if from == '=' then
  local at = 7
  while at <= #ARGV and bytes < bytesMost do
    local found = redis.call('XRANGE', ingest, ARGV[at], ARGV[at])
    if found[1] then put(found[1]) else redis.call('XACK', ingest, '${INTAKE_GROUP}', ARGV[at]) end
    at = at + 1
  end
  answer[2] = tostring(at - 7)
elseif from == '>' then
  local got
  repeat
    local reply = redis.call('XREADGROUP', 'GROUP', '${INTAKE_GROUP}', 'intake', 'COUNT', chunk, 'STREAMS', ingest, '>')
    got = reply and reply[1][2] or {}
    for _, entry in ipairs(got) do put(entry) end
  until #got < chunk or count >= most or bytes >= bytesMost
  if count == 0 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', ingest)) do
      local name, last
      for at = 1, #group, 2 do
        if group[at] == 'name' then name = group[at + 1] elseif group[at] == 'last-delivered-id' then last = group[at + 1] end
      end
      if name == '${INTAKE_GROUP}' then answer[2] = last end
    end
  end
else
  repeat
    local reply = redis.call('XAUTOCLAIM', ingest, '${INTAKE_GROUP}', 'intake', 0, from, 'COUNT', chunk)
    from = reply[1]
    for _, entry in ipairs(reply[2]) do put(entry) end
  until from == '0-0' or count >= most or bytes >= bytesMost
  answer[2] = from
end
return answer
`, 'bytes')

export interface IngestEntry {
  readonly id: Id
  readonly text: string
  /** What is wrong with it before its text is read. */
  readonly flaw: Refusal | null
}

export interface PageRequest {
  readonly token: string
  /** `>` for new entries, `=` for those with `ids`, else pending entries of any worker, from this id on. */
  readonly from: string
  readonly ids: readonly Id[]
  /** Maximum number of entries, and bytes after which no more are read. */
  readonly most: number
  readonly mostBytes: number
  /** Largest event, bytes. */
  readonly largest: number
}

export interface IngestPage {
  readonly entries: IngestEntry[]
  /** For pending entries the id to continue from, `0-0` after the last; without new entries, the entry delivered last; of `ids`, how many were looked at. */
  readonly next: string
}

/** @throws LeaseLost, and errors of the connection */
export async function readEntries (client: RedisClient, keys: Keys, { token, from, ids, most, mostBytes, largest }: PageRequest): Promise<IngestPage> {
  const [ok, next, ...rest] = await readPage(client, [keys.intake, keys.ingest], [token, from, most, mostBytes, largest, KEPT_CHARACTERS, ...ids])
  if (String(ok) !== 'OK') throw new LeaseLost()
  const entries: IngestEntry[] = []
  for (let at = 0; at < rest.length; at += 3) {
    const [id, kind, bytes] = [String(rest[at]), String(rest[at + 1]), rest[at + 2] as Buffer]
    entries.push({ id, text: bytes.toString('utf8'), flaw: flawOf(kind, bytes, largest) })
  }
  return { entries, next: String(next) }
}

function flawOf (kind: string, bytes: Buffer, largest: number): Refusal | null {
  if (kind === 'fields') return new Refusal('BAD_EVENT', 'an entry has one field, event, and its value is the event as JSON')
  if (kind === 'large') return new Refusal('TOO_LARGE', `an event may hold ${largest} bytes (MAX_HTTP_BUFFER_SIZE); this one has more`)
  return isUtf8(bytes) ? null : new Refusal('BAD_EVENT', 'not valid UTF-8')
}
