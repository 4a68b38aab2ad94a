"""How far a check in ranges is, kept in the target Redis: a call goes on where an earlier one was ended.

The command that directs the check holds `run` and renews it. Workers read it: they end when it is gone.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from syncd.errors import FatalError, TransientError
from syncd.stores.redis.records.lease import is_dead, new_owner
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

RUN_TTL_S = 5.0
"""After a command was killed on another machine, the next one waits so long, and workers go on so long."""
KEPT_S = 24 * 3600
"""Parts that were compared longer ago are compared again."""
POLL_S = 0.5
_WHAT, _DONE = "what", "done:"


@dataclass
class RangesRecord:
    """What a check is to do, and which parts are done."""

    fingerprint: str
    repair: bool
    started: float
    bounds: list[bytes] = field(repr=False)
    done: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False)
    """Reports of the parts that were compared, by number."""

    def encoded(self) -> str:
        """All but `done`, as JSON."""
        bounds = [base64.b64encode(bound).decode() for bound in self.bounds]
        said = {"fingerprint": self.fingerprint, "repair": self.repair, "started": self.started}
        return json.dumps(said | {"bounds": bounds})


def _decoded(raw: dict[bytes, bytes]) -> RangesRecord:
    said = json.loads(raw.pop(_WHAT.encode()))
    bounds = [base64.b64decode(text) for text in said.pop("bounds")]
    done = {int(name.decode().removeprefix(_DONE)): json.loads(text) for name, text in raw.items()}
    return RangesRecord(**said, bounds=bounds, done=done)


class Progress:
    """The record of one contract, for the command that directs the check."""

    def __init__(self, store: RedisStore, contract: str) -> None:
        self._store, self._keys = store, ControlKeys(contract, place=store.place)
        self.run = new_owner()

    def take(self, stop: threading.Event) -> bool:
        """Take the right to direct the check; False when it is to stop. Raises FatalError where another command holds
        it."""
        for _ in range(round(2 * RUN_TTL_S / POLL_S)):
            if self._set(only_new=True):
                return True
            if not self._drop_dead() and stop.wait(POLL_S):
                return False
        raise FatalError(
            "redis", f"another check of {self._keys.contract} in ranges runs; wait for it, or end it"
        )

    def _drop_dead(self) -> bool:
        """Drop the hold of a process of this machine that was killed."""
        with translated():
            holder: Any = self._store.client.get(self._keys.bulk_run)
            if holder is None or not is_dead(f"{holder.decode()}:"):
                return False
            self._store.client.delete(self._keys.bulk_run)
            return True

    def renew(self) -> None:
        """Hold on for another RUN_TTL_S. Raises FatalError where another command took over meanwhile."""
        # Not in one step: two commands would only compare the same, and the next renewal ends one of them.
        if not self._holds() and not self._set(only_new=True):
            raise FatalError("redis", f"another check of {self._keys.contract} in ranges took over")
        self._set(only_new=False)

    def release(self) -> None:
        """Workers end at their next page."""
        with contextlib.suppress(TransientError), translated():
            if self._holds():
                self._store.client.delete(self._keys.bulk_run, self._keys.bulk_pace(self.run))

    def _holds(self) -> bool:
        return holds(self._store, self._keys.contract, self.run)

    def _set(self, *, only_new: bool) -> bool:
        with translated():
            ttl = round(RUN_TTL_S * 1000)
            return bool(self._store.client.set(self._keys.bulk_run, self.run, px=ttl, nx=only_new))

    def load(self) -> RangesRecord | None:
        """The record that an earlier call left."""
        with translated():
            raw: Any = self._store.client.hgetall(self._keys.bulk)
        return _decoded(raw) if _WHAT.encode() in raw else None

    def begin(self, record: RangesRecord) -> None:
        """Replace any earlier record by this one."""
        with translated():
            pipe = self._store.client.pipeline()
            pipe.delete(self._keys.bulk)
            pipe.hset(self._keys.bulk, _WHAT, record.encoded())
            pipe.pexpire(self._keys.bulk, KEPT_S * 1000)
            pipe.execute()

    def note(self, number: int, report: dict[str, Any]) -> None:
        """A part was compared."""
        with translated():
            self._store.client.hset(self._keys.bulk, f"{_DONE}{number}", json.dumps(report))

    def finish(self) -> None:
        """Nothing is left."""
        with translated():
            self._store.client.delete(self._keys.bulk)


def now_ms(store: RedisStore) -> int:
    """The time of all who share a pace: Redis's clock."""
    return store.clock_us() // 1000


def holds(store: RedisStore, contract: str, run: str) -> bool:
    """Whether this check goes on."""
    with translated():
        return store.client.get(ControlKeys(contract, place=store.place).bulk_run) == run.encode()


class Watch(threading.Thread):
    """Sets `stop` when a check is over, for a worker. Use as a context manager."""

    def __init__(self, store: RedisStore, contract: str, run: str, stop: threading.Event) -> None:
        super().__init__(name="watch", daemon=True)
        self._store, self._contract, self._run, self._over = store, contract, run, stop

    def run(self) -> None:
        """The thread."""
        while not self._over.wait(POLL_S):
            try:
                if not holds(self._store, self._contract, self._run):
                    self._over.set()
            except TransientError:
                continue  # then the check itself has the same trouble, and says so

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()


class Pace:
    """A rate limit that all workers of a check share: a counter in Redis says how many documents there were."""

    def __init__(self, store: RedisStore, contract: str, run: str, rate: float, begun_ms: int) -> None:
        self._store, self._rate, self._begun = store, rate, begun_ms
        self._name = ControlKeys(contract, place=store.place).bulk_pace(run)
        self._counted = 0

    def ahead(self, documents: int) -> float:
        """How many seconds to wait, when this worker has compared so many documents by now."""
        if not self._rate or documents == self._counted:
            return 0.0
        new, self._counted = documents - self._counted, documents
        with translated():
            pipe = self._store.client.pipeline(transaction=False)
            pipe.hincrby(self._name, "documents", new)
            pipe.pexpire(self._name, KEPT_S * 1000)
            total = int(pipe.execute()[0])
        return max(0.0, total / self._rate - (now_ms(self._store) - self._begun) / 1000)
