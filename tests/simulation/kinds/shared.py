"""Contracts with hashes in which an application has a field of its own, which syncd neither removes nor needs."""

from __future__ import annotations

from typing import Any

from tests.simulation.checker import APPLICATION, content_of
from tests.simulation.kinds.members import MemberChecker
from tests.simulation.redis.data import Entry
from tests.simulation.redis.server import RedisModel
from tests.simulation.watcher import Broken
from tests.simulation.workload import IDS, Workload


class SharedChecker(MemberChecker):
    """Of one run. What syncd has in a hash is a state of its document, whole, as of other hashes."""

    def _after(
        self, redis: RedisModel, args: list[bytes], before: dict[bytes, Entry | None], changed: list[str]
    ) -> None:
        if args[0] != b"FCALL":
            return  # the application's
        for key in changed:
            if _has_application(before[key.encode()]) and not _has_application(redis.data.find(key.encode())):
                raise Broken("nothing_lost", f"the field of an application in {key} is gone")
        super()._after(redis, args, before, changed)

    def _state_of(self, redis: RedisModel, key: str) -> None:
        if key in self._members.lines or content_of(redis, key) is not None:
            super()._state_of(redis, key)


def _has_application(entry: Entry | None) -> bool:
    return entry is not None and isinstance(entry.value, dict) and APPLICATION in entry.value


class SharedWorkload(Workload):
    """An application also writes its field, whether there is a document or not."""

    def _change(self, **options: Any) -> int:
        if self._random.random() < 0.85:
            return super()._change(**options)
        key = self._random.choice([b"features:", b"traits:"]) + str(self._random.choice(IDS)).encode()
        self._world.note(f"an application writes its field of {key!r}")
        self._world.redis.execute([b"HSET", key, APPLICATION, b"1"])
        return 0
