-- Members of vector sets. Redis takes a vector that is there already for another one: it takes the member out of its graph
-- and puts it in again, which costs milliseconds of searching. So where there is a member, what the set would hold of the
-- vector is compared with what it holds.

do
  -- What a set holds of a vector, as one text; nil where there is no such member.
  local function as_held(key, member)
    local found = redis.pcall('VEMB', key, member, 'RAW')
    if not found or found.err or #found == 0 then return nil end
    found[1] = found[1].ok or found[1]
    return table.concat(found, ' ')
  end

  -- Quantisation rounds, and only Redis does so exactly as Redis: a set of one member, which no replica sees, says what
  -- becomes of the vector. It is gone before the call ends.
  local function is_held(key, member, quantisation, vector)
    local held = as_held(key, member)
    if not held then return false end
    local alone = 'syncd:{' .. (key:match('{([^}]+)}') or key) .. '}:vector'
    redis.set_repl(redis.REPL_NONE)
    redis.call('DEL', alone)
    local problem = failed(redis.pcall('VADD', alone, 'FP32', vector, member, quantisation))
    local same = not problem and as_held(alone, member) == held
    redis.call('DEL', alone)
    redis.set_repl(redis.REPL_ALL)
    return same
  end

  member_kinds.vectorset = {type = 'vectorset', add = function(key, member, quantisation, vector, attributes)
    if is_held(key, member, quantisation, vector) then
      if (redis.call('VGETATTR', key, member) or '') == attributes then return end
      -- A user may lack the right to this command, which the next one does not need.
      if not failed(redis.pcall('VSETATTR', key, member, attributes)) then return end
    end
    return redis.pcall('VADD', key, 'FP32', vector, member, quantisation, 'SETATTR', attributes)
  end}
end
