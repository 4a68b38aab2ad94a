"""The model of a Redis: commands in, replies out, and what may go wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from syncd.to_mongo.outbox.functions import source as outbox_functions
from tests.simulation.redis.data import OK, Data, Entry, ReplyError
from tests.simulation.redis.scripts import ALLOWED_WHEN_FULL, READS, Library, library
from tests.simulation.redis.streams import COMMANDS

Watch = Callable[[bytes, list[bytes], Any, dict[bytes, Entry | None]], None]
Refusal = Callable[[bytes, list[bytes]], str | None]
_INFO = (
    "# Server\r\nredis_version:8.2.3\r\nredis_mode:standalone\r\nrun_id:{run}\r\naof_enabled:1\r\n"
    "maxmemory_policy:{policy}\r\ncluster_enabled:0\r\n"
)
WRITES_WHEN_FULL = frozenset(
    (b"DEL", b"UNLINK", b"HDEL", b"SREM", b"ZREM", b"XDEL", b"XTRIM", b"LREM", b"PEXPIRE")
)
SYNCD, OUTBOX = b"syncd", b"syncd_outbox"


class RedisModel:
    """One server. `now` gives epoch milliseconds."""

    def __init__(self, now: Callable[[], int], functions: Library | None = None) -> None:
        self.data = Data(now)
        self.functions = functions or library()
        self.is_full = False
        self.run = 1
        """Which process answers."""
        self.policy = "noeviction"
        self.refuses: Refusal = _nothing_refused
        """What an ACL, or a module, says against a command of a script."""
        self.watch: Watch = _unwatched
        """Called with every command of a client: name, arguments, reply, and how what it changed was before."""
        self.outbox = library(outbox_functions())
        self.loaded: dict[bytes, bytes] = {}
        """Libraries by name."""

    def execute(self, args: list[bytes]) -> Any:
        """One command of a client."""
        name = args[0].upper()
        self.data.begin()
        try:
            reply = self._reply(name, args[1:])
        except ReplyError as error:
            reply = error
        self.watch(name, args, reply, self.data.end(name))
        return reply

    def _reply(self, name: bytes, args: list[bytes]) -> Any:
        if name in (b"FCALL", b"FCALL_RO"):
            return self._fcall(args)
        if name in _OF_SERVER:
            return _OF_SERVER[name](self, args)
        if self.is_full and name not in READS and name not in WRITES_WHEN_FULL:
            raise ReplyError("OOM command not allowed when used memory > 'maxmemory'.")
        if name not in COMMANDS:
            raise ReplyError(f"ERR unknown command '{name.decode()}'")
        return COMMANDS[name](self.data, args)

    def _fcall(self, args: list[bytes]) -> Any:
        name, count = args[0], int(args[1])
        is_outbox = name in self.outbox
        if (OUTBOX if is_outbox else SYNCD) not in self.loaded:
            raise ReplyError("ERR Function not found")
        if self.is_full and name not in ALLOWED_WHEN_FULL:
            raise ReplyError("OOM command not allowed when used memory > 'maxmemory'.")
        functions = self.outbox if is_outbox else self.functions
        return functions.call(name, args[2 : 2 + count], args[2 + count :], self._from_script)

    def _from_script(self, name: bytes, args: list[bytes]) -> Any:
        if (refusal := self.refuses(name, args)) is not None:
            raise ReplyError(refusal)
        if name not in COMMANDS:
            raise ReplyError("ERR Unknown Redis command called from script")
        return COMMANDS[name](self.data, args)

    def _info(self, args: list[bytes]) -> Any:
        return _INFO.format(run=f"{self.run:040x}", policy=self.policy).encode()

    def _function(self, args: list[bytes]) -> Any:
        if args[0].upper() == b"LOAD":
            return self.load(args[-1])
        source = self.loaded.get(SYNCD)
        return [] if source is None else [[b"library_name", SYNCD, b"library_code", source]]

    def load(self, source: bytes) -> bytes:
        """A library is there from now on. Returns its name."""
        name = source.split(b"\n", 1)[0].partition(b"name=")[2]
        self.loaded[name] = source
        return name

    def _memory(self, args: list[bytes]) -> Any:
        return None if self.data.find(args[1]) is None else 100

    def _command(self, args: list[bytes]) -> Any:
        known = [[b"json.set"] if b"JSON.SET" in args else None, None]
        return known[: len(args) - 1]

    def _config(self, args: list[bytes]) -> Any:
        return [args[1], b""]

    def _ok(self, args: list[bytes]) -> Any:
        return OK


def _nothing_refused(name: bytes, args: list[bytes]) -> str | None:
    return None


def _unwatched(name: bytes, args: list[bytes], reply: Any, before: dict[bytes, Entry | None]) -> None:
    return None


_OF_SERVER: dict[bytes, Callable[[RedisModel, list[bytes]], Any]] = {
    b"INFO": RedisModel._info,
    b"FUNCTION": RedisModel._function,
    b"COMMAND": RedisModel._command,
    b"CONFIG": RedisModel._config,
    b"MEMORY": RedisModel._memory,
    b"CLIENT": RedisModel._ok,
    b"SELECT": RedisModel._ok,
    b"MULTI": RedisModel._ok,
}
