"""Which documents readers of a change feed know to match the filter: a set in Redis. Only reads.

See lua/operations/matched."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from syncd.plan.to_redis.change import FILLING, RELOAD
from syncd.plan.to_redis.change_feed import ChangeFeed
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.scan import SCAN_COUNT, WHOLE_MAP, pages
from syncd.stores.redis.store import RedisStore, translated

WHOLE, LOST = WHOLE_MAP.decode(), ""
"""What is in the set beside documents, or FILLING or RELOAD; nothing where it was evicted, or never made."""


class MatchedSets:
    """Of one contract."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._control = store, control

    def reached(self, feed: ChangeFeed) -> str:
        """How far the set is: WHOLE, FILLING, RELOAD or LOST."""
        words = [WHOLE, FILLING, RELOAD]
        node, name = self._at(feed)
        with translated():
            found: Any = node.client.smismember(name, words)
        return next((word for word, there in zip(words, found, strict=True) if there), LOST)

    def idents(self, feed: ChangeFeed) -> Iterator[list[str]]:
        """Its documents, page by page."""
        node, name = self._at(feed)
        for page in pages(partial(node.client.sscan, name), count=SCAN_COUNT):
            if idents := [one.decode() for one in page if not one.startswith(WHOLE_MAP)]:
                yield idents

    def _at(self, feed: ChangeFeed) -> tuple[RedisStore, str]:
        """Beside the stream."""
        node = self._store.at_key(feed.key)
        return node, self._control.at(node.place).matched(feed.key)
