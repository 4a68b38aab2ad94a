-- Change feeds of contracts with a filter: an entry says that a document has come to match it, or matches no more.
--
-- `matched` is a set for each such feed: the documents, by _id, of which its readers know that they match, because an entry
-- said so, or a copy read them. It changes with the entry, in the call that moves the position.
-- WHOLE_MAP is in it where all documents that match are; FILLING as long as the first copy fills it, or RELOAD where it
-- was lost, so that readers are told in the end. A set with none of these was evicted, or never made.

do
  local FILLING, RELOAD = ':filling', ':reload'

  local function has_begun(set)
    for _, word in ipairs{WHOLE_MAP, FILLING, RELOAD} do
      if redis.call('SISMEMBER', set, word) == 1 then return true end
    end
    return false
  end

  -- What becomes of a document: the entry's `op` or nil, and whether the document is in the set then (nil: as before).
  -- `state` is what a read showed: it is `in`, `out`, or `gone`; `op` is what happened.
  local function judge(state, op, before)
    if op == 'delete' then return before and op, false end
    if state == 'out' then return before and 'leave', false end
    if state == 'gone' then return before and op, nil end
    if op == 'enter' then return not before and op, true end
    if op == 'update' or op == 'replace' then return before and op or 'enter', true end
    return op, true
  end

  local function move(set, ident, is_in)
    return failed(redis.pcall(is_in and 'SADD' or 'SREM', set, ident))
  end

  -- Entries of such a feed follow. name, set, `op` of entries that are wanted
  operations.fm = {
    keyless = true,
    width = fixed(3),
    refuses = function(args, i) return not has_begun(args[i + 1]) and 'lost' end,
    write = function(_, args, i)
      local feed, wanted = feeds[args[i]], {}
      for op in args[i + 2]:gmatch('[^,]+') do wanted[op] = true end
      feed.set, feed.wanted = args[i + 1], wanted
    end,
  }

  -- Changes with the same names, as rows, which become entries or not. state, id of the change or "", op, _id, value, ...
  row_operations.change = function(row)
    local fields, count = {}, 2 * #row.names
    for at, name in ipairs(row.names) do fields[2 * at - 1] = name end
    return {keyless = true, once = true, width = fixed(2 + #row.names), write = function(_, args, i)
      local feed, id, ident = feeds[row.feed], args[i + 1], args[i + 3]
      if is_repeat(feed, id) then return end
      local before = redis.call('SISMEMBER', feed.set, ident) == 1
      local op, is_in = judge(args[i], args[i + 2], before)
      local moves = is_in ~= nil and is_in ~= before
      -- First the set: without the right to that there must be no entry either.
      local problem = moves and move(feed.set, ident, is_in)
      if problem then return problem end
      if op and feed.wanted[op] then
        for at = 1, #row.names do fields[2 * at] = args[i + 1 + at] end
        fields[2] = op
        problem = append(feed, id, fields, count)
        if problem then
          if moves then move(feed.set, ident, before) end
          return problem
        end
      else
        if id ~= '' then feed.last = id end
        unsaid = unsaid + 1
      end
    end}
  end

  -- Documents match, as a copy read them, and no entry says so. set, n, _id, ...
  operations.fa = {keyless = true, once = true, width = counted(2), write = function(_, args, i, last)
    return failed(call_in_parts('SADD', args[i], args, i + 2, last))
  end}

  -- A copy begins to fill a set. set, FILLING or RELOAD; "" where the contract has no filter any more
  operations.fb = {keyless = true, width = fixed(2), write = function(_, args, i)
    redis.call('DEL', args[i])
    if args[i + 1] ~= '' then redis.call('SADD', args[i], args[i + 1]) end
  end}

  -- All documents that match are in a set. set
  operations.fw = {
    keyless = true,
    once = true,
    width = fixed(1),
    refuses = function(args, i) return not has_begun(args[i]) and 'lost' end,
    write = function(_, args, i)
      redis.call('SADD', args[i], WHOLE_MAP)
      redis.call('SREM', args[i], FILLING, RELOAD)
    end,
  }
end
