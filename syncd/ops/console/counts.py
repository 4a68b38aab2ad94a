"""About how many documents a contract has: counted by one thread, so that no page waits for MongoDB."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from pymongo.errors import PyMongoError

from syncd.errors import StoreError
from syncd.ops.counting import Count, count_documents
from syncd.plan.base import ContractPlan
from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.store import MongoStore

LONGEST_MS = 10_000
"""For a filter without an index."""
KEEP_S = 300.0


class Counts:
    """Thread-safe. `mongo`: the store, when the first is to be counted."""

    def __init__(self, mongo: Callable[[], MongoStore]) -> None:
        self._mongo = mongo
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[float, Count | None]] = {}
        self._wanted: queue.SimpleQueue[tuple[tuple[str, str], StreamPlan]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def of(self, plan: ContractPlan | None) -> Count | None:
        """As of KEEP_S ago at most. None while it is not known, and for what has no documents to begin with."""
        if not isinstance(plan, StreamPlan):
            return None
        which = plan.name, plan.fingerprint
        with self._lock:
            at, count = self._known.get(which, (-KEEP_S, None))
            if time.monotonic() - at >= KEEP_S:
                self._known[which] = time.monotonic(), count
                self._wanted.put((which, plan))
                self._started()
        return count

    def _started(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="counts", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            which, plan = self._wanted.get()
            try:
                count = count_documents(self._mongo(), plan, LONGEST_MS)
            except (PyMongoError, StoreError):  # the lane reports what is wrong
                continue
            with self._lock:
                self._known[which] = time.monotonic(), count
