#!lua name=syncd_outbox
-- For applications: a command on one key, and a note of it in the outbox of a contract, in one step.
--   FCALL syncd_hset 2 session:42 syncd:{sessions}:outbox name Ada
-- is `HSET session:42 name Ada`, and replies what that replies. Each command of COMMANDS has its function: `syncd_` and
-- its name in small letters, with `_` for `.`. What fails changes nothing and notes nothing.
--
-- An entry has the field `key`, and `op` with `del` where the key was there and is no more. See docs/how-to/outbox.md.
local VERSION = 1

local COMMANDS = {
  'HSET', 'HSETNX', 'HDEL', 'HINCRBY', 'HINCRBYFLOAT', 'SET', 'GETSET', 'APPEND', 'INCR', 'INCRBY', 'INCRBYFLOAT', 'DECR',
  'DECRBY', 'JSON.SET', 'JSON.MERGE', 'JSON.DEL', 'JSON.NUMINCRBY', 'JSON.STRAPPEND', 'JSON.ARRAPPEND', 'JSON.ARRINSERT',
  'JSON.ARRPOP', 'JSON.ARRTRIM', 'JSON.TOGGLE', 'SADD', 'SREM', 'SPOP', 'ZADD', 'ZINCRBY', 'ZREM', 'ZPOPMIN', 'ZPOPMAX',
  'ZREMRANGEBYRANK', 'ZREMRANGEBYSCORE', 'RPUSH', 'LPUSH', 'RPOP', 'LPOP', 'LSET', 'LINSERT', 'LREM', 'LTRIM', 'EXPIRE',
  'PEXPIRE', 'EXPIREAT', 'PEXPIREAT', 'PERSIST', 'DEL',
}

local function refused(outbox)
  local most = redis.call('GET', outbox .. ':max')
  if most and redis.call('XLEN', outbox) >= tonumber(most) then
    return redis.error_reply('OUTBOXFULL ' .. outbox .. ' holds ' .. most .. ' entries; nothing was changed')
  end
end

local function noted(command)
  return function(keys, args)
    if #keys ~= 2 then return redis.error_reply('ERR two keys: the one to change, and the outbox') end
    local full = refused(keys[2])
    if full then return full end
    local before = redis.call('EXISTS', keys[1])
    local reply = redis.pcall(command, keys[1], unpack(args))
    if type(reply) == 'table' and reply.err then return reply end
    if redis.call('EXISTS', keys[1]) == 1 then
      redis.call('XADD', keys[2], '*', 'key', keys[1])
    elseif before == 1 or command == 'DEL' then
      -- To delete what has expired is to say that it shall not be, also in MongoDB.
      redis.call('XADD', keys[2], '*', 'key', keys[1], 'op', 'del')
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
