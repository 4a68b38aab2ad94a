"""Events of dead letters. One update of a collection may make thousands: those alike are one line, with a count."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from syncd.telemetry.metrics import DEAD_DROPPED, DEAD_REASONS, DEAD_TOTAL, MISFITS

_log = structlog.stdlib.get_logger("syncd")
INTERVAL_S = 10.0
"""Of dead letters alike the first are logged at once, and those of the interval behind them together, at its end."""
_FIELD = re.compile(r"^field `?([^`]+?)`?(?:: | of key template )")


def field_of(detail: str) -> str:
    """The field that the detail of a dead letter names, or an empty string."""
    found = _FIELD.match(detail)
    return found[1] if found else ""


class _Kind(NamedTuple):
    """What dead letters alike have in common."""

    contract: str
    projection: str
    reason: str
    field: str


def _log_dead_letter(kind: _Kind, count: int, detail: str) -> None:
    _log.warning(
        "dead letter", contract=kind.contract, reason=kind.reason, projection=kind.projection,
        field=kind.field or None, count=count, detail=detail, see=f"syncd deadletters list {kind.contract}",
    )  # fmt: skip


def _log_misfit(kind: _Kind, count: int, detail: str) -> None:
    _log.warning(
        "values did not fit", contract=kind.contract, projection=kind.projection, field=kind.field, count=count,
        became=kind.reason, detail=detail,
    )  # fmt: skip


class RepeatedWarnings:
    """Logs dead letters, each kind once in an interval. Thread-safe."""

    def __init__(
        self, interval_s: float = INTERVAL_S, log: Callable[[_Kind, int, str], None] = _log_dead_letter
    ) -> None:
        self._interval_s, self._log_line = interval_s, log
        self._lock = threading.Lock()
        self._logged: dict[_Kind, float] = {}
        self._waiting: Counter[_Kind] = Counter()
        self._details: dict[_Kind, str] = {}
        self._timer: threading.Timer | None = None

    def add(self, kinds: dict[_Kind, tuple[int, str]]) -> None:
        """The number of dead letters of each kind, and the detail of one of them."""
        with self._lock:
            now = time.monotonic()
            for kind, (count, detail) in kinds.items():
                if now < self._logged.get(kind, 0.0):
                    self._waiting[kind] += count
                    self._details[kind] = detail
                else:
                    self._log_line(kind, count, detail)
                    self._logged[kind] = now + self._interval_s
            if self._logged and self._timer is None:
                self._wake_in(self._interval_s)

    def flush(self) -> None:
        """Log everything that has been counted."""
        with self._lock:
            self._log_waiting(list(self._waiting))
            if self._timer is not None:
                self._timer.cancel()
            self._logged, self._timer = {}, None

    def _end_intervals(self) -> None:
        """End intervals that are over: a kind that came again gets another one, a kind that did not is forgotten."""
        with self._lock:
            now, self._timer = time.monotonic(), None
            ended = [kind for kind, end in self._logged.items() if now >= end]
            again = [kind for kind in ended if kind in self._waiting]
            self._log_waiting(again)
            for kind in ended:
                del self._logged[kind]
            self._logged |= dict.fromkeys(again, now + self._interval_s)
            if self._logged:
                self._wake_in(max(0.01, min(self._logged.values()) - now))

    def _wake_in(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end_intervals)
        self._timer.daemon = True
        self._timer.start()

    def _log_waiting(self, kinds: list[_Kind]) -> None:
        for kind in kinds:
            self._log_line(kind, self._waiting.pop(kind), self._details.pop(kind))


_DEAD_LETTERS, _MISFITS = RepeatedWarnings(), RepeatedWarnings(log=_log_misfit)
_BECAME = {
    "omitted": "values that did not fit their type were left out, as `on_error` of the field says",
    "null": "values that did not fit their type became null, as `on_error` of the field says",
    "1970": "integers under `type: date` are milliseconds, and these became 1970; seconds have `type: epoch`",
    "split": "a label holds the separator of its tag index, which cuts it there; choose another `separator`",
}


def values_did_not_fit(contract: str, found: Iterable[tuple[tuple[str, str, str], int]]) -> None:
    """Values of fields were left out, made null, or will be cut: projection, field and what became of them."""
    for (projection, field, became), count in found:
        MISFITS.labels(contract, field, became).inc(count)
        _MISFITS.add({_Kind(contract, projection, became, field): (count, _BECAME[became])})


def dead_letters_stored(contract: str, stored: Iterable[tuple[str, str, str]]) -> None:
    """Changes became dead letters: projection, reason and detail of each. Keys carry ids, so they are not logged."""
    kinds: dict[_Kind, tuple[int, str]] = {}
    for projection, reason, detail in stored:
        DEAD_TOTAL.labels(contract, reason if reason in DEAD_REASONS else "other").inc()
        kind = _Kind(contract, projection, reason, field_of(detail))
        kinds[kind] = kinds.get(kind, (0, ""))[0] + 1, detail
    if kinds:
        _DEAD_LETTERS.add(kinds)


def flush_dead_letters() -> None:
    """Log what has been counted and not logged yet, before the process ends."""
    _DEAD_LETTERS.flush()
    _MISFITS.flush()


def dead_letters_dropped(contract: str, count: int) -> None:
    """The oldest dead letters were dropped for new ones, as the contract says."""
    if count:
        DEAD_DROPPED.labels(contract).inc(count)
        _DEAD_LETTERS.add({_Kind(contract, "", "dropped", ""): (count, _OLDEST)})


_OLDEST = (
    "the oldest dead letters were dropped for new ones (sync.dead_letters): it is not known any more which documents "
    "they were of"
)


def dead_letters_full(contract: str, error: str) -> None:
    """The contract keeps no more dead letters, and says that the lane pauses then."""
    _log.error("lane paused, its dead letters are full", contract=contract, error=error)


def dead_letters_lost(contract: str, count: int) -> None:
    """A node of a Redis Cluster failed over, or was emptied, and lost dead letters whose entries are acknowledged on
    another node. These are delivered again."""
    _log.warning(
        "Redis has lost dead letters; their entries are delivered again", contract=contract, count=count
    )


def refused_keys_lost(contract: str, count: int) -> None:
    """The same of keys, which are on other nodes than their dead letters. These keys are read again."""
    _log.warning("Redis has lost dead letters; their keys are read again", contract=contract, count=count)


def dead_letters_wait(contract: str, count: int) -> None:
    """A run found dead letters, also those of a daemon that ended before it logged them."""
    _log.warning(
        "dead letters wait", contract=contract, count=count, see=f"syncd deadletters list {contract}"
    )


def replayed(contract: str, count: int) -> None:
    """Dead letters were tried again."""
    _log.info("dead letters replayed", contract=contract, count=count)
