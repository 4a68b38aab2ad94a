-- Boards: sorted sets that hold so many members only, those with the highest scores or those with the lowest.
--
-- What falls out of a board leaves it, and the map, in the call that adds another member. The map says at WHOLE_MAP .. key
-- that there is more than the board holds: its bar, the best score of any document that is not on it, as far as is known.
-- Where a board has a place left, or a member that is worse than the bar, documents of MongoDB may belong there: it is in
-- the set `short`, as "projection key", until the lane has asked for them, see syncd/to_redis/boards.py.
-- While the lane asks, what falls out is noted beside the bar: "bar worst", with `-` for nothing.

local begin_boards, finish_boards

do
  -- Members that leave a board in one step, at most: an edit may make a large one small.
  local MOST_LEAVING = 2000

  -- Scores are texts: Lua would shorten them.
  local function beats(board, one, other)
    if board.keep < 0 then one, other = other, one end
    return tonumber(one) > tonumber(other)
  end

  -- The better one of two; either may be missing.
  local function better(board, one, other)
    if not one or not other then return one or other end
    return beats(board, one, other) and one or other
  end

  local function bar_of(map, key)
    local bar, since = (redis.call('HGET', map, WHOLE_MAP .. key) or ''):match('^(%S+) ?(%S*)$')
    return bar, since
  end

  local function set_bar(map, key, bar, since)
    if not bar then
      redis.call('HDEL', map, WHOLE_MAP .. key)
    else
      redis.call('HSET', map, WHOLE_MAP .. key, since == '' and bar or bar .. ' ' .. since)
    end
  end

  -- The map does not have this membership any more. A member of a board is called as its document.
  local function forget(map, key, member)
    local left = {}
    local said = memberships(redis.call('HGET', map, member))
    for at = 1, #said, 2 do
      if said[at] ~= key then
        left[#left + 1] = said[at]
        left[#left + 1] = said[at + 1]
      end
    end
    if #left > 0 then redis.call('HSET', map, member, cjson.encode(left)) else redis.call('HDEL', map, member) end
  end

  -- The worst members of a board, with their scores.
  local function worst(board, key, count)
    local first, last = 0, count - 1
    if board.keep < 0 then first, last = -count, -1 end
    return redis.call('ZRANGE', key, first, last, 'WITHSCORES')
  end

  -- Take off the worst ones. Returns how many are left.
  local function trim(map, board, key, count)
    local leaving = math.min(count - math.abs(board.keep), MOST_LEAVING)
    if leaving <= 0 then return count end
    local bar, since = bar_of(map, key)
    local found = worst(board, key, leaving)
    for at = 1, #found, 2 do
      redis.call('ZREM', key, found[at])
      forget(map, key, found[at])
      bar = better(board, bar, found[at + 1])
      if since and since ~= '' then since = better(board, since ~= '-' and since or nil, found[at + 1]) end
    end
    set_bar(map, key, bar, since or '')
    return count - leaving
  end

  local function is_short(map, board, key, count)
    local bar, most = bar_of(map, key), math.abs(board.keep)
    if not bar or count > most then return count > most end
    return count < most or beats(board, bar, worst(board, key, 1)[2])
  end

  -- An application's key stays as large as it is: its members are not all syncd's.
  local function keep_board(base, map, board, key)
    local count, entry = redis.pcall('ZCARD', key), board.projection .. ' ' .. key
    if failed(count) and is_elsewhere(failed(count)) then
      redis.call('SADD', base .. 'short', entry)
      return
    elseif failed(count) or is_foreign_key(key) then
      redis.call('SREM', base .. 'short', entry)
      return
    end
    count = trim(map, board, key, count)
    redis.call(is_short(map, board, key, count) and 'SADD' or 'SREM', base .. 'short', entry)
  end

  -- The keys of a map hold so many members from here on. map, projection, how many of the highest, or minus of the lowest
  operations.mb = {keyless = true, width = fixed(3), write = function(_, args, i)
    bounds[args[i]] = {projection = args[i + 1], keep = tonumber(args[i + 2]), changed = {}}
  end}

  begin_boards = function() bounds = {} end

  -- Behind the last write of a call, also of one that failed.
  finish_boards = function(base)
    for map, board in pairs(bounds) do
      for key in pairs(board.changed) do keep_board(base, map, board, key) end
    end
  end

  -- keys: lease, position. args: protocol, lease, map, projection, keep, key, "begin" or "end", best score of a document that
  -- does not belong on the board or "". The lane asks which documents belong on a board, and knows it at the end.
  local function ask_board(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local map, key, base = args[3], args[6], family(keys[1])
    local board = {projection = args[4], keep = tonumber(args[5])}
    local bar, since = bar_of(map, key)
    if args[7] == 'begin' then
      if bar then set_bar(map, key, bar, '-') end
      return {'ok'}
    end
    foreign_keys = base .. 'foreign'
    if since ~= '' then
      set_bar(map, key, better(board, args[8] ~= '' and args[8] or nil, since ~= '-' and since or nil), '')
    end
    keep_board(base, map, board, key)
    return {'ok'}
  end

  redis.register_function{function_name = 'syncd_board', callback = ask_board, flags = {'allow-oom', 'allow-cross-slot-keys'}}
end
