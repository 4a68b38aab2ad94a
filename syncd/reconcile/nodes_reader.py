"""The same as `reader`, of the nodes of a cluster: each key is read where it is, and each map on every node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from syncd.plan.to_redis.change import Drop, Put, Retired
from syncd.plan.to_redis.shape import Shape
from syncd.reconcile.reader import KeyReader
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore

Held = TypeVar("Held")


def reader_of(store: RedisStore, control: ControlKeys) -> KeyReader:
    """The one that fits a Redis, or a cluster."""
    return NodesReader(store, control) if store.place else KeyReader(store, control)


class NodesReader(KeyReader):
    """What belongs to no key it reads at the home, as any reader."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        super().__init__(store, control)
        self._node_of = store.node_of
        self._readers = [KeyReader(node, control.at(node.place)) for node in store.nodes]

    def read(self, writes: Sequence[Put | Drop]) -> tuple[list[tuple[Any, int]], int]:
        """The latest time of any node stands for all: clocks of nodes are about the same."""
        places: dict[int, list[int]] = {}
        for at, write in enumerate(writes):
            places.setdefault(self._node_of(write.key or ""), []).append(at)
        found: list[tuple[Any, int]] = [(None, 0)] * len(writes)
        now = 0
        for number, some in places.items():
            parts, time = self._readers[number].read([writes[at] for at in some])
            now = max(now, time)
            for at, part in zip(some, parts, strict=True):
                found[at] = part
        return found, now or self.now()

    def keys_of(self, shape: Shape | Retired, idents: Iterable[str]) -> dict[str, str]:
        """By the maps of all nodes."""
        wanted = list(idents)
        return {ident: key for one in self._readers for ident, key in one.keys_of(shape, wanted).items()}

    def owners_of(self, shape: Shape | Retired, keys: Iterable[str]) -> dict[str, str]:
        """By the map of the node that has the key."""
        wanted = list(keys)
        return {key: ident for one in self._readers for key, ident in one.owners_of(shape, wanted).items()}

    def records_of(self, shape: Shape, idents: Iterable[str]) -> dict[str, list[str]]:
        """By the maps of all nodes, each of which has the keys that are there."""
        return _joined(one.records_of(shape, list(idents)) for one in self._readers)

    def memberships_of(self, shape: Shape, idents: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
        """The same."""
        return _joined(one.memberships_of(shape, list(idents)) for one in self._readers)

    def bars_of(self, shape: Shape, keys: Iterable[str]) -> dict[str, str]:
        """The same, of keys."""
        wanted = list(keys)
        return {key: bar for one in self._readers for key, bar in one.bars_of(shape, wanted).items()}

    def deadlines_of(self, shape: Shape, idents: Sequence[str]) -> dict[str, float]:
        """By the nodes on which a document is a member."""
        return {ident: at for one in self._readers for ident, at in one.deadlines_of(shape, idents).items()}

    def ask(self, commands: Sequence[tuple[str | bytes, ...]]) -> list[Any]:
        """Each of the node that has its key."""
        places: dict[int, list[int]] = {}
        for at, command in enumerate(commands):
            places.setdefault(self._node_of(command[1]), []).append(at)
        found: list[Any] = [None] * len(commands)
        for number, some in places.items():
            replies = self._readers[number].ask([commands[at] for at in some])
            for at, reply in zip(some, replies, strict=True):
                found[at] = reply
        return found

    def close(self) -> None:
        """Give up all connections."""
        super().close()
        for one in self._readers:
            one.close()


def _joined(parts: Iterable[Mapping[str, list[Held]]]) -> dict[str, list[Held]]:
    found: dict[str, list[Held]] = {}
    for part in parts:
        for ident, held in part.items():
            found.setdefault(ident, []).extend(held)
    return found
