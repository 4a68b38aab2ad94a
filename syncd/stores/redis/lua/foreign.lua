-- Keys that were under a template before any contract had it are an application's. They are in the set `foreign` of the
-- contract, and nothing removes one; see also operations.lua.

-- A member of `foreign` that is no key, there as long as the set is. Redis evicts a set as a whole: where this is missing,
-- it is not known any more which keys were an application's, whatever else came into the set since.
local WHOLE = 'syncd:'

local function is_whole(base)
  return redis.call('SISMEMBER', base .. 'foreign', WHOLE) == 1
end

-- Whether a contract has ever noted keys of an application. Claims and position both say it, for either may be evicted too.
local function has_noted(contract)
  local all = redis.call('HGETALL', CLAIMS)
  for at = 1, #all, 2 do
    if all[at]:sub(1, 4) == 'key ' then
      local claim = claim_of(all[at + 1])
      if claim.contract == contract and claim.noted then return true end
    end
  end
  for _, member in ipairs(present_members(base_of(contract))) do
    if redis.call('HGET', member .. 'position', 'noted') == '1' then return true end
  end
  return false
end

local function has_lost_foreign(contract)
  return not is_whole(base_of(contract)) and has_noted(contract)
end

-- Of a contract that has its claims now. What a version without the member has noted is whole, for all that is known.
-- Returns whether it has noted anything.
local function check_foreign(base, is_lost)
  local any = redis.call('EXISTS', base .. 'foreign') == 1
  if is_lost then
    redis.call('SREM', base .. 'foreign', WHOLE)
  elseif any then
    redis.call('SADD', base .. 'foreign', WHOLE)
  end
  return is_lost or any
end

-- Both of contracts that change hands, see handover.lua.
local share_foreign, forget_foreign

do
  -- What stands between the placeholders of a template, by its text in records.
  local function literals_of(template)
    local text, at, found = template:gsub('{=[^{}]*}$', ''), 1, {''}
    while at <= #text do
      local two, value = text:sub(at, at + 1), text:match('^{[^{}]*}', at)
      local is_brace = two == '{{' or two == '}}'
      if value and not is_brace then
        found[#found + 1] = ''
      else
        found[#found] = found[#found] .. text:sub(at, at)
      end
      at = at + (is_brace and 2 or value and #value or 1)
    end
    return found
  end

  -- Whether a key has these, in their order; that is so for every key of the template, and for some others. In a time that
  -- grows with the length of the key alone, which a pattern of Lua does not promise.
  local function has_all(key, literals)
    if #literals == 1 then return key == literals[1] end
    local first, last = literals[1], literals[#literals]
    if key:sub(1, #first) ~= first then return false end
    local at = #first + 1
    for number = 2, #literals - 1 do
      local _, ends = key:find(literals[number], at, true)
      if not ends then return false end
      at = ends + 1
    end
    return #key - #last + 1 >= at and key:sub(#key - #last + 1) == last
  end

  -- Call a function with each key of a set of these, and whether it may be one of entries of `owned`.
  local function each_of(base, entries, call_with)
    if redis.call('EXISTS', base .. 'foreign') == 0 then return end  -- who has none needs no right to this
    local templates, cursor, page = {}, '0', nil
    for at, entry in ipairs(entries) do templates[at] = literals_of(entry[2]) end
    local function fits(key)
      for _, literals in ipairs(templates) do
        if has_all(key, literals) then return true end
      end
      return false
    end
    repeat
      cursor, page = unpack(redis.call('SSCAN', base .. 'foreign', cursor, 'COUNT', 1000))
      for _, key in ipairs(page) do
        if key ~= WHOLE then call_with(key, fits(key)) end
      end
    until cursor == '0'
  end

  -- Keys that an application had before there was a contract stay its own, whichever contract has the template. Of other
  -- keys in this set another contract may have become the owner since.
  function share_foreign(theirs, mine, entries)
    each_of(theirs, entries, function(key, fits)
      if fits then redis.call('SADD', mine .. 'foreign', key) end
    end)
  end

  -- Of templates that a contract no longer had. Such a key may be anyone's by now. Where nothing says what it had, all stay.
  function forget_foreign(contract)
    local base, had = base_of(contract), {}
    for name, claim in pairs(claims_of(contract, true)) do add_each_once(had, entries_of(name, claim)) end
    add_each_once(had, all_owned(base))
    for _, member in ipairs(present_members(base)) do
      add_each_once(had, entries_in(redis.call('HGET', member .. 'position', 'orphaned') or '[]'))
    end
    each_of(base, had, function(key, fits)
      if #had > 0 and not fits then redis.call('SREM', base .. 'foreign', key) end
    end)
  end
end

-- keys: lease, position. args: protocol, lease, lease ttl ms, template, word, key, ... Notes keys. Word: "more"; "done"
-- where those were the last; "adopt": the contract may have them all the same; "allow": a person said that keys without a
-- document may go, so that nothing need be known of them.
-- Replies {'ok'}, {'known'} where the keys were checked before, or what `fenced` says.
local function note_foreign(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  local foreign, name, contract = family(keys[1]) .. 'foreign', 'key ' .. args[4], contract_of(keys[1])
  local claim = claim_named(name)
  if args[5] == 'adopt' or args[5] == 'allow' then
    if args[5] == 'adopt' then redis.call('DEL', foreign) end
    if has_noted(contract) then redis.call('SADD', foreign, WHOLE) end
  elseif not claim or not claim.new then
    return {'known'}
  elseif #args > 5 then
    if not has_lost_foreign(contract) then redis.call('SADD', foreign, WHOLE) end
    call_in_parts('SADD', foreign, args, 6, #args)
    redis.call('HSET', keys[2], 'noted', '1')
    claim.noted = true
  end
  if claim and (claim.new or claim.noted) then
    if args[5] ~= 'more' then claim.new = nil end
    redis.call('HSET', CLAIMS, name, cjson.encode(claim))
  end
  return {'ok'}
end

redis.register_function{function_name = 'syncd_foreign', callback = note_foreign, flags = {'allow-oom'}}
