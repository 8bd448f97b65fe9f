// The one atomic step of the log on Redis: which server this is, the idempotency key, the room limits, the ids, the
// events in both streams, the values, the trimming. Either all of it happens or nothing.
//
// `log` and `facts` are streams under the same ids: everything for following, short; and what history holds, trimmed
// by HISTORY_*. An entry of `log` carries the id of the one before it, the epoch and the floor, so a follower knows from
// the entry itself whether it has missed something, whether the log was opened anew, and what history still holds.
//
// `meta` counts what the others should hold. Where they do not (a key deleted or evicted from outside), the log cannot
// be trusted to be whole: it begins anew, with no epoch that any client knows, and everybody is reset.

/** Number of keys, in this order: meta epochs log facts state rooms once lease ingest. */
export const APPEND_KEYS = 9

/**
 * Arguments: 1 a name for a new epoch, 2 the newest id the caller has seen, 3 keys a room may have, 4-6 history: number,
 * bytes, ms, 7 bytes of `log`, 8 digest of the request under the key `once` ('' for none), 9 ms it is remembered, 10 what
 * the key `lease` must hold ('' for no matter), 11 text of a note or probe ('' for none), 12 its field; then six for each
 * event: kind (fact, value, deletion), room, field, id it ends, where it was taken from, event.
 * 0 is no limit.
 * Returns {'OK', epoch, last entry of log, newest event, floor, ids, more} or {'ONCE', digest, ids} or {'KEYS_FULL', room} or {'FENCED'}.
 */
export const APPEND = `
local meta, epochs, log, facts, state, rooms, once, lease, ingest = unpack(KEYS)
local maxKeys, maxFacts, maxBytes, maxAge, maxLog = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function parts (id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(n)
end
local function isAfter (a, b)
  local ams, an = parts(a)
  local bms, bn = parts(b)
  return ams > bms or (ams == bms and an > bn)
end
-- As the follower counts: {"id":"<id>", takes eight bytes besides the id and one is the brace the event begins with.
local function sizeOf (id, event) return #id + #event + 8 end

-- A key of the wrong type raises here, before anything is changed.
local length, count, present = redis.call('XLEN', log), redis.call('XLEN', facts), redis.call('HLEN', state)
local named, known = redis.call('HLEN', rooms), redis.call('LLEN', epochs)
local m = redis.call('HMGET', meta, 'server', 'epoch', 'head', 'floor', 'facts', 'bytes', 'keys', 'oldest', 'logBytes', 'newest')
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') .. '/' .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')

local stored = ARGV[8] ~= '' and redis.call('GET', once)
if stored then return {'ONCE', string.match(stored, '^(%S*) (.*)$')} end
if ARGV[10] ~= '' and redis.call('GET', lease) ~= ARGV[10] then return {'FENCED'} end

local whole = m[2] and known > 0 and count == tonumber(m[5]) and present == tonumber(m[7])
local last, newest = m[3] or '0-0', m[10] or '0-0'
local floor, bytes, oldest, logBytes = m[4] or '0-0', tonumber(m[6] or 0), m[8] or '', tonumber(m[9] or 0)

-- Ids never go back: neither behind what this server gave out, nor behind what another one did before it was lost.
local time = redis.call('TIME')
local ms, n = math.floor(time[1] * 1000 + time[2] / 1000), 0
local highest = isAfter(ARGV[2], last) and ARGV[2] or last
local hms, hn = parts(highest)
if hms >= ms then ms, n = hms, hn + 1 end
local function idAt (at) return string.format('%.0f-%.0f', ms, n + at) end

-- Who may come in and what is passed over, before anything is written.
local ids, planned, ended, counts, at = {}, {}, {}, {}, 0
for a = 13, #ARGV, 6 do
  local kind, room, field, ends, source, event = ARGV[a], ARGV[a + 1], ARGV[a + 2], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5]
  local passed = false
  if string.sub(source, 1, 1) == 'i' then
    local id = string.sub(source, 2)
    passed = #redis.call('XPENDING', ingest, 'gateway', id, id, 1) == 0
  end
  if ends ~= '' and not passed then
    local value = ended[field]
    if value == nil then value = redis.call('HGET', state, field) end
    passed = not value or string.match(value, '^%S+') ~= ends
  end
  if passed then
    ids[#ids + 1] = '-'
  else
    local id = idAt(at)
    if kind ~= 'fact' then
      local there = ended[field]
      if there == nil then there = redis.call('HEXISTS', state, field) == 1 end
      local keys = counts[room] or tonumber(redis.call('HGET', rooms, room) or 0)
      if kind == 'value' and not there then
        if maxKeys > 0 and keys >= maxKeys and (string.sub(room, 1, 1) ~= '@' or room == '@public') then return {'KEYS_FULL', room} end
        keys = keys + 1
      elseif kind == 'deletion' and there then
        keys = keys - 1
      end
      counts[room] = keys
      ended[field] = kind == 'value' and id
    end
    ids[#ids + 1] = id
    planned[#planned + 1] = {id, kind, room, field, source, event}
    at = at + 1
  end
end

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

for _, event in ipairs(planned) do
  local id, kind, room, field, source, text = unpack(event)
  if kind == 'value' then
    if redis.call('HSET', state, field, id .. ' ' .. text) == 1 then
      redis.call('HINCRBY', rooms, room, 1)
      present = present + 1
    end
  else
    if kind == 'deletion' and redis.call('HDEL', state, field) == 1 then
      if redis.call('HINCRBY', rooms, room, -1) <= 0 then redis.call('HDEL', rooms, room) end
      present = present - 1
    end
    redis.call('XADD', facts, id, 'event', text)
    if count == 0 then oldest = id end
    count, bytes = count + 1, bytes + sizeOf(id, text)
  end
  if string.sub(source, 1, 1) == 'i' then
    redis.call('XACK', ingest, 'gateway', string.sub(source, 2))
    redis.call('XDEL', ingest, string.sub(source, 2))
  end
end

-- History, from the old end. What one step does not manage is left to the next.
local function over ()
  return count > 0 and ((maxFacts > 0 and count > maxFacts) or (maxBytes > 0 and bytes > maxBytes) or (maxAge > 0 and ms - parts(oldest) > maxAge))
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

local before = last
local function write (id, field, text, source)
  if source ~= '' then redis.call('XADD', log, id, 'after', before, 'epoch', epoch, 'floor', floor, field, text, 'source', source)
  else redis.call('XADD', log, id, 'after', before, 'epoch', epoch, 'floor', floor, field, text) end
  before, length, logBytes = id, length + 1, logBytes + #text + 64
end
for _, event in ipairs(planned) do write(event[1], 'event', event[6], event[5]) end
if #planned > 0 then newest = before end
if ARGV[11] ~= '' or (#planned == 0 and (floor ~= (m[4] or '0-0') or epoch ~= m[2])) then
  write(idAt(at), ARGV[12], ARGV[11], '')
end
-- Values that were kept without a trace of when they came are older than this.
if not whole then newest = before end

-- A quarter too much, then down to the limit: not a question a step.
if maxLog > 0 and logBytes > maxLog * 1.25 then
  local from = '-'
  while logBytes > maxLog and length > 1 do
    local chunk = redis.call('XRANGE', log, from, '+', 'COUNT', 64)
    if #chunk == 0 then break end
    for i = 1, #chunk do
      if logBytes <= maxLog or length <= 1 then break end
      logBytes, length, from = logBytes - #chunk[i][2][8] - 64, length - 1, '(' .. chunk[i][1]
    end
  end
  redis.call('XTRIM', log, 'MAXLEN', length)
end

redis.call('HSET', meta, 'server', server, 'epoch', epoch, 'head', before, 'floor', floor, 'facts', count, 'bytes', bytes, 'keys', present, 'oldest', oldest, 'logBytes', logBytes, 'newest', newest)
local answer = table.concat(ids, ' ')
if ARGV[8] ~= '' then redis.call('SET', once, ARGV[8] .. ' ' .. answer, 'PX', ARGV[9]) end
return {'OK', epoch, before, newest, floor, answer, over() and 1 or 0}
`
