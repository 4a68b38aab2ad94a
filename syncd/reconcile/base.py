"""The course of a check: step by step, what differs settled whenever there is much of it, and an end in order."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from syncd.reconcile.reader import KeyReader
from syncd.reconcile.report import Report

MOST_CANDIDATES = 5_000
"""Differences that are kept before they are looked at again: memory does not grow with the drift."""
STOPPED = "stopped"
"""What a report says of a check that was told to end."""


class Course(ABC):
    """One check, run once by one thread. `report` may be read at any time."""

    report: Report
    _reader: KeyReader

    def __init__(self, stop: threading.Event, may_go_on: Callable[[], str]) -> None:
        """`may_go_on` says why the check has to end, or nothing."""
        self._stop, self._may_go_on = stop, may_go_on

    def run(self) -> Report:
        """Compare everything, or as much as there is time for. Raises StoreError."""
        try:
            self.report.ended = self._unready()
            for _ in self._steps() if not self.report.ended else ():
                if self._open >= MOST_CANDIDATES:
                    self._settle()
                self.report.ended = STOPPED if self._stop.is_set() else self._may_go_on()
                if self.report.ended:
                    break
            self._settle()
            if self._stop.is_set():
                self.report.ended = STOPPED
        finally:
            self._reader.close()
            self.report.finished = time.time()
        return self.report

    @abstractmethod
    def _unready(self) -> str:
        """Why there is nothing to compare; empty where there is."""

    @abstractmethod
    def _steps(self) -> Iterator[None]:
        """All there is to look at, a page at a time."""

    @property
    @abstractmethod
    def _open(self) -> int:
        """Differences that are not settled."""

    @abstractmethod
    def _settle(self) -> None:
        """Tell the real differences from the others, and have them repaired."""
