// The one atomic step of the log on Redis: identity of the server, idempotency keys, room limits, ids, the events in both
// streams, the values, trimming. Either all of it happens or nothing.
//
// `log` and `facts` are streams with the same ids. `log` holds all entries, for following, and is short; `facts` holds
// history, trimmed by HISTORY_*, without the deletions of `@system`, of which `meta` has the newest. An entry of `log` carries the id of the one before it, the epoch and the floor. A follower
// sees from the entry itself whether it has missed one, whether the log was reopened, and what history still holds.
//
// `meta` counts what the other keys should hold. If they do not (a key was deleted or evicted from outside), the log may be
// incomplete: it begins again with an epoch that no client knows, and everyone is reset.

import type { Id } from '../../../core/id.ts'
import type { RedisClient } from '../connect.ts'
import { INTAKE_GROUP } from '../keys.ts'
import { PARTS, script } from '../scripts.ts'

/** What a call comes back with. */
export interface CallReply {
  readonly epoch: string
  /** The last entry of `log`. */
  readonly last: Id
  /** The newest event. */
  readonly newest: Id
  readonly floor: Id
  /** Whether there is more to trim. */
  readonly hasMore: boolean
  /** The log's time, ms; 0: not told. */
  readonly time: number
  /** To the appends, in order. */
  readonly answers: readonly string[]
}

type ScriptReply = readonly [epoch: string, last: Id, newest: Id, floor: Id, more: number, time: number, ...answers: string[]]

/** Number of keys that every call has, in this order: meta epochs log facts state rooms lease ingest occupancy. */
const FIXED_KEYS = 9
/** Changes that the stream `occupancy` keeps. */
const MAX_CHANGES = 10_000
/** More than a call may take. */
const LEAP_MS = 5000

/**
 * One call carries many appends, processed in order and independently: a refused one does not affect the others.
 *
 * Keys: the fixed ones, then one for each append with an idempotency key.
 * Arguments: 1 a name for a new epoch, 2 the newest id the caller has seen, 3 maximum keys of a room, 4-6 maximum of history: number,
 * bytes, ms, 7 maximum bytes of `log`, 8 ms an idempotency key is kept, 9 text of a note or probe ('': none), 10 its field,
 * 11 the log's time by the caller's monotonic clock (0: not known); then for each append: its number of arguments after these
 * three, the digest to store under its idempotency key ('': none), the value that the key `lease` must hold ('': any); and for
 * each of its events: the event, its kind (`first`: a value only for a key without one), for values and deletions the room and
 * the field, for deletions the id of the value they end ('': any), and with a lease the source of the event. A limit of 0 is none.
 * Returns epoch, last entry of log, newest event, floor, whether there is more to trim, the log's time (0: not told), and for
 * each append `OK <ids>`, `ONCE <digest> <ids>`, `KEYS_FULL <room>` or `FENCED`.
 */
const run = script<readonly string[], ReadonlyArray<string | number>, ScriptReply>('sbAppend', `
local meta, epochs, log, facts, state, rooms, lease, ingest, occupancy = unpack(KEYS, 1, ${FIXED_KEYS})
local maxKeys, maxFacts, maxBytes, maxAge, maxLog = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
${PARTS}
local function isAfter (a, b)
  local ams, an = parts(a)
  local bms, bn = parts(b)
  return ams > bms or (ams == bms and an > bn)
end
-- As the follower counts: {"id":"<id>", takes eight bytes besides the id; one of them is the brace that the event begins with.
local function sizeOf (id, event) return #id + #event + 8 end

-- A key of the wrong type raises an error here, before any change.
local length, count, present = redis.call('XLEN', log), redis.call('XLEN', facts), redis.call('HLEN', state)
local named, known = redis.call('HLEN', rooms), redis.call('LLEN', epochs)
local m = redis.call('HMGET', meta, 'server', 'epoch', 'head', 'floor', 'facts', 'bytes', 'keys', 'oldest', 'logBytes', 'newest', 'lead', 'leapTo', 'leapBy')
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. '/' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')

local whole = m[2] and known > 0 and count == tonumber(m[5]) and present == tonumber(m[7])
local last, newest = m[3] or '0-0', m[10] or '0-0'
local floor, bytes, oldest, logBytes = m[4] or '0-0', tonumber(m[6] or 0), m[8] or '', tonumber(m[9] or 0)

-- Ids never go back: neither below those of this server, nor below those of a server that was lost.
local time = redis.call('TIME')
local wall = math.floor(time[1] * 1000 + time[2] / 1000)
local highest = isAfter(ARGV[2], last) and ARGV[2] or last
local hms, hn = parts(highest)
-- A clock that was ahead left a head that the clock has yet to reach. Time goes on from there: otherwise nothing would age until
-- then. It stays ahead until the clock is past the head.
local lead = wall > hms and 0 or tonumber(m[11] or 0)
if wall + lead < hms then lead = hms - wall end
local ms, n = wall + lead, 0
if hms >= ms then ms, n = hms, hn + 1 end
-- Where the clock leapt nothing grew older by that. Of workers that stood still only as much counts as passed without an entry.
local leapTo, leapBy = tonumber(m[12] or 0), tonumber(m[13] or 0)
local leap = tonumber(ARGV[11]) > 0 and math.min(ms - ARGV[11], ms - hms) or 0
if leap >= ${LEAP_MS} then leapTo, leapBy = ms, leap end
local function ageOf (id)
  local born = parts(id)
  return ms - born - (born < leapTo and leapBy or 0)
end
local function idAt (at) return string.format('%.0f-%.0f', ms, n + at) end

-- Planning, before anything is written: the ids of values and the numbers of keys after the appends planned so far, and the
-- idempotency records of those.
local planned, values, counts, remembered, at = {}, {}, {}, {}, 0
local overValues, overCounts = {__index = values}, {__index = counts}

-- Plans one append. Returns its ids, or the room that is full; then nothing of it is kept.
local function plan (a, last, isTaken)
  local ids, events, mine, numbers, next = {}, {}, setmetatable({}, overValues), setmetatable({}, overCounts), at
  while a <= last do
    local event, kind, room, field, ends, source = ARGV[a], ARGV[a + 1], '', '', '', ''
    a = a + 2
    if kind ~= 'fact' then room, field, a = ARGV[a], ARGV[a + 1], a + 2 end
    if kind == 'deletion' then ends, a = ARGV[a], a + 1 end
    if isTaken then source, a = ARGV[a], a + 1 end
    local passed = false
    if string.sub(source, 1, 1) == 'i' then
      local id = string.sub(source, 2)
      local pending = redis.pcall('XPENDING', ingest, '${INTAKE_GROUP}', id, id, 1)
      -- Without the group nothing is pending. Any other error is raised again.
      if pending.err and not string.find(pending.err, 'NOGROUP', 1, true) then redis.call('XPENDING', ingest, '${INTAKE_GROUP}', id, id, 1) end
      passed = #pending == 0
    end
    if ends ~= '' and not passed then
      local value = mine[field]
      if value == nil then value = redis.call('HGET', state, field) end
      passed = not value or string.match(value, '^%S+') ~= ends
    end
    if kind == 'first' and not passed then
      local value = mine[field]
      if value == nil then value = redis.call('HEXISTS', state, field) == 1 end
      kind, passed = 'value', value ~= false
    end
    if passed then
      ids[#ids + 1] = '-'
    else
      local id = idAt(next)
      if kind ~= 'fact' then
        local there = mine[field]
        if there == nil then there = redis.call('HEXISTS', state, field) == 1 end
        local keys = numbers[room] or tonumber(redis.call('HGET', rooms, room) or 0)
        if kind == 'value' and not there then
          if maxKeys > 0 and keys >= maxKeys and (string.sub(room, 1, 1) ~= '@' or room == '@public') then return nil, room end
          keys = keys + 1
        elseif kind == 'deletion' and there then
          keys = keys - 1
        end
        numbers[room] = keys
        mine[field] = kind == 'value' and id
      end
      ids[#ids + 1] = id
      events[#events + 1] = {id, kind, room, field, source, event}
      next = next + 1
    end
  end
  for field, id in pairs(mine) do values[field] = id end
  for room, keys in pairs(numbers) do counts[room] = keys end
  for _, event in ipairs(events) do planned[#planned + 1] = event end
  at = next
  return table.concat(ids, ' ')
end

local answers, accepted, key, a = {}, 0, ${FIXED_KEYS}, 12
while ARGV[a] do
  local digest, fence, first = ARGV[a + 1], ARGV[a + 2], a + 3
  a = first + ARGV[a]
  if digest ~= '' then key = key + 1 end
  local before = digest ~= '' and (remembered[KEYS[key]] or redis.call('GET', KEYS[key]))
  local answer = before and 'ONCE ' .. before
  if not answer and fence ~= '' and redis.call('GET', lease) ~= fence then answer = 'FENCED' end
  if not answer then
    local ids, full = plan(first, a - 1, fence ~= '')
    answer = ids and 'OK ' .. ids or 'KEYS_FULL ' .. full
    if ids then
      accepted = accepted + 1
      if digest ~= '' then remembered[KEYS[key]] = digest .. ' ' .. ids end
    end
  end
  answers[#answers + 1] = answer
end
if accepted == 0 and #answers > 0 then return {m[2], last, newest, floor, 0, 0, unpack(answers)} end

local epoch = m[2]
if not whole then
  redis.call('DEL', epochs, log, facts, rooms)
  length, count, bytes, oldest, logBytes, floor, named = 0, 0, 0, '', 0, highest, 0
end
if named == 0 and present > 0 then
  for _, field in ipairs(redis.call('HKEYS', state)) do redis.call('HINCRBY', rooms, string.match(field, '^%S+'), 1) end
end
if not whole or m[1] ~= server then
  epoch = ARGV[1]
  redis.call('RPUSH', epochs, epoch .. ' ' .. newest)
  redis.call('LTRIM', epochs, -1000, -1)
end

-- A room has become occupied, or is no longer: one entry for each change, in the step that makes it. A key of the wrong type
-- makes way. It must not stop the log.
local function tell (field, occupied)
  local room = string.match(field, '^@system occupied "(.*)"$')
  if not room then return end
  local entry = {'XADD', occupancy, 'MAXLEN', ${MAX_CHANGES}, '*', 'room', room, 'occupied', occupied}
  if redis.pcall(unpack(entry)).err then
    redis.pcall('RENAME', occupancy, occupancy .. ':' .. redis.call('TYPE', occupancy).ok)
    redis.pcall(unpack(entry))
  end
end

for _, event in ipairs(planned) do
  local id, kind, room, field, source, text = unpack(event)
  if kind == 'value' then
    if redis.call('HSET', state, field, id .. ' ' .. text) == 1 then
      redis.call('HINCRBY', rooms, room, 1)
      present = present + 1
      if room == '@system' then tell(field, 1) end
    end
  else
    if kind == 'deletion' and redis.call('HDEL', state, field) == 1 then
      if redis.call('HINCRBY', rooms, room, -1) <= 0 then redis.call('HDEL', rooms, room) end
      present = present - 1
      if room == '@system' then tell(field, 0) end
    end
    if kind == 'deletion' and room == '@system' then
      redis.call('HSET', meta, 'systemFloor', id)
    else
      redis.call('XADD', facts, id, 'event', text)
      if count == 0 then oldest = id end
      count, bytes = count + 1, bytes + sizeOf(id, text)
    end
  end
  if string.sub(source, 1, 1) == 'i' then
    redis.call('XACK', ingest, '${INTAKE_GROUP}', string.sub(source, 2))
    redis.call('XDEL', ingest, string.sub(source, 2))
  end
end

-- Trims history from the old end. The next step continues where this one stops.
local function over ()
  return count > 0 and ((maxFacts > 0 and count > maxFacts) or (maxBytes > 0 and bytes > maxBytes) or (maxAge > 0 and ageOf(oldest) > maxAge))
end
local budget = 1000 + 2 * #planned
if over() then
  while over() and budget > 0 do
    local chunk = redis.call('XRANGE', facts, oldest, '+', 'COUNT', 65)
    if #chunk == 0 then break end
    for i = 1, #chunk do
      if i == 65 or budget == 0 or not over() then break end
      floor, count, bytes, budget = chunk[i][1], count - 1, bytes - sizeOf(chunk[i][1], chunk[i][2][2]), budget - 1
      oldest = chunk[i + 1] and chunk[i + 1][1] or ''
    end
  end
  if count == 0 then redis.call('XTRIM', facts, 'MAXLEN', 0) else redis.call('XTRIM', facts, 'MINID', oldest) end
end

-- One field, whose name holds position and kind of the entry: every further string would be read by every follower.
local before, since = last, ' ' .. epoch .. ' ' .. floor .. ' '
local function write (id, about, text)
  redis.call('XADD', log, id, before .. since .. about, text)
  before, length, logBytes = id, length + 1, logBytes + #text + 64
end
for _, event in ipairs(planned) do write(event[1], event[5] == '' and 'event' or 'event ' .. event[5], event[6]) end
if #planned > 0 then newest = before end
if ARGV[9] ~= '' or (#planned == 0 and (floor ~= (m[4] or '0-0') or epoch ~= m[2])) then
  write(idAt(at), ARGV[10], ARGV[9])
end
-- Values of unknown age are older than this.
if not whole then newest = before end

-- At a quarter over the limit, trims down to the limit: not in every step.
if maxLog > 0 and logBytes > maxLog * 1.25 then
  local from = '-'
  while logBytes > maxLog and length > 1 do
    local chunk = redis.call('XRANGE', log, from, '+', 'COUNT', 64)
    if #chunk == 0 then break end
    for i = 1, #chunk do
      if logBytes <= maxLog or length <= 1 then break end
      logBytes, length, from = logBytes - #chunk[i][2][2] - 64, length - 1, '(' .. chunk[i][1]
    end
  end
  redis.call('XTRIM', log, 'MAXLEN', length)
end

redis.call('HSET', meta, 'server', server, 'epoch', epoch, 'head', before, 'floor', floor, 'facts', count, 'bytes', bytes, 'keys', present, 'oldest', oldest, 'logBytes', logBytes, 'newest', newest, 'lead', string.format('%.0f', lead), 'leapTo', string.format('%.0f', leapTo), 'leapBy', string.format('%.0f', leapBy))
for key, text in pairs(remembered) do redis.call('SET', key, text, 'PX', ARGV[8]) end
return {epoch, before, newest, floor, over() and 1 or 0, ms, unpack(answers)}
`)

/** Runs the script; its keys and arguments are above. */
export async function append (client: RedisClient, keys: readonly string[], args: ReadonlyArray<string | number>): Promise<CallReply> {
  const [epoch, last, newest, floor, more, time, ...answers] = await run(client, keys, args)
  return { epoch, last, newest, floor, hasMore: more > 0, time, answers }
}
