"""Errors that mongod answers with on demand, by its own failpoint; it must run with test commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from tests.support.check import wait_until


class FailPoint:
    """`failCommand` of one server: it has one set of orders at a time."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._admin = client.admin
        self._before = self._entered()

    def _entered(self) -> int:
        answer = self._admin.command({"getParameter": 1, "failpoint.failCommand": 1})
        return int(answer["failpoint.failCommand"]["timesEntered"])

    @property
    def hits(self) -> int:
        """How many commands have failed so far."""
        return self._entered() - self._before

    def wait_hits(self, count: int, timeout: float = 20) -> None:
        """Until so many commands have failed."""
        wait_until(lambda: self.hits >= count, timeout, lambda: f"{count} failures; {self.hits} so far")


def failing(
    collection: Collection[dict[str, Any]], command: str, code: int, *, times: int | None = None
) -> AbstractContextManager[FailPoint]:
    """Commands of this name (or names, with spaces between) on this collection fail with this code: the next so many,
    or all of the block."""
    return _set(collection, command, {"errorCode": code}, times)


def blocking(
    collection: Collection[dict[str, Any]], command: str, seconds: float, *, times: int | None = None
) -> AbstractContextManager[FailPoint]:
    """The same, but they take so long."""
    return _set(collection, command, {"blockConnection": True, "blockTimeMS": round(seconds * 1000)}, times)


@contextmanager
def _set(
    collection: Collection[dict[str, Any]], command: str, how: dict[str, Any], times: int | None
) -> Iterator[FailPoint]:
    client = collection.database.client
    point = FailPoint(client)
    data = {"failCommands": command.split(), "namespace": collection.full_name, **how}
    mode: Any = "alwaysOn" if times is None else {"times": times}
    client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": data})
    try:
        yield point
    finally:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
