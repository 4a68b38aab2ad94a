"""Keys that are there, counted in one walk through Redis; some of them are measured. Only reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from syncd.ops.checks.walk import LONGEST_S, Visitor
from syncd.plan.keys.templates import parse_key
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Retired
from syncd.stores.redis.members import Members
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_redis.copy.beginning import is_retired_key

SAMPLES = 3
_MEASURED = 200
"""Keys of which Redis says how much memory they take."""


@dataclass(slots=True)
class KeyCount:
    """Keys of one shape; of shared keys the members."""

    shape: Retired
    count: int = 0
    some: list[bytes] = field(default_factory=list)
    memory: int = 0
    at_least: bool = False
    stays: int = 0
    """An application's, which no copy removes."""

    @property
    def own(self) -> int:
        """The contract's."""
        return max(0, self.count - self.stays)

    @property
    def own_memory(self) -> int:
        """What those take."""
        return self.memory * self.own // max(1, self.count)

    @property
    def samples(self) -> list[bytes]:
        """To be shown."""
        return self.some[:SAMPLES]

    def add(self, key: bytes) -> None:
        """One more."""
        self.count += 1
        if len(self.some) < _MEASURED:
            self.some.append(key)


class Keys:
    """Of one contract: those under its templates, and those that go."""

    def __init__(self, redis: RedisStore, plan: StreamPlan, going: list[Retired]) -> None:
        self._redis, self._plan, self._control = redis, plan, ControlKeys(plan.name, place=redis.place)
        shapes = [Retired(one.name, one.type, one.template) for one in plan.shapes]
        self.present, self.going = [KeyCount(one) for one in shapes], [KeyCount(one) for one in going]

    def visitors(self) -> Iterator[Visitor]:
        """For a walk through the keys."""
        for found in self.present:
            if not found.shape.is_shared:
                yield found.shape.template, _visitor(found, lambda _: True)
        for found in self.going:
            if found.shape.by_id:
                yield found.shape.template, _visitor(found, is_retired_key(self._plan, found.shape))

    def finish(self, *, saw_all: bool) -> None:
        """After the walk: what only maps know, and how much memory it takes."""
        for found in (*self.present, *self.going):
            if found.shape.is_shared:
                self._count_members(found)
            elif found in self.going and not found.shape.by_id:
                self._count_by_map(found)
            else:
                found.at_least = not saw_all
            self._measure(found)

    def _count_by_map(self, found: KeyCount) -> None:
        found.at_least = found.shape.each
        for node in self._redis.nodes:
            name = self._control.at(node.place).keys_by_id(found.shape.name, found.shape.template.text)
            with translated():
                count: Any = node.client.hlen(name)
                some: Any = node.client.hrandfield(name, _MEASURED, withvalues=True) or []
            found.count += int(count)
            found.some += [] if found.shape.each else list(some[1::2])

    def _count_members(self, found: KeyCount) -> None:
        end = time.monotonic() + LONGEST_S
        for count in Members(self._redis, self._control).count(found.shape):
            found.count += count
            if time.monotonic() > end:
                found.at_least = True
                return

    def _measure(self, found: KeyCount) -> None:
        if not found.some:
            return
        sizes = [size for size in memory_of(self._redis, found.some) if size]
        found.memory = round(found.count * sum(sizes) / max(1, len(sizes)))


def memory_of(redis: RedisStore, keys: list[bytes]) -> list[int]:
    """Bytes of each key, as Redis says it; 0 where it is not there."""
    found: dict[bytes, int] = {}
    for node, some in redis.by_node(keys):
        with translated(), node.client.pipeline(transaction=False) as pipe:
            for key in some:
                pipe.memory_usage(key)
            found |= {key: int(size or 0) for key, size in zip(some, pipe.execute(), strict=True)}
    return [found[key] for key in keys]


def _visitor(found: KeyCount, is_meant: Callable[[str], bool]) -> Callable[[bytes], None]:
    def visit(key: bytes) -> None:
        if parse_key(found.shape.template, key) is not None and is_meant(key.decode()):
            found.add(key)

    return visit
