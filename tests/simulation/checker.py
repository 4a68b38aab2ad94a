"""The promises, checked after every command that Redis has taken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.simulation.redis.data import Entry
from tests.simulation.redis.server import RedisModel
from tests.simulation.timeline import BEGINNING, Timeline
from tests.simulation.watcher import Broken, Watcher

APPLICATION = b"app"
"""A field of an application."""
POSITION, LETTERS = (f"syncd:{{films}}:{name}".encode() for name in ("position", "letters"))


class Checker(Watcher):
    """Of one run."""

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline
        self.shown: dict[str, int] = {}
        """Index of the state that a key shows, or showed when it went."""
        self._written: dict[str, int] = {}
        """The same by its last write alone, where it is the position that says more by now."""
        self._excused: dict[str, int] = {}
        """Keys that were evicted, and which state they would have had."""
        self._checked = 0
        """Changes up to here are behind the position, and show."""
        self.token = BEGINNING
        self._copied_at = BEGINNING
        """How far the oplog was when a copy ended."""
        self.refused: set[str] = set()
        """Keys of which Redis has refused a write: a dead letter stands for it."""
        self.copies_begun = 0
        self._copies_told: Counter[Any] = Counter()

    def log(self, _: Any, level: str, event: dict[str, Any]) -> str:
        """Takes a line of the log."""
        self._copies_told[event.get("event")] += 1
        return super().log(_, level, event)

    def _after(
        self, redis: RedisModel, args: list[bytes], before: dict[bytes, Entry | None], changed: list[str]
    ) -> None:
        for key in changed:
            self._state_of(redis, key)
        if POSITION in before:
            self._position(redis, before[POSITION])

    def _state_of(self, redis: RedisModel, key: str) -> None:
        """A key shows a whole state, and none before the one that it showed."""
        content, line = content_of(redis, key), self._timeline.lines.get(key)
        if line is None:
            raise Broken("never_torn", f"{key} shows {content}, and no document ever had that key")
        before = self.shown.get(key, -1)
        found = line.find(content, before)
        if found is not None:
            self.shown[key] = found
            self._written.pop(key, None)
            return
        earlier = line.find(content, 0)
        last = line.states[before].contents if before >= 0 else None
        if content is None and _key_of(key) in self.refused:
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
        self._passed(redis, fields)

    def _passed(self, redis: RedisModel, fields: Mapping[bytes, bytes]) -> None:
        """What else a position says that shows."""

    def _must_show(self, redis: RedisModel, key: str, at: int) -> None:
        line = self._timeline.lines[key]
        if self.shown.get(key, -1) >= at or self.is_away(key, at):
            return
        state, content = line.states[at], content_of(redis, key)
        if self._has_letter(redis, key) or any(later.is_stuck for later in line.states[at:]):
            return  # a read may be ahead of the position
        found = line.find(content, at)
        if found is not None:
            self._written.setdefault(key, self.shown.get(key, -1))
            self.shown[key] = found
            return
        promise = "no_ghosts" if content is not None and state.contents[-1] is None else "nothing_lost"
        raise Broken(
            promise, f"the position has passed a change of {key} to {state.contents}, and it shows {content}"
        )

    def _has_letter(self, redis: RedisModel, key: str) -> bool:
        """Whether a dead letter stands for it: a document of which Redis refused one key may have moved to another."""
        letters = redis.data.find(LETTERS) if self.refused else None
        projection = key.partition(":")[0].encode()
        is_told = letters is not None and any(name.split(b" ")[0] == projection for name in letters.value)
        return _key_of(key) in self.refused or is_told

    def is_away(self, key: str, at: int) -> bool:
        """Whether a key may be gone because it was removed. Documents change always; what they are members of does not,
        and then no change brings a member back."""
        states, gone = self._timeline.lines[key].states, self._excused.get(key, -1)
        return gone >= 0 and all(state.contents == states[gone].contents for state in states[gone : at + 1])

    def removed(self, key: str) -> None:
        """An application, or Redis itself, has removed a key: it comes back with the next change of its document."""
        line = self._timeline.lines.get(key)
        if line is not None:
            self._excused[key] = len(line.states) - 1

    def deployed(self, version: int, token: str) -> None:
        """A version of the contract is at work from now on. It changes no document, so what was removed stays away."""
        lines = self._timeline.lines
        away = [key for key, at in self._excused.items() if at >= len(lines[key].states) - 1]
        self._timeline.deploy(version, token)
        self._excused |= {key: len(lines[key].states) - 1 for key in away}

    def went_back(self, redis: RedisModel, keys: set[bytes]) -> None:
        """Redis has lost what it took last: what `keys` showed, and a position, which said that others show."""
        self.shown |= self._written
        self._written.clear()
        for key in {key.decode() for key in keys if not key.startswith(b"syncd:")}:
            content, line = content_of(redis, key), self._timeline.lines.get(key)
            found = None if line is None else line.find(content, 0)
            self.shown[key] = -1 if found is None else found
        self._checked, self.token = 0, BEGINNING
        self._epochs.clear()

    def at_end(self, kills: int) -> None:
        """A copy that begins is told, unless its daemon was killed before it could."""
        super().at_end(kills)
        told = max(self._copies_told["lane snapshot"], self._copies_told["snapshot started"])
        if self.copies_begun > told + kills:
            raise Broken("nothing_silent", f"{self.copies_begun} copies began, {told} were told")

    def differences(self, redis: RedisModel) -> list[str]:
        """What Redis has yet to show."""
        wrong = [] if self.token else ["no position"]
        for key in self._timeline.lines:
            content, wanted = content_of(redis, key), self._timeline.final(key)
            is_excused = content is None and self.is_away(key, len(self._timeline.lines[key].states) - 1)
            if content not in wanted and not is_excused and not self._has_letter(redis, key):
                wrong.append(f"{key} shows {content}, not {wanted}")
        letters = redis.data.find(LETTERS)
        names = set() if letters is None else {name.decode() for name in letters.value}
        for key in self._timeline.letters:
            projection, _, document_id = key.partition(":")
            if not any(name.startswith(f"{projection} ") and name.endswith(document_id) for name in names):
                wrong.append(f"{key} does not fit, and there is no dead letter")
        return wrong


def content_of(redis: RedisModel, key: str) -> Any:
    """What a key shows; None where there is none. Of a member of one, "key member": its score, if it has one."""
    name, _, member = key.encode().partition(b" ")
    entry = redis.data.find(name)
    if not member or entry is None:
        return None if entry is None else _without_application(entry.value)
    return (entry.value[member],) if member in entry.value else None


def _without_application(value: Any) -> Any:
    """What is not an application's in a hash that it shares with syncd; None where that is nothing."""
    if not isinstance(value, dict) or APPLICATION not in value:
        return value
    return {name: one for name, one in value.items() if name != APPLICATION} or None


def _key_of(key: str) -> str:
    return key.partition(" ")[0]
