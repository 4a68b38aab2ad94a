"""Collects what runs leave behind: each refers to itself in circles, and may hold thousands of documents.

A collection reads every object of the process and holds up all lanes. When hundreds of lanes end a run together, as in
an election, one is enough for all of them.
"""

from __future__ import annotations

import gc
import threading
import time

PAUSE_S = 2.0
"""Between two collections."""


class Garbage:
    """Thread-safe."""

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._collected = -pause_s
        self._is_due = False

    def left(self) -> None:
        """A run has ended: collect now, or when the pause is over."""
        with self._lock:
            wait = self._collected + self._pause_s - time.monotonic()
            if self._is_due:
                return
            self._is_due = wait > 0
            if wait <= 0:
                self._collected = time.monotonic()
        if wait <= 0:
            gc.collect()
            return
        later = threading.Timer(wait, self._collect)
        later.daemon = True
        later.start()

    def _collect(self) -> None:
        with self._lock:
            self._is_due, self._collected = False, time.monotonic()
        gc.collect()


GARBAGE = Garbage()
"""Of this process."""
