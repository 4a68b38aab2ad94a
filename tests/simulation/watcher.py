"""What is looked at in every run: who writes, what is logged, and how much waits."""

from __future__ import annotations

from typing import Any

from tests.simulation.redis.data import Entry
from tests.simulation.redis.server import RedisModel
from tests.simulation.standins import SimpleQueue

LEASE = b"syncd:{films}:lease"
MOST_QUEUED = 12
"""Two items a source, what a shared stream may leave, and the words that wake a lane."""


class Broken(AssertionError):
    """A promise that does not hold."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Watcher:
    """Of one run. Whoever looks at more than this is of a class of its own."""

    def __init__(self) -> None:
        self._epochs: set[bytes] = set()
        self.told: list[dict[str, Any]] = []
        """Log lines."""
        self.broken: Broken | None = None
        self.bug = ""
        """What an unexpected error says."""
        self.is_at_rest = False
        """Whether nobody but syncd does anything any more, and all is done."""

    def log(self, _: Any, level: str, event: dict[str, Any]) -> str:
        """Takes a line of the log."""
        self.told.append({"level": level, **event})
        if "unexpected error" in str(event.get("event", "")):
            self.bug = str(event.get("exception", ""))
        return ""

    def after(
        self, redis: RedisModel, args: list[bytes], reply: Any, before: dict[bytes, Entry | None]
    ) -> None:
        """A command of a client has been carried out, and `before` is how what it changed was."""
        if not before:
            return
        changed = [key.decode() for key in before if not key.startswith(b"syncd:")]
        if args[0] == b"FCALL":
            self._fenced(redis, args, reply, before, changed)
        self._after(redis, args, before, changed)

    def _after(
        self, redis: RedisModel, args: list[bytes], before: dict[bytes, Entry | None], changed: list[str]
    ) -> None:
        """The same, of a command that has changed something: `changed` are keys that are not syncd's own."""
        raise NotImplementedError

    def _fenced(
        self,
        redis: RedisModel,
        args: list[bytes],
        reply: Any,
        before: dict[bytes, Entry | None],
        changed: list[str],
    ) -> None:
        """Who writes holds the lease, and no epoch comes twice."""
        if args[1] == b"syncd_lease" and isinstance(reply, list) and reply[0] == b"held":
            if reply[1] in self._epochs:
                raise Broken("fenced", f"{reply[1]!r} was given twice")
            self._epochs.add(reply[1])
        if changed and args[1] in (b"syncd_apply", b"syncd_merge"):
            lease = before[LEASE] if LEASE in before else redis.data.find(LEASE)
            writer = args[3 + int(args[2]) + 1]
            if lease is None or lease.value != writer:
                holder = None if lease is None else lease.value
                raise Broken("fenced", f"{writer!r} wrote {changed} while {holder!r} had the lease")

    def so_far(self) -> None:
        """Raises what was broken by now. An error of a lane that nobody expected is something of that kind."""
        if self.broken is not None:
            raise self.broken
        if self.bug:
            raise Broken("nothing_silent", f"a lane met an unexpected error: {self.bug}")

    def bounded(self) -> None:
        """Nothing waits in heaps."""
        if SimpleQueue.longest > MOST_QUEUED:
            raise Broken("bounded", f"{SimpleQueue.longest} items waited for a lane")

    def differences(self, redis: RedisModel) -> list[str]:
        """What is not in sync yet."""
        raise NotImplementedError

    def at_end(self, kills: int) -> None:
        """What can be said when all is over: so many daemons were killed."""
        self.bounded()
