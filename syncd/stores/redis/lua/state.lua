-- Keys that go to MongoDB: read as they are, compared with what was last synced.

local function weight(content)
  if type(content) ~= 'table' then return content and #content or 0 end
  local size = 0
  for _, part in ipairs(content) do size = size + #part + 8 end
  return size
end

-- `away` of a key that another node of a cluster has, or is to have: what became of it this one cannot know.
local function type_of(key)
  local found = redis.pcall('TYPE', key)
  if found.ok then return found.ok end
  if not is_elsewhere(found.err) then error(found) end
  return 'away'
end

-- Type of a key, and where it is the wanted one also its expiry (-1 never) and its content. Of a member of it, where one
-- is named, the content alone, and `absent` instead of the type where there is no such member.
local function read_key(key, wanted, member, seen)
  local found = type_of(key)
  if found ~= wanted then return found, -1, false end
  if member then
    local said = types[found].member(key, member, seen)
    return said and found or 'absent', -1, said
  end
  local content = types[found].read(key)
  if not content then return 'none', -1, false end
  return found, redis.call('PEXPIRETIME', key), content
end

-- Type, content and expiry of a key as a short text. The same content has the same text on every server, whatever order
-- it is kept in. Of a type that is not read only the type counts.
local function digest(key, found, content, expires)
  local kind, parts = content and types[found], {}
  if kind and kind.expires and expires < 0 then expires = kind.expires(key, content) end
  if kind then parts = kind.parts(content) end
  if kind and kind.unordered then table.sort(parts) end
  return redis.sha1hex(found .. ' ' .. table.concat(parts)):sub(1, 24) .. ':' .. ('%.0f'):format(expires)
end

-- What was last synced of a key, with a flag where the key is something else now: from here until `synced`, MongoDB may
-- hold the one or the other, and a key that went back to what it was must not pass for known.
local function flag_changed(synced, key, short, mode)
  local known = redis.call('HGET', synced, key) or ''
  local same = short == known
  if mode == 'content' then same = short:match('^[^:]*') == known:match('^[^:]*') end
  local expires = (short == '' and known or short):match(':(.*)$')
  if not same then redis.call('HSET', synced, key, '?:' .. expires) end
  return known
end

local function last_id(stream)
  local found = redis.pcall('XINFO', 'STREAM', stream)
  return found.err and '' or told(found)['last-generated-id']
end

-- A field of the position that only grows: a number of microseconds, or what it is already. Redis's clock may go back.
local function later(position, field, number)
  local before = redis.call('HGET', position, field)
  if before and tonumber(before) >= tonumber(number) then return before end
  redis.call('HSET', position, field, number)
  return number
end

-- keys: lease, position. args: protocol, lease, the greatest number that MongoDB is known to have seen.
-- Replies {'ok', number}: above that, and above all that were given before, with room for the commands since.
local ROOM = 1000000

local function number(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  local least = math.max(tonumber(redis.call('HGET', keys[2], 'session') or '0'), tonumber(args[3])) + ROOM
  local given = microseconds()
  if least > tonumber(given) then given = ('%.0f'):format(least) end
  redis.call('HSET', keys[2], 'session', given)
  return {'ok', given}
end

-- keys: lease, position, outbox or synced, key, ...
-- args: protocol, lease, lease ttl ms, type, most bytes, "" or, where the third key is `synced`, what belongs to a state:
--       "content", or "whole" with its expiry; "merge" only asks for what was synced; then, where members become
--       documents, the member of each key.
-- Replies {'ok', last id of the outbox or '', seconds, microseconds, `floor` or '', then of each key type, moment at which
-- it expires in ms (-1 never), content or nil, its digest, what was synced before}. The last keys are left out once the
-- reply has so many bytes.
local function read_state(keys, args)
  local stop = fenced(keys, args)
  if stop then return stop end
  redis.call('PEXPIRE', keys[1], args[3])
  local now = later(keys[2], 'clock', microseconds())
  local reply = {'ok', last_id(keys[3]), now:sub(1, -7), now:sub(-6), redis.call('HGET', keys[2], 'floor') or ''}
  local size, most, seen = 0, tonumber(args[5]), {}
  for at = 4, #keys do
    local found, expires, content = read_key(keys[at], args[4], args[at + 3], seen)
    local short, known = '', ''
    if args[6] ~= '' and found ~= 'none' and found ~= 'away' then short = digest(keys[at], found, content, expires) end
    if args[6] == 'merge' then
      known = redis.call('HGET', keys[3], keys[at]) or ''
    elseif args[6] ~= '' and found ~= 'away' then
      known = flag_changed(keys[3], keys[at], short, args[6])
    end
    for _, part in ipairs{found, expires, content, short, known} do reply[#reply + 1] = part end
    size = size + weight(content)
    if size > most then break end
  end
  return reply
end

-- keys: synced, outbox, key, ... args: protocol, type, most bytes, then the members as `read_state`. Replies {'ok', last id of the outbox or '', seconds,
-- microseconds, then of each key what `read_state` says of it}. For a check: it only reads, and needs no lease.
local function check_state(keys, args)
  if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
  be_at(keys[1])
  local time = redis.call('TIME')
  local reply, size, seen = {'ok', last_id(keys[2]), time[1], time[2]}, 0, {}
  for at = 3, #keys do
    local member = args[at + 1]
    local found, expires, content = read_key(keys[at], args[2], member, seen)
    local short = ''
    if member then
      short = found .. ' ' .. (content or '')
    elseif found ~= 'none' and found ~= 'away' then
      short = digest(keys[at], found, content, expires)
    end
    local known = not member and redis.call('HGET', keys[1], keys[at]) or ''
    for _, part in ipairs{found, expires, content, short, known} do reply[#reply + 1] = part end
    size = size + weight(content)
    if size > tonumber(args[3]) then break end
  end
  return reply
end

do
  -- keys: lease, position, dead letters, `letters`, outbox (or the position once more)
  -- args: protocol, lease, lease ttl ms, first id of the outbox that stays or '', how many dead letters are kept (see
  --       is_full), n, name of a dead letter that is done with, ..., then n, field, value, ... of each new dead letter.
  -- Replies {'ok', dead letters dropped, 1 or 0, ...}: whether each is a new one; {'full'}: nothing was done.
  local function done_state(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local is_done, more, i = {}, 0, 7 + args[6]
    for at = 7, i - 1 do
      is_done[args[at]] = redis.call('HEXISTS', keys[4], args[at]) == 1
      if is_done[args[at]] then more = more - 1 end
    end
    local at = i
    while at <= #args do
      local last = at + args[at]
      local name = dead_letter_name(args, at + 1, last)
      if is_done[name] or redis.call('HEXISTS', keys[4], name) == 0 then more = more + 1 end
      at = last + 1
    end
    if is_full(keys[3], args[5], more) then return {'full'} end
    redis.call('PEXPIRE', keys[1], args[3])
    if args[4] ~= '' then
      redis.call('HINCRBY', keys[2], 'removed', redis.call('XTRIM', keys[5], 'MINID', args[4]))
    end
    for at = 7, i - 1 do
      local before = redis.call('HGET', keys[4], args[at])
      if before then
        redis.call('XDEL', keys[3], before)
        redis.call('HDEL', keys[4], args[at])
      end
    end
    local reply = {'ok', 0}
    while i <= #args do
      local last = i + args[i]
      local name = dead_letter_name(args, i + 1, last)
      local before = redis.call('HGET', keys[4], name)
      redis.call('HSET', keys[4], name, redis.call('XADD', keys[3], '*', unpack(args, i + 1, last)))
      if before then redis.call('XDEL', keys[3], before) end
      reply[#reply + 1] = before and 0 or 1
      i = last + 1
    end
    reply[2] = drop_oldest(keys[3], keys[4], args[5])
    return reply
  end

  -- keys: lease, position, outbox, requests. args: protocol, lease. Replies {'ok', n, 1 or 0}: entries that another client
  -- has removed, counted once, and whether the outbox is another one than before. Only a comparison of all keys can find
  -- what they said, so it is asked for in the same step.
  local function lost_entries(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local outbox = redis.pcall('XINFO', 'STREAM', keys[3])
    local known = redis.call('HGET', keys[2], 'removed')
    local removed, length = 0, 0
    if not outbox.err then
      outbox = told(outbox)
      removed, length = outbox['entries-added'] - outbox.length, outbox.length
    end
    if known and removed == tonumber(known) then return {'ok', 0, 0} end
    redis.call('HSET', keys[2], 'removed', removed)
    if not known then return {'ok', 0, 0} end
    redis.call('RPUSH', keys[4], 'snapshot')
    local gone = removed - known
    return {'ok', math.max(gone, 0), gone < 0 and 1 or 0}
  end

  -- keys: lease, position. args: protocol, lease, watermark. Positions of reads are not below it (`floor`) from now on.
  local function raise_watermark(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    if args[3] > (redis.call('HGET', keys[2], 'floor') or '') then redis.call('HSET', keys[2], 'floor', args[3]) end
    return {'ok'}
  end

  -- keys: synced. args: protocol, cursor, pattern, count, type. One page of SCAN. Replies {'ok', next cursor, keys of the
  -- page, key, ...}: those that are not as they were last synced. Only reads.
  local function differs(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    be_at(keys[1])
    local page = redis.call('SCAN', args[2], 'MATCH', args[3], 'COUNT', args[4])
    local reply = {'ok', page[1], #page[2]}
    for _, key in ipairs(page[2]) do
      local found, expires, content = read_key(key, args[5])
      local known = redis.call('HGET', keys[1], key)
      if found ~= 'none' and found ~= 'away' and (known and known:match('^%S*')) ~= digest(key, found, content, expires) then
        reply[#reply + 1] = key
      end
    end
    return reply
  end

  -- keys: synced. args: protocol, cursor, count. One page of what was synced. Replies {'ok', next cursor, keys of the page,
  -- key, ...}: those that are gone, or away. Only reads.
  local function vanished(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    be_at(keys[1])
    local page = redis.call('HSCAN', keys[1], args[2], 'COUNT', args[3])
    local reply = {'ok', page[1], #page[2] / 2}
    for at = 1, #page[2], 2 do
      local found = type_of(page[2][at])
      if found == 'none' or found == 'away' then reply[#reply + 1] = page[2][at] end
    end
    return reply
  end

  -- keys: lease, position, synced. args: protocol, lease, lease ttl ms, n, position field, value, ..., then key, digest
  -- ("" forgets the key), ... Remembers what MongoDB holds of keys. A late call would do harm, for a key may be again what
  -- it was then. Replies {'ok'} or what `fenced` says.
  local function synced(keys, args)
    local stop = fenced(keys, args)
    if stop then return stop end
    local first = 5 + args[4]
    if first > 5 then redis.call('HSET', keys[2], unpack(args, 5, first - 1)) end
    for at = first, #args, 2 do
      if args[at + 1] == '' then
        redis.call('HDEL', keys[3], args[at])
      else
        redis.call('HSET', keys[3], args[at], args[at + 1])
      end
    end
    redis.call('PEXPIRE', keys[1], args[3])
    return {'ok'}
  end

  local ANY_SLOT = {'allow-oom', 'allow-cross-slot-keys'}
  redis.register_function{function_name = 'syncd_differs', callback = differs, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_vanished', callback = vanished, flags = ANY_SLOT}
  redis.register_function{function_name = 'syncd_synced', callback = synced, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_look_state', callback = check_state, flags = {'allow-oom'}}
  -- An outbox that has filled the memory must be emptied.
  redis.register_function{function_name = 'syncd_read_state', callback = read_state, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_done_state', callback = done_state, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_lost_entries', callback = lost_entries, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_number', callback = number, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_raise_floor', callback = raise_watermark, flags = {'allow-oom'}}
end
