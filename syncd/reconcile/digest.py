"""Compares a contract's documents with their keys by MongoDB's digests: in full only those whose digests differ."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator

from syncd.errors import FatalError
from syncd.plan.partition import Partition
from syncd.reconcile.check import Check
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.reads.differing import Differing
from syncd.stores.mongo.reads.joined import lookup_of
from syncd.stores.mongo.store import code_of
from syncd.stores.redis.records.keys.digests import Digests, can_be_kept
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import ControlKeys

NOT_KEPT = "compared in full: no digests are kept; `check: digest` in the contract makes the lane keep them"
_UNEVEN = "compared in full: digests need a number of partitions that is a power of two, and there are %d"
_TOO_MUCH = "compared in full: too many digests differ"
_FAILS = "compared in full: the contract's filter fails on a document, and then MongoDB adds up no digests"


class DigestCheck(Check):
    """Proves that the state that the lane applied last is the one that MongoDB has. A key that another client changed
    or removed is found by a full check only."""

    kind = "digest"

    def _steps(self) -> Iterator[None]:
        """Partition by partition: each has its own set of documents that changed."""
        part = self._order.partition
        parts = (
            [key.partition for key in partitions_of(self._redis, self._plan.name)]
            if part.is_whole
            else [part]
        )
        why = NOT_KEPT if self._plan.source is None else ""
        if not can_be_kept(parts[0]):
            why = _UNEVEN % parts[0].count
        try:
            for one in parts if not why else ():
                if not (yield from self._part(one)):
                    why = _TOO_MUCH
                    break
        except FatalError as error:
            if self._plan.filter is None or not is_about_document(code_of(error)):
                raise
            why = _FAILS
        if why:
            report = self.report
            report.check, report.note = "full", why
            report.documents = report.compared = report.dead_letters = report.expired = 0
            report.filter_fails.clear()
            yield from super()._steps()

    def _part(self, part: Partition) -> Generator[None, None, bool]:
        """True when all was compared."""
        digests = Digests(self._redis, ControlKeys(self._plan.name, part, self._redis.place))
        lookup = lookup_of(self._mongo, self._plan, part, self._order.read_preference)
        search = Differing(self._mongo, self._plan, lookup, digests)
        before, started, compared = self.report.documents, time.monotonic(), self.report.compared
        for ids in search.pages():
            self.report.documents = before + search.documents
            for idents, found in self._confirmation.read_pages(ids):
                differing = self._compare(found.of(idents), found.time)
                digests.ask_again([ident for ident in idents if ident not in differing])
            self.report.compared += len(ids)
            self._pace(self.report.compared - compared, started)
            yield
        return not search.is_too_much
