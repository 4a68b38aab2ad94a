"""The same as `reader`, of the nodes of a cluster: each key is read where it is, and each map on every node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from syncd.plan.to_redis.change import Drop, Put, Retired
from syncd.plan.to_redis.shape import Shape
from syncd.reconcile.reader import KeyReader
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore


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

    def close(self) -> None:
        """Give up all connections."""
        super().close()
        for one in self._readers:
            one.close()
