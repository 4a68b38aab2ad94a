"""Compares a contract's keys and documents where the application writes the keys. Only reads, as `check` does; what is
to be repaired the lane does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from syncd.reconcile.base import Course
from syncd.reconcile.check import Order
from syncd.reconcile.compare import DEAD, EXPIRED, KINDS
from syncd.reconcile.confirm import LOOKS, PAGE, PAUSES_S
from syncd.reconcile.reader import KeyReader
from syncd.reconcile.repair import Repairer
from syncd.reconcile.report import Report
from syncd.reconcile.two_sided.gates import Gate
from syncd.reconcile.two_sided.sides import Point, Sides, Sight
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore


@dataclass(slots=True)
class _Candidate:
    """A key that differed at the last look."""

    sight: Sight
    looks: int = 0
    """How often it did so before, with the same source."""


class BackCheck(Course):
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
        """`may_go_on` says why the check has to end, or nothing."""
        super().__init__(stop, may_go_on)
        self._sides, self._gate, self._order = sides, gate, order
        self._reader = KeyReader(redis, ControlKeys(contract))
        self._repairer = Repairer(redis, contract, stop, order.wait_s)
        self._candidates: dict[bytes, _Candidate] = {}
        self._point = Point()
        """Of all looks up to now."""
        self._begun, self._read = time.monotonic(), 0
        self.report = Report(contract, "full", order.repair, str(order.partition))

    def _unready(self) -> str:
        return self._gate.unready()

    @property
    def _open(self) -> int:
        return len(self._candidates)

    def _steps(self) -> Iterator[None]:
        """All there is to look at, a page at a time: every key, then every document without one."""
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
        """Keys, as many at once as are compared at once: among those of others a page may have few. None now and
        then, while none are found."""
        gathered: list[bytes] = []
        for page in self._sides.pages():
            gathered += page
            while len(gathered) >= self._order.chunk:
                yield gathered[: self._order.chunk]
                gathered = gathered[self._order.chunk :]
            yield []
        yield gathered

    def _compare(self, keys: Sequence[bytes]) -> None:
        for key, sight in self._look(keys).items():
            self.report.expired += sight.mark.kind == EXPIRED
            self.report.dead_letters += sight.mark.kind == DEAD
            if sight.mark.kind in KINDS:
                self._candidates[key] = _Candidate(sight)

    def _look(self, keys: Sequence[bytes], *, is_first: bool = True) -> dict[bytes, Sight]:
        if not keys:
            return {}
        looked = self._sides.look(keys)
        self._point = self._point.up_to(looked.point)
        self.report.documents += looked.documents if is_first else 0
        self.report.compared += looked.documents if is_first else 0
        return looked.sights

    def _pace(self, read: int) -> None:
        self._read += read
        if self._order.rate:
            self._stop.wait(max(0.0, self._read / self._order.rate - (time.monotonic() - self._begun)))

    def _settle(self) -> None:
        """Tell the real differences from the others, and have them repaired."""
        candidates, self._candidates = self._candidates, {}
        real, unsettled = self._sort(candidates)
        self.report.unsettled += unsettled
        found = self._without_parked(real)
        self.report.note_drift([sight.mark for sight in found.values()])
        if self._order.repair and found:
            self.report.repaired += max(0, len(found) - self._repair(found))

    def _sort(self, candidates: dict[bytes, _Candidate]) -> tuple[dict[bytes, Sight], int]:
        """What really differs, and of how many keys it could not be told."""
        real: dict[bytes, Sight] = {}
        for pause in PAUSES_S:
            if not candidates or self._stop.wait(pause):
                break
            is_done = all(candidate.sight.is_done for candidate in candidates.values())
            if not self._gate.passed(self._point, is_done=is_done):
                break
            left: dict[bytes, _Candidate] = {}
            for page in paged(candidates, PAGE):
                left |= self._again({key: candidates[key] for key in page}, real)
            candidates = left
        return real, len(candidates)

    def _again(self, page: dict[bytes, _Candidate], real: dict[bytes, Sight]) -> dict[bytes, _Candidate]:
        """Look again, behind the lane; returns those that are still open."""
        left: dict[bytes, _Candidate] = {}
        for key, sight in self._look(list(page), is_first=False).items():
            before = page[key]
            same = sight.source == before.sight.source and not sight.waits
            looks = before.looks + 1 if same else 0
            if sight.mark.kind in KINDS and looks >= LOOKS:
                real[key] = sight
            elif sight.mark.kind in KINDS:
                left[key] = _Candidate(sight, looks)
        return left

    def _without_parked(self, real: dict[bytes, Sight]) -> dict[bytes, Sight]:
        """What a dead letter explains is no drift."""
        letters = {key: (sight.mark.projection, self._sides.letter(key)) for key, sight in real.items()}
        parked = self._reader.parked(list(letters.values()))
        self.report.dead_letters += len(parked)
        return {key: sight for key, sight in real.items() if letters[key] not in parked}

    def _repair(self, found: dict[bytes, Sight]) -> int:
        """Have these keys looked at by the lane; how many differ all the same."""
        asked = [self._sides.repair(key, sight) for key, sight in found.items()]
        self._repairer.ask([entry for entry in asked if entry])
        left: dict[bytes, _Candidate] = {}
        for page in paged(found, PAGE):
            sights = self._look(page, is_first=False)
            left |= {key: _Candidate(sight) for key, sight in sights.items() if sight.mark.kind in KINDS}
        real, open_ = self._sort(left)
        return len(real) + open_  # whoever was not heard out is not repaired
