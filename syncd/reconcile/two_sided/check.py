"""Compares a contract's keys and documents where the application writes the keys. Only reads, as `check` does; the
lane does the repairs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from syncd.reconcile.base import BaseCheck
from syncd.reconcile.check import Order
from syncd.reconcile.compare import DEAD, EXPIRED, KINDS
from syncd.reconcile.confirmation import CONFIRMATIONS, PAGE, PAUSES_S
from syncd.reconcile.reader import KeyReader
from syncd.reconcile.repair import Repairer
from syncd.reconcile.report import ReconcileReport
from syncd.reconcile.two_sided.gates import Gate
from syncd.reconcile.two_sided.sides import KeyDifference, Point, Sides
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore


@dataclass(slots=True)
class _Candidate:
    """A key that differed at the last comparison."""

    found: KeyDifference
    confirmations: int = 0
    """How often it was found before, with the same source."""


class TwoSidedCheck(BaseCheck):
    """Of a contract whose application writes what is in Redis."""

    def __init__(
        self,
        contract: str,
        redis: RedisStore,
        sides: Sides,
        gate: Gate,
        order: Order,
        stop: threading.Event,
        may_go_on: Callable[[], str] = lambda: "",
    ) -> None:
        """`may_go_on` returns the reason the check has to end, or an empty string."""
        super().__init__(stop, may_go_on)
        self._sides, self._gate, self._order = sides, gate, order
        self._reader = KeyReader(redis, ControlKeys(contract, place=redis.place))
        self._repairer = Repairer(redis, contract, stop, order.wait_s)
        self._candidates: dict[bytes, _Candidate] = {}
        self._point = Point()
        """Of all comparisons up to now."""
        self._begun, self._read = time.monotonic(), 0
        self.report = ReconcileReport(contract, "full", order.repair, str(order.partition))

    def _unready(self) -> str:
        return self._gate.unready()

    @property
    def _open(self) -> int:
        return len(self._candidates)

    def _steps(self) -> Iterator[None]:
        """Compare everything, a page at a time: every key, then every document without one."""
        for keys in self._gathered():
            self._compare(keys)
            self.report.keys += len(keys)
            yield
            self._pace(len(keys))
        for read, keys in self._sides.chunks(self._order.chunk):
            self._compare(keys)
            yield
            self._pace(read)

    def _gathered(self) -> Iterator[list[bytes]]:
        """Keys, as many at once as are compared at once: a page of SCAN may have few of the contract. An empty list
        between pages, so that the check can end."""
        gathered: list[bytes] = []
        for page in self._sides.pages():
            gathered += page
            while len(gathered) >= self._order.chunk:
                yield gathered[: self._order.chunk]
                gathered = gathered[self._order.chunk :]
            yield []
        yield gathered

    def _compare(self, keys: Sequence[bytes]) -> None:
        for key, found in self._differing(keys).items():
            self.report.expired += found.difference.kind == EXPIRED
            self.report.dead_letters += found.difference.kind == DEAD
            if found.difference.kind in KINDS:
                self._candidates[key] = _Candidate(found)

    def _differing(self, keys: Sequence[bytes], *, is_first: bool = True) -> dict[bytes, KeyDifference]:
        if not keys:
            return {}
        compared = self._sides.compare(keys)
        self._point = self._point.up_to(compared.point)
        self.report.documents += compared.documents if is_first else 0
        self.report.compared += compared.documents if is_first else 0
        return compared.differing

    def _pace(self, read: int) -> None:
        self._read += read
        if self._order.rate:
            self._stop.wait(max(0.0, self._read / self._order.rate - (time.monotonic() - self._begun)))

    def _confirm(self) -> None:
        """Report the differences that a second comparison confirms, and have the lane repair them if asked for."""
        candidates, self._candidates = self._candidates, {}
        real, unconfirmed = self._confirmed(candidates)
        self.report.unsettled += unconfirmed
        found = self._without_dead_letters(real)
        self.report.note_drift([one.difference for one in found.values()])
        if self._order.repair and found:
            self.report.repaired += max(0, len(found) - self._repair(found))

    def _confirmed(self, candidates: dict[bytes, _Candidate]) -> tuple[dict[bytes, KeyDifference], int]:
        """The real differences, and how many could be neither confirmed nor dismissed."""
        real: dict[bytes, KeyDifference] = {}
        for pause in PAUSES_S:
            if not candidates or self._stop.wait(pause):
                break
            is_done = all(candidate.found.is_done for candidate in candidates.values())
            if not self._gate.passed(self._point, is_done=is_done):
                break
            left: dict[bytes, _Candidate] = {}
            for page in paged(candidates, PAGE):
                left |= self._again({key: candidates[key] for key in page}, real)
            candidates = left
        return real, len(candidates)

    def _again(
        self, page: dict[bytes, _Candidate], real: dict[bytes, KeyDifference]
    ) -> dict[bytes, _Candidate]:
        """Compare again, behind the lane; returns those that are still open."""
        left: dict[bytes, _Candidate] = {}
        for key, found in self._differing(list(page), is_first=False).items():
            before = page[key]
            same = found.source == before.found.source and not found.waits
            confirmations = before.confirmations + 1 if same else 0
            if found.difference.kind in KINDS and confirmations >= CONFIRMATIONS:
                real[key] = found
            elif found.difference.kind in KINDS:
                left[key] = _Candidate(found, confirmations)
        return left

    def _without_dead_letters(self, real: dict[bytes, KeyDifference]) -> dict[bytes, KeyDifference]:
        """A difference that a dead letter explains is no drift."""
        names = {
            key: (found.difference.projection, self._sides.dead_letter(key)) for key, found in real.items()
        }
        dead = self._reader.with_dead_letter(list(names.values()))
        self.report.dead_letters += len(dead)
        return {key: found for key, found in real.items() if names[key] not in dead}

    def _repair(self, found: dict[bytes, KeyDifference]) -> int:
        """Have the lane sync these keys again; returns how many still differ."""
        asked = [self._sides.repair(key, one) for key, one in found.items()]
        self._repairer.ask([entry for entry in asked if entry])
        left: dict[bytes, _Candidate] = {}
        for page in paged(found, PAGE):
            differing = self._differing(page, is_first=False)
            left |= {key: _Candidate(one) for key, one in differing.items() if one.difference.kind in KINDS}
        real, open_ = self._confirmed(left)
        return len(real) + open_  # one that could not be confirmed does not count as repaired
