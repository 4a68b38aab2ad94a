-- Copies of some documents, by a filter: a hash for each lane with id, where, since, by; after (behind which `_id` it goes
-- on), copied; and error, where it ended before its end.

do
  -- keys: partial copy, ... of each lane. args: protocol, id, where, since, by. For people: no lease.
  -- Replies {'ok'}, or {'busy'} where one is under way.
  local function ask_partial(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    for _, key in ipairs(keys) do
      if redis.call('EXISTS', key) == 1 and redis.call('HEXISTS', key, 'error') == 0 then return {'busy'} end
    end
    for _, key in ipairs(keys) do
      redis.call('DEL', key)
      redis.call('HSET', key, 'id', args[2], 'where', args[3], 'since', args[4], 'by', args[5])
    end
    return {'ok'}
  end

  -- keys: lease, position, partial copy. args: protocol, lease, id, after, copied, "" or "done" or why it has ended.
  -- Notes how far a copy is; it is another one's where the id is another. Replies {'ok'} or what `fenced` says.
  local function partial(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    if redis.call('HGET', keys[3], 'id') ~= args[3] then return {'ok'} end
    if args[6] == 'done' then
      redis.call('DEL', keys[3])
    elseif args[6] ~= '' then
      redis.call('HSET', keys[3], 'error', args[6])
    else
      redis.call('HSET', keys[3], 'after', args[4], 'copied', args[5])
    end
    return {'ok'}
  end

  redis.register_function{function_name = 'syncd_ask_partial', callback = ask_partial, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_partial', callback = partial, flags = {'allow-oom'}}
end
