"""What a sweep found, and whether that is too much to be removed without being asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from syncd.plan.to_redis.change import Removal, Stray
from syncd.stores.mongo.times import Moment

Found = TypeVar("Found")
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


def in_parts(found: Sequence[Found], at_once: Callable[[], int]) -> Iterator[tuple[list[Found], bool]]:
    """All of it in parts, and whether a part is the last. The size of a part is asked for when its turn comes. Fields
    of one hash stay together, for between two calls a part of a document would show."""
    at = 0
    while at < len(found):
        start, at = at, min(len(found), at + at_once())
        while at < len(found) and _are_of_one_hash(found[at - 1], found[at]):
            at += 1
        yield list(found[start:at]), at == len(found)


def _are_of_one_hash(one: Any, other: Any) -> bool:
    are_strays = isinstance(one, Stray) and isinstance(other, Stray)
    return are_strays and bool(one.shape.template.fields) and (one.shape, one.key) == (other.shape, other.key)


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
