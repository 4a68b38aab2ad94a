"""Contracts whose documents share keys: what each member should show, and the promises of members.

A member of a key is checked as a key of its own, by the name "key member".
"""

from __future__ import annotations

from typing import Any

from tests.simulation.checker import Checker, content_of
from tests.simulation.redis.data import Entry
from tests.simulation.redis.server import RedisModel
from tests.simulation.timeline import BEGINNING, Line, State, Timeline
from tests.simulation.watcher import Broken


class MemberTimeline(Timeline):
    """What each member should show. A document that does not fit stays the member that it was."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.members: dict[tuple[int, Any], dict[str, Any]] = {}
        """What a document is a member of, by version and `_id`."""
        self._ever: dict[Any, dict[str, None]] = {}
        """What it has ever been a member of: of one that went and came again unfit, any of that may be left."""

    @property
    def keeps(self) -> dict[str, int]:
        """How many members a key holds by the latest version, by projection, where they are not all."""
        return self._versions[-1].keeps

    @property
    def alone(self) -> set[str]:
        """Prefixes of keys of which a document is a member of one at most."""
        return {prefix for version in self._versions for prefix in version.alone}

    def _note(self, document_id: Any, before: Any, after: Any, token: str) -> None:
        shown, stuck, keys = [], set(), dict[str, None]()
        for at, version in enumerate(self._versions):
            old, new = self.members.get((at, document_id), {}), version.of(after)
            unfit = {name.partition(":")[0] for name in new.letters}
            kept = {key: value for key, value in old.items() if key.partition(":")[0] in unfit}
            self.members[at, document_id] = now = {**new.contents, **kept}
            shown.append(now)
            ever = self._ever.setdefault(document_id, {})
            ever.update(dict.fromkeys(now))
            stuck |= {key for key in ever if key.partition(":")[0] in unfit}
            keys |= dict.fromkeys([*old, *now, *sorted(stuck)])
        for key in keys:
            contents = tuple(now.get(key) for now in shown)
            is_some = any(key.partition(":")[0] in version.keeps for version in self._versions)
            line = self.lines.setdefault(key, Line([State(BEGINNING, (None,), True)]))
            may_lack = None in contents or key in stuck or is_some
            line.states.append(State(token, contents, may_lack, key in stuck))
            self.changes.append((token, key, len(line.states) - 1))

    def boards(self) -> dict[str, dict[str, Any]]:
        """All members by key, by the latest version."""
        found: dict[str, dict[str, Any]] = {}
        for (version, _), members in self.members.items():
            for name, value in members.items() if version == len(self._versions) - 1 else ():
                key, _, member = name.partition(" ")
                if member:
                    found.setdefault(key, {})[member] = value[0]
        return found


class MemberChecker(Checker):
    """Of one run."""

    def __init__(self, timeline: MemberTimeline) -> None:
        super().__init__(timeline)
        self._members = timeline

    def _after(
        self, redis: RedisModel, args: list[bytes], before: dict[bytes, Entry | None], changed: list[str]
    ) -> None:
        names = []
        for key in changed:
            one, other = before[key.encode()], redis.data.find(key.encode())
            if one is None and other is None:
                continue
            if not is_shared(one) and not is_shared(other):
                names.append(key)
                continue
            old, new = (entry.value if entry is not None else {} for entry in (one, other))
            differing = [m for m in {**old, **new} if (m in old, old.get(m)) != (m in new, new.get(m))]
            names += [f"{key} {member.decode()}" for member in differing]
        super()._after(redis, args, before, names)
        for name in names:
            self._is_alone(redis, name)

    def _is_alone(self, redis: RedisModel, name: str) -> None:
        """No document is a member of two keys, where it has one."""
        key, _, member = name.partition(" ")
        prefix = key.partition(":")[0] + ":"
        if member and prefix in self._members.alone:
            all_of = {one.partition(" ")[0] for one in self._members.lines if one.startswith(prefix)}
            found = [one for one in all_of if content_of(redis, f"{one} {member}") is not None]
            if len(found) > 1:
                raise Broken("no_ghosts", f"{member} is a member of {sorted(found)}")

    def removed(self, key: str) -> None:
        """All members of a key went with it."""
        super().removed(key)
        for name in self._members.lines:
            if name.startswith(f"{key} "):
                super().removed(name)

    def went_back(self, redis: RedisModel, keys: set[bytes]) -> None:
        """Redis has lost what it took last."""
        heads = {key.decode() for key in keys}
        names = {name.encode() for name in self._members.lines if name.partition(" ")[0] in heads}
        super().went_back(redis, names)

    def differences(self, redis: RedisModel) -> list[str]:
        """Also whether keys that hold so many members only have the best ones."""
        wrong = super().differences(redis)
        for key, members in self._members.boards().items():
            keep = self._members.keeps.get(key.partition(":")[0])
            is_open = any(self._is_open(redis, f"{key} {member}") for member in members)
            if keep is None or is_open or self._may_have_stuck(key):
                continue
            entry = redis.data.find(key.encode())
            found = sorted(entry.value.values() if entry is not None else ())
            scores = sorted(members.values(), reverse=keep > 0)[: abs(keep)]
            if found != sorted(scores):
                wrong.append(f"{key} has the scores {found}, not {sorted(scores)}")
        return wrong

    def _may_have_stuck(self, key: str) -> bool:
        """Whether a document that went, and came again unfit, may still be a member of it."""
        return any(
            line.states[-1].is_stuck
            for name, line in self._members.lines.items()
            if name.startswith(f"{key} ")
        )

    def _is_open(self, redis: RedisModel, name: str) -> bool:
        """Whether what a member should show is not known."""
        line = self._members.lines[name]
        is_away = self.is_away(name, len(line.states) - 1)
        return is_away or line.states[-1].is_stuck or self._has_letter(redis, name)


def is_shared(entry: Entry | None) -> bool:
    """Whether a key has members."""
    return entry is not None and entry.kind in (b"zset", b"set")
