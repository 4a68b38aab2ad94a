"""Deliver batches while the lane reads and converts the next."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from syncd.errors import InvariantError
from syncd.to_mongo.append.batch import BatchOutcome, EntryBatch


class Delivered(NamedTuple):
    """A batch that is done."""

    batch: EntryBatch
    outcome: BatchOutcome | None
    seconds: float


class DeliveryWorkers:
    """Use as a context manager, from one thread; deliveries run in others, as long as it lasts, `most` at a time.

    When the block ends none is on its way, also not one that failed.
    """

    def __init__(self, name: str, deliver: Callable[[EntryBatch], BatchOutcome | None], most: int) -> None:
        self._deliver, self._most = deliver, most
        self._out: queue.SimpleQueue[EntryBatch | None] = queue.SimpleQueue()
        self._back: queue.SimpleQueue[Delivered | BaseException] = queue.SimpleQueue()
        self._flying = 0
        # Daemon threads, as the lane's: a process that ends does not wait for a dead link.
        self._threads = [
            threading.Thread(target=self._run, name=f"delivery-{name}", daemon=True) for _ in range(most)
        ]

    def __enter__(self) -> DeliveryWorkers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        for _ in self._threads:
            self._out.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (batch := self._out.get()) is not None:
            began = time.monotonic()
            try:
                self._back.put(Delivered(batch, self._deliver(batch), time.monotonic() - began))
            except BaseException as error:  # noqa: BLE001 - it belongs to the lane's thread, and is raised there
                self._back.put(error)

    def send(self, batch: EntryBatch) -> None:
        """Begin to deliver; see `room` first."""
        if self._flying >= self._most:
            raise InvariantError("another batch is sent, and there is no room for it")
        self._flying += 1
        self._out.put(batch)

    def room(self) -> Iterator[Delivered]:
        """Wait until another batch may be sent. Yields those that are done; raises as `drain`."""
        return self._until(self._most - 1)

    def drain(self) -> Iterator[Delivered]:
        """Wait for all that are on their way. Where one fails, its error is raised behind the others."""
        return self._until(0)

    def _until(self, left: int) -> Iterator[Delivered]:
        failed: BaseException | None = None
        while self._flying > left:
            said = self._back.get()
            self._flying -= 1
            if not isinstance(said, BaseException):
                yield said
            elif failed is None:
                failed, left = said, 0
        if failed is not None:
            raise failed
