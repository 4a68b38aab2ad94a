-- What goes from one contract to another with a template or an index: maps of keys and members, and what is left of contracts
-- that are gone. See handover.lua.

local function rename_over(old, new)
  if redis.call('EXISTS', old) == 1 then redis.call('RENAME', old, new) end
end

-- Of what documents are members, and until when, goes to the one that takes the keys, which then removes what is not its own.
local function hand_over_members(template, claim, wanted, theirs, mine)
  local projection = wanted and has_members(wanted) and wanted.projection or claim.projection
  for _, map in ipairs{'members:', 'deadlines:'} do
    rename_over(theirs .. map .. claim.projection .. ':' .. template, mine .. map .. projection .. ':' .. template)
  end
  redis.call('HDEL', mine .. 'members:' .. projection .. ':' .. template, WHOLE_MAP)
end

local function hand_over_maps(template, theirs_called, mine_called, theirs, mine)
  for _, map in ipairs{'keys:', 'owners:'} do
    rename_over(theirs .. map .. theirs_called .. ':' .. template, mine .. map .. mine_called .. ':' .. template)
  end
end

-- The maps of a template, and the record of an index, go along with the claim.
local function hand_over(name, claim, wanted, mine, kind)
  local theirs = base_of(claim.contract)
  if name:sub(1, 4) == 'key ' and claim.kind == kind and has_members(claim) then
    hand_over_members(name:sub(5), claim, wanted, theirs, mine)
  end
  -- What the readers of a stream know goes with the stream.
  if wanted and name:sub(1, 4) == 'key ' then
    rename_over(theirs .. 'matched:' .. name:sub(5), mine .. 'matched:' .. name:sub(5))
  end
  if name:sub(1, 6) == 'index ' then
    local alias = name:sub(7)
    local serving = redis.call('HGET', theirs .. 'indexes', 'serving:' .. alias)
    if serving then redis.call('HSET', mine .. 'indexes', 'serving:' .. alias, serving) end
    redis.call('HDEL', theirs .. 'indexes', 'serving:' .. alias)
  elseif wanted and not claim.by_id then
    hand_over_maps(name:sub(5), claim.projection, wanted.projection, theirs, mine)
  end
end

local leave_the_rest, take_from_positions

do
  -- The text of a template for these fields of its hash alone, as plan and records have it.
  local function text_for(template, fields, is_wanted)
    local base, said, names, at = template:match('^(.*{=)'), template:match('{=([^{}]*)}$'), {}, 0
    for name in said:gmatch('[^,]+') do
      at = at + 1
      if is_wanted(fields[at]) then names[#names + 1] = name end
    end
    return #names > 0 and base .. table.concat(names, ',') .. '}' or nil
  end

  local function rename_entries(entries, before, now)
    for _, entry in ipairs(entries) do
      if entry[2] == before then entry[2] = now end
    end
    return entries
  end

  -- What the positions of a contract, and its layout, say that it wrote.
  local function rename_owned(base, before, now)
    for at, member in ipairs(present_members(base)) do
      for record, field in pairs{[member .. 'position'] = 'owned', [base .. 'layout'] = 'owned:' .. at} do
        local said = redis.call('HGET', record, field)
        local entries = said and rename_entries(entries_in(said), before, now) or {}
        if #entries > 0 then redis.call('HSET', record, field, cjson.encode(entries)) end
      end
    end
  end

  -- Of a hash that contracts share, and one that has left, a contract takes only the fields that it names: no person has agreed
  -- that the others go. They stay with the contract that left, which `syncd orphans` shows. Returns what keys of the taken
  -- fields were, as entries of `owned`; nil where all goes along.
  function leave_the_rest(name, claim, wish, own)
    local left, mine = redis.call('HGET', CONTRACTS, claim.contract), {}
    if not (claim.free and claim.fields and left and cjson.decode(left).left) then return nil end
    for _, wanted in ipairs(wish.claims) do
      if wanted.name == own and not (wanted.fields and wanted.fields[1]) then return nil end
      if wanted.name:match('^(.*){=') == name:match('^(.*){=') then
        for _, field in ipairs(wanted.fields) do mine[field] = true end
      end
    end
    local before, base = name:sub(5), base_of(claim.contract)
    local rest = text_for(before, claim.fields, function(field) return not mine[field] end)
    local taken = text_for(before, claim.fields, function(field) return mine[field] end)
    if not rest or not taken or redis.call('HEXISTS', CLAIMS, 'key ' .. rest) == 1 then return nil end
    for _, entry in ipairs(entries_of(name, claim)) do
      for _, map in ipairs{'members:', 'deadlines:'} do
        rename_over(base .. map .. entry[1] .. ':' .. before, base .. map .. entry[1] .. ':' .. rest)
      end
    end
    rename_owned(base, before, rest)
    local fields = without(claim.fields, function(field) return mine[field] end)
    local was = claim.was and rename_entries(claim.was, before, rest)
    claim.fields, claim.was = fields, was
    redis.call('HSET', CLAIMS, 'key ' .. rest, cjson.encode(claim))
    return {{claim.projection, taken, claim.type}}
  end

  -- Of templates that no claim is about: the record was evicted, or a contract to MongoDB took a part of a template. What
  -- contracts that no daemon works on say that they wrote there goes along as with a claim. `same`: claims that were taken.
  -- Returns entries of `owned` by the name of the claim, and whether the record of foreign keys of one of them is lost.
  function take_from_positions(contract, wanted, same, mine)
    local found, is_lost, known = {}, false, redis.call('HGETALL', CONTRACTS)
    for at = 1, #known, 2 do
      local other, entries = known[at], {}
      local is_idle = other ~= contract and other:sub(1, 4) ~= 'set ' and not holder_of(other)
      local theirs = base_of(other)
      for _, entry in ipairs(is_idle and all_owned(theirs) or {}) do
        local claim = wanted['key ' .. entry[2]]
        if claim and not same[claim.name] and redis.call('HEXISTS', CLAIMS, claim.name) == 0 then
          entries[#entries + 1] = entry
          found[claim.name] = add_each_once(found[claim.name] or {}, {entry})
          hand_over_maps(entry[2], entry[1], claim.projection, theirs, mine)
          if has_members{type = entry[3]} then hand_over_members(entry[2], {projection = entry[1]}, claim, theirs, mine) end
        end
      end
      if #entries > 0 then
        is_lost = is_lost or has_lost_foreign(other)
        share_foreign(theirs, mine, entries)
      end
    end
    return found, is_lost
  end
end
