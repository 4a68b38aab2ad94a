"""Which differences are real: those that are still there when the lane has passed them.

A key may be ahead of what was read of its document, or behind it, while changes go on. So a difference counts when
the lane has applied every change up to the read, and two further comparisons, a moment apart, find it again while what
the document's keys should hold has not changed. A document that changed meanwhile is compared again, after a pause.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from syncd.plan.keys.templates import encode_key_value
from syncd.reconcile.document_comparison import Difference, DocumentComparison, DocumentDifferences
from syncd.reconcile.lanes import Lanes
from syncd.stores.mongo.reads.lookup import Found, Lookup
from syncd.stores.mongo.times import ZERO, Moment
from syncd.stores.paging import paged

CONFIRMATIONS = 2
"""How often a difference must be found again. Once would do, but for a value that changes back and forth."""
PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further comparison."""
PAGE = 500


@dataclass(slots=True)
class Candidate:
    """A document whose keys did not hold `wanted`, as they should have when it was read at `time`."""

    ident: str
    id: Any
    wanted: bytes
    time: Moment
    confirmations: int = 0


class Confirmation:
    """Compares candidates again, behind the lane."""

    def __init__(
        self, lookup: Lookup, comparison: DocumentComparison, lanes: Lanes, stop: threading.Event
    ) -> None:
        self._lookup, self._comparison, self._lanes, self._stop = lookup, comparison, lanes, stop

    def confirm(self, candidates: list[Candidate]) -> tuple[dict[str, list[Difference]], list[Candidate]]:
        """The real differences by ident, and the candidates that could be neither confirmed nor dismissed."""
        real: dict[str, list[Difference]] = {}
        for pause in PAUSES_S:
            if not candidates or self._stop.wait(pause):
                break
            if not self._lanes.passed(max(candidate.time for candidate in candidates)):
                break
            left: list[Candidate] = []
            for page in paged(candidates, PAGE):
                left += self._again(page, real)
            candidates = left
        return real, candidates

    def _again(self, page: list[Candidate], real: dict[str, list[Difference]]) -> list[Candidate]:
        """Compare again; returns those that are still open."""
        known = {candidate.ident: candidate for candidate in page}
        differing: dict[str, DocumentDifferences] = {}
        for idents, found in self._read([candidate.id for candidate in page]):
            differing.update(self._comparison.differing(found.of(idents), found.time))
        # The keys were read behind the documents: one that changed in between shows its next state.
        after: dict[str, tuple[bytes, Moment]] = {}
        for idents, found in self._read([known[ident].id for ident in differing]):
            wanted = self._comparison.wanted(found.of(idents), found.time)
            after.update({ident: (said, found.time) for ident, said in wanted.items()})
        left: list[Candidate] = []
        for ident, found_again in differing.items():
            candidate = known[ident]
            said, candidate.time = after[ident]
            same = candidate.wanted == found_again.wanted == said
            candidate.confirmations, candidate.wanted = (candidate.confirmations + 1 if same else 0), said
            if candidate.confirmations < CONFIRMATIONS:
                left.append(candidate)
            else:
                real[ident] = found_again.differences
        return left

    def read_pages(self, ids: list[Any]) -> Iterator[tuple[list[str], Found]]:
        """Documents by `_id`, with the idents that were asked for, a page at a time."""
        for page in paged(ids, PAGE):
            yield from self._read(page)

    def _read(self, ids: list[Any]) -> Iterator[tuple[list[str], Found]]:
        """In parts where one reply does not hold them all."""
        for part, found in self._lookup.in_parts(ids, lambda: ZERO) if ids else ():
            yield [encode_key_value(document_id) for document_id in part], found
