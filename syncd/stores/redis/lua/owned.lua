-- What contracts wrote. Position and claims both say it, for either may be evicted: `owned` of a position, and `was` of the
-- claims with those that are free, see claims.lua. Each entry is {projection, template, what the Redis type was}.

-- Entries of `owned`. What another client has made of them is for the lane to say, when it reads its position.
local function entries_in(said)
  local found, is_sound, entries = {}, pcall(cjson.decode, said)
  for _, entry in ipairs(is_sound and type(entries) == 'table' and entries or {}) do
    if type(entry) == 'table' then found[#found + 1] = entry end
  end
  return found
end

-- What a contract wrote, as the position of a partition says, or what that has from the layout before: entries of `owned`.
local function owned_of(base, at, member, found)
  for _, said in ipairs{
    redis.call('HGET', member .. 'position', 'owned') or '[]', redis.call('HGET', base .. 'layout', 'owned:' .. at) or '[]',
  } do
    for _, entry in ipairs(entries_in(said)) do found[#found + 1] = entry end
  end
  return found
end

-- The same of all its partitions.
local function all_owned(base)
  local found = {}
  for at, member in ipairs(present_members(base)) do owned_of(base, at, member, found) end
  return found
end

-- Whether a contract says that it wrote keys of this template.
local function has_owned(base, template)
  for _, entry in ipairs(all_owned(base)) do
    if entry[2] == template then return true end
  end
  return false
end

-- Add entries of `owned` to others, each once.
local function add_each_once(entries, more)
  local seen = {}
  for _, entry in ipairs(entries) do seen[cjson.encode(entry)] = true end
  for _, entry in ipairs(more) do
    local text = cjson.encode(entry)
    if not seen[text] then seen[text] = true; entries[#entries + 1] = entry end
  end
  return entries
end

-- What keys of a claim are, or were before: entries of `owned`.
local function entries_of(name, claim)
  return add_each_once(add_each_once({}, claim.was or {}), {{claim.projection, name:sub(5), claim.type}})
end

-- Templates that a contract gave up and whose keys it still has to remove, and of which no claim is left: the record was
-- evicted or deleted. The position, which says so, may be next, so there are free claims of them again. Nothing asks a free
-- claim for its pattern. Returns whether there were any.
local function claim_again(contract, wish, wanted, draw, since)
  local found = {}
  for _, entry in ipairs(wish.kind == 'mongo' and all_owned(base_of(contract)) or {}) do
    local name = 'key ' .. entry[2]
    if not wanted[name] and (found[name] or redis.call('HEXISTS', CLAIMS, name) == 0) then
      found[name] = add_each_once(found[name] or {}, {entry})
    end
  end
  for name, entries in pairs(found) do
    local last = table.remove(entries)
    redis.call('HSET', CLAIMS, name, cjson.encode{
      contract = contract, kind = 'mongo', draw = draw, since = since, projection = last[1], type = last[3], by_id = false,
      pattern = '^$', free = true, was = #entries > 0 and entries or nil,
    })
  end
  return next(found) ~= nil
end

-- A copy may replace keys of the types that others wrote, and what of theirs is not the taker's goes at its end.
local function add_owned(position, entries)
  if #entries == 0 then return end
  local owned = cjson.decode(redis.call('HGET', position, 'owned') or '[]')
  redis.call('HSET', position, 'owned', cjson.encode(add_each_once(owned, entries)))
end

-- Entries of `owned` but those that are gone.
local function without(entries, is_gone)
  local kept = {}
  for _, entry in ipairs(entries) do
    if not is_gone(entry) then kept[#kept + 1] = entry end
  end
  return kept
end

local function disown_in(position, is_gone)
  for _, field in ipairs{'owned', 'orphaned'} do
    local said = cjson.decode(redis.call('HGET', position, field) or '[]')
    local kept = without(said, is_gone)
    if #kept == 0 then
      redis.call('HDEL', position, field)
    elseif #kept < #said then
      redis.call('HSET', position, field, cjson.encode(kept))
    end
  end
end

-- Keys of these claims are another contract's from now on, or an application's: a contract no longer says that it wrote them.
local function disown(contract, is_gone)
  for _, member in ipairs(present_members(base_of(contract))) do disown_in(member .. 'position', is_gone) end
end

-- The claims of a contract, or of all others, by name.
local function claims_of(contract, is_own)
  local found, all = {}, redis.call('HGETALL', CLAIMS)
  for at = 1, #all, 2 do
    if all[at]:find(' ', 1, true) then
      local claim = claim_of(all[at + 1])
      if (claim.contract == contract) == is_own then found[all[at]] = claim end
    end
  end
  return found
end

-- A claim no longer says what is gone of what its keys were before.
local function forget_before(name, claim, is_gone)
  local kept = without(claim.was or {}, is_gone)
  if #kept == #(claim.was or {}) then return end
  claim.was = #kept > 0 and kept or nil
  redis.call('HSET', CLAIMS, name, cjson.encode(claim))
end

-- Whether an entry is about a key of these claims.
local function is_of(names)
  return function(entry) return names['key ' .. entry[2]] ~= nil end
end

-- Keys of these claims are a contract's from now on: no other one says any more that it wrote such keys, whether it had a
-- claim, or none is known because the record was evicted. What another client has made of a position is for its own lane to say.
local function disown_others(contract, names)
  local others = {}
  for name, claim in pairs(claims_of(contract, false)) do
    others[claim.contract] = true
    forget_before(name, claim, is_of(names))
  end
  local known = redis.call('HGETALL', CONTRACTS)  -- a command that the documented rights have
  for at = 1, #known, 2 do
    local name = known[at]
    if name ~= contract and name:sub(1, 4) ~= 'set ' then others[name] = true end
  end
  for other in pairs(others) do pcall(disown, other, is_of(names)) end
end

-- What a contract wrote, where its position, which says so, was evicted or deleted: as far as the claims know. That of
-- templates which it has, too: a daemon that is killed before it stores its position, and an edit, and nothing else says so.
local function owned_before(contract, wish)
  local wanted, found = {}, {}
  for _, claim in ipairs(wish.claims) do wanted[claim.name] = true end
  for name, claim in pairs(claims_of(contract, true)) do
    if name:sub(1, 4) == 'key ' and claim.kind == 'mongo' and not (wanted[name] and claim.new) then
      for _, entry in ipairs(entries_of(name, claim)) do found[#found + 1] = entry end
    end
  end
  return found
end

do
  local COPIES = {snapshot = true, sweep = true, digest = true}

  -- Whether another partition has yet to end a copy, or to forget what is gone.
  local function others_own(base, position, is_gone)
    for at, member in ipairs(present_members(base)) do
      if member .. 'position' ~= position then
        local said, phase = owned_of(base, at, member, {}), redis.call('HGET', member .. 'position', 'phase')
        if not phase or COPIES[phase] or #without(said, is_gone) < #said then return true end
      end
    end
    return false
  end

  -- keys: lease, position. args: protocol, lease, JSON list of entries of `owned` of which a copy that ends now has removed all
  -- keys. An application may have such keys from now on, so neither position nor claims say any more that they were the
  -- contract's.
  -- Replies {'ok'} or what `fenced` says.
  local function forget_removed(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local gone, names = {}, {}
    for _, entry in ipairs(cjson.decode(args[3])) do
      gone[cjson.encode(entry)] = true
      names['key ' .. entry[2]] = true
    end
    local function is_gone(entry) return gone[cjson.encode(entry)] ~= nil end
    disown_in(keys[2], is_gone)
    if others_own(family(keys[1]), keys[2], is_gone) then return {'ok'} end
    for name, claim in pairs(claims_of(contract_of(keys[1]), true)) do
      if names[name] and claim.free then
        redis.call('HDEL', CLAIMS, name)
        redis.call('HINCRBY', CLAIMS, 'version', 1)
      else
        forget_before(name, claim, is_gone)
      end
    end
    return {'ok'}
  end

  redis.register_function{function_name = 'syncd_forget_removed', callback = forget_removed, flags = {'allow-oom'}}
end
