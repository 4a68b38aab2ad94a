-- The lease of a lane, the layout of a contract, and what people do with positions and dead letters.

-- The present time, as text: a number would be rounded.
local function microseconds()
  local time = redis.call('TIME')
  return time[1] .. ('%06d'):format(time[2])
end

-- The keys of all partitions of a layout.
local function members(base, count)
  if count == 1 then return {base} end
  local found = {}
  for at = 1, count do found[at] = base .. at .. 'of' .. count .. ':' end
  return found
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

-- args: protocol, owner, ttl ms, number of the partition, how many there are, leases that are known to be dead, ...
-- Replies {'held', "owner:epoch", partitions before}, {'busy', holder} or, while a lease of another layout lives,
-- {'layout', holder, partitions now}.
local function lease(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  local base, at, count, dead = family(keys[1]), args[4], tonumber(args[5]), {}
  for i = 6, #args do dead[args[i]] = true end
  local now = redis.call('HGET', base .. 'layout', 'now')
  local present = now and tonumber(now:match('^%d+')) or 1
  local before = present
  if present ~= count then
    -- The very first daemon changes nothing.
    if not now and redis.call('EXISTS', base .. 'position') == 0 then before = count end
    for _, member in ipairs(members(base, present)) do
      local holder = redis.call('GET', member .. 'lease')
      if holder and not dead[holder] then return {'layout', holder, tostring(present)} end
    end
    now = divide(base, present, count)
  end
  local held = redis.call('GET', keys[1])
  if held and not dead[held] and held:match('^(.*):%d+$') ~= args[2] then
    return {'busy', held}
  end
  if now and redis.call('HGET', keys[2], 'layout') ~= now then begin(keys[2], base, at, now) end
  -- An epoch must not come twice, or a call that was on its way through a FLUSHALL would pass: the first is the time.
  if redis.call('HEXISTS', keys[2], 'epoch') == 0 then redis.call('HSET', keys[2], 'epoch', microseconds()) end
  redis.call('HINCRBY', keys[2], 'epoch', 1)
  redis.call('HDEL', keys[2], 'call')
  -- Its reply is a double here, and would be rounded as text.
  local mine = args[2] .. ':' .. redis.call('HGET', keys[2], 'epoch')
  redis.call('SET', keys[1], mine, 'PX', args[3])
  return {'held', mine, tostring(before)}
end

-- args: protocol, lease, ttl ms. Replies {'ok'} or what `fenced` says.
local function renew(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  return {'ok'}
end

-- args: protocol, lease. Gives the lease back.
local function release_lease(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('DEL', keys[1])
  return {'ok'}
end

-- args: protocol, lease, what the next start does: "sweep" (copy anew, remove ghosts), "keep" (copy anew, remove
-- nothing) or "pause" (wait for a person). Forgets the position; keeps epoch and what the contract owns.
local function forget(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('HDEL', keys[2], 'token', 'phase')
  redis.call('HSET', keys[2], 'next', args[3])
  return {'ok'}
end

-- keys: dead letters, letters. args: protocol, entry, ... Replies {'ok', how many there were}. For people: no lease.
local function drop(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  return {'ok', settle(keys[1], keys[2], args, 2, #args)}
end

-- A full memory must not take the lease from a healthy daemon: these may run then.
redis.register_function{function_name = 'syncd_lease', callback = lease, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_renew', callback = renew, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_release', callback = release_lease, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_forget', callback = forget, flags = {'allow-oom'}}
redis.register_function{function_name = 'syncd_drop', callback = drop, flags = {'allow-oom'}}
