"""The course that every check takes: compare a page at a time, confirm differences when there are many, report."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from syncd.reconcile.reader import KeyReader
from syncd.reconcile.report import ReconcileReport

MOST_CANDIDATES = 5_000
"""Differences that are kept before they are confirmed: memory does not grow with the drift."""
STOPPED = "stopped"
"""What a report says of a check that was stopped."""


class BaseCheck(ABC):
    """One check, run once by one thread. `report` may be read at any time."""

    report: ReconcileReport
    _reader: KeyReader

    def __init__(self, stop: threading.Event, may_go_on: Callable[[], str]) -> None:
        """`may_go_on` returns the reason the check has to end, or an empty string."""
        self._stop, self._may_go_on = stop, may_go_on

    def run(self) -> ReconcileReport:
        """Compare everything, or as much as may be compared until the check has to end. Raises StoreError."""
        try:
            self.report.ended = self._unready()
            for _ in self._steps() if not self.report.ended else ():
                if self._open >= MOST_CANDIDATES:
                    self._confirm()
                self.report.ended = STOPPED if self._stop.is_set() else self._may_go_on()
                if self.report.ended:
                    break
            self._confirm()
            if self._stop.is_set():
                self.report.ended = STOPPED
        finally:
            self._reader.close()
            self.report.finished = time.time()
        return self.report

    @abstractmethod
    def _unready(self) -> str:
        """The reason the contract cannot be compared yet, or an empty string."""

    @abstractmethod
    def _steps(self) -> Iterator[None]:
        """Compare everything, a page at a time."""

    @property
    @abstractmethod
    def _open(self) -> int:
        """How many differences are not confirmed yet."""

    @abstractmethod
    def _confirm(self) -> None:
        """Report the differences that a second comparison confirms, and have the lane repair them if asked for."""
