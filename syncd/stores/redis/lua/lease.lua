-- The lease of a lane, the layout of a contract, and what people do with positions and dead letters.

-- The present time, as text: a number would be rounded.
local function microseconds()
  local time = redis.call('TIME')
  return time[1] .. ('%06d'):format(time[2])
end

-- What the new partitions have to know of the old: everything that the contract may have written, and whether a
-- person, or a collection that went, has a say in the next snapshot.
local function legacy(base, old)
  local owned, seen, next = {}, {}, 'sweep'
  local function take(said, wish)
    for _, entry in ipairs(said and cjson.decode(said) or {}) do
      local text = cjson.encode(entry)
      if not seen[text] then seen[text] = true; owned[#owned + 1] = text end
    end
    if wish == 'pause' or (wish == 'keep' and next == 'sweep') then next = wish end
  end
  for at, member in ipairs(old) do
    local position = redis.call('HMGET', member .. 'position', 'owned', 'next')
    take(position[1], position[2])
    local heir = redis.call('HMGET', base .. 'layout', 'owned:' .. at, 'next:' .. at)
    take(heir[1], heir[2])
  end
  return '[' .. table.concat(owned, ',') .. ']', next
end

-- Another layout: the positions of the old one go, and each partition of the new begins with a snapshot.
local function divide(base, before, count)
  local old = members(base, before)
  local owned, next = legacy(base, old)
  for _, member in ipairs(old) do
    redis.call('DEL', member .. 'lease', member .. 'position', member .. 'requests')
  end
  local now = count .. ':' .. microseconds()
  redis.call('DEL', base .. 'layout')
  redis.call('HSET', base .. 'layout', 'now', now)
  for at = 1, count do
    redis.call('HSET', base .. 'layout', 'owned:' .. at, owned, 'next:' .. at, next)
  end
  return now
end

-- A position of another layout is forgotten. Epochs begin above all that any layout before can have given.
local function begin(position, base, at, now)
  local heir = redis.call('HMGET', base .. 'layout', 'owned:' .. at, 'next:' .. at)
  redis.call('HDEL', base .. 'layout', 'owned:' .. at, 'next:' .. at)
  redis.call('DEL', position)
  redis.call('HSET', position, 'layout', now, 'epoch', microseconds(), 'owned', heir[1] or '[]',
    'next', heir[2] or 'sweep')
end

-- The number that says how new the contract files of a daemon are: see claims.lua.
local function draw_of(position, wish)
  if wish.draw > 0 then return wish.draw end
  local said = redis.call('HMGET', position, 'version', 'draw')
  if said[1] == wish.version and said[2] then return tonumber(said[2]) end
  if redis.call('HEXISTS', CLAIMS, 'draws') == 0 then redis.call('HSET', CLAIMS, 'draws', redis.call('TIME')[1]) end
  return redis.call('HINCRBY', CLAIMS, 'draws', 1)
end

-- Whether a daemon with newer files of another content waits for this lease, see `wait_for`.
local function newer_waits(lease, draw, wish, ttl)
  shorten(lease .. ':waiting', ttl)
  local said = redis.call('GET', lease .. ':waiting') or '0 '
  local waiting, version = said:match('^(%d+) (.*)$')
  return tonumber(waiting) > draw and version ~= wish.version
end

local function wait_for(lease, draw, wish, ttl)
  if newer_waits(lease, draw, wish, ttl) then return end
  redis.call('SET', lease .. ':waiting', ('%d %s'):format(draw, wish.version), 'PX', ttl)
end

-- Whether what worked last had newer files of another content, and did not give its lease back: it may come again.
local function newer_worked(position, draw, wish)
  local said = redis.call('HMGET', position, 'draw', 'released', 'version')
  return tonumber(said[1] or '0') > draw and said[2] ~= '1' and said[3] ~= wish.version
end

-- Who holds a lease of another layout, and how many partitions that has.
local function other_layout(base, now, count, dead, ttl)
  local present = now and tonumber(now:match('^%d+')) or 1
  if present == count then return nil, present end
  for _, member in ipairs(members(base, present)) do
    local holder = redis.call('GET', member .. 'lease')
    if holder then shorten(member .. 'lease', ttl) end
    if holder and not dead[holder] then return holder, present end
  end
  return nil, present
end

-- The record of a person who has paused a contract, or that of the whole where it is for one collection of several; or nil.
local function paused(contract)
  return redis.call('GET', base_of(contract) .. 'paused') or redis.call('GET', base_of(contract:match('^[^@]*')) .. 'paused')
end

-- The lease of a lane that arranges records of all partitions, see `alone` in nodes.lua: the others get none until it has.
local function mover_of(base, lease)
  local name, value = (redis.call('HGET', base .. 'layout', 'mover') or ''):match('^(.-lease) (.*)$')
  return name and name ~= lease and redis.call('GET', name) == value and value
end

local MOST_EDITS = 10

-- The file of the contract as it is now, and where that is another one than before, an entry that says since when. `file`:
-- who wrote it, and when.
local function take_up(base, owner, text, file)
  if not text or text == '' then return end
  local before = redis.call('GET', base .. 'text')
  if before == text and redis.call('EXISTS', base .. 'edits') == 1 then return end
  local edit = {at = tonumber(redis.call('TIME')[1]), host = owner:match('^[^/]*'), text = text, file = file}
  redis.call('SET', base .. 'text', text)
  redis.call('LPUSH', base .. 'edits', cjson.encode(edit))
  redis.call('LTRIM', base .. 'edits', 0, MOST_EDITS - 1)
end

-- args: protocol, owner, ttl ms, number of the partition, how many there are, what the contract claims and how new its
-- files are, and its file (JSON, see claims.lua), leases that are known to be dead, ...
-- Replies, with the number that was drawn as the third value:
--   {'held', "owner:epoch", draw, partitions before, name of a claim, contract that had it, ...}
--   {'busy', holder, draw}; {'layout', holder, draw, partitions now}: a lease of another layout lives
--   {'moving', holder, draw}: the lane of another partition arranges the records of all
--   {'newer', '', draw}: a daemon with newer contract files waits, or worked and was not stopped in order
--   {'paused', '', draw}: a person has paused the contract
--   {'claimed', holder or '', draw, name of the claim, contract}; {'again', '', draw}: the claims have changed meanwhile
local function lease(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  be_at(keys[1])
  local base, at, count, dead = family(keys[1]), args[4], tonumber(args[5]), {}
  local wish = cjson.decode(args[6])
  for i = 7, #args do dead[args[i]] = true end
  local draw = draw_of(keys[2], wish)
  if paused(contract_of(keys[1])) then return {'paused', '', draw} end
  local now = redis.call('HGET', base .. 'layout', 'now')
  local holder, present = other_layout(base, now, count, dead, args[3])
  if holder then return {'layout', holder, draw, tostring(present)} end
  local mover = mover_of(base, keys[1])
  if mover and not dead[mover] then return {'moving', mover, draw} end
  local held = redis.call('GET', keys[1])
  if held and not dead[held] and held:match('^(.*):%d+$') ~= args[2] then
    wait_for(keys[1], draw, wish, args[3])
    shorten(keys[1], args[3])
    return {'busy', held, draw}
  end
  if newer_waits(keys[1], draw, wish, args[3]) or (newer_worked(keys[2], draw, wish) and not wish.force) then
    return {'newer', '', draw}
  end
  local refusal = claim_refusal(wish, draw, dead, args[3])
  if refusal then
    table.insert(refusal, 3, draw)
    return refusal
  end
  local before = present
  if present ~= count then
    -- The very first daemon changes nothing.
    if not now and redis.call('EXISTS', base .. 'position') == 0 then before = count end
    now = divide(base, present, count)
  end
  if now and redis.call('HGET', keys[2], 'layout') ~= now then begin(keys[2], base, at, now) end
  local is_old = redis.call('EXISTS', keys[2]) == 1 and redis.call('HEXISTS', keys[2], 'draw') == 0
  local handed, latest, inherited, is_own = take_claims(contract_of(keys[1]), wish, draw, is_old)
  adjust_position(keys[2], base, wish, latest, inherited, is_own)
  -- An epoch must not come twice, or a call that was on its way through a FLUSHALL would pass: the first is the time.
  if redis.call('HEXISTS', keys[2], 'epoch') == 0 then redis.call('HSET', keys[2], 'epoch', microseconds()) end
  redis.call('HINCRBY', keys[2], 'epoch', 1)
  redis.call('HDEL', keys[2], 'call', 'released')
  redis.call('HSET', keys[2], 'draw', draw, 'version', wish.version, 'kind', wish.kind, 'claimed', latest,
    'noted', has_noted(contract_of(keys[1])) and '1' or '')
  redis.call('DEL', keys[1] .. ':waiting')
  take_up(base, args[2], wish.text, wish.file)
  -- Its reply is a double here, and would be rounded as text.
  local mine = args[2] .. ':' .. redis.call('HGET', keys[2], 'epoch')
  redis.call('SET', keys[1], mine, 'PX', args[3])
  return {'held', mine, draw, tostring(before), unpack(handed)}
end

do
  -- args: protocol, lease, ttl ms, field of the position, the number there that Redis has confirmed, claim, ...
  -- Replies {'ok'} or what `fenced` says; 'claims' where one is not in the record any more: it was evicted or removed, and
  -- the lane has to claim again what it works on; {'lost'}: that number is less by now.
  local function renew(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    for at = 6, #args do
      if redis.call('HEXISTS', CLAIMS, args[at]) == 0 then return {'fenced', 'claims', ''} end
    end
    if tonumber(redis.call('HGET', keys[2], args[4]) or '0') < tonumber(args[5]) then return {'lost'} end
    redis.call('PEXPIRE', keys[1], args[3])
    return {'ok'}
  end

  -- args: protocol, lease, the file of the contract and who wrote it (JSON). Of a lane that goes on, because the edit means
  -- nothing to it. Replies {'ok'} or what `fenced` says.
  local function reword(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local said = cjson.decode(args[3])
    take_up(family(keys[1]), args[2], said.text, said.file)
    return {'ok'}
  end

  -- keys: lease. args: protocol, owner, the file of the contract and who wrote it (JSON). Of a lane that works without a
  -- lease. Replies {'ok'}.
  local function took_up(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    local said = cjson.decode(args[3])
    take_up(family(keys[1]), args[2], said.text, said.file)
    return {'ok'}
  end

  -- keys: lease, position, what is said. args: protocol, lease, lease ttl ms, what the lane says of itself.
  -- For those that stand by. A daemon that has stopped says nothing more, so it is forgotten soon. Replies {'ok'} or what
  -- `fenced` says.
  local function say(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    redis.call('SET', keys[3], args[2] .. ' ' .. args[4], 'PX', args[3])
    return {'ok'}
  end

  -- args: protocol, lease. Gives the lease back: a daemon with older contract files may go on.
  local function release_lease(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    redis.call('DEL', keys[1])
    redis.call('HSET', keys[2], 'released', '1')
    return {'ok'}
  end

  -- args: protocol, lease, what the next start does: "sweep" (copy again, remove orphans), "digest" (the same of what digests
  -- say; they know of no keys that a copy which has not ended was to remove), "keep" (copy again, remove nothing) or "pause"
  -- (wait for a person), "1" where the stream may go on all the same. Forgets the position; keeps epoch and
  -- what the contract owns.
  local function forget(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local position = redis.call('HMGET', keys[2], 'token', 'resume', 'phase', 'next')
    local resume = args[4] == '1' and ((position[1] or '') ~= '' and position[1] or position[2]) or ''
    local before = position[3] or position[4] == 'digest' and 'digest' or 'sweep'
    local is_open = args[3] == 'digest' and (before == 'snapshot' or before == 'sweep')
    redis.call('HDEL', keys[2], 'token', 'phase')
    redis.call('HSET', keys[2], 'next', is_open and 'sweep' or args[3], 'resume', resume)
    return {'ok'}
  end

  -- keys: dead letters, `letters`. args: protocol, entry, ... Replies {'ok', how many there were}. For people: no lease.
  local function drop(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    return {'ok', remove_dead_letters(keys[1], keys[2], args, 2, #args)}
  end

  -- A full memory must not take the lease from a healthy daemon: these may run then.
  redis.register_function{function_name = 'syncd_lease', callback = lease, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_renew', callback = renew, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_took_up', callback = took_up, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_reword', callback = reword, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_say', callback = say, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_release', callback = release_lease, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_forget', callback = forget, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_drop', callback = drop, flags = {'allow-oom'}}
end
