-- Hashes that several projections share, also of several contracts: each writes and removes its own fields alone. A document
-- is a member of its hash by each of its fields, see members.lua.

do
  -- How many operands a list has that begins at `at`, with its length.
  local function list_at(args, at) return 1 + args[at] end

  local function fields_width(args, i)
    local at = i + 4
    for _ = 1, 3 do at = at + list_at(args, at) end
    return at - i
  end

  -- The fields of a document. map, _id, its name where it is stale, memberships, n, field, value, ..., n, field that it has
  -- not, ..., n, epoch ms at which a field expires, field, ...
  operations.mh = {
    keyless = true,
    width = fields_width,
    refuses = function(args, i, keys, also) return refuses_memberships(args[i + 3], 'hash', i, keys, also) end,
    write = function(_, args, i, last, _, keys)
      local map, id, packed, sets = args[i], args[i + 1], args[i + 3], i + 4
      local new, old = keys.decoded[i], memberships(redis.call('HGET', map, id))
      local key, absent = new[1], sets + list_at(args, sets)
      local moments = absent + list_at(args, absent)
      note_ahead(map, id, old, new, packed)
      if is_replaced(keys, key, 'hash') then redis.call('DEL', key) end
      keys.shared[key] = 'hash'
      local problem = failed(call_in_parts('HSET', key, args, sets + 1, absent - 1))
      if problem then return problem end
      if moments > absent + 1 then call_in_parts('HDEL', key, args, absent + 1, moments - 1) end
      leave(old, as_lookup(new), map, id)
      redis.call('HSET', map, id, packed)
      for at = moments + 1, last, 2 do
        problem = problem or failed(redis.pcall('HPEXPIREAT', key, args[at], 'FIELDS', 1, args[at + 1]))
      end
      if problem then return problem end
      if foreign_keys then redis.call('SREM', foreign_keys, key) end
      is_fresh(keys, args[i + 2])
    end,
  }
end
