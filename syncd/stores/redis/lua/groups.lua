-- Streams that are appended: acknowledgements with what has to be remembered of them.

do
  -- Dead letters from `i` on, each entry, n, field, value, ... An entry that is still pending in the group is acknowledged
  -- with its dead letter. One that is no longer pending has a dead letter already, which is replaced, or another daemon is
  -- done with it, and it is left alone. Appends how many of the oldest were dropped for them, and the entries of new dead
  -- letters, to `reply`.
  local function park_all(dead, by_name, stream, group, keep, args, i, reply)
    local counted = #reply + 1
    reply[counted] = 0
    while i <= #args do
      local entry, last = args[i], i + 1 + args[i + 1]
      local name = dead_letter_name(args, i + 2, last)
      local before = redis.call('HGET', by_name, name)
      local waited = redis.call('XACK', stream, group, entry) == 1
      if waited or before then
        redis.call('HSET', by_name, name, redis.call('XADD', dead, '*', unpack(args, i + 2, last)))
        if before then redis.call('XDEL', dead, before) end
        if waited then reply[#reply + 1] = entry end
      end
      i = last + 1
    end
    reply[counted] = drop_oldest(dead, by_name, keep)
    return reply
  end

  -- Whether the contract keeps fewer dead letters than it has with these, from `i` on.
  local function parked_are_full(dead, by_name, stream, group, keep, args, i)
    local more = 0
    while i <= #args do
      local last = i + 1 + args[i + 1]
      local waits = redis.pcall('XPENDING', stream, group, args[i], args[i], 1)
      if #waits > 0 and redis.call('HEXISTS', by_name, dead_letter_name(args, i + 2, last)) == 0 then more = more + 1 end
      i = last + 1
    end
    return is_full(dead, keep, more)
  end

  -- keys: dead letters, `letters`, stream. args: protocol, group, how many dead letters are kept (see is_full), dead letters
  -- (see park_all). Replies {'ok', dead letters dropped, entry of a new one, ...}, or {'full'}: nothing was done.
  local function park(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    if parked_are_full(keys[1], keys[2], keys[3], args[2], args[3], args, 4) then return {'full'} end
    return park_all(keys[1], keys[2], keys[3], args[2], args[3], args, 4, {'ok'})
  end

  -- In a cluster, where the stream is on another node. keys: dead letters, `letters`. args: protocol, how many dead letters
  -- are kept (see is_full), then of each its entry, "1" where that is still pending or noted, n, field, value, ... One that
  -- is neither is left alone, as in park_all. Replies {'ok', dead letters dropped, {name of such a one, ...}, entry of a new
  -- one, ...}, or {'full'}.
  local function park_away(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    local reply, more = {'ok', 0, {}}, 0
    for _, stores in ipairs{false, true} do
      local i = 3
      while i <= #args do
        local last = i + 2 + args[i + 2]
        local name = dead_letter_name(args, i + 3, last)
        local before = redis.call('HGET', keys[2], name)
        if not stores then
          more = more + ((args[i + 1] == '1' and not before) and 1 or 0)
        elseif args[i + 1] == '1' or before then
          redis.call('HSET', keys[2], name, redis.call('XADD', keys[1], '*', unpack(args, i + 3, last)))
          if before then redis.call('XDEL', keys[1], before) else reply[#reply + 1] = args[i] end
        end
        i = last + 1
      end
      if not stores and is_full(keys[1], args[2], more) then return {'full'} end
    end
    reply[2] = drop_oldest(keys[1], keys[2], args[2], reply[3])
    return reply
  end

  -- The same by the one daemon that has the lease. keys: lease, position, dead letters, `letters`. args: protocol, lease, n,
  -- name of an entry that is a document, and whose dead letter goes, ..., then as `park_away`.
  local function park_ahead(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    for at = 4, 3 + args[3] do
      local entry = redis.call('HGET', keys[4], args[at])
      if entry then redis.call('XDEL', keys[3], entry); redis.call('HDEL', keys[4], args[at]) end
    end
    local rest = {args[1]}
    for at = 4 + args[3], #args do rest[#rest + 1] = args[at] end
    return park_away({keys[3], keys[4]}, rest)
  end

  -- Acknowledge entries that are done. One that was replayed, or fits by now, has a dead letter that goes with it. In a
  -- cluster it has gone before, and `keys[6]` is the set of those that have one.
  local function acknowledge(keys, group, entries, first, last)
    local names, noted = group.projection .. ' ', keys[6] and redis.call('EXISTS', keys[6]) == 1
    local any = not keys[6] and redis.call('HLEN', keys[4]) > 0
    for at = first, last do
      if noted then redis.call('SREM', keys[6], names .. entries[at]) end
      local dead_letter = any and redis.call('HGET', keys[4], names .. entries[at])
      if dead_letter then
        redis.call('XDEL', keys[3], dead_letter)
        redis.call('HDEL', keys[4], names .. entries[at])
      end
    end
    for at = first, last, MAX_UNPACK do
      redis.call('XACK', keys[5], group.name, unpack(entries, at, math.min(at + MAX_UNPACK - 1, last)))
    end
  end

  -- The batch that MongoDB had when the next was noted.
  local function acknowledge_written(keys, group)
    local written = redis.call('HGET', keys[2], 'written')
    if not written then return end
    local entries = {}
    for entry in written:gmatch('%S+') do entries[#entries + 1] = entry end
    acknowledge(keys, group, entries, 1, #entries)
    redis.call('HDEL', keys[2], 'written')
  end

  -- For a collection that takes a document twice: what is about to be written is noted before, under a number that MongoDB
  -- runs once. keys: lease, position, dead letters, `letters`, stream.
  -- args: protocol, lease, lease ttl ms, group, projection, how many dead letters are kept (see is_full), number of the batch
  --       that is noted now ("" for none), batch that is noted from now on ("" for none), n, entry that is done, ..., dead
  --       letters (see park_all)
  --       n may be "all": the whole batch that is noted now is done. MongoDB waits for nothing but the note, so these are
  --       only remembered as written, unless none is noted from now on.
  -- Replies {'ok', number of the new batch or "", dead letters dropped, entry of a new one, ...}; {'noted'}: another batch is,
  -- nothing was done; {'full'}: neither; {'fenced', ...}; {'version', n}.
  -- A number is the time, so that no Redis that lost its data gives one twice, or one above it.
  local function advance(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local said = redis.call('HMGET', keys[2], 'batch', 'number')
    if (said[1] and said[2] or '') ~= args[7] then return {'noted'} end
    local group = {name = args[4], projection = args[5]}
    local last = 9 + (tonumber(args[9]) or 0)
    if parked_are_full(keys[3], keys[4], keys[5], args[4], args[6], args, last + 1) then return {'full'} end
    acknowledge_written(keys, group)
    acknowledge(keys, group, args, 10, last)
    if args[9] == 'all' and said[1] then redis.call('HSET', keys[2], 'written', said[1]) end
    local number = ''
    if args[8] == '' then
      acknowledge_written(keys, group)
      redis.call('HDEL', keys[2], 'batch')
    else
      local now = microseconds()
      number = now
      -- The last one that was given, or that MongoDB is known to have: Redis's clock may go back.
      local last = math.max(tonumber(said[2] or '0'), tonumber(redis.call('HGET', keys[2], 'above') or '0'))
      if last >= tonumber(now) then number = ('%.0f'):format(last + 1) end
      redis.call('HSET', keys[2], 'batch', args[8], 'number', number, 'since', now)
    end
    redis.call('PEXPIRE', keys[1], args[3])
    return park_all(keys[3], keys[4], keys[5], args[4], args[6], args, last + 1, {'ok', number})
  end

  -- The same on the node of a cluster that has the stream. The last two of args are the stream and the set of its entries that
  -- have a dead letter, before these how many more names that set gets, and the names; before these the same of names that
  -- have none any more.
  local function advance_on_node(keys, args)
    keys[6], keys[5] = table.remove(args), table.remove(args)
    local changes = {}
    for _, command in ipairs{'SADD', 'SREM'} do
      local names = {}
      for at = 1, table.remove(args) do names[at] = table.remove(args) end
      changes[#changes + 1] = {command, names}
    end
    local reply = advance(keys, args)
    for _, change in ipairs(reply[1] == 'ok' and changes or {}) do
      call_in_parts(change[1], keys[6], change[2], 1, #change[2])
    end
    return reply
  end

  -- keys: lease, position. args: protocol, lease, a number that MongoDB has seen. Later batches have greater ones.
  local function above(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    if tonumber(args[3]) > tonumber(redis.call('HGET', keys[2], 'above') or '0') then
      redis.call('HSET', keys[2], 'above', args[3])
    end
    return {'ok'}
  end

  -- keys: as `advance`. args: protocol, lease, group, projection. Acknowledges what is remembered as written. Replies {'ok'}.
  local function written(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    acknowledge_written(keys, {name = args[3], projection = args[4]})
    return {'ok'}
  end

  -- The same on the node of a cluster that has the stream: the last two of args as of `advance_on_node`.
  local function written_on_node(keys, args)
    keys[6], keys[5] = table.remove(args), table.remove(args)
    return written(keys, args)
  end

  -- keys: stream. args: protocol, group. Replies {'ok', n}: entries that were removed before the group had read them.
  -- They are counted once: the group then counts as having read them. What was removed among those that the group
  -- has read can only make n too small.
  local function trimmed(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    local groups = redis.pcall('XINFO', 'GROUPS', keys[1])
    if groups.err then return {'ok', 0} end -- the read that follows says why
    for _, group in ipairs(groups) do
      group = told(group)
      local read = group['entries-read']
      if group.name == args[2] and read then
        local stream = told(redis.call('XINFO', 'STREAM', keys[1]))
        local gone = stream['entries-added'] - stream.length - read
        if gone > 0 then
          redis.call('XGROUP', 'SETID', keys[1], args[2], group['last-delivered-id'], 'ENTRIESREAD', read + gone)
          return {'ok', gone}
        end
      end
    end
    return {'ok', 0}
  end

  -- keys: stream. args: protocol, group, consumer. Takes a consumer off the list that has nothing pending: what it had
  -- would be lost. In one step, for a read of a dead process may still be on its way. Replies {'ok'}.
  local function leave(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', keys[1], args[2])) do
      consumer = told(consumer)
      if consumer.name == args[3] and consumer.pending == 0 then
        redis.call('XGROUP', 'DELCONSUMER', keys[1], args[2], args[3])
      end
    end
    return {'ok'}
  end

  redis.register_function('syncd_park', park)
  redis.register_function('syncd_park_away', park_away)
  redis.register_function('syncd_park_ahead', park_ahead)
  -- Where memory is full, entries must go on to MongoDB: then they may be trimmed.
  redis.register_function{function_name = 'syncd_advance', callback = advance, flags = {'allow-oom'}}
  redis.register_function{
    function_name = 'syncd_advance_on_node', callback = advance_on_node, flags = {'allow-oom', 'allow-cross-slot-keys'},
  }
  redis.register_function{
    function_name = 'syncd_written_on_node', callback = written_on_node, flags = {'allow-oom', 'allow-cross-slot-keys'},
  }
  redis.register_function{function_name = 'syncd_number_above', callback = above, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_written', callback = written, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_leave', callback = leave, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_trimmed', callback = trimmed, flags = {'allow-oom'}}
end
