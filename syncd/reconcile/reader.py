"""Reads what the keys of many documents hold, in a round trip a page. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import hiredis
from redis.connection import Connection
from redis.exceptions import RedisError, ResponseError

from syncd.errors import TransientError
from syncd.plan.to_redis.change import Drop, Put, Retired
from syncd.plan.to_redis.shape import Shape
from syncd.plan.types import unpacked
from syncd.stores.redis.records.keys.key_lists import keys_in
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import WHOLE_MAP
from syncd.stores.redis.store import RedisStore, translate

_ANSWERS = "WRONGTYPE", "wrong Redis type", "the key does not exist"
"""Errors that say what is there: a key of another type, or no time series."""
_RECEIVE_BYTES = 1 << 18
_TIME = b"*1\r\n$4\r\nTIME\r\n"


class KeyReader:
    """One connection of its own, for one thread.

    The driver takes as long for a reply as all else that is done for a document: here the replies of a whole page are
    parsed in C.
    """

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._control = store, control
        self._connection: Connection | None = None

    def read(self, writes: Sequence[Put | Drop]) -> tuple[list[tuple[Any, int]], int]:
        """Content and time of expiry of each write's key, and Redis's own time in epoch milliseconds."""
        parts = [_TIME]
        expires = _around((b"PEXPIRETIME",))
        for write in writes:
            key = (write.key or "").encode()
            if type(write) is Put:
                parts += [_command(_around(words), key) for words in write.shape.commands]
            parts.append(_command(expires, key))
        replies = iter(self._ask(parts, len(parts)))
        seconds, micros = next(replies)
        now = int(seconds) * 1000 + int(micros) // 1000
        found: list[tuple[Any, int]] = []
        for write in writes:
            content = None
            if type(write) is Put:
                content = _content(next(replies))
                if len(write.shape.commands) > 1:
                    content = _all_of(content, _content(next(replies)), now)
            found.append((content, _number(next(replies))))
        return found, now

    def keys_of(self, shape: Shape | Retired, idents: Iterable[str]) -> dict[str, str]:
        """ident -> key, by the map of a shape whose key is no function of `_id`."""
        return self._members(self._control.keys_by_id(shape.name, shape.template.text), list(idents))

    def owners_of(self, shape: Shape | Retired, keys: Iterable[str]) -> dict[str, str]:
        """key -> ident of the document that has it. The value in Redis is "time ident", see lua/."""
        name = self._control.ids_by_key(shape.name, shape.template.text)
        found = self._members(name, list(keys))
        return {key: said.partition(" ")[2] for key, said in found.items()}

    def records_of(self, shape: Shape, idents: Iterable[str]) -> dict[str, list[str]]:
        """ident -> the keys of its elements, by the map of their shape."""
        names = list(idents)
        key = self._control.keys_by_id(shape.name, shape.template.text)
        pairs = zip(names, self._values(key, names) if names else (), strict=True)
        return {name: keys_in(shape.template, said) for name, said in pairs if said is not None}

    def with_dead_letter(self, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these (projection, ident) have a dead letter."""
        names = [f"{projection} {ident}" for projection, ident in pairs]
        found = self._members(self._control.dead_by_document, names)
        return {pair for pair, name in zip(pairs, names, strict=True) if name in found}

    def memberships_of(self, shape: Shape, idents: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """ident -> what the document is a member of, by the map of a shape whose keys documents share."""
        names = list(idents)
        key = self._control.members(shape.name, shape.template.text)
        pairs = zip(names, self._values(key, names) if names else (), strict=True)
        return {ident: unpacked(said) for ident, said in pairs if said is not None}

    def bars_of(self, shape: Shape, keys: Iterable[str]) -> dict[str, str]:
        """key -> the best score of any document that is not on it, of shared keys that hold so many members only."""
        name = self._control.members(shape.name, shape.template.text)
        found = self._members(name, [WHOLE_MAP.decode() + key for key in keys])
        return {key.removeprefix(WHOLE_MAP.decode()): said.partition(" ")[0] for key, said in found.items()}

    def now(self) -> int:
        """Redis's own time in epoch milliseconds."""
        seconds, micros = self._ask([_TIME], 1)[0]
        return int(seconds) * 1000 + int(micros) // 1000

    def deadlines_of(self, shape: Shape, idents: Sequence[str]) -> dict[str, float]:
        """ident -> until when the document is a member, in epoch milliseconds, where it has such a deadline."""
        name = self._control.deadlines(shape.name, shape.template.text)
        found = self.ask([("ZSCORE", name, ident) for ident in idents])
        return {ident: float(at) for ident, at in zip(idents, found, strict=True) if at is not None}

    def ask(self, commands: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
        """The replies to commands that read one member; an Exception where the key has another type."""
        replies = self._ask(
            [hiredis.pack_command(tuple[Any, ...](command)) for command in commands], len(commands)
        )
        return [_content(reply) for reply in replies]

    def _members(self, key: str, names: list[str]) -> dict[str, str]:
        pairs = zip(names, self._values(key, names) if names else (), strict=True)
        return {name: value.decode() for name, value in pairs if value is not None}

    def _values(self, key: str, names: list[str]) -> list[bytes | None]:
        values = self._ask([hiredis.pack_command(tuple[Any, ...](("HMGET", key, *names)))], 1)[0]
        if isinstance(values, Exception):
            raise translate(ResponseError(str(values)))
        found: list[bytes | None] = values
        return found

    def _ask(self, parts: list[bytes], count: int) -> list[Any]:
        """All replies, an error of a single command as an Exception in its place."""
        try:
            if self._connection is None:
                self._connection = self._store.client.connection_pool.get_connection()
            self._connection.send_packed_command([b"".join(parts)], check_health=False)
            return self._receive(self._connection, count)
        except RedisError as error:
            self.close()
            raise translate(error) from error
        except OSError as error:
            self.close()
            raise TransientError("redis", f"no connection to Redis: {error}; is it up?") from error

    @staticmethod
    def _receive(connection: Connection, count: int) -> list[Any]:
        socket = connection._sock
        assert socket is not None
        reader = hiredis.Reader(notEnoughData=KeyReader)
        replies: list[Any] = []
        while len(replies) < count:
            data = socket.recv(_RECEIVE_BYTES)
            if not data:
                raise OSError("the connection was closed")
            reader.feed(data)
            while (reply := reader.gets()) is not KeyReader:
                replies.append(reply)
        return replies

    def close(self) -> None:
        """Give up the connection; a reply that is still on its way must not meet the next caller."""
        if self._connection is not None:
            self._connection.disconnect()
            self._store.client.connection_pool.release(self._connection)
            self._connection = None


@cache
def _around(words: tuple[bytes, ...]) -> tuple[bytes, bytes]:
    """What goes over the wire before a key and behind it; the first word is the command."""
    name, *behind = words
    head = b"*%d\r\n$%d\r\n%b\r\n" % (1 + len(words), len(name), name)
    return head, b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in behind)


def _command(around: tuple[bytes, bytes], key: bytes) -> bytes:
    head, tail = around
    return b"%b$%d\r\n%b\r\n%b" % (head, len(key), key, tail)


def _content(reply: Any) -> Any:
    """What is there is an answer, also where Redis says it as an error."""
    if isinstance(reply, Exception) and not any(word in str(reply) for word in _ANSWERS):
        raise translate(ResponseError(str(reply)))
    return reply


def _all_of(content: Any, further: Any, now: int) -> Any:
    return content if isinstance(content, Exception) else (content, further, now)


def _number(reply: Any) -> int:
    if isinstance(reply, Exception):
        raise translate(ResponseError(str(reply)))
    return int(reply)
