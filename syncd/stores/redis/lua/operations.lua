-- What a call can do, to a key mostly: one table an operation, by the code that stands before its operands.
--
-- width    how many operands it has, by `args` and where the first one is: the only place that says so
-- write    does it: key, args, first and last operand, the type that the key had, all keys of the call. Returns an error
--          or nil; and true where the write that follows is to be left out
-- whole    of a row: nothing has to be known of a key that is not there
-- needs    the type that the key has afterwards; one of another type is refused. Without it the first operand says so
-- partial  changes a key that is there, and is refused where it is not, or where it shows an older state
-- stays    a key of another type is not replaced, also where one of a projection that changed its type would be
-- once     is left out where anything before it failed, for it cannot be written a second time
-- spares   whether a key of another type is one that `write` leaves alone, and no reason to refuse
-- any      the key may have any type, and is not what is written
-- removes  the key goes: refused in a sweep that does not know whose it is
-- keyless  takes no key
-- refuses  why one without a key cannot be done: args, first operand, all keys of the call, further types; nil if it can
-- note     it is about dead letters: which are new and which go, before anything is written
local operations = {}

-- `count` operands, the last of which says how many more there are.
local function counted(count)
  return function(args, i) return count + args[i + count - 1] end
end

local function fixed(count)
  return function() return count end
end

-- ttl, n, n operands, m, m operands
local function counted_twice(args, i)
  local first = 2 + args[i + 1]
  return first + 1 + args[i + first]
end

-- Where the key is not a function of _id: `map` is _id -> key, `owners` key -> "time _id". A claim carries the time of
-- the state that it comes from, because one call may hold states of different moments, and a key goes from one document
-- to another.
local TIME = 16

local function owner_of(owners, key)
  local said = redis.call('HGET', owners, key)
  if said then return said:sub(TIME + 2), said:sub(1, TIME) end
end

-- Keys that the call under way has removed, and dead letters that it has dropped.
local removed, dropped = 0, 0

-- Delete the key that a document had before, unless another document has it by now. An owner that was lost (evicted, or
-- removed by hand) counts as this document, or the key would stay for ever.
local function release(map, owners, id, keep)
  local old = redis.call('HGET', map, id)
  if old and old ~= keep and (owner_of(owners, old) or id) == id then
    removed = removed + redis.call('DEL', old)
    redis.call('HDEL', owners, old)
  end
end

-- Whether another contract has claimed this key of a call, or of a hash that contracts share this field.
local function is_claimed_by_another(keys, key, field)
  keys.foreign = keys.foreign or foreign_claims(contract_of(keys[1]))
  return is_claimed(keys.foreign, key, field)
end

-- Keys of a call that the application had before there was a contract, see foreign.lua: nothing removes one of these, and
-- a contract that writes one whole has it.
local foreign_keys

local function is_foreign_key(key)
  return foreign_keys and redis.call('SISMEMBER', foreign_keys, key) == 1
end

-- Of a slot on its way to another node of a cluster a key that is not there belongs to that one already: also one that
-- this call has removed to write it again. That is no fault of the document.
local function is_elsewhere(problem)
  return place ~= '' and problem:find('non local key', 1, true)
end

local function remove(key)
  if not is_foreign_key(key) then removed = removed + redis.call('DEL', key) end
end

-- Rows: what many writes of a call have in common, sent once. The code `=1` stands for the first row, and behind it come
-- the values alone. `whole`: replace the hash; else change one that is there. Names are kept at odd places of the row, so
-- that each operation only has to put its values between them.
local function row_operation(row)
  local count, whole, gone, ttl = #row.names, row.whole, row.removed, row.ttl
  local fields = {}
  for at, name in ipairs(row.names) do fields[2 * at - 1] = name end
  local function write(key, args, i, _, found)
    local result
    for n = 1, count do fields[2 * n] = args[i + n - 1] end
    if whole and found ~= 'none' then redis.call('DEL', key) end
    if count > 0 then result = redis.pcall('HSET', key, unpack(fields, 1, 2 * count)) end
    if failed(result) then return failed(result) end -- half of a change shows what no document was
    if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
    expire(key, ttl)
  end
  return {needs = 'hash', partial = not whole, whole = whole, width = fixed(count), write = write}
end

-- Rows of other kinds, by `kind`.
local row_operations = {}

-- All operations of a call by code, with its rows.
local function with_rows(text)
  if text == '' then return operations end
  local all = {}
  for code, operation in pairs(operations) do all[code] = operation end
  for number, row in ipairs(cjson.decode(text)) do
    all['=' .. number] = (row_operations[row.kind] or row_operation)(row)
  end
  return all
end

-- Replace a hash. ttl, n, field, value, ...
operations.h = {needs = 'hash', width = counted(2), write = function(key, args, i, last, found)
  if found ~= 'none' then redis.call('DEL', key) end
  local result
  if last - i < MAX_UNPACK then
    result = redis.pcall('HSET', key, unpack(args, i + 2, last))
  else
    result = call_in_parts('HSET', key, args, i + 2, last)
  end
  expire(key, args[i])
  return failed(result)
end}

-- Change a hash that is there. ttl, n, field, value, ..., m, field, ...
operations.H = {needs = 'hash', partial = true, width = counted_twice, write = function(key, args, i, last)
  local sets = i + 1 + args[i + 1]
  local result
  if sets > i + 1 then result = call_in_parts('HSET', key, args, i + 2, sets) end
  if failed(result) then return failed(result) end
  if last > sets + 1 then call_in_parts('HDEL', key, args, sets + 2, last) end
  expire(key, args[i])
end}

-- Replace a JSON document. ttl, text
operations.j = {needs = 'ReJSON-RL', width = fixed(2), write = function(key, args, i, _, found)
  if found ~= 'ReJSON-RL' and found ~= 'none' then redis.call('DEL', key) end
  local result = redis.pcall('JSON.SET', key, '$', args[i + 1])
  if not failed(result) then
    if args[i] == '0' then redis.call('PERSIST', key) else expire(key, args[i]) end
  end
  return failed(result)
end}

-- Change a JSON document that is there. ttl, n, path, text, ..., m, path, ...
operations.J = {needs = 'ReJSON-RL', partial = true, width = counted_twice, write = function(key, args, i, last)
  local sets = i + 1 + args[i + 1]
  local problem
  for at = i + 2, sets, 2 do
    problem = problem or failed(redis.pcall('JSON.SET', key, args[at], args[at + 1]))
  end
  for at = sets + 2, last do
    problem = problem or failed(redis.pcall('JSON.DEL', key, args[at]))
  end
  expire(key, args[i])
  return problem
end}

-- Replace a string. ttl, value
operations.s = {needs = 'string', width = fixed(2), write = function(key, args, i)
  redis.call('SET', key, args[i + 1])
  expire(key, args[i])
end}

-- Delete. type
operations.d = {
  removes = true,
  width = fixed(1),
  spares = function(_, key) return is_foreign_key(key) end,
  write = function(key) remove(key) end,
}

-- Delete a key of a projection that the contract no longer has, unless another projection or contract took it over.
-- type, n, owners map, ...
operations.g = {
  removes = true,
  width = counted(2),
  spares = function(keys, key) return is_foreign_key(key) or is_claimed_by_another(keys, key) end,
  write = function(key, args, i, last, _, keys)
    for at = i + 2, last do
      if redis.call('HEXISTS', args[at], key) == 1 then return end
    end
    if not is_claimed_by_another(keys, key) then remove(key) end
  end,
}

-- Delete a key that no document has, with its entry in `owners`, unless that is another one by now. A key of another
-- type, or one that another contract claims, is not ours. type, map, owners, entry
operations.o = {removes = true, any = true, width = fixed(4), write = function(key, args, i, _, _, keys)
  local map, owners, entry = args[i + 1], args[i + 2], args[i + 3]
  if redis.call('TYPE', key).ok ~= args[i] or (redis.call('HGET', owners, key) or '') ~= entry then return end
  if is_claimed_by_another(keys, key) or is_foreign_key(key) then return end
  remove(key)
  redis.call('HDEL', owners, key)
  local id = entry:sub(TIME + 2)
  if entry ~= '' and redis.call('HGET', map, id) == key then redis.call('HDEL', map, id) end
end}

-- This document's key is `key` from now on, as of a time; the one before goes. map, owners, id, time
-- Where a later state has given the key to another document, this one has moved on, and its own later change says where
-- to: then it has no key now, and the write that follows is left out.
operations.m = {any = true, width = fixed(4), write = function(key, args, i)
  local map, owners, id, time = args[i], args[i + 1], args[i + 2], args[i + 3]
  local owner, since = owner_of(owners, key)
  release(map, owners, id, key)
  if owner and owner ~= id and since > time then
    redis.call('HDEL', map, id)
    return nil, true
  end
  redis.call('HSET', map, id, key)
  redis.call('HSET', owners, key, time .. ' ' .. id)
end}

-- This document has no key any more. map, owners, id
operations.r = {keyless = true, width = fixed(3), write = function(_, args, i)
  release(args[i], args[i + 1], args[i + 2], false)
  redis.call('HDEL', args[i], args[i + 2])
end}

-- A dead letter instead of the one before. `letters`, the key that goes stale or "", how many are kept (see is_full), n,
-- field, value, ...
operations.x = {
  keyless = true,
  width = counted(4),
  note = function(noted, args, i, last)
    local name = dead_letter_name(args, i + 4, last)
    noted.keep, noted.known[name] = args[i + 2], true
    if redis.call('HEXISTS', args[i], name) == 0 then noted.new[name] = true end
  end,
  write = function(_, args, i, last, _, keys)
    local by_name, stale, name = args[i], args[i + 1], dead_letter_name(args, i + 4, last)
    local before = redis.call('HGET', by_name, name)
    if stale ~= '' then redis.call('SADD', keys[4], stale) end
    local result = redis.pcall('XADD', keys[3], '*', unpack(args, i + 4, last))
    if failed(result) then return failed(result) end
    redis.call('HSET', by_name, name, result)
    if before then redis.call('XDEL', keys[3], before) end
    dropped = dropped + drop_oldest(keys[3], by_name, args[i + 2])
  end,
}

-- A key whose dead letter is on another node of a cluster. key
operations.z = {keyless = true, width = fixed(1), write = function(_, args, i, _, _, keys)
  redis.call('SADD', keys[4], args[i])
end}

-- Dead letters that are done with. `letters`, n, entry, ...
operations.y = {
  keyless = true,
  width = counted(2),
  note = function(noted, args, i, last, keys)
    for at = i + 2, last do
      local found = redis.call('XRANGE', keys[3], args[at], args[at])[1]
      if found then noted.gone[dead_letter_name(found[2], 1, #found[2])] = true end
    end
  end,
  write = function(_, args, i, last, _, keys) remove_dead_letters(keys[3], args[i], args, i + 2, last) end,
}

-- A request to merge a key, of a contract that goes both ways. No request has the number of the one before, so that only
-- the request that was read is taken off. An odd one: a copy, a check or a replay asks for the key, also where it was
-- lost; a change that is reported later does not take that back, and the question does not forget the time of a change.
-- `marks`, key, epoch ms of the change or 0 for a question
local REQUESTS = 2048

operations.t = {keyless = true, width = fixed(3), write = function(_, args, i, _, _, keys)
  local number = redis.call('HINCRBY', keys[2], 'marks', 1)
  local before = tonumber(redis.call('ZSCORE', args[i], args[i + 1]) or '0')
  local time, asked = tonumber(args[i + 2]), before % 2
  if time == 0 then time, asked = math.floor(before / REQUESTS), 1 end
  redis.call('ZADD', args[i], ('%.0f'):format(time * REQUESTS + number % (REQUESTS / 2) * 2 + asked), args[i + 1])
end}

-- Documents whose digests are not known any more. changed, n, id, ...
operations.c = {keyless = true, width = counted(2), write = function(_, args, i, last)
  return failed(call_in_parts('SADD', args[i], args, i + 2, last))
end}

-- Digests of documents. changed, 3 n, digests of a bucket, id, digest or "", ...
operations.b = {keyless = true, width = counted(2), write = function(_, args, i, last)
  local changed, ids = args[i], {}
  for at = i + 2, last, 3 do
    local digest = args[at + 2]
    if digest == '' then
      redis.call('HDEL', args[at], args[at + 1])
    else
      redis.call('HSET', args[at], args[at + 1], digest)
    end
    ids[#ids + 1] = args[at + 1]
  end
  if redis.call('EXISTS', changed) == 1 then call_in_parts('SREM', changed, ids, 1, #ids) end
end}
