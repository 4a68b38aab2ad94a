#!lua name=syncd_outbox
-- For applications: a command on one key, and a note of it in the outbox of a contract, in one step.
--   FCALL syncd_hset 2 session:42 syncd:{sessions}:outbox name Ada
-- is `HSET session:42 name Ada`, and replies what that replies. Each command of COMMANDS has its function: `syncd_` and
-- its name in lower case, with `_` for `.`. What fails changes nothing and notes nothing.
--
-- An entry has the field `key`, and `op` with `del` where the key was there and is no more. Where the contract makes a
-- document of each member, it has `member` as well, and each member an entry. See docs/how-to/outbox.md.
local VERSION = 3

local COMMANDS = {
  'HSET', 'HSETNX', 'HDEL', 'HINCRBY', 'HINCRBYFLOAT', 'SET', 'GETSET', 'APPEND', 'INCR', 'INCRBY', 'INCRBYFLOAT', 'DECR',
  'DECRBY', 'JSON.SET', 'JSON.MERGE', 'JSON.DEL', 'JSON.NUMINCRBY', 'JSON.STRAPPEND', 'JSON.ARRAPPEND', 'JSON.ARRINSERT',
  'JSON.ARRPOP', 'JSON.ARRTRIM', 'JSON.TOGGLE', 'SADD', 'SREM', 'SPOP', 'ZADD', 'ZINCRBY', 'ZREM', 'ZPOPMIN', 'ZPOPMAX',
  'ZREMRANGEBYRANK', 'ZREMRANGEBYSCORE', 'RPUSH', 'LPUSH', 'RPOP', 'LPOP', 'LSET', 'LINSERT', 'LREM', 'LTRIM', 'EXPIRE',
  'PEXPIRE', 'EXPIREAT', 'PEXPIREAT', 'PERSIST', 'DEL',
}

-- unpack() fails above 8,000 values (LUAI_MAXCSTACK). What these take one after the other they take in parts; `sum` adds
-- up what the parts reply, `last` is what the last one says. All others refuse so many.
local MOST = 7000
local PARTS = {HSET = 'sum', HDEL = 'sum', SADD = 'sum', SREM = 'sum', ZREM = 'sum', RPUSH = 'last', LPUSH = 'last'}

local function run(command, key, args)
  if #args <= MOST then return redis.pcall(command, key, unpack(args)) end
  local kind, reply = PARTS[command], 0
  if not kind then
    return redis.error_reply('ERR syncd takes ' .. MOST .. ' arguments of ' .. command .. ' at once; split the call')
  end
  if command == 'HSET' and #args % 2 == 1 then return redis.error_reply('ERR a field without a value') end
  for start = 1, #args, MOST do
    -- What can fail, a key of another type, fails at the first part.
    local said = redis.pcall(command, key, unpack(args, start, math.min(start + MOST - 1, #args)))
    if type(said) == 'table' then return said end
    reply = kind == 'sum' and reply + said or said
  end
  return reply
end

local function refused(outbox)
  local most = redis.call('GET', outbox .. ':max')
  if most and redis.call('XLEN', outbox) >= tonumber(most) then
    return redis.error_reply('OUTBOXFULL ' .. outbox .. ' holds ' .. most .. ' entries; nothing was changed')
  end
end

local FLAGS = {NX = true, XX = true, GT = true, LT = true, CH = true, INCR = true}

-- The members that a command names; nil where it names none.
local function named(command, args)
  if command == 'SADD' or command == 'SREM' or command == 'ZREM' then return args end
  if command == 'ZINCRBY' then return {args[2]} end
  if command ~= 'ZADD' then return nil end
  local at, members = 1, {}
  while FLAGS[args[at]:upper()] do at = at + 1 end
  for member = at + 1, #args, 2 do members[#members + 1] = args[member] end
  return members
end

local function note(outbox, key, members, ...)
  if not members or not redis.call('GET', outbox .. ':members') then
    redis.call('XADD', outbox, '*', 'key', key, ...)
    return
  end
  for _, member in ipairs(members) do redis.call('XADD', outbox, '*', 'key', key, 'member', member, ...) end
end

local function noted(command)
  return function(keys, args)
    if #keys ~= 2 then return redis.error_reply('ERR two keys: the one to change, and the outbox') end
    local full = refused(keys[2])
    if full then return full end
    local before = redis.call('EXISTS', keys[1])
    local reply = run(command, keys[1], args)
    if type(reply) == 'table' and reply.err then return reply end
    if redis.call('EXISTS', keys[1]) == 1 then
      note(keys[2], keys[1], named(command, args))
    elseif before == 1 or command == 'DEL' then
      -- To delete what has expired is to say that it shall not be, also in MongoDB.
      note(keys[2], keys[1], named(command, args), 'op', 'del')
    end
    return reply
  end
end

-- No `ipairs` here: while a library loads, it has hardly any functions.
for at = 1, #COMMANDS do
  redis.register_function('syncd_' .. COMMANDS[at]:lower():gsub('%.', '_'), noted(COMMANDS[at]))
end

redis.register_function{
  function_name = 'syncd_outbox_version', callback = function() return VERSION end, flags = {'no-writes', 'allow-oom'}
}
