"""What became of keys, of which one that raises an error costs only itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar

from syncd.errors import ProjectionError
from syncd.to_mongo.append.batch import Refused
from syncd.to_mongo.narrowed import narrowed

What = TypeVar("What")


@dataclass
class Became:
    """What became of keys, in either direction."""

    done: list[bytes] = field(default_factory=list)
    """Keys that are done, so that a dead letter of before can go."""
    refused: dict[bytes, Refused] = field(default_factory=dict)

    def add(self, more: Self) -> None:
        """What became of other keys, or of the same ones later."""
        self.done += more.done
        self.refused |= more.refused


BecameT = TypeVar("BecameT", bound=Became)


def each(
    work: Callable[[Mapping[bytes, What]], BecameT], keys: Mapping[bytes, What], outcome: BecameT
) -> BecameT:
    """`outcome`, with what `work` makes of keys, each with what is known of it. An error is narrowed by halves to the
    key that raises it, which is refused. Raises what is no key's."""
    for part, more in narrowed(lambda some: work({key: keys[key] for key in some}), list(keys)):
        if isinstance(more, ProjectionError):
            outcome.refused[part[0]] = Refused(more.reason, more.detail)
        else:
            outcome.add(more)
    return outcome
