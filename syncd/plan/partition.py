"""A part of a contract's documents, so that several daemons can share one collection.

MongoDB itself says which documents belong to it, by the hash of their `_id` that its hashed indexes use too: in the
change stream, in a snapshot, and of ids whose documents are gone. So all daemons agree about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Partition:
    """Part `number` of `count`; 1 of 1 is the whole."""

    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether the contract is not split."""
        return self.count == 1

    @property
    def leads(self) -> bool:
        """Whether it does what is to be done once a contract: indexes, and keys of projections that are gone."""
        return self.number == 1

    @property
    def all(self) -> list[Partition]:
        """It and the others of its contract."""
        return [Partition(number, self.count) for number in range(1, self.count + 1)]

    def holds(self, path: str) -> dict[str, Any]:
        """MongoDB's expression for "the `_id` at `path` is in this part". Numbers of different types hash alike."""
        remainder = {"$abs": {"$mod": [{"$toHashedIndexKey": path}, self.count]}}
        return {"$eq": [remainder, self.number - 1]}


WHOLE = Partition()
