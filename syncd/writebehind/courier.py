"""Delivers one batch while the lane reads and converts the next."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from syncd.writebehind.batch import Batch, Outcome


class Delivered(NamedTuple):
    """A batch that is done."""

    batch: Batch
    outcome: Outcome
    seconds: float


class Courier:
    """Use as a context manager, from one thread; deliveries run one after another in another one, as long as it lasts.

    At most one is on its way. When the block ends none is, also not one that failed.
    """

    def __init__(self, name: str, deliver: Callable[[Batch], Outcome]) -> None:
        self._deliver = deliver
        self._out: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._back: queue.SimpleQueue[Delivered | BaseException] = queue.SimpleQueue()
        self._is_flying = False
        # A daemon thread, as the lane's: a process that ends does not wait for a dead link.
        self._thread = threading.Thread(target=self._run, name=f"courier-{name}", daemon=True)

    def __enter__(self) -> Courier:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._out.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._out.get()) is not None:
            began = time.monotonic()
            try:
                self._back.put(Delivered(batch, self._deliver(batch), time.monotonic() - began))
            except BaseException as error:  # noqa: BLE001 - it belongs to the lane's thread, and is raised there
                self._back.put(error)

    def send(self, batch: Batch) -> None:
        """Begin to deliver; `wait` for the one before first."""
        assert not self._is_flying
        self._is_flying = True
        self._out.put(batch)

    def wait(self) -> Delivered | None:
        """The batch on its way, when it is done; raises what its delivery raised. None where none is."""
        if not self._is_flying:
            return None
        said = self._back.get()
        self._is_flying = False
        if isinstance(said, BaseException):
            raise said
        return said
