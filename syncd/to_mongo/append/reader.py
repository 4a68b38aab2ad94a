"""New entries of a group, asked for before they are needed: Redis reads while the lane converts what came before."""

from __future__ import annotations

from typing import Any

import hiredis
from redis import exceptions as driver
from redis.connection import Connection

from syncd.errors import InvariantError
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.group import Group, TakenEntries, entries_of


class Reader:
    """`ask` and `take` come in pairs, over a connection of its own. Use as a context manager.

    What was asked for and not taken is pending, as if it had been taken.
    """

    def __init__(self, store: RedisStore, group: Group) -> None:
        self._store, self._group = store.at_key(group.stream), group
        self._connection: Connection | None = None
        self.is_asked = False

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        """Give up the connection; a reply that is still on its way must not meet the next caller."""
        if self._connection is not None:
            self._connection.disconnect()
            self._store.client.connection_pool.release(self._connection)
            self._connection = None

    def ask(self, count: int) -> None:
        """For so many, without waiting."""
        stream, name = self._group.stream, self._group.name
        commands: list[list[Any]] = [
            ["MULTI"],
            # In one step with the read: what was removed before it is noticed, and counted once.
            self._store.functions.command("syncd_trimmed", [stream], [name]),
            [*self._group.reading(count), "STREAMS", stream, ">"],
            ["EXEC"],
        ]
        with self._group.translated():
            if self._connection is None:
                self._connection = self._store.client.connection_pool.get_connection()
            packed = [hiredis.pack_command(tuple(command)) for command in commands]
            self._connection.send_packed_command(packed, check_health=False)
        self.is_asked = True

    def take(self) -> TakenEntries:
        """What was asked for. From now on it is this consumer's; none where none were there."""
        if self._connection is None:
            raise InvariantError("entries are taken that were not asked for")
        self.is_asked = False
        with self._group.translated():
            for _ in range(3):
                self._connection.read_response()
            reply: Any = self._connection.read_response()
            trimmed, found = reply
            if isinstance(found, Exception):
                raise found
            if isinstance(trimmed, driver.ResponseError):
                if not self._store.functions.is_missing(trimmed):
                    raise trimmed
                self._store.functions.prepare(self._store.client)
                trimmed = [b"ok", 0]
        return TakenEntries(entries_of(found), int(trimmed[1]))
