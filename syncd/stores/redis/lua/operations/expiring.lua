-- Hashes of which some fields expire by themselves, in the table of operations.lua.

-- Replace a hash of which some fields expire. ttl, n, field, value, ..., m, epoch ms, field, ...
operations.eh = {needs = 'hash', width = counted_twice, write = function(key, args, i, last, found)
  local sets = i + 1 + args[i + 1]
  if found ~= 'none' then redis.call('DEL', key) end
  local result = call_in_parts('HSET', key, args, i + 2, sets)
  for at = sets + 2, failed(result) and 0 or last, 2 do
    result = redis.pcall('HPEXPIREAT', key, args[at], 'FIELDS', 1, args[at + 1])
    if failed(result) then break end
  end
  expire(key, args[i])
  return failed(result)
end}
