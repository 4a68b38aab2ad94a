"""Writes as the arguments of one call for each node of a cluster: each goes to the node that has its key."""

from __future__ import annotations

from collections.abc import Sequence

from syncd.errors import ProjectionError
from syncd.plan.to_redis.change import (
    OF_FEEDS,
    Dead,
    Drop,
    Elements,
    Elsewhere,
    Hashed,
    Leave,
    MapBegins,
    MapIsWhole,
    Patch,
    Put,
    Write,
    stale_member,
)
from syncd.plan.types import Memberships
from syncd.plan.values.texts import NOT_UNICODE
from syncd.stores.redis.cluster.slots import SlotMap
from syncd.stores.redis.records.position import ControlKeys
from syncd.to_redis.apply.calls.operations import Limited, Operations, is_unicode
from syncd.to_redis.apply.elements import EncodedElement, encoded_elements

HOME = 0
_OF_A_KEY = Put, Patch


class SplitOperations(Operations):
    """Operations of one unit; `parts` has those of each node.

    Each node has a map of what a document has there. Where the keys of a document are no function of `_id`, it may have
    had others before, on any node. So with each write of it all nodes are told what it has there, also if that is
    nothing.
    """

    def __init__(
        self,
        slots: SlotMap,
        controls: Sequence[ControlKeys],
        contract: str,
        version: str,
        keep: int,
        limited: Limited,
    ) -> None:
        super().__init__(controls[HOME], contract, version, keep, limited)
        self._slots = slots
        self.has_digests = False
        """Of documents as all nodes show them. They are at the home, and say the truth where each node has its part."""
        self.parts = [Operations(control, contract, version, keep, limited) for control in controls]

    @property
    def largest(self) -> int:
        """How many writes the node with the most of them gets."""
        return max(len(part.writes) for part in self.parts)

    def add(self, write: Write) -> None:
        """Append one write to the call of its node, or nothing at all."""
        if isinstance(write, _OF_A_KEY) and write.shape.by_id:  # the commonest by far
            self.parts[self._slots.node_of(write.key)].add(write)
        else:
            self._route(write)
        self.added.append(write)

    def _route(self, write: Write) -> None:
        if isinstance(write, Put | Patch) and not write.shape.is_shared:
            self._by_key(write, write.key)
        elif isinstance(write, Dead):
            self._dead_letter(write)
        elif isinstance(write, Elements):
            self._by_elements(write)
        elif isinstance(write, Put):
            self._by_members(write)
        elif isinstance(write, Hashed):
            self.has_digests = True
            self.parts[HOME].add(write)
        elif isinstance(write, OF_FEEDS):
            self.parts[self._slots.node_of(write.shape.key)].add(write)
        elif _is_for_all(write):
            for part in self.parts:
                part.add(write)
        elif (key := getattr(write, "key", None)) is None:
            self.parts[HOME].add(
                write
            )  # a drop of no key, dead letters that are answered, digests that are not known
        else:
            self._by_key(write, key)

    def _by_key(self, write: Write, key: str) -> None:
        number = self._slots.node_of(key)
        self.parts[number].add(write)
        if isinstance(write, Put) and not write.shape.by_id:
            for part in (*self.parts[:number], *self.parts[number + 1 :]):
                part.add(Elsewhere(write.shape, write.ident))

    def _by_elements(self, write: Elements) -> None:
        """What does not fit is found before anything is added."""
        split: list[list[EncodedElement]] = [[] for _ in self.parts]
        for one in encoded_elements(write):
            split[self._slots.node_of(one.put.key)].append(one)
        for part, encoded in zip(self.parts, split, strict=True):
            part.add_elements(write, encoded)

    def _by_members(self, write: Put) -> None:
        content = write.content
        assert isinstance(content, Memberships)
        if not is_unicode(write):
            raise ProjectionError("not_unicode", NOT_UNICODE)
        split: list[list[str]] = [[] for _ in self.parts]
        for pair in content.each():
            split[self._slots.node_of(pair[0])] += pair
        for part, pairs in zip(self.parts, split, strict=True):
            own = Memberships(tuple(pairs), content.values)
            part.add(write._replace(content=own) if pairs else Drop(write.shape, write.ident, None))

    def _dead_letter(self, write: Dead) -> None:
        """Dead letters are at the home, and that a key shows an older state is known where the key is."""
        stale = write.key if write.stale is None else write.stale
        if stale == stale_member(write.projection, write.ident):
            self.parts[HOME].add(write)
            for part in self.parts[HOME + 1 :]:
                part.note_stale(write, stale)
            return
        number = self._slots.node_of(stale) if stale else HOME
        if number == HOME:
            self.parts[HOME].add(write)
        else:
            self.parts[HOME].add(write._replace(stale=""))
            self.parts[number].note_stale(write, stale)

    def join(self) -> list[int]:
        """All is added: number the writes of all calls as one list. Returns where each call begins in it."""
        starts = []
        self.writes = []
        for part in self.parts:
            starts.append(len(self.writes))
            self.writes += part.writes
        return starts


def _is_for_all(write: Write) -> bool:
    """Whether each node does it for the keys that it has."""
    if isinstance(write, Drop):
        return not write.shape.by_id
    return isinstance(write, Leave | MapBegins | MapIsWhole | Patch)
