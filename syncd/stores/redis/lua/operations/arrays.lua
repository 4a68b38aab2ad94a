-- Keys that hold the elements of an array: one operation a type, in the table of operations.lua.

do
  -- Replace all elements. ttl, n, operands of the command
  local function replace_elements(kind, command)
    return {needs = kind, width = counted(2), write = function(key, args, i, last, found)
      if found ~= 'none' then redis.call('DEL', key) end
      local result = call_in_parts(command, key, args, i + 2, last)
      expire(key, args[i])
      return failed(result)
    end}
  end

  operations.el = replace_elements('list', 'RPUSH') -- element, ...
  operations.es = replace_elements('set', 'SADD') -- member, ...
  operations.ez = replace_elements('zset', 'ZADD') -- score, member, ...
end
