"""Values that did not fit, of fields where a contract says what becomes of such: counted here, told by the lane."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

Note: TypeAlias = Callable[[str], None]
"""Takes what became of a value: `omitted`, `null`, `split` at a separator that it holds, or a moment in `1970`."""


class Misfit(NamedTuple):
    """What became of values of a field."""

    projection: str
    field: str
    became: str


class Misfits:
    """A value that is read twice is counted twice; where two threads count at one moment, one count may be lost."""

    def __init__(self) -> None:
        self._found: Counter[Misfit] = Counter()

    def note(self, projection: str, field: str) -> Note:
        """What counts the values of one field."""

        def note(became: str) -> None:
            self._found[Misfit(projection, field, became)] += 1

        return note

    def add(self, found: Mapping[Misfit, int]) -> None:
        """What another process counted."""
        self._found.update(found)

    def taken(self) -> dict[Misfit, int]:
        """What was counted since the last time."""
        if not self._found:
            return {}
        found, self._found = self._found, Counter()
        return dict(found)


def unnoted(became: str) -> None:
    """A Note for where nobody asks."""
