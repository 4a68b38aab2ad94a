"""Counts the keys that an index leaves out at present. The search module only counts attempts, and those never fall."""

from __future__ import annotations

import time
from collections.abc import Iterator

from syncd.plan.keys.templates import parse_key
from syncd.plan.to_redis.change import Retired
from syncd.plan.to_redis.shape import Shape
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import SCAN_COUNT, KeyScan
from syncd.stores.redis.search import Search, SeenIndex
from syncd.stores.redis.store import RedisStore, translated

SLICE_S = 0.05
"""How long the lane waits for a part of a walk through all keys, at a time."""
MOST_REMEMBERED = 10_000
"""Keys that are asked for one by one. With more, all keys are walked through again, now and then."""
AGAIN_S = 60.0


class LeftOut:
    """Of one index. Costs nothing while every key fits."""

    def __init__(self, shape: Shape, store: RedisStore, control: ControlKeys, search: Search) -> None:
        self._shape, self._store, self._search = shape, store, search
        self._type = shape.redis_type.encode()
        self._scan = KeyScan(store, control)
        self._index = ""
        self._attempts = 0
        self._walk: Iterator[set[bytes]] | None = None
        self._walked = 0.0
        self._keys: set[bytes] = set()
        self._found: set[bytes] = set()

    def count(self, seen: SeenIndex) -> int:
        """How many there are, as far as is known: after a walk through all keys, begun when the server last reported
        another one, less those that fit by now."""
        if seen.name != self._index:
            self._index, self._attempts, self._walk, self._keys = seen.name, 0, None, set()
        self._begin(seen)
        if self._walk is not None:
            self._go_on()
        elif self._keys and len(self._keys) <= MOST_REMEMBERED:
            self._keys = set().union(*(self._missing(page) for page in paged(sorted(self._keys), SCAN_COUNT)))
        return len(self._keys)

    def _begin(self, seen: SeenIndex) -> None:
        is_due = len(self._keys) > MOST_REMEMBERED and time.monotonic() - self._walked > AGAIN_S
        if self._walk is None and (seen.attempts != self._attempts or is_due):
            self._attempts = seen.attempts
            self._found = set()
            shape = Retired(self._shape.name, self._shape.type, self._shape.template)
            self._walk = (self._missing(page) for page in self._scan.keys(shape))

    def _go_on(self) -> None:
        assert self._walk is not None
        end = time.monotonic() + SLICE_S
        for missing in self._walk:
            self._found |= missing
            if time.monotonic() > end:
                return
        self._walk, self._keys, self._walked = None, self._found, time.monotonic()

    def _missing(self, keys: list[bytes]) -> set[bytes]:
        """Those of the shape that are there, and not in the index."""
        ours = [key for key in keys if parse_key(self._shape.template, key) is not None]
        held = self._search.held(self._index, ours) if ours else set()
        out = [key for key in ours if key not in held]
        with translated(), self._store.client.pipeline(transaction=False) as pipe:
            for key in out:
                pipe.type(key)
            kinds = pipe.execute()
        return {key for key, kind in zip(out, kinds, strict=True) if kind == self._type}
