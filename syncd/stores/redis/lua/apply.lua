-- `syncd_apply`: the writes of one batch of changes, and the position behind them, in one step.

-- Whether the contract keeps no more dead letters than it has.
local function dead_letters_are_full(noted, keys)
  if not noted.keep then return false end
  local more = 0
  for _ in pairs(noted.new) do more = more + 1 end
  for name in pairs(noted.gone) do
    if not noted.known[name] then more = more - 1 end
  end
  return is_full(keys[3], noted.keep, more)
end

-- Whether a sweep is under way, and it is not known any more which keys are an application's, see foreign.lua.
local function sweeps_blindly(keys)
  local phase = redis.call('HGET', keys[2], 'phase')
  return (phase == 'sweep' or phase == 'digest') and has_lost_foreign(contract_of(keys[1]))
end

local function none_exists(keys)
  local is_one = place ~= ''  -- of keys in several slots, a command takes one
  for start = 5, is_one and #keys or 0 do
    if redis.call('EXISTS', keys[start]) > 0 then return false end
  end
  if is_one then return true end
  for start = 5, #keys, MAX_UNPACK do
    if redis.call('EXISTS', unpack(keys, start, math.min(start + MAX_UNPACK - 1, #keys))) > 0 then return false end
  end
  return true
end

-- Why an operation cannot be done as it is; `also` are types that a whole write may replace, but for an application's keys.
local function refusal(operation, keys, key, found, wanted, also, any_stale)
  local stale = operation.partial
    and (is_foreign_key(key) or (any_stale and redis.call('SISMEMBER', keys[4], key) == 1))
  if found == 'none' or stale then return operation.partial and 'absent' end
  local is_replaced = also[found] and not operation.partial and not operation.stays and not is_foreign_key(key)
  if found == wanted or is_replaced then return nil end
  return not (operation.spares and operation.spares(keys, key)) and 'type ' .. key
end

-- First pass, no writes: which operations cannot be done as they are? Also returns the type of every key.
local function refusals(all, keys, args, i, also)
  local refused, at, count, types = {}, 5, 0, {}
  local noted, first_dead_letter = {new = {}, known = {}, gone = {}}, nil
  local any_stale = redis.call('EXISTS', keys[4]) == 1
  -- A copy into an empty Redis and a run of inserts meet no key at all, and one question shows that.
  local first = all[args[args[i] == 'c' and i + 1 + operations.c.width(args, i + 1) or i]]
  local nothing, is_blind = first and first.whole and none_exists(keys), nil
  while i <= #args do
    local operation, last = all[args[i]], nil
    i, last = i + 1, i + operation.width(args, i + 1)
    if operation.removes and is_blind == nil then is_blind = sweeps_blindly(keys) end
    if operation.removes and is_blind then return {count, 'lost'} end
    if nothing and operation.whole then
      at = at + 1
    elseif operation.note then
      first_dead_letter = first_dead_letter or count
      operation.note(noted, args, i, last, keys)
    elseif operation.refuses then
      local why = operation.refuses(args, i, keys, also)
      if why then refused[#refused + 1] = count; refused[#refused + 1] = why end
    elseif not operation.keyless then
      if not operation.any then
        local found = nothing and 'none' or redis.call('TYPE', keys[at]).ok
        types[at] = found
        local why = refusal(operation, keys, keys[at], found, operation.needs or args[i], also, any_stale)
        if why then refused[#refused + 1] = count; refused[#refused + 1] = why end
      end
      at = at + 1
    end
    i, count = last + 1, count + 1
  end
  if dead_letters_are_full(noted, keys) then refused = {first_dead_letter, 'full'} end
  return refused, types, any_stale
end

-- Second pass: everything. Appends number and error of what fails to `problems`.
local function write_all(all, keys, args, i, types, any_stale, problems)
  local at, count, written, skip = 5, 0, {}, false
  while i <= #args do
    local operation, key, found, last = all[args[i]], nil, nil, nil
    i, last = i + 1, i + operation.width(args, i + 1)
    keys.at = at
    if not operation.keyless then
      key = keys[at]
      found = written[key] or types[at] or 'none'
      at = at + 1
    end
    -- Everything but these can be written a second time, and a dead letter that is removed too early is lost.
    if skip or ((operation.note or operation.once) and #problems > 1) then
      skip = false
    else
      local problem
      problem, skip = operation.write(key, args, i, last, found, keys)
      if problem and is_elsewhere(problem) then error{err = problem} end
      if problem then problems[#problems + 1] = count; problems[#problems + 1] = problem end
      if operation.needs then written[key] = operation.needs end
      if key and not operation.any and not problem then
        if foreign_keys and operation.needs then redis.call('SREM', foreign_keys, key) end
        if any_stale then redis.call('SREM', keys[4], key) end
      end
    end
    i, count = last + 1, count + 1
  end
end

-- Whether "seconds:increment" is later than another.
local function is_later(one, other)
  local seconds, increment = one:match('^(%d+):(%d+)$')
  local since, behind = other:match('^(%d+):(%d+)$')
  if seconds == since then return tonumber(increment) > tonumber(behind) end
  return tonumber(seconds) > tonumber(since)
end

-- A part of a call is written, and the position stays: if the call is not repeated, the next run has to know how late the
-- states are that may show. The field `mark` holds the read watermark.
local function keep_read_watermark(keys, args, first)
  local said = {}
  for at = 8, first - 1, 2 do said[args[at]] = args[at + 1] end
  if said.time and said.mark then
    redis.call('HSET', keys[2], 'mark', is_later(said.time, said.mark) and said.time or said.mark)
  end
end

-- args: protocol, lease, lease ttl ms, further types that may be replaced ("" or "hash,string"),
--       rows ("" or JSON: [{whole, ttl, names, removed}, ...]), number of the call before ("0": none since the lease),
--       n, position field, value, ..., operations
-- Replies {'ok', dead letters that were dropped for new ones, keys that were removed, keys that held what they should,
-- entries that did not get the id of their change, changes that need no entry of a feed}; {'behind'}: the call before was
-- not applied, so nothing was written; {'refused', index, reason, ...}: nothing was written, by `absent`, `type KEY`, of a
-- dead letter `full`, or `lost`; {'failed', index, error, ...}: the position was not moved, everything else
-- can be written again; {'fenced', word, holder}; {'version', n}. An error of Redis's own, as for a command without the
-- right to it, may leave a part written as well.
local function apply(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  if redis.call('EXISTS', CLAIMS) == 0 then return {'fenced', 'claims', ''} end
  if (redis.call('HGET', keys[2], 'call') or '0') ~= args[6] then return {'behind'} end
  local also = {}
  for name in args[4]:gmatch('[^,]+') do also[name] = true end
  local all, first = with_rows(args[5]), 8 + args[7]
  foreign_keys = family(keys[1]) .. 'foreign'
  local noted = redis.call('SCARD', foreign_keys)
  if noted == 0 or (noted == 1 and is_whole(family(keys[1]))) then foreign_keys = nil end
  local refused, types, any_stale = refusals(all, keys, args, first, also)
  if #refused > 0 then
    table.insert(refused, 1, 'refused')
    return refused
  end
  local problems, done, raised = {'failed'}, nil, nil
  dropped, removed, kept = 0, 0, 0
  begin_feeds()
  begin_boards()
  done, raised = pcall(write_all, all, keys, args, first, types, any_stale, problems)
  finish_feeds(keys[2])
  finish_boards(family(keys[1]))
  if not done or #problems > 1 then
    keep_read_watermark(keys, args, first)
    if done then return problems end
    return type(raised) == 'table' and raised or redis.error_reply('ERR ' .. tostring(raised))
  end
  if first > 8 then redis.call('HSET', keys[2], unpack(args, 8, first - 1)) end
  redis.call('PEXPIRE', keys[1], args[3])
  return {'ok', dropped, removed, kept, shifted, unsaid}
end

-- The same on a node of a cluster: args end with the keys of the operations, and how many these are, because a function
-- may declare keys of one slot alone.
local function apply_on_node(keys, args)
  local count = args[#args]
  local first = #args - 1 - count
  for at = 1, count do keys[4 + at] = args[first + at] end
  for at = #args, first + 1, -1 do args[at] = nil end
  return apply(keys, args)
end

redis.register_function('syncd_apply', apply)
redis.register_function{function_name = 'syncd_apply_on_node', callback = apply_on_node, flags = {'allow-cross-slot-keys'}}
