#!lua name=syncd
-- The one place where syncd writes to Redis. Every function of a daemon checks that it still holds the lease, so one
-- that was paused or cut off writes nothing more. Protocol: see PROTOCOL in syncd/stores/redis/functions.py.
--
-- Keys:  1 lease, 2 position, 3 dead letters, 4 stale keys, 5.. one key an operation that names a key, in order.
-- Stale keys show an older state of a document whose later change is a dead letter: a delta on top of them would make a
-- state that never was, so they take whole writes only.
-- Lease: the string "owner:epoch" with a time to live; the position hash carries the same epoch.
-- Layout: the hash `layout` of a contract. `now` is "partitions:generation"; without it the contract was never split.
-- A position belongs to one generation of the layout, by its field `layout`, and is worth nothing under another.
-- The layout's key is not among the declared ones: it has the slot of the others.
-- Place: in a Redis Cluster each node has records of its own, all in one slot of that node, because their names begin with
-- the same hash tag ("{7}syncd:..."). Elsewhere it is empty.

local PROTOCOL = '8'
-- unpack() fails above 8,000 values (LUAI_MAXCSTACK); a hash of 5,000 fields has 10,000.
local MAX_UNPACK = 4000

local place, CLAIMS, CONTRACTS = '', 'syncd:claims', 'syncd:contracts'

-- The records of this call are at the place of this one. A function that does not come by `fenced` says so itself.
local function be_at(record)
  place = record and record:match('^({[^}]*})syncd:') or ''
  CLAIMS, CONTRACTS = place .. 'syncd:claims', place .. 'syncd:contracts'
end

local function family(key)
  return key:match('^.-syncd:{[^}]*}:')
end

-- Replies {'fenced', 'held', holder}, or {'fenced', 'lease', 'position' or 'layout', ''}: that key is gone, or another
-- one, and no other daemon works.
local function fenced(keys, args)
  if args[1] ~= PROTOCOL then
    return {'version', PROTOCOL}
  end
  be_at(keys[1])
  local held = redis.call('GET', keys[1])
  if held ~= args[2] then
    return {'fenced', held and 'held' or 'lease', held or ''}
  end
  -- An evicted or flushed position must not be rebuilt from a part of it.
  local epoch = redis.call('HGET', keys[2], 'epoch')
  if not epoch or held:sub(-(#epoch + 1)) ~= ':' .. epoch then
    return {'fenced', 'position', ''}
  end
  -- A lease lives under its own layout only, see `lease`; this is for a layout that was evicted or removed.
  if redis.call('HGET', family(keys[1]) .. 'layout', 'now') ~= redis.call('HGET', keys[2], 'layout') then
    return {'fenced', 'layout', ''}
  end
  return nil
end

local function call_in_parts(command, key, args, first, last)
  local result
  for start = first, last, MAX_UNPACK do
    result = redis.pcall(command, key, unpack(args, start, math.min(start + MAX_UNPACK - 1, last)))
    if type(result) == 'table' and result.err then return result end
  end
  return result
end

-- ttl is text, for a number in Lua is a double: "0" none, "5" milliseconds from now, "-5" minus a moment.
local function expire(key, ttl)
  if ttl:byte() == 45 then
    redis.call('PEXPIREAT', key, ttl:sub(2))
  elseif ttl ~= '0' then
    redis.call('PEXPIRE', key, ttl)
  end
end

local function failed(result)
  return type(result) == 'table' and result.err
end

-- A document that changes on and on and never fits has one dead letter a projection, the last: `letters` is
-- "projection _id" -> entry.
local function dead_letter_name(fields, first, last)
  local said = {}
  for at = first, last, 2 do said[fields[at]] = fields[at + 1] end
  return (said.projection or '') .. ' ' .. (said.id or '')
end

-- Remove dead letters; how many there were. Their names go to `removed`, where that is given.
local function remove_dead_letters(dead, by_name, args, first, last, removed)
  local count = 0
  for at = first, last do
    local found = redis.call('XRANGE', dead, args[at], args[at])[1]
    if found then
      local name = dead_letter_name(found[2], 1, #found[2])
      if redis.call('HGET', by_name, name) == args[at] then redis.call('HDEL', by_name, name) end
      count = count + redis.call('XDEL', dead, args[at])
      if removed then removed[#removed + 1] = name end
    end
  end
  return count
end

-- How many dead letters a contract keeps goes along with each, as `keep`: "10000" means that more than these are refused,
-- and the lane waits for a person, "-10000" that the oldest go, and "0" that there is no end.
local function is_full(dead, keep, more)
  keep = tonumber(keep)
  if keep <= 0 or more <= 0 then return false end
  local waiting = redis.pcall('XLEN', dead)
  return type(waiting) == 'number' and waiting + more > keep -- what is no stream takes none, and says so itself
end

-- Remove the oldest dead letters above the bound; how many. `removed`: see remove_dead_letters.
local function drop_oldest(dead, by_name, keep, removed)
  local above = tonumber(keep) < 0 and redis.call('XLEN', dead) + keep or 0
  if above <= 0 then return 0 end
  local entries = {}
  for at, entry in ipairs(redis.call('XRANGE', dead, '-', '+', 'COUNT', above)) do entries[at] = entry[1] end
  return remove_dead_letters(dead, by_name, entries, 1, #entries, removed)
end

-- A text of a reply, which modules send in either form.
local function plain(part) return type(part) == 'table' and part.ok or part end

-- A reply of XINFO or TS.INFO by name.
local function told(reply)
  local said = {}
  for at = 1, #reply, 2 do said[plain(reply[at])] = reply[at + 1] end
  return said
end
