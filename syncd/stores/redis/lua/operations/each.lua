-- One document, many keys: a key for each element of an array, see syncd/plan/to_redis/each.py. The keys of a document are
-- one sequence of a call: `e(`, an `e` for each element that has a key, `e)`.
--
-- `map` is _id -> JSON [time, key, digest, key, digest, ...], the document's record. `owners` is key -> "time _id", as for
-- other keys that are no function of _id: an element may go from one document to another, and the later state has it.
-- Every write of a document gives all its keys the time of its record: of a key with another time the record knows nothing.

-- The document that is being written.
local document
-- Keys that the call under way has left as they were, because they hold what they should.
local kept = 0

-- What a record says: digest by key, or nothing where it is none.
local function digests_of(record)
  local done, said = pcall(cjson.decode, record or '')
  local digests = {}
  for at = 2, done and type(said) == 'table' and #said or 0, 2 do digests[said[at]] = said[at + 1] end
  return digests
end

local function time_of(record)
  return record and record:match('^%["(.-)"')
end

-- Entries of `owners` for these keys, by key; false where there is none.
local function entries_for(owners, keys)
  local entries = {}
  for start = 1, #keys, MAX_UNPACK do
    local last = math.min(start + MAX_UNPACK - 1, #keys)
    for at, said in ipairs(redis.call('HMGET', owners, unpack(keys, start, last))) do entries[keys[start + at - 1]] = said end
  end
  return entries
end

-- On a node of a cluster a call may end in the middle, because a slot moves. So the record has the keys that follow before
-- these are written, and says of none what it does not hold yet. Where an operation begins behind `e(`, and which key it has.
local function note_ahead_elements(said, args, at, keys, number)
  local record, ahead, is_other = {time_of(said) or document.time}, {}, false
  while args[at] == 'e' do
    local key, digest = keys[number], args[at + 2]
    local is_held = document.before[key] == digest and not document.rewrite
    ahead[key], is_other = is_held and digest or '', is_other or not is_held
    at, number = at + 1 + operations.e.width(args, at + 1), number + 1
  end
  if not is_other then return end
  for key, digest in pairs(document.before) do ahead[key] = ahead[key] or digest end
  for key, digest in pairs(ahead) do
    record[#record + 1] = key
    record[#record + 1] = digest
  end
  redis.call('HSET', document.map, document.id, cjson.encode(record))
end

-- The keys of a document follow. map, owners, id, time, "1" to write also what is known to be there
operations['e('] = {keyless = true, width = fixed(5), write = function(_, args, i, last, _, all)
  local said = redis.call('HGET', args[i], args[i + 2])
  local before, keys = digests_of(said), {}
  for key in pairs(before) do keys[#keys + 1] = key end
  document = {
    map = args[i], owners = args[i + 1], id = args[i + 2], time = args[i + 3], rewrite = args[i + 4] == '1',
    before = before, entries = entries_for(args[i + 1], keys), now = {}, record = {args[i + 3]}, claims = {},
  }
  if place ~= '' then note_ahead_elements(said, args, last + 1, all, all.at) end
end}

-- One of them, which becomes this document's as `m` says it. type, digest, code, operands of a whole write
operations.e = {
  width = function(args, i) return 3 + operations[args[i + 2]].width(args, i + 3) end,
  write = function(key, args, i, last, found)
    local entry = document.entries[key]
    if entry == nil then entry = redis.call('HGET', document.owners, key) end
    local owner = entry and entry:sub(TIME + 2)
    if owner and owner ~= document.id and entry:sub(1, TIME) > document.time then return end
    local digest, is_there = args[i + 1], redis.call('EXISTS', key) == 1
    local record, claims = document.record, document.claims
    claims[#claims + 1] = key
    claims[#claims + 1] = document.time .. ' ' .. document.id
    document.now[key] = true
    record[#record + 1] = key
    record[#record + 1] = digest
    if is_there and owner == document.id and document.before[key] == digest and not document.rewrite then
      kept = kept + 1
      if args[i + 3]:byte() ~= 45 then expire(key, args[i + 3]) end
      return
    end
    -- A key of this call was not there before it.
    local before = is_there and (found == 'none' and args[i] or found) or 'none'
    local problem = operations[args[i + 2]].write(key, args, i + 3, last, before)
    if problem then
      record[#record] = ''
      document.failed = true
    elseif foreign_keys then
      redis.call('SREM', foreign_keys, key)
    end
    return problem
  end,
}

-- These were all: what the document had besides goes, unless another document has it by now. Where Redis did not take an
-- element nothing goes, and the record has the old keys and the new: the document becomes a dead letter.
operations['e)'] = {keyless = true, width = fixed(0), write = function()
  local record, claims, id, gone = document.record, document.claims, document.id, {}
  for key in pairs(document.before) do
    local entry = document.entries[key]
    if document.now[key] then
      -- it stays
    elseif document.failed then
      record[#record + 1] = key
      record[#record + 1] = ''
    elseif not entry or entry:sub(TIME + 2) == id then
      removed = removed + redis.call('DEL', key)
      gone[#gone + 1] = key
    end
  end
  if #gone > 0 then call_in_parts('HDEL', document.owners, gone, 1, #gone) end
  if #claims > 0 then call_in_parts('HSET', document.owners, claims, 1, #claims) end
  if #record > 1 then
    redis.call('HSET', document.map, id, cjson.encode(record))
  else
    redis.call('HDEL', document.map, id)
  end
end}

-- args: protocol, map, owners, key, ... Replies {'ok', entry of `owners` or "", "1" or "", ...}: what is said of each key,
-- and whether the record of that document has it. Here, because records are long.
local function held(_, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local reply, times = {'ok'}, {}
  for at = 4, #args do
    local id, since = owner_of(args[3], args[at])
    if id and times[id] == nil then times[id] = time_of(redis.call('HGET', args[2], id)) or false end
    reply[#reply + 1] = id and since .. ' ' .. id or ''
    reply[#reply + 1] = id and times[id] == since and '1' or ''
  end
  return reply
end

redis.register_function{function_name = 'syncd_held', callback = held, flags = {'no-writes'}}
