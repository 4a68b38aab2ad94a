-- Change feeds: a stream that gets an entry for each change of a contract's documents.
--
-- The id of an entry comes from MongoDB's time of its change, so that changes that come again have the ids that they had,
-- and are done. The field `entry:NAME` of the position holds the id of the last change that has its entry: what is not
-- later is a repeat. It moves with the entries, also where a call failed in the middle, and is another one than the last
-- id of the stream where that is ahead: another client wrote there, or this MongoDB is not the one before. Then an entry
-- gets the next id that the stream takes.

-- Of a call: feeds by name; how many entries did not get the id of their change because the stream was seconds ahead; and
-- how many changes need no entry, see matched.lua.
local feeds, shifted, unsaid = {}, 0, 0

local function begin_feeds()
  feeds, shifted, unsaid = {}, 0, 0
end

local function parts_of(id)
  local ms, sequence = id:match('^(%d+)%-(%d+)$')
  return ms, sequence
end

-- A number of 64 bits is more than one of Lua holds, so digits are compared.
local function is_greater(one, other)
  if #one ~= #other then return #one > #other end
  return one > other
end

local function is_later_id(one, other)
  local ms, sequence = parts_of(one)
  local other_ms, other_sequence = parts_of(other)
  if ms ~= other_ms then return is_greater(ms, other_ms) end
  return is_greater(sequence, other_sequence)
end

-- The last id that a stream has given, also of entries that are gone.
local function last_id(key)
  if redis.call('EXISTS', key) == 0 then return '0-0' end
  return told(redis.call('XINFO', 'STREAM', key))['last-generated-id']
end

-- The next entry behind all that are there, and behind the last change.
local function add_next(feed, fields, count)
  if not feed.next then
    local last = last_id(feed.key)
    feed.next = parts_of(is_later_id(feed.last, last) and feed.last or last)
  end
  return redis.pcall('XADD', feed.key, feed.next .. '-*', unpack(fields, 1, count))
end

-- Whether a change is done already. "" is none.
local function is_repeat(feed, id)
  if id == '' or feed.has_new then return false end
  feed.has_new = is_later_id(id, feed.last)
  return not feed.has_new
end

-- The entry of a change, or one that no change stands behind.
local function append(feed, id, fields, count)
  if id == '' then return failed(add_next(feed, fields, count)) end
  local ms, problem = nil, 'equal or smaller'
  if feed.next then ms = parts_of(id) end
  if not ms or is_greater(ms, feed.next) then
    problem = failed(redis.pcall('XADD', feed.key, id, unpack(fields, 1, count)))
  end
  if problem and problem:find('equal or smaller', 1, true) then
    ms = ms or parts_of(id)
    if feed.next and is_greater(ms, feed.next) then feed.next = nil end
    problem = failed(add_next(feed, fields, count))
    if is_greater(feed.next, ms) then shifted = shifted + 1 end
  end
  if problem then return problem end
  feed.last = id
end

-- Behind the last entry of a call, also of one that failed.
local function finish_feeds(position)
  for name, feed in pairs(feeds) do
    redis.call('HSET', position, 'entry:' .. name, feed.last)
    local threshold = tonumber(feed.threshold)
    if feed.trim == 'MINID' then threshold = tonumber((parts_of(feed.last))) - threshold end
    if feed.trim ~= '' and threshold > 0 then
      redis.call('XTRIM', feed.key, feed.trim, '~', ('%.0f'):format(threshold))
    end
  end
end

-- Entries of a feed follow. name, id behind which changes begin again or "", MAXLEN, MINID or "", entries or milliseconds
operations.f = {needs = 'stream', stays = true, width = fixed(4), write = function(key, args, i, _, _, keys)
  local last = args[i + 1]
  if last == '' then last = redis.call('HGET', keys[2], 'entry:' .. args[i]) or '0-0' end
  feeds[args[i]] = {key = key, last = last, trim = args[i + 2], threshold = args[i + 3]}
end}

-- Entries with the same names, as rows. id of the change or "", value, ...
row_operations.entry = function(row)
  local fields, count = {}, 2 * #row.names
  for at, name in ipairs(row.names) do fields[2 * at - 1] = name end
  return {keyless = true, once = true, width = fixed(1 + #row.names), write = function(_, args, i)
    for at = 1, #row.names do fields[2 * at] = args[i + at] end
    if not is_repeat(feeds[row.feed], args[i]) then return append(feeds[row.feed], args[i], fields, count) end
  end}
end
