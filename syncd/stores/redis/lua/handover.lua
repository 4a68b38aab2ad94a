-- With its lease a contract takes its claims, from other contracts where they stand in the way, see claims.lua; and its
-- position learns what follows from that.

-- What a position keeps when it has to begin again: numbers that must not come twice, and what the contract wrote.
local LASTING = {
  epoch = true, owned = true, noted = true, layout = true, next = true, floor = true, removed = true, draw = true,
  version = true, kind = true, claimed = true, orphaned = true,
}
local OF_BASE = {synced = true, marks = true}

-- Forget what a position, and the memory of what was synced, say of keys. The next run copies, or compares everything.
-- A base that both sides had in common stays one as long as no other contract had the keys.
local function void(position, base, has_base)
  local fields = redis.call('HGETALL', position)
  for at = 1, #fields, 2 do
    if not LASTING[fields[at]] and not (has_base and OF_BASE[fields[at]]) then redis.call('HDEL', position, fields[at]) end
  end
  if not has_base then redis.call('DEL', base .. 'synced', base .. 'marks') end
end

-- What keys of a claim are, or were before, without what another claim of the record is about: entries of `owned`. Of those
-- that the taker removes the maps go along, for they say which keys there are.
local function hand_over_entries(name, claim, taken, wish, mine)
  local entries = without(entries_of(name, claim), function(entry)
    local other = 'key ' .. entry[2]
    return other ~= name and (taken[other] or redis.call('HEXISTS', CLAIMS, other) == 1)
  end)
  local theirs = base_of(claim.contract)
  for _, entry in ipairs(wish.kind == 'mongo' and claim.kind == 'mongo' and entries or {}) do
    hand_over_maps(entry[2], entry[1], entry[1], theirs, mine)
    if has_members{type = entry[3]} then hand_over_members(entry[2], {projection = entry[1]}, nil, theirs, mine) end
  end
  return entries
end

-- Take from others what stands in the way. Adds to `handed`; returns what keys of each of our claims may be by those that
-- met it, which claims are the same as one that was taken, mapped to whether that was new, and whether the record of foreign
-- keys of one of these contracts is lost.
local function take_from_others(wish, base, wanted, handed)
  local was, same, taken, is_lost = {}, {}, {}, false
  for _, pair in ipairs(wish.taken) do taken[pair[1]] = true end
  for _, pair in ipairs(wish.taken) do
    local name, own = pair[1], pair[2]
    local claim = claim_named(name)
    if claim then
      is_lost = is_lost or has_lost_foreign(claim.contract)
      share_foreign(base_of(claim.contract), base, entries_of(name, claim))
      local entries = leave_the_rest(name, claim, wish, own)
      if not entries then
        hand_over(name, claim, wanted[name], base, wish.kind)
        if wanted[name] then same[name] = {new = claim.new} end
        entries = claim.pattern ~= '' and hand_over_entries(name, claim, taken, wish, base) or {}
      end
      if #entries > 0 then was[own] = add_each_once(was[own] or {}, entries) end
      redis.call('HDEL', CLAIMS, name)
      handed[#handed + 1] = name; handed[#handed + 1] = claim.contract
    end
  end
  return was, same, is_lost
end

-- Whether a claim, as it is written, does not say what it should.
local function is_other(before, claim, kind, draw)
  return not before or before.draw ~= draw or before.kind ~= kind or before.projection ~= claim.projection
    or before.type ~= claim.type
end

-- Whether a contract has no claim yet of some that it wants, or another one has it.
local function gains(contract, wish)
  for _, claim in ipairs(wish.claims) do
    local before = claim_named(claim.name)
    if not before or before.contract ~= contract then return true end
  end
  return false
end

-- The names of claims whose keys other contracts no longer have to remove: those that a contract wants, and, where it removes
-- them itself, what came to it with claims that it took.
local function passed(wish, wanted, taken)
  local names = {}
  for name in pairs(wanted) do names[name] = true end
  for _, was in pairs(wish.kind == 'mongo' and taken or {}) do
    for _, entry in ipairs(was) do names['key ' .. entry[2]] = true end
  end
  return names
end

-- Take the claims of `wish` for a contract. Returns the claims that were taken from others, as {name, contract, ...},
-- the latest `since` of its claims, what keys of them may be by what was claimed before, and whether no other contract is
-- known to have had any.
local function take_claims(contract, wish, draw, is_old)
  local handed, wanted, latest, inherited = {}, {}, 0, {}
  -- Where the record is gone, numbers go on above all that it can have given: milliseconds, for JSON has 14 digits here.
  local now = redis.call('TIME')
  local version = wish.seen == '0' and now[1] * 1000 + math.floor(now[2] / 1000) or tonumber(wish.seen) + 1
  for _, claim in ipairs(wish.claims) do wanted[claim.name] = claim end
  local base, is_lost, is_gain = base_of(contract), has_lost_foreign(contract), #wish.taken > 0 or gains(contract, wish)
  if is_gain then forget_foreign(contract) end
  local taken, same, is_theirs_lost = take_from_others(wish, base, wanted, handed)
  local told, is_told_lost = {}, false
  if is_gain and wish.kind == 'mongo' then told, is_told_lost = take_from_positions(contract, wanted, same, base) end
  for name, entries in pairs(told) do taken[name] = add_each_once(taken[name] or {}, entries) end
  local is_noted = check_foreign(base, is_lost or is_theirs_lost or is_told_lost) or nil
  local changed, is_own = #handed > 0 or #wish.dropped > 0, #handed == 0
  for _, name in ipairs(wish.dropped) do free_claim(name) end
  changed = claim_again(contract, wish, wanted, draw, version) or changed
  if is_gain then disown_others(contract, passed(wish, wanted, taken)) end
  for _, claim in ipairs(wish.claims) do
    local before = claim_named(claim.name)
    local was = before and before.was or {}
    if before and is_other(before, claim, wish.kind, before.draw) then was = entries_of(claim.name, before) end
    was = add_each_once(was, taken[claim.name] or {})
    if claim.pattern ~= '' then add_each_once(inherited, was) end
    is_own = is_own and before ~= nil and before.contract == contract
    local is_new = nil
    if before then
      is_new = before.new
    elseif same[claim.name] then
      is_new = same[claim.name].new
    else
      local is_known = told[claim.name] or has_owned(base, claim.name:sub(5))
      is_new = wish.kind == 'mongo' and claim.pattern ~= '' and not is_known
    end
    if before and before.free then before = nil end
    -- A position that was stored before there were claims goes on, unless another contract had the keys.
    local since = before and before.since or (is_old and #handed == 0) and 0 or version
    if is_other(before, claim, wish.kind, draw) or before.noted ~= is_noted then
      changed = changed or not before
      redis.call('HSET', CLAIMS, claim.name, cjson.encode{
        contract = contract, kind = wish.kind, draw = draw, since = since, projection = claim.projection,
        type = claim.type, by_id = claim.by_id, pattern = claim.pattern, was = #was > 0 and was or nil, new = is_new or nil,
        noted = is_noted, fields = claim.fields and claim.fields[1] and claim.fields or nil,
      })
    end
    if claim.pattern ~= '' and since > latest then latest = since end
  end
  if changed then redis.call('HSET', CLAIMS, 'version', version) end
  return handed, latest, inherited, is_own
end

-- Another direction, or a template that was another's meanwhile: what the position says is of no use any more.
local function adjust_position(position, base, wish, latest, inherited, is_own)
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
  -- Of a position that was evicted, also before the lane that began again had stored what it writes.
  local is_lost = not said[3] or said[3] == '[]'
  if wish.kind ~= 'mongo' then
    local names = {}
    for _, claim in ipairs(wish.claims) do names[claim.name] = true end
    disown(contract_of(position), is_of(names))
  elseif turned or gained or is_lost then
    add_owned(position, inherited)
  end
  if wish.kind == 'mongo' and is_lost then add_owned(position, owned_before(contract_of(position), wish)) end
end
