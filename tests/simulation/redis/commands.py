"""Commands of the model: a function each, from the arguments behind the name to the reply."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

from tests.simulation.redis.data import (
    HASH,
    LIST,
    OK,
    SET,
    STRING,
    ZSET,
    Data,
    ReplyError,
    Status,
)

Args: TypeAlias = list[bytes]
Command: TypeAlias = Callable[[Data, Args], Any]
COMMANDS: dict[bytes, Command] = {}
NONE = Status(b"none")


def command(name: str) -> Callable[[Command], Command]:
    """Registers a function under the name of its command."""

    def register(function: Command) -> Command:
        COMMANDS[name.encode()] = function
        return function

    return register


@cache
def glob(pattern: bytes) -> re.Pattern[bytes]:
    """A pattern of SCAN as an expression."""
    text = re.sub(
        rb"\\(.)|(\*)|(\?)|([^\\*?])",
        lambda m: re.escape(m[1]) if m[1] else b".*" if m[2] else b"." if m[3] else re.escape(m[4]),
        pattern,
    )
    return re.compile(text, re.DOTALL)


@command("PING")
def _ping(data: Data, args: Args) -> Any:
    return Status(b"PONG")


@command("TIME")
def _time(data: Data, args: Args) -> Any:
    return [str(data.now // 1000).encode(), str(data.now % 1000 * 1000).encode()]


@command("TYPE")
def _type(data: Data, args: Args) -> Any:
    entry = data.find(args[0])
    return NONE if entry is None else Status(entry.kind)


@command("EXISTS")
def _exists(data: Data, args: Args) -> Any:
    return sum(data.find(key) is not None for key in args)


@command("DEL")
def _del(data: Data, args: Args) -> Any:
    return sum(data.find(key) is not None and data.remove(key) for key in args)


COMMANDS[b"UNLINK"] = _del


@command("RENAME")
def _rename(data: Data, args: Args) -> Any:
    entry = data.find(args[0])
    if entry is None:
        raise ReplyError("ERR no such key")
    data.remove(args[0])
    data.put(args[1], entry.kind, entry.value, entry.expires)
    return OK


@command("PEXPIRE")
def _pexpire(data: Data, args: Args) -> Any:
    return data.expire(args[0], data.now + int(args[1]))


@command("PEXPIREAT")
def _pexpireat(data: Data, args: Args) -> Any:
    return data.expire(args[0], int(args[1]))


@command("PERSIST")
def _persist(data: Data, args: Args) -> Any:
    entry = data.find(args[0])
    return 0 if entry is None or entry.expires is None else data.expire(args[0], None)


@command("PTTL")
def _pttl(data: Data, args: Args) -> Any:
    entry = data.find(args[0])
    return -2 if entry is None else -1 if entry.expires is None else entry.expires - data.now


@command("PEXPIRETIME")
def _pexpiretime(data: Data, args: Args) -> Any:
    entry = data.find(args[0])
    return -2 if entry is None else -1 if entry.expires is None else entry.expires


@command("GET")
def _get(data: Data, args: Args) -> Any:
    return data.of(args[0], STRING)


@command("MGET")
def _mget(data: Data, args: Args) -> Any:
    found = map(data.find, args)
    return [None if entry is None or entry.kind != STRING else entry.value for entry in found]


@command("SET")
def _set(data: Data, args: Args) -> Any:
    expires = data.now + int(args[3]) if len(args) > 3 and args[2].upper() == b"PX" else None
    data.put(args[0], STRING, args[1], expires)
    return OK


@command("HSET")
def _hset(data: Data, args: Args) -> Any:
    if len(args) < 3 or len(args) % 2 == 0:
        raise ReplyError("ERR wrong number of arguments for 'hset' command")
    value = data.change(args[0], HASH)
    before = len(value)
    value.update(zip(args[1::2], args[2::2], strict=True))
    return len(value) - before


@command("HDEL")
def _hdel(data: Data, args: Args) -> Any:
    if data.of(args[0], HASH) is None:
        return 0
    value = data.change(args[0], HASH)
    count = sum(value.pop(name, None) is not None for name in args[1:])
    data.drop_empty(args[0])
    return count


@command("HGET")
def _hget(data: Data, args: Args) -> Any:
    return (data.of(args[0], HASH) or {}).get(args[1])


@command("HMGET")
def _hmget(data: Data, args: Args) -> Any:
    value = data.of(args[0], HASH) or {}
    return [value.get(name) for name in args[1:]]


@command("HGETALL")
def _hgetall(data: Data, args: Args) -> Any:
    return [part for pair in (data.of(args[0], HASH) or {}).items() for part in pair]


@command("HKEYS")
def _hkeys(data: Data, args: Args) -> Any:
    return list(data.of(args[0], HASH) or {})


@command("HLEN")
def _hlen(data: Data, args: Args) -> Any:
    return len(data.of(args[0], HASH) or {})


@command("HEXISTS")
def _hexists(data: Data, args: Args) -> Any:
    return int(args[1] in (data.of(args[0], HASH) or {}))


@command("HINCRBY")
def _hincrby(data: Data, args: Args) -> Any:
    value = data.change(args[0], HASH)
    number = int(value.get(args[1], b"0")) + int(args[2])
    value[args[1]] = str(number).encode()
    return number


@command("HPEXPIRETIME")
def _hpexpiretime(data: Data, args: Args) -> Any:
    value = data.of(args[0], HASH)
    return None if value is None else [-1 if name in value else -2 for name in args[3:]]


@command("SCAN")
def _scan(data: Data, args: Args) -> Any:
    found = _matching(list(data), args[1:])
    upper = [option.upper() for option in args]
    if b"TYPE" in upper:
        kind = args[upper.index(b"TYPE") + 1].lower()
        found = [name for name in found if _type(data, [name]).lower() == kind]
    return [b"0", found]


@command("HSCAN")
def _hscan(data: Data, args: Args) -> Any:
    value = data.of(args[0], HASH) or {}
    return [b"0", [part for name in _matching(list(value), args[2:]) for part in (name, value[name])]]


def _matching(names: Args, options: Args) -> Args:
    upper = [option.upper() for option in options]
    if b"MATCH" not in upper:
        return names
    pattern = glob(options[upper.index(b"MATCH") + 1])
    return [name for name in names if pattern.fullmatch(name)]


@command("SADD")
def _sadd(data: Data, args: Args) -> Any:
    value = data.change(args[0], SET)
    before = len(value)
    value.update(dict.fromkeys(args[1:]))
    return len(value) - before


@command("SREM")
def _srem(data: Data, args: Args) -> Any:
    if data.of(args[0], SET) is None:
        return 0
    value = data.change(args[0], SET)
    before = len(value)
    for member in args[1:]:
        value.pop(member, None)
    count = before - len(value)
    data.drop_empty(args[0])
    return count


@command("SISMEMBER")
def _sismember(data: Data, args: Args) -> Any:
    return int(args[1] in (data.of(args[0], SET) or {}))


@command("SMISMEMBER")
def _smismember(data: Data, args: Args) -> Any:
    value = data.of(args[0], SET) or {}
    return [int(member in value) for member in args[1:]]


@command("SCARD")
def _scard(data: Data, args: Args) -> Any:
    return len(data.of(args[0], SET) or {})


@command("SMEMBERS")
def _smembers(data: Data, args: Args) -> Any:
    return list(data.of(args[0], SET) or {})


@command("SRANDMEMBER")
def _srandmember(data: Data, args: Args) -> Any:
    return list(data.of(args[0], SET) or {})[: int(args[1])]


@command("RPUSH")
def _rpush(data: Data, args: Args) -> Any:
    value = data.change(args[0], LIST)
    value += args[1:]
    return len(value)


@command("LPUSH")
def _lpush(data: Data, args: Args) -> Any:
    value = data.change(args[0], LIST)
    value[:0] = args[:0:-1]
    return len(value)


@command("LTRIM")
def _ltrim(data: Data, args: Args) -> Any:
    if data.of(args[0], LIST) is not None:
        value = data.change(args[0], LIST)
        value[:] = _part(value, args)
        data.drop_empty(args[0])
    return OK


@command("LRANGE")
def _lrange(data: Data, args: Args) -> Any:
    return _part(data.of(args[0], LIST) or [], args)


def _part(value: list[bytes], args: Args) -> list[bytes]:
    first, last = int(args[1]), int(args[2])
    return value[first:] if last == -1 else value[first : last + 1]


@command("LREM")
def _lrem(data: Data, args: Args) -> Any:
    if data.of(args[0], LIST) is None:
        return 0
    value = data.change(args[0], LIST)
    count = value.count(args[2])
    value[:] = [one for one in value if one != args[2]]
    data.drop_empty(args[0])
    return count


@command("ZADD")
def _zadd(data: Data, args: Args) -> Any:
    value = data.change(args[0], ZSET)
    before = len(value)
    for score, member in zip(args[1::2], args[2::2], strict=True):
        value[member] = float(score)
    return len(value) - before


@command("ZREM")
def _zrem(data: Data, args: Args) -> Any:
    if data.of(args[0], ZSET) is None:
        return 0
    value = data.change(args[0], ZSET)
    count = sum(value.pop(member, None) is not None for member in args[1:])
    data.drop_empty(args[0])
    return count


@command("SSCAN")
def _sscan(data: Data, args: Args) -> Any:
    return [b"0", _matching(list(data.of(args[0], SET) or {}), args[2:])]


@command("ZSCAN")
def _zscan(data: Data, args: Args) -> Any:
    value = data.of(args[0], ZSET) or {}
    return [b"0", [part for member, score in value.items() for part in (member, _score(score))]]


def _score(score: float | None) -> bytes | None:
    return None if score is None else f"{score:.17g}".encode()


@command("ZSCORE")
def _zscore(data: Data, args: Args) -> Any:
    return _score((data.of(args[0], ZSET) or {}).get(args[1]))


@command("ZMSCORE")
def _zmscore(data: Data, args: Args) -> Any:
    value = data.of(args[0], ZSET) or {}
    return [_score(value.get(member)) for member in args[1:]]


@command("ZCARD")
def _zcard(data: Data, args: Args) -> Any:
    return len(data.of(args[0], ZSET) or {})


@command("ZRANGEBYSCORE")
def _zrangebyscore(data: Data, args: Args) -> Any:
    return _zrange(data, [*args[:3], b"BYSCORE", *args[3:]])


@command("ZRANGE")
def _zrange(data: Data, args: Args) -> Any:
    value = data.of(args[0], ZSET) or {}
    ordered = sorted(value.items(), key=lambda pair: (pair[1], pair[0]))
    upper = [arg.upper() for arg in args]
    if b"BYSCORE" in upper:
        low, high = (float(bound.lstrip(b"(")) for bound in args[1:3])
        ordered = [(member, score) for member, score in ordered if low <= score <= high]
        if b"LIMIT" in upper:
            at = upper.index(b"LIMIT")
            ordered = ordered[int(args[at + 1]) :][: int(args[at + 2])]
    else:
        first, last = int(args[1]), int(args[2])
        ordered = ordered[first:] if last == -1 else ordered[first : last + 1]
    if b"WITHSCORES" not in upper:
        return [member for member, _ in ordered]
    return [part for member, score in ordered for part in (member, _score(score))]
