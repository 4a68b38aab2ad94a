"""Counts of values that did not fit, of fields with `on_error`; the lane logs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

Note: TypeAlias = Callable[[str], None]
"""Called with what a value became: `omitted`, `null`, `split` at a separator that it holds, or a moment in `1970`."""


class Misfit(NamedTuple):
    """What values of a field became."""

    projection: str
    field: str
    became: str


class Misfits:
    """A value that is read twice is counted twice; where two threads count at one moment, one count may be lost."""

    def __init__(self) -> None:
        self._found: Counter[Misfit] = Counter()

    def note(self, projection: str, field: str) -> Note:
        """A function that counts the values of one field."""

        def note(became: str) -> None:
            self._found[Misfit(projection, field, became)] += 1

        return note

    def add(self, found: Mapping[Misfit, int]) -> None:
        """Add the counts of another process."""
        self._found.update(found)

    def taken(self) -> dict[Misfit, int]:
        """The counts since the last call."""
        if not self._found:
            return {}
        found, self._found = self._found, Counter()
        return dict(found)


def unnoted(became: str) -> None:
    """A Note that counts nothing."""
