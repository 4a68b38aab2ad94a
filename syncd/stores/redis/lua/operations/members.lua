-- Documents as members of keys that they share: sorted sets, sets, geo sets, vector sets.
--
-- `members` of a contract is a map for each such projection: _id -> JSON [key, member, key, member, ...], or, of fields of a
-- hash, [key, [field, ...]], written in the call that writes the members. What a document was a member of and is no longer
-- is found there, so no key is ever removed as a whole: Redis removes one that is empty. No two documents are the same
-- member of a key.
-- The field WHOLE_MAP is 1 where all documents are in the map, and 0 while they are copied: a map that was evicted, and
-- began again, has none.

-- How a document is a member, by what contracts call it: the type of the key, and what adds it. Of a vectorset: vectors.lua.
local member_kinds = {
  zset = {type = 'zset', add = function(key, member, score) return redis.pcall('ZADD', key, score, member) end},
  set = {type = 'set', add = function(key, member) return redis.pcall('SADD', key, member) end},
  geo = {type = 'zset', add = function(key, member, lon, lat) return redis.pcall('GEOADD', key, lon, lat, member) end},
}

-- What removes a member, by the type of the key: after an edit that may be another type than before.
local removes_member = {zset = 'ZREM', set = 'SREM', vectorset = 'VREM'}
-- Of a time series samples.lua does.
local SERIES, remove_sample = 'TSDB-TYPE', nil

-- Of a call: maps whose keys hold so many members only, with the keys that the call has changed, see boards.lua.
local bounds = {}

local function note_change(map, key)
  if bounds[map] then bounds[map].changed[key] = true end
end

-- An entry of a map as {key, member, key, member, ...}.
local function memberships(said)
  local is_sound, found = pcall(cjson.decode, said or '[]')
  if not is_sound or type(found) ~= 'table' then return {} end
  if type(found[2]) ~= 'table' then return found end
  local key, fields = found[1], found[2]
  found = {}
  for at, name in ipairs(fields) do found[2 * at - 1] = key; found[2 * at] = name end
  return found
end

-- As a set of keys and their members.
local function as_lookup(pairs_of)
  local found = {}
  for at = 1, #pairs_of, 2 do
    local key = pairs_of[at]
    found[key] = found[key] or {}
    found[key][pairs_of[at + 1]] = true
  end
  return found
end

local function remove_member(key, member, map, id)
  local kind = redis.call('TYPE', key).ok
  local command = removes_member[kind]
  if command then
    removed = removed + redis.call(command, key, member)
    if map then note_change(map, key) end
  elseif kind == 'hash' and has_fields(map) and has_field_of(map, member) then
    removed = removed + redis.call('HDEL', key, member)
  elseif kind == SERIES and map then
    removed = removed + remove_sample(key, member, map, id)
  end
end

-- Remove these memberships but for those that `kept` has.
local function leave(pairs_of, kept, map, id)
  for at = 1, #pairs_of, 2 do
    local key, member = pairs_of[at], pairs_of[at + 1]
    if not (kept[key] and kept[key][member]) then remove_member(key, member, map, id) end
  end
end

-- Those of these memberships that another contract has claimed.
local function claimed_members(keys, pairs_of)
  local found = {}
  for at = 1, #pairs_of, 2 do
    local key, member = pairs_of[at], pairs_of[at + 1]
    if is_claimed_by_another(keys, key, member) then found[key] = found[key] or {}; found[key][member] = true end
  end
  return found
end

-- The types of keys, as this call has seen them: hundreds of documents share a few keys.
local function shared_type(keys, key)
  keys.shared = keys.shared or {}
  local found = keys.shared[key] or redis.call('TYPE', key).ok
  keys.shared[key] = found
  return found
end

local function is_replaced(keys, key, wanted)
  local found = shared_type(keys, key)
  return found ~= 'none' and found ~= wanted
end

local function is_copying(keys)
  if keys.copying == nil then keys.copying = redis.call('HGET', keys[2], 'phase') ~= 'stream' end
  return keys.copying
end

-- All vectors of a set are held in one way, and are of one length. After an edit of either, the first document that fits
-- makes another set of it: at once, or when it has a vector as the contract says now.
local function is_other_form(problem)
  return problem:find('quantization mismatch', 1, true) or problem:find('dimension mismatch', 1, true)
end

local function add_member(kind, key, member, args, first, last)
  local problem = failed(kind.add(key, member, unpack(args, first, last)))
  if problem and is_other_form(problem) and not is_foreign_key(key) then
    redis.call('DEL', key)
    problem = failed(kind.add(key, member, unpack(args, first, last)))
  end
  return problem
end

-- A document is a member as it says now: no update needs a read any more.
local function is_fresh(keys, stale)
  if keys.any_stale == nil then keys.any_stale = redis.call('EXISTS', keys[4]) == 1 end
  if keys.any_stale then redis.call('SREM', keys[4], stale) end
end

-- On a node of a cluster a call may end in the middle, because a slot moves. So a map says what a document may be a member
-- of before that is so.
local function note_ahead(map, id, old, new, packed)
  if place == '' then return end
  local all = {}
  for _, pairs_of in ipairs(#old > 0 and {old, new} or {}) do
    for at = 1, #pairs_of do all[#all + 1] = pairs_of[at] end
  end
  redis.call('HSET', map, id, #all > 0 and cjson.encode(all) or packed)
end

-- Why a document cannot be what the operation at `i` makes it: one of the keys is of another type.
local function refuses_memberships(packed, wanted, i, keys, also)
  local new = memberships(packed)
  keys.decoded = keys.decoded or {}
  keys.decoded[i] = new
  for at = 1, #new, 2 do
    if is_replaced(keys, new[at], wanted) and (not also[keys.shared[new[at]]] or is_foreign_key(new[at])) then
      return 'type ' .. new[at]
    end
  end
end

-- All that a document is a member of, instead of what it was. map, _id, its name where it is stale, kind, memberships,
-- n, value, ...
operations.ma = {
  keyless = true,
  width = counted(6),
  refuses = function(args, i, keys, also)
    return refuses_memberships(args[i + 4], member_kinds[args[i + 3]].type, i, keys, also)
  end,
  write = function(_, args, i, last, _, keys)
    local map, id, kind, packed = args[i], args[i + 1], member_kinds[args[i + 3]], args[i + 4]
    local new, said = keys.decoded[i], redis.call('HGET', map, id)
    local old = said and said ~= packed and memberships(said) or {}
    if said ~= packed then note_ahead(map, id, old, new, packed) end
    for at = 1, #new, 2 do
      local key = new[at]
      if is_replaced(keys, key, kind.type) then redis.call('DEL', key) end
      keys.shared[key] = kind.type
      note_change(map, key)
      local problem = add_member(kind, key, new[at + 1], args, i + 6, last)
      if problem then
        -- A dead letter follows. Then it is what it was.
        if said ~= packed then
          for behind = at + 2, #new do new[behind] = nil end
          leave(new, as_lookup(old), map, id)
        end
        return problem
      end
    end
    if said ~= packed then
      if #old > 0 then leave(old, as_lookup(new), map, id) end
      redis.call('HSET', map, id, packed)
    end
    is_fresh(keys, args[i + 2])
  end,
}

-- Another score, or position, in all keys of a document. Refused where it is in no map, or shows an older state, or where
-- a key is gone. A node of a cluster has a map of its own keys: a document that is not in it is a member on others. map, _id, its name where it is stale, `letters`, kind, n, value, ...
operations.mp = {
  keyless = true,
  width = counted(6),
  refuses = function(args, i, keys)
    local said, wanted = redis.call('HGET', args[i], args[i + 1]), member_kinds[args[i + 4]].type
    local is_stale = redis.call('HEXISTS', args[i + 3], args[i + 2]) == 1 or redis.call('SISMEMBER', keys[4], args[i + 2]) == 1
    local is_elsewhere = not said and place ~= '' and redis.call('HGET', args[i], WHOLE_MAP) == '1'
    if is_stale or not (said or is_elsewhere) then return 'absent' end
    keys.decoded = keys.decoded or {}
    keys.decoded[i] = memberships(said)
    for at = 1, #keys.decoded[i], 2 do
      if shared_type(keys, keys.decoded[i][at]) ~= wanted then return 'absent' end
    end
  end,
  write = function(_, args, i, last, _, keys)
    local kind, pairs_of = member_kinds[args[i + 4]], keys.decoded[i]
    for at = 1, #pairs_of, 2 do
      local problem = add_member(kind, pairs_of[at], pairs_of[at + 1], args, i + 6, last)
      if problem then return problem end
    end
  end,
}

-- A document is a member of nothing any more. map, _id, its name where it is stale
operations.ml = {keyless = true, width = fixed(3), write = function(_, args, i, _, _, keys)
  local said = redis.call('HGET', args[i], args[i + 1])
  if said then
    leave(memberships(said), {}, args[i], args[i + 1])
    redis.call('HDEL', args[i], args[i + 1])
  end
  is_fresh(keys, args[i + 2])
end}

-- The same by a projection that the contract no longer has. A member by another projection stays, and so does what is in a
-- key that is a whole one by now. map, _id, n, map of another projection, ...
operations.mr = {keyless = true, width = counted(3), write = function(_, args, i, last, _, keys)
  local kept, map, id = {}, args[i], args[i + 1]
  local said = memberships(redis.call('HGET', map, id))
  if has_fields(map) then kept = claimed_members(keys, said) end
  for key, found in pairs(as_lookup(said)) do
    if is_had_whole(keys, key) then kept[key] = found end
  end
  for at = i + 3, last do
    for key, found in pairs(as_lookup(memberships(redis.call('HGET', args[at], id)))) do
      kept[key] = kept[key] or {}
      for member in pairs(found) do kept[key][member] = true end
    end
  end
  leave(said, kept, map, id)
  redis.call('HDEL', map, id)
end}

-- Remove a member that is in no document's map, unless it is by now, or that map was lost. One of a document that is a dead letter stays, and
-- so does what an application has in a key of its own. map, `letters`, name of the dead letter, _id, key, member
operations.ms = {keyless = true, removes = true, width = fixed(6), write = function(_, args, i, _, _, keys)
  local map, by_name, name, id, key, member = unpack(args, i, i + 5)
  if redis.call('HEXISTS', map, WHOLE_MAP) == 0 then return end
  if is_foreign_key(key) or is_claimed_by_another(keys, key, has_fields(map) and member) then return end
  local said = redis.call('HGET', map, id)
  if not said and (redis.call('HEXISTS', by_name, name) == 1 or redis.call('SISMEMBER', keys[4], name) == 1) then return end
  local found = as_lookup(memberships(said))[key]
  if not (found and found[member]) then
    remove_member(key, member, has_fields(map) and map or nil)
    note_change(map, key)
  end
end}

-- All documents are about to be copied into a map. map
operations.mn = {keyless = true, width = fixed(1), write = function(_, args, i) redis.call('HSET', args[i], WHOLE_MAP, '0') end}

-- All documents are in a map, unless it was lost since that began. map
operations.mw = {keyless = true, width = fixed(1), write = function(_, args, i)
  if redis.call('HEXISTS', args[i], WHOLE_MAP) == 1 then redis.call('HSET', args[i], WHOLE_MAP, '1') end
end}

-- keys: map. args: protocol, contract, "turned" or "", _id, ... Removes what these documents are members of, of a contract
-- that no daemon works on, but for keys that another contract claims. Replies {'ok', how many}, or {'held', holder or ''}.
local function remove_members(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  be_at(keys[1])
  local present = args[3] ~= 'turned' and is_present(args[2])
  if present then return present end
  local claims, kept = foreign_claims(args[3] ~= 'turned' and args[2]), {}
  removed = 0
  for at = 4, #args do
    local said = memberships(redis.call('HGET', keys[1], args[at]))
    for of = 1, #said, 2 do
      if is_claimed(claims, said[of], has_fields(keys[1]) and said[of + 1]) then kept[said[of]] = kept[said[of]] or {}; kept[said[of]][said[of + 1]] = true end
    end
    leave(said, kept, keys[1], args[at])
    redis.call('HDEL', keys[1], args[at])
  end
  return {'ok', removed}
end

redis.register_function{function_name = 'syncd_remove_members', callback = remove_members, flags = {'allow-oom', 'allow-cross-slot-keys'}}
