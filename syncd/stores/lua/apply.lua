-- `syncd_apply`: the writes of one batch of changes, and the position behind them, in one step.

-- Where the key is not a function of _id: `map` is _id -> key, `owners` key -> "time _id". A claim carries the time of
-- the state that it comes from, because one call may hold states of different moments, and a key goes from one document
-- to another.
local TIME = 16

local function owner_of(owners, key)
  local said = redis.call('HGET', owners, key)
  if said then return said:sub(TIME + 2), said:sub(1, TIME) end
end

-- Keys that the call under way has removed.
local removed = 0

-- Delete the key that a document had before, unless another document has it by now. An owner that was lost (evicted, or
-- removed by hand) counts as this document, or the key would stay for ever.
local function release(map, owners, id, keep)
  local old = redis.call('HGET', map, id)
  if old and old ~= keep and (owner_of(owners, old) or id) == id then
    removed = removed + redis.call('DEL', old)
    redis.call('HDEL', owners, old)
  end
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

-- Whether another contract has claimed this key of a call.
local function is_foreign(keys, key)
  keys.foreign = keys.foreign or foreign_claims(contract_of(keys[1]))
  return is_claimed(keys.foreign, key)
end

-- Keys of a call that the application had before there was a contract, see claims.lua: nothing removes one of these, and
-- who writes one whole has it.
local strangers

local function is_strange(key)
  return strangers and redis.call('SISMEMBER', strangers, key) == 1
end

local function remove(key)
  if not is_strange(key) then removed = removed + redis.call('DEL', key) end
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
write.d = function(key, _, i)
  remove(key)
  return i + 1, nil
end

-- g: delete a key of a projection that the contract no longer has, unless another projection or contract took it over.
-- type, n, owners map, ...
write.g = function(key, args, i, _, keys)
  local last = i + 1 + args[i + 1]
  for at = i + 2, last do
    if redis.call('HEXISTS', args[at], key) == 1 then return last + 1, nil end
  end
  if not is_foreign(keys, key) then remove(key) end
  return last + 1, nil
end

-- o: delete a key that no document has, with its entry in `owners`, unless that is another one by now. A key of another
-- type, or one that another contract claims, is not ours. type, map, owners, entry
write.o = function(key, args, i, _, keys)
  local map, owners, entry = args[i + 1], args[i + 2], args[i + 3]
  if redis.call('TYPE', key).ok ~= args[i] or (redis.call('HGET', owners, key) or '') ~= entry then
    return i + 4, nil
  end
  if is_foreign(keys, key) or is_strange(key) then return i + 4, nil end
  remove(key)
  redis.call('HDEL', owners, key)
  local id = entry:sub(TIME + 2)
  if entry ~= '' and redis.call('HGET', map, id) == key then redis.call('HDEL', map, id) end
  return i + 4, nil
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

-- Letters that the call under way has dropped.
local dropped = 0

-- x: a dead letter instead of the one before. letters, the key that goes stale or "", how many are kept (see is_full), n,
-- field, value, ... (takes no key)
write.x = function(_, args, i, _, keys)
  local letters, stale, last = args[i], args[i + 1], i + 3 + args[i + 3]
  local name = letter_name(args, i + 4, last)
  local before = redis.call('HGET', letters, name)
  if stale ~= '' then redis.call('SADD', keys[4], stale) end
  local result = redis.pcall('XADD', keys[3], '*', unpack(args, i + 4, last))
  if failed(result) then return last + 1, failed(result) end
  redis.call('HSET', letters, name, result)
  if before then redis.call('XDEL', keys[3], before) end
  dropped = dropped + drop_oldest(keys[3], letters, args[i + 2])
  return last + 1, nil
end

-- y: dead letters that are settled. letters, n, entry, ... (takes no key)
write.y = function(_, args, i, _, keys)
  local last = i + 1 + args[i + 1]
  settle(keys[3], args[i], args, i + 2, last)
  return last + 1, nil
end

-- t: somebody has to look at a key: of a contract that goes both ways. Each mark is another one than the mark before, so
-- that only what was seen is taken off. An odd one: a copy, a check or a replay asks for the key, also where it was lost;
-- a change that is told of later does not take that back, nor does the question forget the time of a change.
-- marks, key, epoch ms of the change or 0 where somebody asks (takes no key)
local MARKS = 2048

write.t = function(_, args, i, _, keys)
  local number = redis.call('HINCRBY', keys[2], 'marks', 1)
  local before = tonumber(redis.call('ZSCORE', args[i], args[i + 1]) or '0')
  local time, asked = tonumber(args[i + 2]), before % 2
  if time == 0 then time, asked = math.floor(before / MARKS), 1 end
  redis.call('ZADD', args[i], ('%.0f'):format(time * MARKS + number % (MARKS / 2) * 2 + asked), args[i + 1])
  return i + 3, nil
end

-- c: documents whose digests are not known any more. changed, n, id, ... (takes no key)
write.c = function(_, args, i)
  local last = i + 1 + args[i + 1]
  return last + 1, failed(call_in_parts('SADD', args[i], args, i + 2, last))
end

-- b: digests of documents. changed, 3 n, digests of a bucket, id, digest or "", ... (takes no key)
write.b = function(_, args, i)
  local changed, last, ids = args[i], i + 1 + args[i + 1], {}
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
  return last + 1, nil
end

local keyless = {b = true, c = true, r = true, t = true, x = true, y = true}
local needs = {h = 'hash', H = 'hash', j = 'ReJSON-RL', J = 'ReJSON-RL', s = 'string'}
local partial = {H = true, J = true}

-- How many arguments an operation has behind its code.
local function width(code, args, i)
  if code == 'h' or code == 'g' or code == 'y' or code == 'b' or code == 'c' then return 2 + args[i + 1] end
  if code == 'H' or code == 'J' then
    local sets = 2 + args[i + 1]
    return sets + 1 + args[i + sets]
  end
  if code == 'j' or code == 's' then return 2 end
  if code == 'd' then return 1 end
  if code == 'm' or code == 'o' then return 4 end
  if code == 'r' or code == 't' then return 3 end
  return 4 + args[i + 3] -- x
end

-- Letters of a call by name: those that are new, and those that go.
local function note_letter(noted, code, args, i, keys)
  if code == 'x' then
    local name = letter_name(args, i + 4, i + 3 + args[i + 3])
    noted.keep, noted.known[name] = args[i + 2], true
    if redis.call('HEXISTS', args[i], name) == 0 then noted.new[name] = true end
  else
    for at = i + 2, i + 1 + args[i + 1] do
      local found = redis.call('XRANGE', keys[3], args[at], args[at])[1]
      if found then noted.gone[letter_name(found[2], 1, #found[2])] = true end
    end
  end
end

-- Whether the contract keeps no more letters than it has.
local function letters_are_full(noted, keys)
  if not noted.keep then return false end
  local more = 0
  for _ in pairs(noted.new) do more = more + 1 end
  for name in pairs(noted.gone) do
    if not noted.known[name] then more = more - 1 end
  end
  return is_full(keys[3], noted.keep, more)
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
  local noted, first_letter = {new = {}, known = {}, gone = {}}, nil
  local any_stale = redis.call('EXISTS', keys[4]) == 1
  -- A copy into an empty Redis and a run of inserts meet no key at all, and one question tells.
  local first_row = rows[args[args[i] == 'c' and i + 1 + width('c', args, i + 1) or i]]
  local nothing = first_row and first_row.whole and none_exists(keys)
  while i <= #args do
    local code = args[i]
    local row = rows[code]
    if nothing and row and row.whole then
      at = at + 1
    elseif not keyless[code] then
      if code ~= 'm' and code ~= 'o' then
        local found = nothing and 'none' or redis.call('TYPE', keys[at]).ok
        types[at] = found
        local part, wanted = partial[code], needs[code] or args[i + 1]
        if row then part, wanted = not row.whole, 'hash' end
        local strange = is_strange(keys[at])
        local stale = part and (strange or (any_stale and redis.call('SISMEMBER', keys[4], keys[at]) == 1))
        if found == 'none' or stale then
          if part then refused[#refused + 1] = count; refused[#refused + 1] = 'absent' end
        elseif found ~= wanted and (part or not also[found]) and not ((code == 'd' or code == 'g') and strange)
          and not (code == 'g' and is_foreign(keys, keys[at])) then
          refused[#refused + 1] = count; refused[#refused + 1] = 'type'
        end
      end
      at = at + 1
    elseif code == 'x' or code == 'y' then
      first_letter = first_letter or count
      note_letter(noted, code, args, i + 1, keys)
    end
    i = i + 1 + (row and row.width or width(code, args, i + 1))
    count = count + 1
  end
  if letters_are_full(noted, keys) then refused = {first_letter, 'full'} end
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
      if strangers and not problem then redis.call('SREM', strangers, key) end
    else
      i, problem, skip = write[code](key, args, i + 1, found, keys)
      if key and needs[code] then
        written[key] = needs[code]
        if strangers and not problem then redis.call('SREM', strangers, key) end
      end
      if any_stale and key and code ~= 'm' and code ~= 'o' and not problem then redis.call('SREM', keys[4], key) end
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
-- Replies {'ok', dead letters that were dropped for new ones, keys that were removed}; {'behind'}: the call before was not applied, so nothing was
-- written; {'refused', index, reason, ...}: nothing was written, by `absent`, `type` or, of a letter, `full`; {'failed', index, error, ...}: the position was not moved, everything else can be written again;
-- {'fenced', word, holder}; {'version', n}. An error of Redis's own, as for a command without the right to it, may leave
-- a part written as well.
local function apply(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  if (redis.call('HGET', keys[2], 'call') or '0') ~= args[6] then return {'behind'} end
  local also = {}
  for name in args[4]:gmatch('[^,]+') do also[name] = true end
  local rows, first = decode_rows(args[5]), 8 + args[7]
  strangers = family(keys[1]) .. 'foreign'
  if redis.call('EXISTS', strangers) == 0 then strangers = nil end
  local refused, types, any_stale = refusals(keys, args, first, also, rows)
  if #refused > 0 then
    table.insert(refused, 1, 'refused')
    return refused
  end
  local problems, done, raised = {'failed'}, nil, nil
  dropped, removed = 0, 0
  done, raised = pcall(write_all, keys, args, first, rows, types, any_stale, problems)
  if not done or #problems > 1 then
    keep_mark(keys, args, first)
    if done then return problems end
    return type(raised) == 'table' and raised or redis.error_reply('ERR ' .. tostring(raised))
  end
  if first > 8 then redis.call('HSET', keys[2], unpack(args, 8, first - 1)) end
  redis.call('PEXPIRE', keys[1], args[3])
  return {'ok', dropped, removed}
end

redis.register_function('syncd_apply', apply)
