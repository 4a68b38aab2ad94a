-- In a cluster: what a lane changes in the records of a node when slots have moved; keys of several slots, which cannot
-- be declared, so that they come behind the arguments.

do
  -- keys: lease, position. args: protocol, lease, then of each command how many words it has, and these. Replies {'ok'} or
  -- what `fenced` says. A daemon that lost its lease moves no record.
  local function carry(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local at = 3
    while at <= #args do
      redis.call(unpack(args, at + 1, at + args[at]))
      at = at + args[at] + 1
    end
    return {'ok'}
  end

  -- keys: lease, position. args: protocol, lease. Of one partition of several: no other has a lease here, nor gets one, as
  -- long as this one has its own, or until it says that it is done. So records of the contract are one lane's alone.
  -- Replies {'ok'} or what `fenced` says.
  local function alone(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local base = family(keys[1])
    for _, member in ipairs(present_members(base)) do
      if member .. 'lease' ~= keys[1] then redis.call('DEL', member .. 'lease') end
    end
    redis.call('HSET', base .. 'layout', 'mover', keys[1] .. ' ' .. args[2])
    return {'ok'}
  end

  -- keys: lease, position. args: protocol, lease, map, owners, then of each key that came to this node, it, its entry in
  -- `owners`, and "1" where its document had it by the map. Where the document has another key here by now, the later state
  -- has its own. Replies {'ok', key, ...}: those that have to wait, because that other key is on its way from here itself;
  -- or what `fenced` says.
  local function bring(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local map, owners, reply = args[3], args[4], {'ok'}
    foreign_keys = family(keys[1]) .. 'foreign'
    for at = 5, #args, 3 do
      local key, said, id = args[at], args[at + 1], args[at + 1]:sub(TIME + 2)
      local other, time, _ = redis.call('HGET', map, id), '', nil
      if other and other ~= key then _, time = owner_of(owners, other) end
      if args[at + 2] ~= '1' then
        redis.call('HSETNX', owners, key, said)
      elseif other and failed(redis.pcall('EXISTS', other)) then
        reply[#reply + 1] = key
      elseif (time or '') > said:sub(1, TIME) then
        remove(key)
      else
        release(map, owners, id, key)
        redis.call('HSET', map, id, key)
        redis.call('HSET', owners, key, said)
      end
    end
    return reply
  end

  -- keys: lease, position. args: protocol, lease, synced, "1" where no server has lost anything since this was said, then
  -- of each key that came to this node, it and what was last synced of it. Of a key that is not there that is kept
  -- only in the first case: then it went, and for a reason. Replies {'ok', how many were left out} or what `fenced` says.
  local function bring_synced(keys, args)
    local stop, left_out = fenced(keys, args), 0
    if stop then return stop end
    for at = 5, #args, 2 do
      if args[4] == '1' or redis.call('EXISTS', args[at]) == 1 then
        redis.call('HSETNX', args[3], args[at], args[at + 1])
      else
        left_out = left_out + 1
      end
    end
    return {'ok', left_out}
  end

  local function apart(keys, args, first)
    local named, said = {unpack(keys)}, {unpack(args, 1, first - 1)}
    for at = first, #args do named[#named + 1] = args[at] end
    return named, said
  end

  -- The same as `read_state` and `check_state`, with the keys behind the arguments.
  local function read_on_node(keys, args) return read_state(apart(keys, args, 7)) end
  local function check_on_node(keys, args) return check_state(apart(keys, args, 4)) end

  local ANY_SLOT = {'allow-oom', 'allow-cross-slot-keys'}
  redis.register_function('syncd_carry', carry)
  redis.register_function{function_name = 'syncd_alone', callback = alone, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_bring_synced', callback = bring_synced, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_read_state_on_node', callback = read_on_node, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_look_state_on_node', callback = check_on_node, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_bring', callback = bring, flags = {'allow-cross-slot-keys'}}
end
