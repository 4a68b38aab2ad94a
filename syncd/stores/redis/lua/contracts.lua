-- Which contracts daemons have among their files, and what goes when a person removes one that has left.
--
-- `syncd:contracts` is a hash: contract -> JSON with place, set (a digest), seen (when a daemon last said that it has it among
-- its files, by Redis's clock) and, for one that is no longer part of any set, left, both epoch seconds; and "set DIGEST" ->
-- JSON list of the names of that set.

local is_present

do
  -- Whether a contract was part of a set that `present` follows: it came from the same place, or beside one of these.
  local function is_of_set(record, place, present)
    if record.place == place then return true end
    local names = redis.call('HGET', CONTRACTS, 'set ' .. record.set)
    for _, name in ipairs(names and cjson.decode(names) or {}) do
      if present[name] then return true end
    end
    return false
  end

  -- keys: `syncd:contracts`. args: protocol, place, digest of the set, JSON list of its names, epoch seconds,
  -- "seen" where a daemon says so and "" where a person does, leases that are known to be dead, ...
  -- Notes which contracts a daemon runs.
  -- One that was part of such a set, is not among them, and that no daemon works on, has left: it keeps its keys and
  -- records, and its claims are free, so that it copies if it comes back.
  -- Replies {'ok', [name, ...] of those that have left now, [lease, ...] of those that a daemon may still work on}.
  local function roster(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    be_at(keys[1])
    local names, present, in_use, left, held, dead = cjson.decode(args[4]), {}, {}, {}, {}, {}
    for at = 7, #args do dead[args[at]] = true end
    local now = args[6] == 'seen' and tonumber(redis.call('TIME')[1]) or nil
    for _, name in ipairs(names) do present[name] = {place = args[2], set = args[3], seen = now} end
    local known = redis.call('HGETALL', CONTRACTS)
    for at = 1, #known, 2 do
      local name = known[at]
      if name:sub(1, 4) ~= 'set ' then
        local record = cjson.decode(known[at + 1])
        if present[name] then
          record = {place = args[2], set = args[3], seen = now or record.seen}
          present[name] = record
        elseif not record.left and is_of_set(record, args[2], present) then
          local holder = holder_of(name, dead)
          if holder then
            held[#held + 1] = holder
          else
            record.left = tonumber(args[5])
            redis.call('HSET', CONTRACTS, name, cjson.encode(record))
            drop_claims(name, free_claim)
            left[#left + 1] = name
          end
        end
        in_use[record.set] = true
      end
    end
    for name, record in pairs(present) do
      redis.call('HSET', CONTRACTS, name, cjson.encode(record))
    end
    if #names > 0 then
      redis.call('HSET', CONTRACTS, 'set ' .. args[3], args[4])
      in_use[args[3]] = true
    end
    for at = 1, #known, 2 do
      if known[at]:sub(1, 4) == 'set ' and not in_use[known[at]:sub(5)] then redis.call('HDEL', CONTRACTS, known[at]) end
    end
    return {'ok', left, held}
  end

  -- Why nothing of a contract may be removed, or nil: a daemon works on it, or it came back meanwhile.
  function is_present(contract)
    local holder, said = holder_of(contract), redis.call('HGET', CONTRACTS, contract)
    if holder then return {'held', holder} end
    if said and not cjson.decode(said).left then return {'held', ''} end
  end

  -- keys: key, ... args: protocol, contract, Redis type, "turned" or "", and of a node of a cluster a record at its place, and
  -- the keys. Removes keys of a contract that no daemon works on, or those that it had before it went another way, but for
  -- those of another type and those that a contract claims. Replies {'ok', how many}, or {'held', holder or ''}.
  local function remove_keys(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    be_at(args[5])
    for at = 6, #args do keys[at - 5] = args[at] end
    local present = args[4] ~= 'turned' and is_present(args[2])
    if present then return present end
    local claims, foreign, count = foreign_claims(args[4] ~= 'turned' and args[2]), base_of(args[2]) .. 'foreign', 0
    for _, key in ipairs(keys) do
      if redis.call('TYPE', key).ok == args[3] and not is_claimed(claims, key) and redis.call('SISMEMBER', foreign, key) == 0 then
        count = count + redis.call('DEL', key)
      end
    end
    return {'ok', count}
  end

  -- keys: record, ... args: protocol, contract, "1" where that was the last of them, and of a node of a cluster a record at its
  -- place. Removes what syncd keeps of a contract that no daemon works on. Replies {'ok'}, or {'held', holder or ''}.
  local function remove_records(keys, args)
    if args[1] ~= PROTOCOL then return {'version', PROTOCOL} end
    be_at(args[4])
    local present = is_present(args[2])
    if present then return present end
    for _, key in ipairs(keys) do
      if contract_of(key) == args[2] then redis.call('DEL', key) end
    end
    if args[3] == '1' then
      drop_claims(args[2], function(name) redis.call('HDEL', CLAIMS, name) end)
      redis.call('HDEL', CONTRACTS, args[2])
    end
    return {'ok'}
  end

  redis.register_function{function_name = 'syncd_roster', callback = roster, flags = {'allow-oom'}}
  redis.register_function{function_name = 'syncd_remove_keys', callback = remove_keys, flags = {'allow-oom', 'allow-cross-slot-keys'}}
  redis.register_function{function_name = 'syncd_remove_records', callback = remove_records, flags = {'allow-oom'}}
end
