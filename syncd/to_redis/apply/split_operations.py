"""Writes as the arguments of one call for each node of a cluster: each goes to the node that has its key."""

from __future__ import annotations

from collections.abc import Sequence

from syncd.plan.to_redis.change import Dead, Drop, Elsewhere, Put, Write
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.slots import SlotMap
from syncd.to_redis.apply.operations import Operations

HOME = 0


class SplitOperations(Operations):
    """Operations of one unit; `parts` has those of each node.

    A key that is no function of `_id` may have been another one before, on another node. So where it is written, all
    other nodes are told that the document has no key there.
    """

    def __init__(
        self, slots: SlotMap, controls: Sequence[ControlKeys], contract: str, version: str, keep: int
    ) -> None:
        super().__init__(controls[HOME], contract, version, keep)
        self._slots = slots
        self.parts = [Operations(control, contract, version, keep) for control in controls]

    def add(self, write: Write) -> None:
        """Append one write to the call of its node, or nothing at all."""
        self._route(write)
        self.added.append(write)

    def _route(self, write: Write) -> None:
        if isinstance(write, Dead):
            self._dead_letter(write)
        elif isinstance(write, Drop) and not write.shape.by_id:
            for part in self.parts:
                part.add(write)
        elif (key := getattr(write, "key", None)) is None:
            self.parts[HOME].add(write)  # a drop of no key, or dead letters that are answered
        else:
            number = self._slots.node_of(key)
            self.parts[number].add(write)
            if isinstance(write, Put) and not write.shape.by_id:
                for part in (*self.parts[:number], *self.parts[number + 1 :]):
                    part.add(Elsewhere(write.shape, write.ident))

    def _dead_letter(self, write: Dead) -> None:
        """Dead letters are at the home, and that a key shows an older state is known where the key is."""
        stale = write.key if write.stale is None else write.stale
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
