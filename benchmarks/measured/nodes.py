"""A Redis Cluster over bare sockets, as `resp` has one server: each command goes to the master of its key."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from redis.crc import key_slot

from benchmarks.measured.resp import Command, Resp

CLUSTER = "redis+cluster://"
KEYLESS = frozenset({"FLUSHALL", "DBSIZE", "INFO"})


class Nodes:
    """A connection to each master. The map is that of the start: no slot moves in a benchmark."""

    def __init__(self, url: str) -> None:
        seed_address = url.removeprefix(CLUSTER).split(",")[0]
        first_host = seed_address.split(":")[0]  # a node that has met no other does not know its own
        with Resp(f"redis://{seed_address}") as seed:
            ranges = [
                (first, last, f"redis://{node[0].decode() or first_host}:{node[1]}")
                for first, last, node, *_ in seed.call("CLUSTER", "SLOTS")
            ]
        masters = {url: Resp(url) for url in sorted({url for _, _, url in ranges})}
        self.nodes = list(masters.values())
        self._of_slot = {slot: masters[url] for first, last, url in ranges for slot in range(first, last + 1)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.__exit__(kind, error, trace)

    def call(self, *command: str | bytes | int | float) -> Any:
        """One command about a key, or one that all masters get: of numbers the sum, else all replies."""
        if command[0] not in KEYLESS:
            return self.call_many([command])[0]
        replies = [node.call(*command) for node in self.nodes]
        return sum(replies) if all(isinstance(reply, int) for reply in replies) else replies

    def call_many(self, commands: Sequence[Command]) -> list[Any]:
        """Commands about one key each, in one round trip to each node."""
        places: dict[Resp, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self._of_slot[key_slot(str(command[1]).encode())], []).append(place)
        replies: list[Any] = [None] * len(commands)
        for node, of_node in places.items():
            for place, reply in zip(of_node, node.call_many([commands[at] for at in of_node]), strict=True):
                replies[place] = reply
        return replies


def connected(url: str) -> Resp | Nodes:
    """A connection to one server, or to all masters of a cluster."""
    return Nodes(url) if url.startswith(CLUSTER) else Resp(url)
