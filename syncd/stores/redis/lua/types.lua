-- How keys of each type are read as a whole: one table a type, by its name as TYPE says it.
--
-- read       the content as it goes over the wire; false where the key is as good as gone
-- parts      the content as texts, which together are the same for the same content on every server
-- unordered  whether parts come in any order
-- expires    when a key without an expiry of its own is gone; -1 never
-- member     what is there of a member, as text; false where there is none. `seen` is a table that lasts for one call
local types = {}

local function one_text(content) return {content} end

local function elements(content)
  local parts = {}
  for at, part in ipairs(content) do parts[at] = #part .. ':' .. part end
  return parts
end

-- When these fields of a hash have all expired, in epoch ms; -1 where one of them stays, or Redis does not say.
local function fields_expire(key, names)
  local moments, last = redis.pcall('HPEXPIRETIME', key, 'FIELDS', #names, unpack(names)), -1
  if moments.err then return -1 end
  for _, moment in ipairs(moments) do
    if moment < 0 then return -1 end
    last = math.max(last, moment)
  end
  return last
end

-- When a hash without an expiry of its own is gone: with its last field, where all of them expire. One that does not is
-- nearly always the first.
local SOME_FIELDS = 1000

local function hash_expires(key, content)
  local last = fields_expire(key, {content[1]})
  for from = 1, last < 0 and 0 or #content, 2 * SOME_FIELDS do
    local names = {}
    for at = from, math.min(from + 2 * SOME_FIELDS, #content) - 1, 2 do names[#names + 1] = content[at] end
    local moment = fields_expire(key, names)
    if moment < 0 then return -1 end
    last = math.max(last, moment)
  end
  return last
end

types.hash = {
  unordered = true,
  expires = hash_expires,
  read = function(key)
    local content = redis.call('HGETALL', key)
    -- All fields have expired, and Redis has not got round to removing them.
    return #content > 0 and content
  end,
  parts = function(content)
    local parts = {}
    for at = 1, #content, 2 do
      local name, value = content[at], content[at + 1]
      parts[#parts + 1] = #name .. ':' .. #value .. ':' .. name .. value
    end
    return parts
  end,
}

types['ReJSON-RL'] = {read = function(key) return redis.call('JSON.GET', key) end, parts = one_text}
types.string = {read = function(key) return redis.call('GET', key) end, parts = one_text}
types.list = {read = function(key) return redis.call('LRANGE', key, 0, -1) end, parts = elements}
types.set = {
  unordered = true,
  read = function(key) return redis.call('SMEMBERS', key) end,
  parts = elements,
  member = function(key, member) return redis.call('SISMEMBER', key, member) == 1 and '' end,
}
types.zset = {
  read = function(key) return redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end,
  parts = elements,
  member = function(key, member) return redis.call('ZSCORE', key, member) end,
}

-- Labels of a series: name, text, ...
local function labels_of(key, seen)
  if not seen[key] then
    local found = {}
    for _, label in ipairs(told(redis.call('TS.INFO', key)).labels) do
      found[#found + 1], found[#found + 2] = plain(label[1]), plain(label[2])
    end
    seen[key] = found
  end
  return seen[key]
end

-- A member is a moment in epoch ms, and what is there of it the value and the labels, as a list in JSON.
types['TSDB-TYPE'] = {
  member = function(key, at, seen)
    local sample = redis.call('TS.RANGE', key, at, at)[1]
    return sample and cjson.encode{plain(sample[2]), unpack(labels_of(key, seen))}
  end,
}
