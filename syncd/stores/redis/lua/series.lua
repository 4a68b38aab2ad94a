-- Time series whose samples go to MongoDB. What is remembered of a series, as "count moment:value moment:value ...": how
-- many samples MongoDB has, then the newest one and some before it, in their order. A position alone would pass over a
-- sample that comes late or gets another value. The count says that some came late which are older than those, and only a
-- comparison with MongoDB finds another value of such a one.

do
  local REMEMBERED = 50
  -- The end of the year 9999: a document has no later date.
  local LATEST = 253402300799999

  local function as_text(moment) return ('%.0f'):format(moment) end

  local function remembered(text)
    local found = {text = text, total = tonumber(text:match('^%d+') or '0'), values = {}, count = 0}
    for moment, value in text:gmatch('(%d+):(%S+)') do
      found.values[moment], found.last, found.count = value, moment, found.count + 1
    end
    return found
  end

  -- The last samples up to a moment, in their order.
  local function before(key, moment)
    local found, reply = {}, redis.call('TS.REVRANGE', key, '-', moment, 'COUNT', REMEMBERED)
    for at = #reply, 1, -1 do found[#found + 1] = {as_text(reply[at][1]), plain(reply[at][2])} end
    return found
  end

  -- Whether samples that are remembered went, other than by being too old: this may be another series of that name, which
  -- has some of them by chance, or because it is a copy of an earlier state.
  local function has_lost(key, first, known, seen)
    for moment in pairs(known.values) do
      if not seen[moment] and tonumber(moment) >= first and #redis.call('TS.RANGE', key, moment, moment) == 0 then return true end
    end
    return false
  end

  -- Samples of a series that MongoDB may not have, by their moments: of those up to the newest known one what is other
  -- than remembered, and then some newer ones. Also what is to be remembered of all once MongoDB has them, and how many
  -- of them it did not have. Where nothing is as it was remembered this is another series of that name; `replaced` where an
  -- event says that it is, whatever the last samples are.
  local function samples_behind(key, first, known, replaced, most)
    local last, values, all, moments, same, more, seen = known.last, known.values, {}, {}, 0, 0, {}
    local function found(moment, value)
      all[#all + 1], seen[moment] = moment .. ':' .. value, true
      if values[moment] == value then
        same = same + 1
      else
        moments[#moments + 1] = moment
        if not values[moment] then more = more + 1 end
      end
    end
    for _, sample in ipairs(last and before(key, last) or {}) do found(sample[1], sample[2]) end
    if same == 0 then
      last, values, all, moments, more, known.total = nil, {}, {}, {}, 0, 0
    elseif replaced or has_lost(key, first, known, seen) then
      known.total = #all - more  -- of all that are older it is not known whether MongoDB has them
    end
    for _, sample in ipairs(redis.call('TS.RANGE', key, last or '-', as_text(LATEST), 'COUNT', most + 1)) do
      local moment = as_text(sample[1])
      if moment ~= last then found(moment, plain(sample[2])) end
    end
    return moments, table.concat(all, ' ', math.max(1, #all - REMEMBERED + 1)), more
  end

  -- Forgets what samples were that are other now: until MongoDB has them, a value that comes back must not pass for known.
  local function forget(synced, key, known, moments)
    local changed, parts = {}, {}
    for _, moment in ipairs(moments) do changed[moment] = true end
    for part, moment in known.text:gmatch('((%d+):%S+)') do
      if not changed[moment] then parts[#parts + 1] = part end
    end
    if #parts == known.count then return end
    redis.call('HSET', synced, key, as_text(math.max(0, known.total - known.count + #parts)) .. ' ' .. table.concat(parts, ' '))
  end

  -- What a series has, how much of it MongoDB does not have, and what is to be remembered.
  local function new_of_series(synced, key, most, searched)
    local known, info = remembered(redis.call('HGET', synced, key) or ''), told(redis.call('TS.INFO', key))
    local moments, text, more = samples_behind(key, tonumber(info.firstTimestamp), known, searched < 0, most)
    forget(synced, key, known, moments)
    local total, counted = info.totalSamples, known.total + more + math.max(0, searched)
    if #moments >= most then return moments, as_text(counted) .. ' ' .. text, 0 end
    -- Samples that were deleted, or are too old, are fewer.
    return moments, as_text(math.min(total, counted)) .. ' ' .. text, math.max(0, total - counted)
  end

  local function is_beyond(key)
    local newest = redis.call('TS.GET', key)
    return newest[1] and newest[1] > LATEST and 1 or 0
  end

  -- keys: lease, position, synced, series, ... args: protocol, lease, lease ttl ms, type, how many newer samples of one,
  -- then of each series how many samples a search behind its newest has found, -1 where another series took its name.
  -- Replies {'ok', then of each series its type, moments of samples that MongoDB may not have, what is to be remembered of
  -- it, how many others MongoDB does not have, 1 where it has samples behind the year 9999}. The last series are left out
  -- once there are so many samples.
  local function new_samples(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    redis.call('PEXPIRE', keys[1], args[3])
    local reply, read, most = {'ok'}, 0, tonumber(args[5])
    for at = 4, #keys do
      local found, moments, text, late, beyond = type_of(keys[at]), {}, '', 0, 0
      if found == args[4] then
        moments, text, late = new_of_series(keys[3], keys[at], most, tonumber(args[at + 2]))
        beyond = is_beyond(keys[at])
        if beyond == 1 then late = 0 end
      end
      for _, part in ipairs{found, moments, text, late, beyond} do reply[#reply + 1] = part end
      read = read + #moments + REMEMBERED
      if read > most then break end
    end
    return reply
  end

  -- In a cluster keys of several slots come behind the arguments, and as many words that belong to them behind these.
  local function halves(keys, args, first)
    local named, said, count = {unpack(keys)}, {unpack(args, 1, first - 1)}, (#args - first + 1) / 2
    for at = first, first + count - 1 do
      named[#named + 1], said[#said + 1] = args[at], args[at + count]
    end
    return named, said
  end

  local function new_on_node(keys, args) return new_samples(halves(keys, args, 6)) end
  local function read_on_node(keys, args) return read_state(halves(keys, args, 7)) end
  local function look_on_node(keys, args) return check_state(halves(keys, args, 4)) end

  local ANY_SLOT = {'allow-oom', 'allow-cross-slot-keys'}
  redis.register_function{function_name = 'syncd_new_samples', callback = new_samples, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_new_samples_on_node', callback = new_on_node, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_read_samples_on_node', callback = read_on_node, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_look_samples_on_node', callback = look_on_node, flags = ANY_SLOT}
end
