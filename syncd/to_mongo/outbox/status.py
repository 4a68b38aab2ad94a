"""What a lane over an outbox reports about itself."""

from __future__ import annotations

from typing import Any

from syncd import telemetry
from syncd.lanes.status import known_or_nan
from syncd.stores.redis.store import RedisStore, clock_us, translated
from syncd.to_mongo.append.group import Backlog
from syncd.to_mongo.append.status import AppendStatus
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys
from syncd.to_mongo.state.positions import milliseconds, of_entry

FIRST_TIME_MS = 10**12
"""An id below it is no time of this century, but one that the application chose."""


class OutboxStatus(AppendStatus):
    """State of one lane over an outbox."""

    copied = 0
    """Keys that the last copy of all has met."""
    done = ""
    """Entry up to which everything was written."""

    def __init__(self, contract: str, collection: str, freshness_s: float | None, unfit: UnfitKeys) -> None:
        super().__init__(contract, collection, freshness_s)
        self.unfit = unfit

    def copied_documents(self) -> int:
        """The keys of the copy, or the last one."""
        return self.copied

    def took(self, entries: int, last: str = "") -> None:
        """Entries are done, up to `last`."""
        super().took(entries)
        self.done = last or self.done

    def measure(self) -> None:
        """Bring the gauges up to date."""
        super().measure()
        telemetry.OUTBOX_BYTES.labels(self.contract).set(known_or_nan(self._backlog and self._backlog.size))

    def _more(self) -> dict[str, Any]:
        return {
            **super()._more(),
            "stream": "outbox",
            "waiting_bytes": self._backlog and self._backlog.size,
            "snapshot": {"phase": "stream", "copied": self.copied},
            "check": self.check,
            "unfit_keys": self.unfit.told(),
        }


def read_backlog(redis: RedisStore, outbox: str, done: str) -> Backlog:
    """How much waits. Everything in an outbox waits: what is done is taken away."""
    pipe = redis.client.pipeline(transaction=False)
    pipe.xlen(outbox)
    pipe.xrange(outbox, count=1)
    pipe.memory_usage(outbox)
    pipe.time()
    with translated():
        length, first, size, now = pipe.execute()
    oldest = milliseconds(of_entry(first[0][0].decode())) if first else 0
    age = clock_us(now) / 1e6 - oldest / 1000 if oldest >= FIRST_TIME_MS else 0.0
    return Backlog(int(length), max(0.0, age), done, int(size or 0))
