"""Reads the documents of a batch in the thread that brings it, while the lane writes the batch before.

Changes that do not say enough are answered by reads. One read a batch costs less than one a call, and the lane need
not wait for it.
"""

from __future__ import annotations

from dataclasses import replace

from syncd.to_redis.context import RunContext
from syncd.to_redis.stream.change_stream import Batch
from syncd.to_redis.stream.window import Ahead


class ReadAhead:
    """Of one run, used by the thread that reads its stream."""

    def __init__(self, run: RunContext) -> None:
        self._lookup, self._builder, self._watermarks = run.lookup, run.builder, run.watermarks

    def of(self, batch: Batch) -> Batch:
        """The batch with its documents, where one reply holds them. Otherwise the lane reads what it needs, window by
        window, and also where the read failed: then it finds out why."""
        ids = self._builder.read_anyway(batch.events)
        # Beside a copy each chunk is later than what was read here.
        if not ids or self._watermarks.copying:
            return batch
        try:
            found = self._lookup.by_ids([*ids.values()], max(batch.time, self._watermarks.horizon))
        except Exception:  # noqa: BLE001 - the lane makes the same read, and sees the same error
            return batch
        return replace(batch, ahead=Ahead(ids.keys(), found)) if found.complete else batch
