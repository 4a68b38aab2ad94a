"""syncd's own Lua, run as a Redis runs it, over the model's keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from lupa.lua51 import LuaRuntime, lua_type

from syncd.stores.redis.functions import _OOM_SAFE as OOM_SAFE
from syncd.stores.redis.functions import library_source
from tests.simulation.redis.data import ReplyError, Status

_SERVER = b"""
local call, sha1hex, decode, encode = ...
local registered = {}
redis = {sha1hex = sha1hex}
function redis.pcall(...) return call(...) end
function redis.call(...)
  local result = call(...)
  if type(result) == 'table' and result.err then error(result, 0) end
  return result
end
function redis.error_reply(text) return {err = text} end
function redis.status_reply(text) return {ok = text} end
function redis.register_function(name, callback)
  if type(name) == 'table' then name, callback = name.function_name, name.callback end
  registered[name] = callback
end
cjson = {encode = encode, decode = decode}
return registered, function(name, keys, args)
  local done, result = pcall(registered[name], keys, args)
  if done then return result end
  return {err = type(result) == 'table' and result.err or tostring(result)}
end
"""
READS = frozenset(
    b"EXISTS GET HEXISTS HGET HGETALL HLEN HMGET HPEXPIRETIME HSCAN JSON.GET LRANGE PEXPIRETIME PTTL SCAN "
    b"SISMEMBER SMEMBERS SSCAN TIME TYPE XINFO XLEN XPENDING XRANGE XREAD ZCARD ZMSCORE ZRANGE "
    b"ZRANGEBYSCORE ZSCORE".split()
)
ALLOWED_WHEN_FULL = frozenset(name.encode() for name in OOM_SAFE)

Execute = Callable[[bytes, list[bytes]], Any]


class Library:
    """The functions of one source, loaded once: which keys they work on is said with each call."""

    def __init__(self, source: str) -> None:
        self._lua = LuaRuntime(encoding=None, unpack_returned_tuples=True)
        self._execute: Execute = _nothing
        self._bug: BaseException | None = None
        table = self._lua.table_from
        self._table: Callable[[Any], Any] = table
        setup = self._lua.execute(b"return function(...)" + _SERVER + b" end")
        self._registered, self._run = setup(
            self._call, _sha1hex, lambda text: self._decoded(json.loads(text)), self._encoded
        )
        body = source.split("\n", 1)[1] if source.startswith("#!") else source
        self._lua.execute(body.encode())

    def __contains__(self, name: bytes) -> bool:
        return self._registered[name] is not None

    def call(self, name: bytes, keys: list[bytes], args: list[bytes], execute: Execute) -> Any:
        """The reply of a function, with `execute` for the commands that it calls."""
        self._execute, self._bug = execute, None
        result = self._run(name, self._table(keys), self._table(args))
        if self._bug is not None:
            raise self._bug
        return self._reply(result)

    def _call(self, name: bytes, *args: Any) -> Any:
        try:
            result = self._execute(name.upper(), [_argument(arg) for arg in args])
        except ReplyError as error:
            return self._table({b"err": str(error).encode()})
        except BaseException as error:
            self._bug = error
            raise
        return self._value(result)

    def _value(self, reply: Any) -> Any:
        """A reply as Lua has it."""
        if reply is None:
            return False
        if type(reply) is list:
            return self._table([self._value(part) for part in reply])
        if type(reply) is Status:
            return self._table({b"ok": bytes(reply)})
        return reply

    def _reply(self, value: Any) -> Any:
        """What Lua returns as a reply."""
        if lua_type(value) != "table":
            return _plain(value)
        if (error := value[b"err"]) is not None:
            raise ReplyError(error.decode(errors="replace"))
        if (status := value[b"ok"]) is not None:
            return Status(status)
        found, at = [], 1
        while (part := value[at]) is not None:
            found.append(self._reply(part))
            at += 1
        return found

    def _decoded(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._table({name.encode(): self._decoded(part) for name, part in value.items()})
        if isinstance(value, list):
            return self._table([self._decoded(part) for part in value])
        return value.encode() if isinstance(value, str) else value

    def _encoded(self, value: Any) -> bytes:
        return _json(value).encode()


@cache
def library(source: str = "") -> Library:
    """The library of a source; of syncd's own where none is said."""
    return Library(source or library_source())


def _nothing(name: bytes, args: list[bytes]) -> Any:
    raise AssertionError("no call is under way")


def _sha1hex(text: bytes) -> bytes:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()


def _argument(arg: Any) -> bytes:
    if isinstance(arg, bytes):
        return arg
    if isinstance(arg, float):
        return (str(int(arg)) if arg.is_integer() else f"{arg:.17g}").encode()
    return str(arg).encode()


def _plain(value: Any) -> Any:
    if value is True:
        return 1
    if value is False or value is None:
        return None
    return int(value) if isinstance(value, float) else value


def _json(value: Any) -> str:
    if lua_type(value) != "table":
        if isinstance(value, bytes):
            return json.dumps(value.decode())
        if isinstance(value, float):
            return f"{value:.14g}"
        return json.dumps(value)
    if value[1] is not None:
        return "[" + ",".join(_json(value[at]) for at in range(1, len(value) + 1)) + "]"
    return "{" + ",".join(f"{json.dumps(name.decode())}:{_json(part)}" for name, part in value.items()) + "}"
