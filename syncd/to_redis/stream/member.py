"""A lane's place in a shared stream, and the handover between that and the lane's own."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.store import Document
from syncd.to_redis.stream.change_stream import Batch

BUSY_S = 5.0
BUSY_EVENTS = 100
"""A lane with more changes than this within BUSY_S takes a stream of its own: it would delay the others."""
MOST_WAITING = 4
"""Batches that may wait in a lane's inbox. A lane that does not keep up leaves, so that memory does not grow."""


class Member:
    """Puts the changes of one lane into its inbox, each once and in order.

    While a lane joins, its own stream and the shared one deliver the same changes: no change has to wait for the
    handover. Both offer what they have; what comes second has been passed on already. The tokens of events compare
    as text, in the order of the stream.
    """

    def __init__(
        self, plan: StreamPlan, token: Document, event: Document | None, inbox: queue.SimpleQueue[Any]
    ) -> None:
        self.plan = plan
        self.token = token
        """Everything up to here was passed on; the lane's own stream can go on from it."""
        self.event = event
        """Token of the last change that was passed on."""
        self.covered = threading.Event()
        """Set when the shared stream delivers."""
        self.left = threading.Event()
        """Set when it does not, or no longer."""
        self._inbox = inbox
        self._lock = threading.Lock()
        self._waiting = 0
        self._since, self._count = time.monotonic(), 0

    def offer(
        self,
        events: list[Document],
        high_water: Document | None,
        *,
        proof: bool = False,
        held_back_s: int = 0,
    ) -> bool:
        """Pass on what is new. False when the lane has left, or leaves now because it is busy.

        `high_water`: token that stands for no event of another collection, behind all of these events; `proof`: MongoDB
        has nothing more, which the lane wants to hear.
        """
        with self._lock:
            if self.left.is_set():
                return False
            at = self.token["_data"]
            events = [event for event in events if event["_id"]["_data"] > at]
            if not events and (not proof or self._waiting):
                self._move(high_water)  # else a lane that waits would make the shared stream begin far back
                return True
            if self._is_busy(len(events)):
                self.left.set()
                return False
            if events:
                self.token = self.event = events[-1]["_id"]
            self._move(high_water)
            self._waiting += 1
            self._inbox.put((self, Batch.of(events, self.token, held_back_s=held_back_s)))
            return True

    def _move(self, high_water: Document | None) -> None:
        if high_water is not None and high_water["_data"] > self.token["_data"]:
            self.token = high_water

    def _is_busy(self, count: int) -> bool:
        now = time.monotonic()
        if now - self._since > BUSY_S:
            self._since, self._count = now, 0
        self._count += count
        return self._count > BUSY_EVENTS or self._waiting >= MOST_WAITING

    def done(self) -> None:
        """The lane has finished with one batch."""
        with self._lock:
            self._waiting -= 1

    def leave(self) -> None:
        """Pass on nothing more, from now on."""
        with self._lock:
            self.left.set()

    def rest(self, batch: Batch) -> Batch:
        """What of a batch of its own stream was not passed on when it left."""
        events = [event for event in batch.events if event["_id"]["_data"] > self.token["_data"]]
        token = max(batch.token, self.token, key=order)
        return Batch.of(events, token, is_proof=batch.is_proof, held_back_s=batch.held_back_s)


def order(token: Document) -> str:
    """By this tokens compare."""
    data: str = token["_data"]
    return data
