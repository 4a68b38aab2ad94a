#!lua name=syncd
-- The one place where syncd writes to Redis. Every function of a daemon checks that it still holds the lease, so one
-- that was paused or cut off writes nothing more. Protocol: see PROTOCOL in syncd/stores/functions.py.
--
-- Keys:  1 lease, 2 position, 3 dead letters, 4 stale keys, 5.. one key an operation that names a key, in order.
-- Stale keys show an older state of a document whose later change is a dead letter: a delta on top of them would make a
-- state that never was, so they take whole writes only.
-- Lease: the string "owner:epoch" with a time to live; the position hash carries the same epoch.
-- Layout: the hash `layout` of a contract. `now` is "partitions:generation"; without it the contract was never split.
-- A position belongs to one generation of the layout, by its field `layout`, and is worth nothing under another.
-- The layout's key is not among the declared ones: it has the slot of the others, and clusters are refused anyway.

local PROTOCOL = '3'
-- unpack() fails above 8,000 values (LUAI_MAXCSTACK); a hash of 5,000 fields has 10,000.
local MAX_UNPACK = 4000

local function family(key)
  return key:match('^syncd:{[^}]*}:')
end

-- Replies {'fenced', 'held', holder}, or {'fenced', 'lease', 'position' or 'layout', ''}: that key is gone, or another
-- one, and nobody else works.
local function fenced(keys, args)
  if args[1] ~= PROTOCOL then
    return {'version', PROTOCOL}
  end
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

-- Where the key is not a function of _id: `map` is _id -> key, `owners` key -> "time _id". A claim carries the time of
-- the state that it comes from, because one call may hold states of different moments, and a key goes from one document
-- to another.
local TIME = 16

local function owner_of(owners, key)
  local said = redis.call('HGET', owners, key)
  if said then return said:sub(TIME + 2), said:sub(1, TIME) end
end

-- Delete the key that a document had before, unless another document has it by now.
local function release(map, owners, id, keep)
  local old = redis.call('HGET', map, id)
  if old and old ~= keep and owner_of(owners, old) == id then
    redis.call('DEL', old)
    redis.call('HDEL', owners, old)
  end
end

local function failed(result)
  return type(result) == 'table' and result.err
end

-- Rows: what many operations of a call have in common, sent once. The code `=1` stands for the first row, and behind it
-- come the values alone. `whole`: replace the hash; else change one that is there. Names are kept at odd places of the
-- row, so that each operation only has to put its values between them.
local function decode_rows(text)
  local rows = {}
  if text == '' then return rows end
  for number, row in ipairs(cjson.decode(text)) do
    row.width = #row.names
    for at, name in ipairs(row.names) do row[2 * at - 1] = name end
    rows['=' .. number] = row
  end
  return rows
end

local function write_row(row, key, args, i, found)
  local width, result = row.width, nil
  for n = 1, width do row[2 * n] = args[i + n - 1] end
  if row.whole and found ~= 'none' then redis.call('DEL', key) end
  if width > 0 then result = redis.pcall('HSET', key, unpack(row, 1, 2 * width)) end
  if #row.removed > 0 then redis.call('HDEL', key, unpack(row.removed)) end
  expire(key, row.ttl)
  return i + width, failed(result)
end

-- Each operation: arguments from `i` (behind the code), the type that the key had, all keys of the call. Returns the
-- next index and an error or nil.
local write = {}

-- h: replace a hash. ttl, n, field, value, ...
write.h = function(key, args, i, found)
  local last = i + 1 + args[i + 1]
  if found ~= 'none' then redis.call('DEL', key) end
  local result
  if last - i < MAX_UNPACK then
    result = redis.pcall('HSET', key, unpack(args, i + 2, last))
  else
    result = call_in_parts('HSET', key, args, i + 2, last)
  end
  expire(key, args[i])
  return last + 1, failed(result)
end

-- H: change a hash that is there. ttl, n, field, value, ..., m, field, ...
write.H = function(key, args, i)
  local sets = i + 1 + args[i + 1]
  local dels = sets + 1 + args[sets + 1]
  local result
  if sets > i + 1 then result = call_in_parts('HSET', key, args, i + 2, sets) end
  if dels > sets + 1 then call_in_parts('HDEL', key, args, sets + 2, dels) end
  expire(key, args[i])
  return dels + 1, failed(result)
end

-- j: replace a JSON document. ttl, text
write.j = function(key, args, i, found)
  if found ~= 'ReJSON-RL' and found ~= 'none' then redis.call('DEL', key) end
  local result = redis.pcall('JSON.SET', key, '$', args[i + 1])
  if not failed(result) then
    if args[i] == '0' then redis.call('PERSIST', key) else expire(key, args[i]) end
  end
  return i + 2, failed(result)
end

-- J: change a JSON document that is there. ttl, n, path, text, ..., m, path, ...
write.J = function(key, args, i)
  local sets = i + 1 + args[i + 1]
  local dels = sets + 1 + args[sets + 1]
  local problem
  for at = i + 2, sets, 2 do
    problem = problem or failed(redis.pcall('JSON.SET', key, args[at], args[at + 1]))
  end
  for at = sets + 2, dels do
    problem = problem or failed(redis.pcall('JSON.DEL', key, args[at]))
  end
  expire(key, args[i])
  return dels + 1, problem
end

-- s: replace a string. ttl, value
write.s = function(key, args, i)
  redis.call('SET', key, args[i + 1])
  expire(key, args[i])
  return i + 2, nil
end

-- d: delete. type
write.d = function(key, args, i)
  redis.call('DEL', key)
  return i + 1, nil
end

-- g: delete a key of a projection that the contract no longer has, unless another one took it over.
-- type, n, owners map, ...
write.g = function(key, args, i)
  local last = i + 1 + args[i + 1]
  for at = i + 2, last do
    if redis.call('HEXISTS', args[at], key) == 1 then return last + 1, nil end
  end
  redis.call('DEL', key)
  return last + 1, nil
end

-- m: this document's key is `key` from now on, as of a time; the one before goes. map, owners, id, time
-- Where a later state has given the key to another document, this one has moved on, and its own later change says where
-- to: then it has no key now, and the write that follows is left out (third result).
write.m = function(key, args, i)
  local map, owners, id, time = args[i], args[i + 1], args[i + 2], args[i + 3]
  local owner, since = owner_of(owners, key)
  if owner and owner ~= id and since > time then
    release(map, owners, id, key)
    redis.call('HDEL', map, id)
    return i + 4, nil, true
  end
  release(map, owners, id, key)
  redis.call('HSET', map, id, key)
  redis.call('HSET', owners, key, time .. ' ' .. id)
  return i + 4, nil
end

-- r: this document has no key any more. map, owners, id (takes no key)
write.r = function(_, args, i)
  release(args[i], args[i + 1], args[i + 2], false)
  redis.call('HDEL', args[i], args[i + 2])
  return i + 3, nil
end

-- A document that changes on and on and never fits has one dead letter a projection, the last: `letters` is
-- "projection _id" -> entry.
local function letter_name(letter, first, last)
  local said = {}
  for at = first, last, 2 do said[letter[at]] = letter[at + 1] end
  return (said.projection or '') .. ' ' .. (said.id or '')
end

-- Remove dead letters; how many there were.
local function settle(dead, letters, args, first, last)
  local count = 0
  for at = first, last do
    local found = redis.call('XRANGE', dead, args[at], args[at])[1]
    if found then
      local name = letter_name(found[2], 1, #found[2])
      if redis.call('HGET', letters, name) == args[at] then redis.call('HDEL', letters, name) end
      count = count + redis.call('XDEL', dead, args[at])
    end
  end
  return count
end

-- x: a dead letter instead of the one before. letters, the key that goes stale or "", n, field, value, ...
-- (takes no key)
write.x = function(_, args, i, _, keys)
  local letters, stale, last = args[i], args[i + 1], i + 2 + args[i + 2]
  local name = letter_name(args, i + 3, last)
  local before = redis.call('HGET', letters, name)
  if stale ~= '' then redis.call('SADD', keys[4], stale) end
  local result = redis.pcall('XADD', keys[3], '*', unpack(args, i + 3, last))
  if failed(result) then return last + 1, failed(result) end
  redis.call('HSET', letters, name, result)
  if before then redis.call('XDEL', keys[3], before) end
  return last + 1, nil
end

-- y: dead letters that are settled. letters, n, entry, ... (takes no key)
write.y = function(_, args, i, _, keys)
  local last = i + 1 + args[i + 1]
  settle(keys[3], args[i], args, i + 2, last)
  return last + 1, nil
end

-- t: somebody has to look at a key: of a contract that goes both ways. Each mark is another one than the mark before, so
-- that only what was seen is taken off. marks, key, epoch ms of the change or 0 (takes no key)
local MARKS = 2048
write.t = function(_, args, i, _, keys)
  local number = redis.call('HINCRBY', keys[2], 'marks', 1)
  redis.call('ZADD', args[i], ('%.0f'):format(args[i + 2] * MARKS + number % MARKS), args[i + 1])
  return i + 3, nil
end

local keyless = {r = true, t = true, x = true, y = true}
local needs = {h = 'hash', H = 'hash', j = 'ReJSON-RL', J = 'ReJSON-RL', s = 'string'}
local partial = {H = true, J = true}

-- How many arguments an operation has behind its code.
local function width(code, args, i)
  if code == 'h' or code == 'g' or code == 'y' then return 2 + args[i + 1] end
  if code == 'H' or code == 'J' then
    local sets = 2 + args[i + 1]
    return sets + 1 + args[i + sets]
  end
  if code == 'j' or code == 's' then return 2 end
  if code == 'd' then return 1 end
  if code == 'm' then return 4 end
  if code == 'r' or code == 't' then return 3 end
  return 3 + args[i + 2]
end

local function none_exists(keys)
  for start = 5, #keys, MAX_UNPACK do
    if redis.call('EXISTS', unpack(keys, start, math.min(start + MAX_UNPACK - 1, #keys))) > 0 then return false end
  end
  return true
end

-- First pass, no writes: which operations cannot be done as they are? Also returns the type of every key.
local function refusals(keys, args, i, also, rows)
  local refused, at, count, types = {}, 5, 0, {}
  local any_stale = redis.call('EXISTS', keys[4]) == 1
  -- A copy into an empty Redis and a run of inserts meet no key at all, and one question tells.
  local first_row = rows[args[i]]
  local nothing = first_row and first_row.whole and none_exists(keys)
  while i <= #args do
    local code = args[i]
    local row = rows[code]
    if nothing and row and row.whole then
      at = at + 1
    elseif not keyless[code] then
      if code ~= 'm' then
        local found = nothing and 'none' or redis.call('TYPE', keys[at]).ok
        types[at] = found
        local part, wanted = partial[code], needs[code] or args[i + 1]
        if row then part, wanted = not row.whole, 'hash' end
        local stale = any_stale and part and redis.call('SISMEMBER', keys[4], keys[at]) == 1
        if found == 'none' or stale then
          if part then refused[#refused + 1] = count; refused[#refused + 1] = 'absent' end
        elseif found ~= wanted and (part or not also[found]) then
          refused[#refused + 1] = count; refused[#refused + 1] = 'type'
        end
      end
      at = at + 1
    end
    i = i + 1 + (row and row.width or width(code, args, i + 1))
    count = count + 1
  end
  return refused, types, any_stale
end

-- Second pass: everything. Appends number and error of what fails to `problems`.
local function write_all(keys, args, first, rows, types, any_stale, problems)
  local i, at, count, written, skip = first, 5, 0, {}, false
  while i <= #args do
    local code, key, found, problem = args[i], nil, nil, nil
    local row = rows[code]
    if not keyless[code] then
      key = keys[at]
      found = written[key] or types[at] or 'none'
      at = at + 1
    end
    -- Everything but a dead letter can be written a second time, and one that is settled too early is lost.
    if skip or ((code == 'x' or code == 'y') and #problems > 1) then
      i = i + 1 + (row and row.width or width(code, args, i + 1))
      skip = false
    elseif row then
      i, problem = write_row(row, key, args, i + 1, found)
      written[key] = 'hash'
      if any_stale and not problem then redis.call('SREM', keys[4], key) end
    else
      i, problem, skip = write[code](key, args, i + 1, found, keys)
      if key and needs[code] then written[key] = needs[code] end
      if any_stale and key and code ~= 'm' and not problem then redis.call('SREM', keys[4], key) end
    end
    if problem then problems[#problems + 1] = count; problems[#problems + 1] = problem end
    count = count + 1
  end
end

-- Whether "seconds:increment" is later than another.
local function is_later(one, other)
  local seconds, increment = one:match('^(%d+):(%d+)$')
  local since, behind = other:match('^(%d+):(%d+)$')
  if seconds == since then return tonumber(increment) > tonumber(behind) end
  return tonumber(seconds) > tonumber(since)
end

-- A part of a call is written, and the position stays: if nobody comes to make the call again, the next run has to know
-- how late the states are that may show.
local function keep_mark(keys, args, first)
  local said = {}
  for at = 8, first - 1, 2 do said[args[at]] = args[at + 1] end
  if said.time and said.mark then
    redis.call('HSET', keys[2], 'mark', is_later(said.time, said.mark) and said.time or said.mark)
  end
end

-- args: protocol, lease, lease ttl ms, further types that may be replaced ("" or "hash,string"),
--       rows ("" or JSON: [{whole, ttl, names, removed}, ...]), number of the call before ("0": none since the lease),
--       n, position field, value, ..., operations
-- Replies {'ok'}; {'behind'}: the call before was not applied, so nothing was written; {'refused', index, reason, ...}:
-- nothing was written; {'failed', index, error, ...}: the position was not moved, everything else can be written again;
-- {'fenced', word, holder}; {'version', n}. An error of Redis's own, as for a command without the right to it, may leave
-- a part written as well.
local function apply(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  if (redis.call('HGET', keys[2], 'call') or '0') ~= args[6] then return {'behind'} end
  local also = {}
  for name in args[4]:gmatch('[^,]+') do also[name] = true end
  local rows, first = decode_rows(args[5]), 8 + args[7]
  local refused, types, any_stale = refusals(keys, args, first, also, rows)
  if #refused > 0 then
    table.insert(refused, 1, 'refused')
    return refused
  end
  local problems, done, raised = {'failed'}, nil, nil
  done, raised = pcall(write_all, keys, args, first, rows, types, any_stale, problems)
  if not done or #problems > 1 then
    keep_mark(keys, args, first)
    if done then return problems end
    return type(raised) == 'table' and raised or redis.error_reply('ERR ' .. tostring(raised))
  end
  if first > 8 then redis.call('HSET', keys[2], unpack(args, 8, first - 1)) end
  redis.call('PEXPIRE', keys[1], args[3])
  return {'ok'}
end

-- The present time, as text: a number would be rounded.
local function microseconds()
  local time = redis.call('TIME')
  return time[1] .. ('%06d'):format(time[2])
end

-- The keys of all partitions of a layout.
local function members(base, count)
  if count == 1 then return {base} end
  local found = {}
  for at = 1, count do found[at] = base .. at .. 'of' .. count .. ':' end
  return found
end

-- What the new partitions have to know of the old: everything that the contract may have written, and whether a
-- person, or a collection that went, has a say in the next snapshot.
local function legacy(base, old)
  local owned, seen, next = {}, {}, 'sweep'
  local function take(said, wish)
    for _, entry in ipairs(said and cjson.decode(said) or {}) do
      local text = cjson.encode(entry)
      if not seen[text] then seen[text] = true; owned[#owned + 1] = text end
    end
    if wish == 'pause' or (wish == 'keep' and next == 'sweep') then next = wish end
  end
  for at, member in ipairs(old) do
    local position = redis.call('HMGET', member .. 'position', 'owned', 'next')
    take(position[1], position[2])
    local heir = redis.call('HMGET', base .. 'layout', 'owned:' .. at, 'next:' .. at)
    take(heir[1], heir[2])
  end
  return '[' .. table.concat(owned, ',') .. ']', next
end

-- Another layout: the positions of the old one go, and each partition of the new begins with a snapshot.
local function divide(base, before, count)
  local old = members(base, before)
  local owned, next = legacy(base, old)
  for _, member in ipairs(old) do
    redis.call('DEL', member .. 'lease', member .. 'position', member .. 'requests')
  end
  local now = count .. ':' .. microseconds()
  redis.call('DEL', base .. 'layout')
  redis.call('HSET', base .. 'layout', 'now', now)
  for at = 1, count do
    redis.call('HSET', base .. 'layout', 'owned:' .. at, owned, 'next:' .. at, next)
  end
  return now
end

-- A position of another layout is forgotten. Epochs begin above all that any layout before can have given.
local function begin(position, base, at, now)
  local heir = redis.call('HMGET', base .. 'layout', 'owned:' .. at, 'next:' .. at)
  redis.call('HDEL', base .. 'layout', 'owned:' .. at, 'next:' .. at)
  redis.call('DEL', position)
  redis.call('HSET', position, 'layout', now, 'epoch', microseconds(), 'owned', heir[1] or '[]',
    'next', heir[2] or 'sweep')
end

-- args: protocol, owner, ttl ms, number of the partition, how many there are, leases that are known to be dead, ...
-- Replies {'held', "owner:epoch", partitions before}, {'busy', holder} or, while a lease of another layout lives,
-- {'layout', holder, partitions now}.
local function lease(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local base, at, count, dead = family(keys[1]), args[4], tonumber(args[5]), {}
  for i = 6, #args do dead[args[i]] = true end
  local now = redis.call('HGET', base .. 'layout', 'now')
  local present = now and tonumber(now:match('^%d+')) or 1
  local before = present
  if present ~= count then
    -- The very first daemon changes nothing.
    if not now and redis.call('EXISTS', base .. 'position') == 0 then before = count end
    for _, member in ipairs(members(base, present)) do
      local holder = redis.call('GET', member .. 'lease')
      if holder and not dead[holder] then return {'layout', holder, tostring(present)} end
    end
    now = divide(base, present, count)
  end
  local held = redis.call('GET', keys[1])
  if held and not dead[held] and held:match('^(.*):%d+$') ~= args[2] then
    return {'busy', held}
  end
  if now and redis.call('HGET', keys[2], 'layout') ~= now then begin(keys[2], base, at, now) end
  -- An epoch must not come twice, or a call that was on its way through a FLUSHALL would pass: the first is the time.
  if redis.call('HEXISTS', keys[2], 'epoch') == 0 then redis.call('HSET', keys[2], 'epoch', microseconds()) end
  redis.call('HINCRBY', keys[2], 'epoch', 1)
  redis.call('HDEL', keys[2], 'call')
  -- Its reply is a double here, and would be rounded as text.
  local mine = args[2] .. ':' .. redis.call('HGET', keys[2], 'epoch')
  redis.call('SET', keys[1], mine, 'PX', args[3])
  return {'held', mine, tostring(before)}
end

-- args: protocol, lease, ttl ms. Replies {'ok'} or what `fenced` says.
local function renew(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  return {'ok'}
end

-- args: protocol, lease. Gives the lease back.
local function release_lease(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('DEL', keys[1])
  return {'ok'}
end

-- args: protocol, lease, what the next start does: "sweep" (copy anew, remove ghosts), "keep" (copy anew, remove
-- nothing) or "pause" (wait for a person). Forgets the position; keeps epoch and what the contract owns.
local function forget(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('HDEL', keys[2], 'token', 'phase')
  redis.call('HSET', keys[2], 'next', args[3])
  return {'ok'}
end

-- keys: dead letters, letters. args: protocol, entry, ... Replies {'ok', how many there were}. For people: no lease.
local function drop(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  return {'ok', settle(keys[1], keys[2], args, 2, #args)}
end

-- Letters from `i` on, each entry, n, field, value, ... An entry that the group still waits for is acknowledged with
-- its letter. One that waits no more has a letter already, which is replaced, or was settled by another daemon, and is
-- left alone. Appends the entries of new letters to `reply`.
local function park_all(dead, letters, stream, group, args, i, reply)
  while i <= #args do
    local entry, last = args[i], i + 1 + args[i + 1]
    local name = letter_name(args, i + 2, last)
    local before = redis.call('HGET', letters, name)
    local waited = redis.call('XACK', stream, group, entry) == 1
    if waited or before then
      redis.call('HSET', letters, name, redis.call('XADD', dead, '*', unpack(args, i + 2, last)))
      if before then redis.call('XDEL', dead, before) end
      if waited then reply[#reply + 1] = entry end
    end
    i = last + 1
  end
  return reply
end

-- keys: dead letters, letters, stream. args: protocol, group, letters (see park_all).
-- Replies {'ok', entry of a new letter, ...}.
local function park(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  return park_all(keys[1], keys[2], keys[3], args[2], args, 3, {'ok'})
end

-- Acknowledge entries that are done. One that was replayed, or fits by now, has a letter that goes with it.
local function acknowledge(keys, args, first, last)
  local names, any = args[5] .. ' ', redis.call('HLEN', keys[4]) > 0
  for at = first, last do
    local letter = any and redis.call('HGET', keys[4], names .. args[at])
    if letter then
      redis.call('XDEL', keys[3], letter)
      redis.call('HDEL', keys[4], names .. args[at])
    end
  end
  for at = first, last, MAX_UNPACK do
    redis.call('XACK', keys[5], args[4], unpack(args, at, math.min(at + MAX_UNPACK - 1, last)))
  end
end

-- For a collection that takes a document twice: what is about to be written is noted before, under a number that MongoDB
-- runs once. keys: lease, position, dead letters, letters, stream.
-- args: protocol, lease, lease ttl ms, group, projection, number of the batch that is noted now ("" for none), batch that
--       is noted from now on ("" for none), n, entry that is done, ..., letters (see park_all)
-- Replies {'ok', number of the new batch or "", entry of a new letter, ...}; {'noted'}: another batch is, nothing was
-- done; {'fenced', ...}; {'version', n}.
-- A number is the time, so that no Redis that lost its data gives one twice, or one above it.
local function advance(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  local said = redis.call('HMGET', keys[2], 'batch', 'number')
  if (said[1] and said[2] or '') ~= args[6] then return {'noted'} end
  local last = 8 + args[8]
  acknowledge(keys, args, 9, last)
  local number = ''
  if args[7] == '' then
    redis.call('HDEL', keys[2], 'batch')
  else
    local now = microseconds()
    number = now
    if said[2] and tonumber(said[2]) >= tonumber(now) then number = ('%.0f'):format(said[2] + 1) end
    redis.call('HSET', keys[2], 'batch', args[7], 'number', number, 'since', now)
  end
  redis.call('PEXPIRE', keys[1], args[3])
  return park_all(keys[3], keys[4], keys[5], args[4], args, last + 1, {'ok', number})
end

-- A reply of XINFO by name.
local function told(reply)
  local said = {}
  for at = 1, #reply, 2 do said[reply[at]] = reply[at + 1] end
  return said
end

-- keys: stream. args: protocol, group. Replies {'ok', n}: entries that somebody removed before the group had read
-- them. They are counted once: the group then counts as having read them. What was removed among those that the group
-- has read can only make n too small.
local function trimmed(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local groups = redis.pcall('XINFO', 'GROUPS', keys[1])
  if groups.err then return {'ok', 0} end -- the read that follows says why
  for _, group in ipairs(groups) do
    group = told(group)
    local read = group['entries-read']
    if group.name == args[2] and read then
      local stream = told(redis.call('XINFO', 'STREAM', keys[1]))
      local gone = stream['entries-added'] - stream.length - read
      if gone > 0 then
        redis.call('XGROUP', 'SETID', keys[1], args[2], group['last-delivered-id'], 'ENTRIESREAD', read + gone)
        return {'ok', gone}
      end
    end
  end
  return {'ok', 0}
end

-- keys: stream. args: protocol, group, consumer. Takes a consumer off the list that has nothing pending: what it had
-- would be lost. In one step, for a read of a dead process may still be on its way. Replies {'ok'}.
local function leave(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], args[2])) do
    consumer = told(consumer)
    if consumer.name == args[3] and consumer.pending == 0 then
      redis.call('XGROUP', 'DELCONSUMER', keys[1], args[2], args[3])
    end
  end
  return {'ok'}
end

-- State of keys that go to MongoDB. How to read each type as a whole; a JSON document as text.
local whole = {
  hash = function(key) return redis.call('HGETALL', key) end,
  string = function(key) return redis.call('GET', key) end,
  list = function(key) return redis.call('LRANGE', key, 0, -1) end,
  set = function(key) return redis.call('SMEMBERS', key) end,
  zset = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  ['ReJSON-RL'] = function(key) return redis.call('JSON.GET', key) end,
}

local function weight(content)
  if type(content) ~= 'table' then return content and #content or 0 end
  local size = 0
  for _, part in ipairs(content) do size = size + #part + 8 end
  return size
end

-- Type of a key, and where it is the wanted one also its expiry (-1 never) and its content.
local function look(key, wanted)
  local found = redis.call('TYPE', key).ok
  if found ~= wanted then return found, -1, false end
  return found, redis.call('PEXPIRETIME', key), whole[found](key)
end

-- Type, content and expiry of a key as a short text. The same content has the same text on every server, whatever order
-- it is kept in. Of a type that is not read only the type counts.
local function digest(found, content, expires)
  local parts = {}
  if type(content) ~= 'table' then
    parts[1] = content or ''
  elseif found == 'hash' then
    for at = 1, #content, 2 do
      local name, value = content[at], content[at + 1]
      parts[#parts + 1] = #name .. ':' .. #value .. ':' .. name .. value
    end
  else
    for at, part in ipairs(content) do parts[at] = #part .. ':' .. part end
  end
  if found == 'hash' or found == 'set' then table.sort(parts) end
  return redis.sha1hex(found .. ' ' .. table.concat(parts)):sub(1, 24) .. ':' .. ('%.0f'):format(expires)
end

-- What was last synced of a key, marked where the key is something else now: from here until `synced`, MongoDB may hold
-- the one or the other, and a key that went back to what it was must not pass for known.
local function mark(synced, key, short, mode, expires)
  local known = redis.call('HGET', synced, key) or ''
  local same = short == known
  if mode == 'content' then same = short:match('^[^:]*') == known:match('^[^:]*') end
  if short == '' then expires = known:match(':(.*)$') end
  if not same then redis.call('HSET', synced, key, '?:' .. expires) end
  return known
end

-- keys: lease, position, outbox or synced, key, ...
-- args: protocol, lease, lease ttl ms, type, most bytes, "" or, where the third key is `synced`, what belongs to a state:
--       "content", or "whole" with its expiry; "merge" only asks for what was synced.
-- Replies {'ok', last id of the outbox or '', seconds, microseconds, floor or '', then of each key type, moment at which
-- it expires in ms (-1 never), content or nil, its digest, what was synced before}. The last keys are left out once the
-- reply has so many bytes.
local function read_state(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  local outbox, time = redis.pcall('XINFO', 'STREAM', keys[3]), redis.call('TIME')
  local last = outbox.err and '' or told(outbox)['last-generated-id']
  local reply = {'ok', last, time[1], time[2], redis.call('HGET', keys[2], 'floor') or ''}
  local size, most = 0, tonumber(args[5])
  for at = 4, #keys do
    local found, expires, content = look(keys[at], args[4])
    local short, known = '', ''
    if args[6] ~= '' and found ~= 'none' then short = digest(found, content, expires) end
    if args[6] == 'merge' then
      known = redis.call('HGET', keys[3], keys[at]) or ''
    elseif args[6] ~= '' then
      known = mark(keys[3], keys[at], short, args[6], ('%.0f'):format(expires))
    end
    for _, part in ipairs{found, expires, content, short, known} do reply[#reply + 1] = part end
    size = size + weight(content)
    if size > most then break end
  end
  return reply
end

-- keys: lease, position, dead letters, letters, outbox (or the position once more)
-- args: protocol, lease, lease ttl ms, first id of the outbox that stays or '', n, name of a letter that is settled, ...,
--       then n, field, value, ... of each new letter. Replies {'ok', 1 or 0, ...}: whether each letter is a new one.
local function done_state(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  if args[4] ~= '' then
    redis.call('HINCRBY', keys[2], 'removed', redis.call('XTRIM', keys[5], 'MINID', args[4]))
  end
  local i = 6 + args[5]
  for at = 6, i - 1 do
    local before = redis.call('HGET', keys[4], args[at])
    if before then
      redis.call('XDEL', keys[3], before)
      redis.call('HDEL', keys[4], args[at])
    end
  end
  local reply = {'ok'}
  while i <= #args do
    local last = i + args[i]
    local name = letter_name(args, i + 1, last)
    local before = redis.call('HGET', keys[4], name)
    redis.call('HSET', keys[4], name, redis.call('XADD', keys[3], '*', unpack(args, i + 1, last)))
    if before then redis.call('XDEL', keys[3], before) end
    reply[#reply + 1] = before and 0 or 1
    i = last + 1
  end
  return reply
end

-- keys: lease, position, outbox, requests. args: protocol, lease. Replies {'ok', n, 1 or 0}: entries that somebody else
-- has removed, counted once, and whether the outbox is another one than before. Only a look at all keys can tell what
-- they said, so it is asked for in the same step.
local function lost_entries(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  local outbox = redis.pcall('XINFO', 'STREAM', keys[3])
  local known = redis.call('HGET', keys[2], 'removed')
  local removed, length = 0, 0
  if not outbox.err then
    outbox = told(outbox)
    removed, length = outbox['entries-added'] - outbox.length, outbox.length
  end
  if known and removed == tonumber(known) then return {'ok', 0, 0} end
  redis.call('HSET', keys[2], 'removed', removed)
  if not known then return {'ok', 0, 0} end
  redis.call('RPUSH', keys[4], 'snapshot')
  local gone = removed - known
  return {'ok', math.max(gone, 0), gone < 0 and 1 or 0}
end

-- keys: lease, position. args: protocol, lease, floor. Positions of reads are not below it from now on.
local function raise_floor(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  if args[3] > (redis.call('HGET', keys[2], 'floor') or '') then redis.call('HSET', keys[2], 'floor', args[3]) end
  return {'ok'}
end

-- keys: synced. args: protocol, cursor, pattern, count, type. One page of SCAN. Replies {'ok', next cursor, keys of the
-- page, key, ...}: those that are not as they were last synced. Only reads.
local function differs(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local page = redis.call('SCAN', args[2], 'MATCH', args[3], 'COUNT', args[4])
  local reply = {'ok', page[1], #page[2]}
  for _, key in ipairs(page[2]) do
    local found, expires, content = look(key, args[5])
    local known = redis.call('HGET', keys[1], key)
    if found ~= 'none' and (known and known:match('^%S*')) ~= digest(found, content, expires) then
      reply[#reply + 1] = key
    end
  end
  return reply
end

-- keys: synced. args: protocol, cursor, count. One page of what was synced. Replies {'ok', next cursor, keys of the page,
-- key, ...}: those that are gone. Only reads.
local function vanished(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local page = redis.call('HSCAN', keys[1], args[2], 'COUNT', args[3])
  local reply = {'ok', page[1], #page[2] / 2}
  for at = 1, #page[2], 2 do
    if redis.call('EXISTS', page[2][at]) == 0 then reply[#reply + 1] = page[2][at] end
  end
  return reply
end

-- keys: lease, position, synced. args: protocol, lease, lease ttl ms, n, position field, value, ..., then key, digest
-- ("" forgets the key), ... Remembers what MongoDB holds of keys. A late call would do harm, for a key may be again what
-- it was then. Replies {'ok'} or what `fenced` says.
local function synced(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  local first = 5 + args[4]
  if first > 5 then redis.call('HSET', keys[2], unpack(args, 5, first - 1)) end
  for at = first, #args, 2 do
    if args[at + 1] == '' then
      redis.call('HDEL', keys[3], args[at])
    else
      redis.call('HSET', keys[3], args[at], args[at + 1])
    end
  end
  redis.call('PEXPIRE', keys[1], args[3])
  return {'ok'}
end

-- One key of `merge`: whether it is as it was read, and what Redis says against the change.
local function merge_key(keys, args, i, key, wanted)
  local expected, mark, base, code = args[i], args[i + 1], args[i + 2], args[i + 3]
  local found, expires, content = look(key, wanted)
  local present = found ~= 'none' and digest(found, content, expires) or ''
  local last = i + 5 + args[i + 4]
  if present ~= expected then return last, 0 end
  if code ~= '-' then
    local _, problem = write[code](key, args, i + 5, found, keys)
    if problem then return last, problem end
    found, expires, content = look(key, wanted)
    present = found ~= 'none' and digest(found, content, expires) or ''
  end
  if base == '' then
    redis.call('HDEL', keys[4], key)
  elseif base ~= '=' then
    redis.call('HSET', keys[4], key, present .. ' ' .. base)
  end
  if mark ~= '' and tonumber(redis.call('ZSCORE', keys[3], key)) == tonumber(mark) then
    redis.call('ZREM', keys[3], key)
  end
  return last, 1
end

-- keys: lease, position, marks, synced, key, ...
-- args: protocol, lease, lease ttl ms, type, latest time of a read of MongoDB, then of each key its digest as it was read
--       ("" no key), its mark or '', the new base ("" none, "=" as it is), and the operation as in `apply`, with the
--       number of its arguments before them ("-", 0 for none).
-- Replies {'ok', n, 1 / 0 / error, ...}: marks that are left; then of each key whether it is done, or was another one by
-- now and is left alone.
local function merge(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  redis.call('HSET', keys[2], 'merged', args[5])
  local reply, i = {'ok', 0}, 6
  for at = 5, #keys do
    i, reply[#reply + 1] = merge_key(keys, args, i, keys[at], args[4])
  end
  reply[2] = redis.call('ZCARD', keys[3])
  return reply
end

redis.register_function('syncd_merge', merge)
-- The same for keys that get nothing: a full memory must not keep an outbox from being emptied.
redis.register_function{function_name = 'syncd_agree', callback = merge, flags = {'allow-oom'}}
redis.register_function('syncd_apply', apply)
redis.register_function('syncd_park', park)
-- A full memory must not take the lease from a healthy daemon: these may run then.
redis.register_function{function_name = 'syncd_lease', callback = lease, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_renew', callback = renew, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_release', callback = release_lease, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_forget', callback = forget, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_drop', callback = drop, flags = {'allow-oom'}}
-- Where memory is full, entries must go on to MongoDB: then they may be trimmed.
redis.register_function{function_name = 'syncd_advance', callback = advance, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_leave', callback = leave, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_trimmed', callback = trimmed, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_differs', callback = differs, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_vanished', callback = vanished, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_synced', callback = synced, flags = {'allow-oom'}}
-- An outbox that has filled the memory must be emptied.
redis.register_function{function_name = 'syncd_read_state', callback = read_state, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_done_state', callback = done_state, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_lost_entries', callback = lost_entries, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_raise_floor', callback = raise_floor, flags = {'allow-oom'}}
