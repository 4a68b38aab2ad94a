-- Documents as samples of time series. A sample is a member, see members.lua: the moment in epoch ms. One document after the
-- other may be the same sample, so the map says besides which one is, at WHOLE_MAP .. key .. ' ' .. moment: "time _id".

do
  local function owner_field(key, at) return WHOLE_MAP .. key .. ' ' .. at end

  -- A series without a sample goes, unless a compaction reads it or makes it.
  local function remove_empty(key)
    local said = told(redis.call('TS.INFO', key))
    if said.totalSamples == 0 and #said.rules == 0 and not said.sourceKey and not is_foreign_key(key) then
      redis.call('DEL', key)
    end
  end

  remove_sample = function(key, at, map, id)
    local owner = owner_of(map, owner_field(key, at))
    if owner and owner ~= id then return 0 end
    redis.call('HDEL', map, owner_field(key, at))
    -- Redis refuses to delete what is too old for the compactions of the series; nothing shows of it.
    local count = redis.pcall('TS.DEL', key, at, at)
    if failed(count) then return 0 end
    if count > 0 then remove_empty(key) end
    return count
  end

  -- How a series is kept is said when it begins, and while all is copied, for the contract may be another one by then.
  local function keep_series(key, retention, labels, keys)
    if redis.call('EXISTS', key) == 0 then
      return failed(redis.pcall('TS.CREATE', key, 'RETENTION', retention, 'DUPLICATE_POLICY', 'LAST', 'LABELS', unpack(labels)))
    end
    keys.altered = keys.altered or {}
    if is_copying(keys) and not keys.altered[key] and not is_foreign_key(key) then
      keys.altered[key] = true
      return failed(redis.pcall('TS.ALTER', key, 'RETENTION', retention, 'LABELS', unpack(labels)))
    end
  end

  -- A sample that is older than the series keeps them is not there. A series that was made for one which Redis refuses goes.
  local function add_sample(key, at, value)
    local problem = failed(redis.pcall('TS.ADD', key, at, value, 'ON_DUPLICATE', 'LAST'))
    if not problem or problem:find('older than retention', 1, true) then return nil end
    remove_empty(key)
    return problem
  end

  -- All samples that a document is, instead of what it was. map, _id, its name where it is stale, time of the state, samples as
  -- the map has them, value, retention in ms, n, label, text, ...
  operations.ta = {
    keyless = true,
    width = counted(8),
    refuses = function(args, i, keys, also) return refuses_memberships(args[i + 4], SERIES, i, keys, also) end,
    write = function(_, args, i, last, _, keys)
      local map, id, time, packed = args[i], args[i + 1], args[i + 3], args[i + 4]
      local new, said, labels = keys.decoded[i], redis.call('HGET', map, id), {unpack(args, i + 8, last)}
      local old = said and said ~= packed and memberships(said) or {}
      if said ~= packed then note_ahead(map, id, old, new, packed) end
      for at = 1, #new, 2 do
        local key, moment = new[at], new[at + 1]
        local owner, since = owner_of(map, owner_field(key, moment))
        if not (owner and owner ~= id and since > time) then
          if is_replaced(keys, key, SERIES) then redis.call('DEL', key) end
          keys.shared[key] = SERIES
          local problem = keep_series(key, args[i + 6], labels, keys) or add_sample(key, moment, args[i + 5])
          if problem then return problem end
          redis.call('HSET', map, owner_field(key, moment), time .. ' ' .. id)
        end
      end
      if #old > 0 then leave(old, as_lookup(new), map, id) end
      if said ~= packed then redis.call('HSET', map, id, packed) end
      is_fresh(keys, args[i + 2])
    end,
  }
end
