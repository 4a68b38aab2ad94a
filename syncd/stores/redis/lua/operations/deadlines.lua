-- Members that expire. Beside the map of a projection stands a sorted set, its deadlines: _id -> the epoch ms at which a
-- document is a member of nothing any more, written in the call that makes it one. By Redis's clock, as keys expire.
-- Where a document has no deadline, it has no entry. WHOLE_MAP stands there as in the map.

do
  -- Members that leave in one step, at most, but for those of one document.
  local MOST_DUE = 2000

  local function milliseconds()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
  end

  -- All that a document is a member of until a moment. deadlines, epoch ms or 0, operands of `ma`
  operations.mx = {
    keyless = true,
    width = function(args, i) return 2 + operations.ma.width(args, i + 2) end,
    refuses = function(args, i, keys, also) return operations.ma.refuses(args, i + 2, keys, also) end,
    write = function(key, args, i, last, found, keys)
      local deadlines, at, id = args[i], args[i + 1], args[i + 3]
      keys.now = keys.now or milliseconds()
      if at ~= '0' and tonumber(at) <= keys.now then
        redis.call('ZREM', deadlines, id)
        return operations.ml.write(key, args, i + 2, last, found, keys)
      end
      local problem = operations.ma.write(key, args, i + 2, last, found, keys)
      if problem then return problem end
      if at == '0' then redis.call('ZREM', deadlines, id) else redis.call('ZADD', deadlines, at, id) end
    end,
  }

  -- A document has no deadline any more. deadlines, _id
  operations.mz = {keyless = true, width = fixed(2), write = function(_, args, i)
    redis.call('ZREM', args[i], args[i + 1])
  end}

  -- All deadlines are there. deadlines
  operations.mo = {keyless = true, width = fixed(1), write = function(_, args, i)
    redis.call('ZADD', args[i], 'inf', WHOLE_MAP)
  end}

  -- keys: lease, position. args: protocol, lease, map, deadlines, how many documents at most. Documents whose deadline has
  -- passed are members of nothing any more. Replies {'ok', documents, members that were removed}.
  local function take_due(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local map, deadlines, count = args[3], args[4], 0
    begin_boards()
    removed = 0
    local due = redis.call('ZRANGE', deadlines, '-inf', milliseconds(), 'BYSCORE', 'LIMIT', 0, args[5])
    for _, id in ipairs(due) do
      local said = redis.call('HGET', map, id)
      if said then leave(memberships(said), {}, map, id) end
      redis.call('HDEL', map, id)
      redis.call('ZREM', deadlines, id)
      count = count + 1
      if removed > MOST_DUE then break end
    end
    return {'ok', count, removed}
  end

  redis.register_function{function_name = 'syncd_take_due', callback = take_due, flags = {'allow-oom', 'allow-cross-slot-keys'}}
end
