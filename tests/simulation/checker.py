"""The promises, checked after every command that Redis has taken."""

from __future__ import annotations

import json
from typing import Any

from tests.simulation.redis.data import Entry
from tests.simulation.redis.server import RedisModel
from tests.simulation.standins import SimpleQueue
from tests.simulation.timeline import BEGINNING, Timeline

LEASE, POSITION, LETTERS = (f"syncd:{{films}}:{name}".encode() for name in ("lease", "position", "letters"))
MOST_QUEUED = 12
"""Two items a source, what a shared stream may leave, and the words that wake a lane."""


class Broken(AssertionError):
    """A promise that does not hold."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


class Checker:
    """Of one run."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self.shown: dict[str, int] = {}
        """Index of the state that a key shows, or showed when it went."""
        self._excused: dict[str, int] = {}
        """Keys that were evicted, and which state they would have had."""
        self._checked = 0
        """Changes up to here are behind the position, and show."""
        self.token = BEGINNING
        self._copied_at = BEGINNING
        """How far the oplog was when a copy ended."""
        self.refused: set[str] = set()
        """Keys of which Redis has refused a write: a dead letter stands for it."""
        self._epochs: set[bytes] = set()
        self.copies_begun = 0
        self.copies_told = 0
        self.told: list[dict[str, Any]] = []
        """Log lines."""
        self.broken: Broken | None = None
        self.bug = ""
        """What an unexpected error says."""

    def log(self, _: Any, level: str, event: dict[str, Any]) -> str:
        """Takes a line of the log."""
        self.told.append({"level": level, **event})
        if str(event.get("event", "")).startswith("snapshot started"):
            self.copies_told += 1
        if "unexpected error" in str(event.get("event", "")):
            self.bug = str(event.get("exception", ""))
        return ""

    def after(
        self, redis: RedisModel, args: list[bytes], reply: Any, before: dict[bytes, Entry | None]
    ) -> None:
        """A command has been carried out."""
        if not before:
            return
        changed = [key.decode() for key in before if self._is_data(key)]
        if args[0] == b"FCALL":
            self._fenced(redis, args, reply, before, changed)
        for key in changed:
            self._state_of(redis, key)
        if POSITION in before:
            self._position(redis, before[POSITION])

    def _is_data(self, key: bytes) -> bool:
        return not key.startswith(b"syncd:")

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

    def _state_of(self, redis: RedisModel, key: str) -> None:
        """A key shows a whole state, and none before the one that it showed."""
        content, line = content_of(redis, key), self._timeline.lines.get(key)
        if line is None:
            raise Broken("never_torn", f"{key} shows {content}, and no document ever had that key")
        before = self.shown.get(key, -1)
        found = line.find(content, before)
        if found is not None:
            self.shown[key] = found
            return
        earlier = line.find(content, 0)
        last = line.states[before].contents if before >= 0 else None
        if content is None and key in self.refused:
            return  # a whole write removes the key first
        if content is None:
            raise Broken("nothing_lost", f"{key} is gone, and its document is not; it was {last}")
        if earlier is None:
            raise Broken("never_torn", f"{key} shows {content}, which its document never was; it was {last}")
        raise Broken("never_backwards", f"{key} went back from {last} to {content}")

    def _position(self, redis: RedisModel, old: Entry | None) -> None:
        """What the position has passed shows."""
        entry = redis.data.find(POSITION)
        fields = {} if entry is None else entry.value
        phase, before = fields.get(b"phase"), (old.value if old is not None else {}).get(b"phase")
        if phase == b"snapshot" and before != phase:
            self.copies_begun += 1
        token = json.loads(fields[b"token"])["_data"] if fields.get(b"token") else BEGINNING
        if phase != b"stream" or not token:
            self._checked, self.token = 0, BEGINNING
            return
        if not self.token:
            # A key that the sweep found with a document shows its state when the stream has come to that read.
            self._copied_at = max((change[0] for change in self._timeline.changes[-1:]), default=BEGINNING)
        if token < self._copied_at:
            self.token = token
            return
        if token < self.token:
            self._checked = 0
        self.token = token
        changes = self._timeline.changes
        while self._checked < len(changes) and changes[self._checked][0] <= token:
            _, key, at = changes[self._checked]
            self._must_show(redis, key, at)
            self._checked += 1

    def _must_show(self, redis: RedisModel, key: str, at: int) -> None:
        line = self._timeline.lines[key]
        if self.shown.get(key, -1) >= at or self._excused.get(key, -1) >= at:
            return
        state, content = line.states[at], content_of(redis, key)
        if key in self.refused or any(later.is_stuck for later in line.states[at:]):
            return  # a read may be ahead of the position
        found = line.find(content, at)
        if found is not None:
            self.shown[key] = found
            return
        promise = "no_ghosts" if content is not None and state.contents[-1] is None else "nothing_lost"
        raise Broken(
            promise, f"the position has passed a change of {key} to {state.contents}, and it shows {content}"
        )

    def removed(self, key: str) -> None:
        """An application, or Redis itself, has removed a key: it comes back with the next change of its document."""
        line = self._timeline.lines.get(key)
        if line is not None:
            self._excused[key] = len(line.states) - 1

    def went_back(self, redis: RedisModel, keys: set[bytes]) -> None:
        """Redis has lost what it took last."""
        for key in {key.decode() for key in keys if self._is_data(key)}:
            content, line = content_of(redis, key), self._timeline.lines.get(key)
            found = None if line is None else line.find(content, 0)
            self.shown[key] = -1 if found is None else found
        self._checked, self.token = 0, BEGINNING
        self._epochs.clear()

    def so_far(self) -> None:
        """Raises what was broken by now. An unexpected error of a lane is something of that kind."""
        if self.broken is not None:
            raise self.broken
        if self.bug:
            raise Broken("nothing_silent", f"a lane met an unexpected error: {self.bug}")

    def bounded(self) -> None:
        """Nothing waits in heaps."""
        if SimpleQueue.longest > MOST_QUEUED:
            raise Broken("bounded", f"{SimpleQueue.longest} items waited for a lane")

    def silent(self, kills: int) -> None:
        """A copy that begins is told, unless its daemon was killed before it could."""
        if self.copies_begun > self.copies_told + kills:
            raise Broken("nothing_silent", f"{self.copies_begun} copies began, {self.copies_told} were told")

    def differences(self, redis: RedisModel) -> list[str]:
        """What Redis has yet to show."""
        wrong = []
        for key in self._timeline.lines:
            content, wanted = content_of(redis, key), self._timeline.final(key)
            is_excused = (
                content is None and self._excused.get(key, -1) >= len(self._timeline.lines[key].states) - 1
            )
            if content not in wanted and not is_excused and key not in self.refused:
                wrong.append(f"{key} shows {content}, not {wanted}")
        letters = redis.data.find(LETTERS)
        names = set() if letters is None else {name.decode() for name in letters.value}
        for key in self._timeline.letters:
            projection, _, document_id = key.partition(":")
            if not any(name.startswith(f"{projection} ") and name.endswith(document_id) for name in names):
                wrong.append(f"{key} does not fit, and there is no dead letter")
        return wrong


def content_of(redis: RedisModel, key: str) -> Any:
    """What a key shows; None where there is none."""
    entry = redis.data.find(key.encode())
    return None if entry is None else entry.value
