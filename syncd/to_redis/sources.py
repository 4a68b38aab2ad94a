"""Threads that fetch ahead for a lane: one reads the stream, one the snapshot. They only read.

What they fetch goes into the lane's inbox in order; each source has at most PREFETCH items there, so that memory does
not grow however far the lane is behind.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PREFETCH = 2


@dataclass(frozen=True, slots=True)
class Failure:
    """The source ended with an error; the lane raises it."""

    error: Exception


class Source(threading.Thread):
    """Runs an iterator in a thread of its own until it ends, fails, or `close` is called."""

    def __init__(self, name: str, items: Iterator[Any], inbox: queue.SimpleQueue[Any]) -> None:
        super().__init__(name=name, daemon=True)
        self._items = items
        self._inbox = inbox
        self._permits = threading.Semaphore(PREFETCH)
        self._closed = threading.Event()

    def run(self) -> None:
        """Fetch until asked to stop."""
        try:
            while self._take_permit():
                item = next(self._items, None)
                if item is None or self._closed.is_set():
                    return
                self._inbox.put((self, item))
                del item  # it may be large, and the next may be long in coming
        except Exception as error:  # noqa: BLE001 - a thread that ends unnoticed would leave the lane waiting forever
            self._inbox.put((self, Failure(error)))
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()

    def _take_permit(self) -> bool:
        self._permits.acquire()
        return not self._closed.is_set()

    def done(self) -> None:
        """The lane has finished with one item."""
        self._permits.release()

    def close(self) -> None:
        """Stop after the fetch under way."""
        self._closed.set()
        self._permits.release()
