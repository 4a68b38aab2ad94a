"""What was last synced of each key goes to the node that has the key now, of a contract that listens to events.

A key that is not there any more, of which something was synced, counts as gone. So that must not be said of one that a
failover lost on its way between two nodes: of keys that are not there when their slot has arrived the digest goes along
only where both nodes are the servers that they were.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from syncd import telemetry
from syncd.stores.redis.cluster.nodes import HOME, NodeStore
from syncd.stores.redis.cluster.views import ids_of_masters
from syncd.stores.redis.records.moved_records import Moved
from syncd.stores.redis.records.position import Fields
from syncd.stores.redis.scan import SCAN_COUNT, pages
from syncd.stores.redis.store import translated

SERVER, WATERMARK = "node", "floor"
"""Fields of a position: the server that had the place; see lua/state.lua."""


class MovedDigests:
    """Of one contract. The leases of all places are held."""

    def __init__(
        self, contract: str, nodes: Sequence[NodeStore], moved: Moved, known: Collection[str]
    ) -> None:
        """`known`: the places that had records before."""
        self._contract, self._nodes, self._moved, self._known = contract, nodes, moved, known
        with translated():
            said: Any = nodes[0].client.execute_command("CLUSTER NODES")
        self._ids = ids_of_masters(said, nodes[0].node)
        self._fields = {place: self._read(place) for place in moved.places}

    def _read(self, place: str) -> dict[str, str]:
        names = [SERVER, Fields.CLOCK, WATERMARK, Fields.SYNCED, Fields.FINGERPRINT]
        said = self._moved.held(place, self._moved.keys(place).position, names)
        return {name: text.decode() for name, text in zip(names, said, strict=True) if text}

    def move(self, *, is_same: bool) -> None:
        """`is_same`: every key is where it was."""
        left_out = 0
        for place in self._moved.places if not is_same else ():
            name = self._moved.keys(place).synced
            for found in self._pages(place, name):
                for target, keys in self._moved.elsewhere(place, found):
                    left_out += self._bring(place, target, {key: found[key] for key in keys})
                    self._moved.carry(place, [("HDEL", name, *keys)])
        telemetry.digests_left_out(self._contract, left_out)
        self._tell()

    def _pages(self, place: str, name: str) -> Iterator[Mapping[bytes, bytes]]:
        return pages(partial(self._moved.client(place).hscan, name), count=SCAN_COUNT)

    def _bring(self, source: str, target: str, digests: Mapping[bytes, bytes]) -> int:
        is_sure = self._is_as_before(source) and self._is_as_before(target)
        said = [word for pair in digests.items() for word in pair]
        name = self._moved.keys(target).synced
        reply = self._moved.call(target, "syncd_bring_synced", [name, "1" if is_sure else "0", *said])
        return int(reply[1])

    def _is_as_before(self, place: str) -> bool:
        """Whether the server that had this place then is still a master. A place that is new had none."""
        return place not in self._known or self._fields[place].get(SERVER) in self._ids.values()

    def _tell(self) -> None:
        """Which server has each place. Positions of reads go on from the latest of any node, and keys of a node that is
        new are of the form that all have."""
        latest = {
            name: max(said.get(name, "") for said in self._fields.values())
            for name in (Fields.CLOCK, WATERMARK)
        }
        form = {name: self._fields[HOME].get(name, "") for name in (Fields.SYNCED, Fields.FINGERPRINT)}
        for node in self._nodes:
            said = {SERVER: self._ids.get(node.node, ""), **latest}
            if self._known and node.place not in self._known:
                said |= form
            fields = {name: text for name, text in said.items() if text}
            if not fields.items() <= self._fields[node.place].items():
                words = [word for pair in fields.items() for word in pair]
                self._moved.carry(node.place, [("HSET", self._moved.keys(node.place).position, *words)])
