-- Both ways: writes to keys that are still what was read.

-- One key of `merge`: whether it is as it was read, and what Redis says against the change.
local function merge_key(keys, args, i, key, wanted)
  local expected, request, base, code = args[i], args[i + 1], args[i + 2], args[i + 3]
  local found, expires, content = read_key(key, wanted)
  local present = found ~= 'none' and digest(key, found, content, expires) or ''
  local last = i + 4 + args[i + 4]
  if present ~= expected then return last + 1, 0 end
  if code ~= '-' then
    local problem = operations[code].write(key, args, i + 5, last, found, keys)
    if problem then return last + 1, problem end
    found, expires, content = read_key(key, wanted)
    present = found ~= 'none' and digest(key, found, content, expires) or ''
  end
  if base == '' then
    redis.call('HDEL', keys[4], key)
  elseif base ~= '=' then
    redis.call('HSET', keys[4], key, present .. ' ' .. base)
  end
  if request ~= '' and tonumber(redis.call('ZSCORE', keys[3], key)) == tonumber(request) then
    redis.call('ZREM', keys[3], key)
  end
  return last + 1, 1
end

-- keys: lease, position, `marks`, synced, key, ...
-- args: protocol, lease, lease ttl ms, type, latest time of a read of MongoDB, then of each key its digest as it was read
--       ("" no key), its merge request or '', the new base ("" none, "=" as it is), and the operation as in `apply`, with
--       the number of its arguments before them ("-", 0 for none).
-- Replies {'ok', n, 1 / 0 / error, ...}: merge requests that are left; then of each key whether it is done, or was another
-- one by now and is left alone.
local function merge(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  redis.call('HSET', keys[2], 'merged', args[5])
  local reply, i = {'ok', 0}, 6
  for at = 5, #keys do
    i, reply[#reply + 1] = merge_key(keys, args, i, keys[at], args[4])
  end
  reply[2] = redis.call('ZCARD', keys[3])
  return reply
end

redis.register_function('syncd_merge', merge)
-- The same for keys that get nothing: a full memory must not keep an outbox from being emptied.
redis.register_function{function_name = 'syncd_agree', callback = merge, flags = {'allow-oom'}}
