"""What a sweep found, and whether that is too much to be removed without being asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from syncd.plan.to_redis.change import Removal
from syncd.stores.mongo.times import Moment

FEW = 100
"""Keys that may always go."""
MOST_HELD = 20_000
"""Keys to remove that are remembered from the count; more are looked for a second time."""


@dataclass(frozen=True, slots=True)
class Orphans:
    """Orphaned keys, to be removed: their documents were not there at `time`."""

    drops: Sequence[Removal]
    time: Moment
    why: str = "sweep"
    """A word of REMOVAL_REASONS."""
    members: int | None = None
    """Of shared keys: how many members go."""

    @property
    def count(self) -> int:
        """How many keys go, or members."""
        return len(self.drops) if self.members is None else self.members


@dataclass(slots=True)
class Survey:
    """What a sweep would do."""

    keys: int = 0
    """That the contract has, without those of an application."""
    gone: int = 0
    """Of these, without a document."""
    found: list[Any] = field(default_factory=list)
    """They, as long as they are not too many for memory."""

    is_whole: bool = True
    """Whether `found` has all of them."""

    def add(self, orphans: Orphans) -> None:
        """Some more."""
        self.is_whole = self.is_whole and self.gone + orphans.count <= MOST_HELD
        if self.is_whole:
            self.found += orphans.drops
        else:
            self.found.clear()
        self.gone += orphans.count

    def is_above(self, percent: float) -> bool:
        """Whether that is more than may be removed without being asked for."""
        return self.gone > FEW and self.gone * 100 > self.keys * percent
