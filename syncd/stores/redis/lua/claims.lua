-- Which contract may remove the keys of which template: one record for all contracts of this Redis.
--
-- `syncd:claims` is a hash: the name of a claim ("key film:{_id}", "index films") -> JSON with
--   contract, kind, draw, since, projection, type, by_id, pattern (a Lua pattern that fits every key of the template), and
--   free where the contract no longer has it: the next one that wants it takes it, with the maps of its keys;
--   was: what keys of it may be by what was claimed before, as entries of `owned`;
--   new while nobody has looked whose keys are there: no contract had the template before;
-- field `version` grows with every change of it, field `draws` with every number that was drawn.
-- A draw says which of two daemons has the newer contract files: the one that started, or reloaded, later.
-- `since` is the version at which the contract gained the claim: a position that is older has to copy.
-- `syncd:contracts` is a hash: contract -> JSON with place, set (a digest) and, for one that is no longer part of any
-- set, left (epoch seconds); and "set DIGEST" -> JSON list of the names of that set.
-- Neither has the slot of a contract's own keys; clusters are refused anyway.

local CLAIMS, CONTRACTS = 'syncd:claims', 'syncd:contracts'
-- What a position keeps when it has to begin again: numbers that must not come twice, and what the contract wrote.
local LASTING = {
  epoch = true, owned = true, layout = true, next = true, floor = true, removed = true, draw = true, version = true,
  kind = true, claimed = true, orphaned = true,
}
local OF_BASE = {synced = true, marks = true}

local function base_of(contract)
  return 'syncd:{' .. contract .. '}:'
end

local function contract_of(key)
  return key:match('^syncd:{([^}]*)}:')
end

-- The keys of all partitions of a layout.
local function members(base, count)
  if count == 1 then return {base} end
  local found = {}
  for at = 1, count do found[at] = base .. at .. 'of' .. count .. ':' end
  return found
end

local function present_members(base)
  local now = redis.call('HGET', base .. 'layout', 'now')
  return members(base, now and tonumber(now:match('^%d+')) or 1)
end

-- Who works on a contract now, or nil. `dead`: leases of processes that are known to be gone.
local function holder_of(contract, dead)
  for _, member in ipairs(present_members(base_of(contract))) do
    local holder = redis.call('GET', member .. 'lease')
    if holder and not (dead and dead[holder]) then return holder end
  end
end

-- Whether the daemon that worked on a contract last gave its lease back.
local function was_released(contract)
  for _, member in ipairs(present_members(base_of(contract))) do
    if redis.call('HGET', member .. 'position', 'released') ~= '1' then return false end
  end
  return true
end

local function claim_named(name)
  local said = redis.call('HGET', CLAIMS, name)
  return said and cjson.decode(said) or nil
end

-- Claims on keys of all contracts but one; and those of contracts to MongoDB, also where nobody has them any more: such keys
-- are an application's.
local function foreign_claims(contract)
  local found, all = {}, redis.call('HGETALL', CLAIMS)
  for at = 1, #all, 2 do
    if all[at]:sub(1, 4) == 'key ' then
      local claim = cjson.decode(all[at + 1])
      claim.template = all[at]:sub(5)
      if claim.kind ~= 'mongo' or (claim.contract ~= contract and not claim.free) then found[#found + 1] = claim end
    end
  end
  return found
end

-- Whether a key that `contract` no longer has belongs to another one. Where that one keeps a map of its keys, a key
-- that is not in it was left there by the contract before, and nobody else would remove it.
local function is_claimed(claims, key)
  for _, claim in ipairs(claims) do
    if key:find(claim.pattern) then
      local owners = base_of(claim.contract) .. 'owners:' .. claim.projection .. ':' .. claim.template
      if claim.kind ~= 'mongo' or claim.by_id or redis.call('HEXISTS', owners, key) == 1 then return true end
    end
  end
  return false
end

-- What stands against the claims of `contract`: {reason, holder, name of the claim, other contract}, or nil.
-- wish: seen (version of the claims), draw, taken (names of claims of others that have to be taken over), ...
local function claim_refusal(wish, draw, dead)
  if (redis.call('HGET', CLAIMS, 'version') or '0') ~= wish.seen then return {'again', ''} end
  for _, name in ipairs(wish.taken) do
    local claim = claim_named(name)
    if claim and not claim.free then
      local holder = holder_of(claim.contract, dead)
      if holder then return {'claimed', holder, name, claim.contract} end
      if claim.draw > draw and not was_released(claim.contract) and not wish.force then
        return {'claimed', '', name, claim.contract}
      end
    end
  end
end

-- Whether a contract says, in any of its positions, that it wrote keys of this template.
local function has_owned(base, template)
  for at, member in ipairs(present_members(base)) do
    for _, said in ipairs{redis.call('HGET', member .. 'position', 'owned'), redis.call('HGET', base .. 'layout', 'owned:' .. at)} do
      for _, entry in ipairs(said and cjson.decode(said) or {}) do
        if entry[2] == template then return true end
      end
    end
  end
  return false
end

-- Keys that an application had before there was a contract stay its own, whichever contract has the template.
local function share_foreign(theirs, mine)
  if redis.call('EXISTS', theirs .. 'foreign') == 1 then
    redis.call('SUNIONSTORE', mine .. 'foreign', mine .. 'foreign', theirs .. 'foreign')
  end
end

local function rename_over(old, new)
  if redis.call('EXISTS', old) == 1 then redis.call('RENAME', old, new) end
end

-- What keys of a claim are, or were before: entries of `owned`.
local function entries_of(name, claim)
  local found, seen = {}, {}
  local function add(entry)
    local text = cjson.encode(entry)
    if not seen[text] then seen[text] = true; found[#found + 1] = entry end
  end
  for _, entry in ipairs(claim.was or {}) do add(entry) end
  add{claim.projection, name:sub(5), claim.type}
  return found
end

-- A copy may replace keys of the types that others wrote, and what of theirs is not the taker's goes at its end.
local function add_owned(position, entries)
  if #entries == 0 then return end
  local owned = cjson.decode(redis.call('HGET', position, 'owned') or '[]')
  for _, entry in ipairs(entries) do owned[#owned + 1] = entry end
  redis.call('HSET', position, 'owned', cjson.encode(owned))
end

-- Keys of these claims are an application's from now on: a contract no longer says that it wrote them.
local function disown(contract, names)
  for _, member in ipairs(present_members(base_of(contract))) do
    for _, field in ipairs{'owned', 'orphaned'} do
      local kept = {}
      for _, entry in ipairs(cjson.decode(redis.call('HGET', member .. 'position', field) or '[]')) do
        if not names['key ' .. entry[2]] then kept[#kept + 1] = entry end
      end
      if #kept > 0 then
        redis.call('HSET', member .. 'position', field, cjson.encode(kept))
      else
        redis.call('HDEL', member .. 'position', field)
      end
    end
  end
end

-- The maps of a template, and the record of an index, go along with the claim.
local function hand_over(name, claim, wanted, mine)
  local theirs = base_of(claim.contract)
  if name:sub(1, 6) == 'index ' then
    local alias = name:sub(7)
    local serving = redis.call('HGET', theirs .. 'indexes', 'serving:' .. alias)
    if serving then redis.call('HSET', mine .. 'indexes', 'serving:' .. alias, serving) end
    redis.call('HDEL', theirs .. 'indexes', 'serving:' .. alias)
  elseif wanted and not claim.by_id then
    local template = name:sub(5)
    for _, map in ipairs{'keys:', 'owners:'} do
      rename_over(theirs .. map .. claim.projection .. ':' .. template, mine .. map .. wanted.projection .. ':' .. template)
    end
  end
end

-- Forget what a position, and the memory of what was synced, say of keys. The next run copies, or compares everything.
-- A base that both sides had in common stays one as long as nobody else had the keys.
local function void(position, base, has_base)
  local fields = redis.call('HGETALL', position)
  for at = 1, #fields, 2 do
    if not LASTING[fields[at]] and not (has_base and OF_BASE[fields[at]]) then redis.call('HDEL', position, fields[at]) end
  end
  if not has_base then redis.call('DEL', base .. 'synced', base .. 'marks') end
end

local function free_claim(name)
  local claim = claim_named(name)
  claim.free = true
  redis.call('HSET', CLAIMS, name, cjson.encode(claim))
end

-- Take from others what stands in the way. Adds to `handed`; returns what keys of each claim were, by its name, and
-- what those of claims were that are not the same but may meet ours, and which of the claims were new.
local function take_from_others(wish, base, wanted, handed)
  local was, strays, new = {}, {}, {}
  for _, name in ipairs(wish.taken) do
    local claim = claim_named(name)
    if claim then
      hand_over(name, claim, wanted[name], base)
      share_foreign(base_of(claim.contract), base)
      if wish.kind ~= 'mongo' then disown(claim.contract, wanted) end
      if wanted[name] then
        was[name] = entries_of(name, claim)
        new[name] = claim.new
      elseif claim.pattern ~= '' then
        for _, entry in ipairs(entries_of(name, claim)) do strays[#strays + 1] = entry end
      end
      redis.call('HDEL', CLAIMS, name)
      handed[#handed + 1] = name; handed[#handed + 1] = claim.contract
    end
  end
  return was, strays, new
end

-- Whether a claim, as it is written, does not say what it should.
local function is_other(before, claim, kind, draw)
  return not before or before.draw ~= draw or before.kind ~= kind or before.projection ~= claim.projection
    or before.type ~= claim.type
end

-- Take the claims of `wish` for a contract. Returns the claims that were taken from others, as {name, contract, ...},
-- the latest `since` of its claims, what keys of them may be by what was claimed before, and whether nobody else is known
-- to have had any.
local function take_claims(contract, wish, draw, is_old)
  local handed, wanted, latest, inherited = {}, {}, 0, {}
  -- Where the record is gone, numbers go on above all that it can have given: milliseconds, for JSON has 14 digits here.
  local now = redis.call('TIME')
  local version = wish.seen == '0' and now[1] * 1000 + math.floor(now[2] / 1000) or tonumber(wish.seen) + 1
  for _, claim in ipairs(wish.claims) do wanted[claim.name] = claim end
  local taken, strays, new = take_from_others(wish, base_of(contract), wanted, handed)
  local changed, is_own = #handed > 0 or #wish.dropped > 0, #handed == 0
  for _, name in ipairs(wish.dropped) do free_claim(name) end
  for _, claim in ipairs(wish.claims) do
    local before = claim_named(claim.name)
    local was = taken[claim.name] or before and before.was or {}
    if before and is_other(before, claim, wish.kind, before.draw) then was = entries_of(claim.name, before) end
    if claim.pattern ~= '' then
      for _, entry in ipairs(strays) do was[#was + 1] = entry end
      strays = {}
      for _, entry in ipairs(was) do inherited[#inherited + 1] = entry end
    end
    is_own = is_own and before ~= nil and before.contract == contract
    local is_new = new[claim.name]
    if before then
      is_new = before.new
    elseif not taken[claim.name] then
      is_new = wish.kind == 'mongo' and claim.pattern ~= '' and not has_owned(base_of(contract), claim.name:sub(5))
    end
    if before and before.free then before = nil end
    -- A position that was stored before there were claims goes on, unless another contract had the keys.
    local since = before and before.since or (is_old and #handed == 0) and 0 or version
    if is_other(before, claim, wish.kind, draw) then
      changed = changed or not before
      redis.call('HSET', CLAIMS, claim.name, cjson.encode{
        contract = contract, kind = wish.kind, draw = draw, since = since, projection = claim.projection,
        type = claim.type, by_id = claim.by_id, pattern = claim.pattern, was = #was > 0 and was or nil, new = is_new or nil,
      })
    end
    if claim.pattern ~= '' and since > latest then latest = since end
  end
  if changed then redis.call('HSET', CLAIMS, 'version', version) end
  return handed, latest, inherited, is_own
end

-- What a contract wrote under templates that it no longer has, where its position, which says so, was evicted or deleted:
-- as far as the claims know.
local function owned_before(contract, wish)
  local wanted, found, all = {}, {}, redis.call('HGETALL', CLAIMS)
  for _, claim in ipairs(wish.claims) do wanted[claim.name] = true end
  for at = 1, #all, 2 do
    local name = all[at]
    local claim = name:sub(1, 4) == 'key ' and not wanted[name] and claim_named(name)
    if claim and claim.contract == contract and claim.kind == 'mongo' then
      for _, entry in ipairs(entries_of(name, claim)) do found[#found + 1] = entry end
    end
  end
  return found
end

-- Another direction, or a template that was another's meanwhile: what the position says is of no use any more.
local function settle_position(position, base, wish, latest, inherited, is_own)
  local said = redis.call('HMGET', position, 'kind', 'claimed', 'owned', 'draw')
  local turned, gained = said[1] and said[1] ~= wish.kind, latest > tonumber(said[2] or '0')
  if said[4] and gained and not turned and wish.kind == 'mongo' then
    redis.call('HSET', position, 'fingerprint', '')  -- as that of a contract that was edited
  elseif turned or (said[4] and gained) then
    void(position, base, is_own and not turned and wish.kind == 'both')
  end
  if turned then
    redis.call('HDEL', position, 'next', 'owned')
    if said[3] and said[3] ~= '[]' then redis.call('HSET', position, 'orphaned', said[3]) end
  end
  if wish.kind ~= 'mongo' then
    local names = {}
    for _, claim in ipairs(wish.claims) do names[claim.name] = true end
    disown(contract_of(position), names)
  elseif turned or gained then
    add_owned(position, inherited)
  end
  if wish.kind == 'mongo' and not said[3] then add_owned(position, owned_before(contract_of(position), wish)) end
end

-- Whether a contract was part of a set that `present` follows: it came from the same place, or beside one of these.
local function is_of_set(record, place, present)
  if record.place == place then return true end
  local names = redis.call('HGET', CONTRACTS, 'set ' .. record.set)
  for _, name in ipairs(names and cjson.decode(names) or {}) do
    if present[name] then return true end
  end
  return false
end

-- Free all claims of a contract, or remove them.
local function drop_claims(contract, drop)
  local all = redis.call('HGETALL', CLAIMS)
  for at = 1, #all, 2 do
    if all[at]:find(' ', 1, true) and cjson.decode(all[at + 1]).contract == contract then drop(all[at]) end
  end
  if #all > 0 then redis.call('HINCRBY', CLAIMS, 'version', 1) end
end

-- args: protocol, place, digest of the set, JSON list of its names, epoch seconds, leases that are known to be dead, ...
-- Notes which contracts a daemon runs.
-- One that was part of such a set, is not among them, and that nobody works on, has left: it keeps its keys and records,
-- and its claims are free, so that it copies if it comes back.
-- Replies {'ok', [name, ...] of those that have left now, [lease, ...] of those that somebody may still work on}.
local function roster(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local names, present, in_use, left, held, dead = cjson.decode(args[4]), {}, {}, {}, {}, {}
  for at = 6, #args do dead[args[at]] = true end
  for _, name in ipairs(names) do present[name] = true end
  local known = redis.call('HGETALL', CONTRACTS)
  for at = 1, #known, 2 do
    local name = known[at]
    if name:sub(1, 4) ~= 'set ' then
      local record = cjson.decode(known[at + 1])
      if present[name] then
        record = {place = args[2], set = args[3]}
      elseif not record.left and is_of_set(record, args[2], present) then
        local holder = holder_of(name, dead)
        if holder then
          held[#held + 1] = holder
        else
          record.left = tonumber(args[5])
          redis.call('HSET', CONTRACTS, name, cjson.encode(record))
          drop_claims(name, free_claim)
          left[#left + 1] = name
        end
      end
      in_use[record.set] = true
    end
  end
  for _, name in ipairs(names) do
    redis.call('HSET', CONTRACTS, name, cjson.encode{place = args[2], set = args[3]})
  end
  if #names > 0 then
    redis.call('HSET', CONTRACTS, 'set ' .. args[3], args[4])
    in_use[args[3]] = true
  end
  for at = 1, #known, 2 do
    if known[at]:sub(1, 4) == 'set ' and not in_use[known[at]:sub(5)] then redis.call('HDEL', CONTRACTS, known[at]) end
  end
  return {'ok', left, held}
end

-- Why nothing of a contract may be removed, or nil: somebody works on it, or it came back meanwhile.
local function is_present(contract)
  local holder, said = holder_of(contract), redis.call('HGET', CONTRACTS, contract)
  if holder then return {'held', holder} end
  if said and not cjson.decode(said).left then return {'held', ''} end
end

-- keys: key, ... args: protocol, contract, Redis type, "turned" or "". Removes keys of a contract that nobody works on,
-- or those that it had before it went another way, but for those of another type and those that a contract claims.
-- Replies {'ok', how many}, or {'held', holder or ''}.
local function remove_keys(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local present = args[4] ~= 'turned' and is_present(args[2])
  if present then return present end
  local claims, foreign, count = foreign_claims(args[4] ~= 'turned' and args[2]), base_of(args[2]) .. 'foreign', 0
  for _, key in ipairs(keys) do
    if redis.call('TYPE', key).ok == args[3] and not is_claimed(claims, key) and redis.call('SISMEMBER', foreign, key) == 0 then
      count = count + redis.call('DEL', key)
    end
  end
  return {'ok', count}
end

-- keys: record, ... args: protocol, contract, "1" where that was the last of them. Removes what syncd keeps of a
-- contract that nobody works on. Replies {'ok'}, or {'held', holder or ''}.
local function remove_records(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local present = is_present(args[2])
  if present then return present end
  for _, key in ipairs(keys) do
    if contract_of(key) == args[2] then redis.call('DEL', key) end
  end
  if args[3] == '1' then
    drop_claims(args[2], function(name) redis.call('HDEL', CLAIMS, name) end)
    redis.call('HDEL', CONTRACTS, args[2])
  end
  return {'ok'}
end

-- keys: lease, position. args: protocol, lease, lease ttl ms, template, word, key, ... Keys that were there before any
-- contract had the template are an application's. Word: "more"; "done" where those were the last; "adopt": the contract may
-- have them all the same. Replies {'ok'}, {'known'} where somebody has looked before, or what `fenced` says.
local function note_foreign(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  local foreign, name = family(keys[1]) .. 'foreign', 'key ' .. args[4]
  local claim = claim_named(name)
  if args[5] == 'adopt' then
    redis.call('DEL', foreign)
  elseif not claim or not claim.new then
    return {'known'}
  elseif #args > 5 then
    call_in_parts('SADD', foreign, args, 6, #args)
  end
  if claim and claim.new and args[5] ~= 'more' then
    claim.new = nil
    redis.call('HSET', CLAIMS, name, cjson.encode(claim))
  end
  return {'ok'}
end

redis.register_function{function_name = 'syncd_foreign', callback = note_foreign, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_roster', callback = roster, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_remove_keys', callback = remove_keys, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_remove_records', callback = remove_records, flags = {'allow-oom'}}
