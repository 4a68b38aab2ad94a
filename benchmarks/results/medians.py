"""Rows of syncd and of a script beside it, over all rounds of a benchmark."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterator, Mapping
from typing import Generic, TypeVar

from benchmarks.measured.phases import Figures
from benchmarks.results.tables import number

SYNCD, SCRIPT = "syncd", "script"
_Row = TypeVar("_Row", bound=Hashable)


class Medians(Generic[_Row]):
    """What was found of each row and system. `first` is the row with which the others are compared."""

    def __init__(self, found: Mapping[tuple[_Row, str], list[Figures]], first: _Row) -> None:
        self._found, self._first = found, first
        self.rows = list(dict.fromkeys(row for row, _ in found))

    def of(self, row: _Row, system: str, figure: str) -> float | None:
        """The median of a figure, where there is one."""
        values = [one[figure] for one in self._found.get((row, system), []) if figure in one]
        return statistics.median(values) if values else None

    def of_first(self, row: _Row, figure: str) -> str:
        """What syncd has of that of the first row."""
        return _part(self.of(row, SYNCD, figure), self.of(self._first, SYNCD, figure))

    @staticmethod
    def heads(first: str) -> list[str]:
        """Over the cells of a row."""
        rates = [head for rate in ("snapshot/s", "backlog/s") for head in (rate, f"of {first}", "of script")]
        return [*rates, "CPU us", "script's"]

    def cells(self, row: _Row) -> Iterator[str]:
        """Both rates, what they are of the first row and of the script, and the CPU of both."""
        for figure in ("snapshot_per_s", "backlog_per_s"):
            rate = self.of(row, SYNCD, figure)
            yield from (
                number(rate, ",.0f"),
                self.of_first(row, figure),
                _part(rate, self.of(row, SCRIPT, figure)),
            )
        yield from (number(self.of(row, system, "backlog_cpu_us"), ".1f") for system in (SYNCD, SCRIPT))


def _part(one: float | None, other: float | None) -> str:
    return number(one / other if one and other else None, ".2f")
