-- Which contract may remove the keys of which template: one record for all contracts of this Redis.
--
-- `syncd:claims` is a hash: the name of a claim ("key film:{_id}", "index films") -> JSON with
--   contract, kind, draw, since, projection, type, by_id, pattern (a Lua pattern that fits every key of the template),
--   fields where contracts share the hash and these are its own, and
--   free where the contract no longer has it: the next one that wants it takes it, with the maps of its keys;
--   was: what keys of it may be by what was claimed before, as entries of `owned`;
--   new until the lane has checked whose keys are there: no contract had the template before;
--   noted where the contract has noted keys of an application in `foreign`, under whichever template;
-- field `version` grows with every change of it, field `draws` with every number that was drawn.
-- A draw says which of two daemons has the newer contract files: the one that started, or reloaded, later.
-- `since` is the version at which the contract gained the claim: a position that is older has to copy.
-- The record has not the slot of a contract's own keys, but in a cluster, where its name begins with the place.

-- The field of a map of members that says that it has all documents, see members.lua. No document has this `_id`.
local WHOLE_MAP = ':'

-- Whether a claim is about keys of which documents are members.
local function has_members(claim)
  return claim.type:sub(-8) == ' members'
end

local function base_of(contract)
  return place .. 'syncd:{' .. contract .. '}:'
end

local function contract_of(key)
  return key:match('^.-syncd:{([^}]*)}:')
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

-- A record lives on for `ttl` ms at most: where Redis's clock went back, it would live for as long again. A daemon that
-- lives renews it.
local function shorten(record, ttl)
  if redis.call('PTTL', record) > tonumber(ttl) then redis.call('PEXPIRE', record, ttl) end
end

-- Who works on a contract now, or nil. `dead`: leases of processes that are known to be gone. `ttl`: of a lane that waits
-- for that.
local function holder_of(contract, dead, ttl)
  for _, member in ipairs(present_members(base_of(contract))) do
    local holder = redis.call('GET', member .. 'lease')
    if holder and ttl then shorten(member .. 'lease', ttl) end
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

-- What the record says of a claim. Another client may have written there: Python then reads the whole record, and names the entry.
local function claim_of(said)
  local is_sound, claim = pcall(cjson.decode, said)
  if is_sound and type(claim) == 'table' then return claim end
  error({err = 'ERR a claim is not as syncd wrote it'})
end

local function claim_named(name)
  local said = redis.call('HGET', CLAIMS, name)
  return said and claim_of(said) or nil
end

-- Claims on keys of all contracts but one; and those of contracts to MongoDB, also where no contract has them any more: such
-- keys are an application's.
local function foreign_claims(contract)
  local found, all = {}, redis.call('HGETALL', CLAIMS)
  for at = 1, #all, 2 do
    if all[at]:sub(1, 4) == 'key ' then
      local claim = claim_of(all[at + 1])
      claim.template = all[at]:sub(5)
      if claim.kind ~= 'mongo' or (claim.contract ~= contract and not claim.free) then found[#found + 1] = claim end
    end
  end
  return found
end

-- Whether a claim is about this field. Without one it is about the key, of which no part may go.
local function has_field(claim, field)
  if not field or not claim.fields then return true end
  for _, name in ipairs(claim.fields) do
    if name == field then return true end
  end
  return false
end

-- Whether a map is one of hashes that projections share, whose members are fields: see shared_hashes.lua.
local function has_fields(map)
  return map ~= nil and map:find('{=[^{}]*}$') ~= nil
end

-- Whether a field is one of a map of such hashes. What other contracts have taken of them since is still in its entries.
local function has_field_of(map, field)
  local names = map:match('{=([^{}]*)}$')
  local name = field:gsub('[^%w_.~-]', function(char) return ('%%%02X'):format(char:byte()) end)
  return (',' .. names .. ','):find(',' .. name .. ',', 1, true) ~= nil
end

-- Whether a key that `contract` no longer has belongs to another one. Where that one keeps a map of its keys, a key
-- that is not in it was left there by the contract before, and no other contract would remove it. `field`: of a hash that
-- contracts share, where each has some.
local function is_claimed(claims, key, field)
  for _, claim in ipairs(claims) do
    if key:find(claim.pattern) and has_field(claim, field) then
      local owners = base_of(claim.contract) .. 'owners:' .. claim.projection .. ':' .. claim.template
      if claim.kind ~= 'mongo' or claim.by_id or redis.call('HEXISTS', owners, key) == 1 then return true end
    end
  end
  return false
end

-- Whether a key is by now one that a contract has as a whole, with what it holds. `keys`: of a call, which remembers the claims.
local function is_had_whole(keys, key)
  if not keys.whole then
    keys.whole = {}
    local all = redis.call('HGETALL', CLAIMS)
    for at = 1, #all, 2 do
      local claim = all[at]:sub(1, 4) == 'key ' and claim_of(all[at + 1])
      if claim and not claim.free and not has_members(claim) then keys.whole[#keys.whole + 1] = claim end
    end
  end
  local kind = redis.call('TYPE', key).ok
  for _, claim in ipairs(keys.whole) do
    if claim.type == kind and key:find(claim.pattern) then return true end
  end
  return false
end

-- What stands against the claims of `contract`: {reason, holder, name of the claim, other contract}, or nil.
-- wish: seen (version of the claims), draw, taken (names of claims of others that have to be taken over, each with the own
-- claim that it meets), ...
local function claim_refusal(wish, draw, dead, ttl)
  if (redis.call('HGET', CLAIMS, 'version') or '0') ~= wish.seen then return {'again', ''} end
  for _, pair in ipairs(wish.taken) do
    local name = pair[1]
    local claim = claim_named(name)
    if claim and not claim.free then
      local holder = holder_of(claim.contract, dead, ttl)
      if holder then return {'claimed', holder, name, claim.contract} end
      if claim.draw > draw and not was_released(claim.contract) and not wish.force then
        return {'claimed', '', name, claim.contract}
      end
    end
  end
end

local function free_claim(name)
  local claim = claim_named(name)
  claim.free = true
  redis.call('HSET', CLAIMS, name, cjson.encode(claim))
end

-- Free all claims of a contract, or remove them.
local function drop_claims(contract, drop)
  local all = redis.call('HGETALL', CLAIMS)
  for at = 1, #all, 2 do
    if all[at]:find(' ', 1, true) and claim_of(all[at + 1]).contract == contract then drop(all[at]) end
  end
  if #all > 0 then redis.call('HINCRBY', CLAIMS, 'version', 1) end
end
