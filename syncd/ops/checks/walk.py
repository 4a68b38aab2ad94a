"""One walk through the keys of Redis, for several checks of keys at once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TypeAlias

from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.keys.templates import scan_pattern
from syncd.stores.redis.scan import SCAN_COUNT, pages
from syncd.stores.redis.store import RedisStore

LONGEST_S = 10.0
"""For a Redis with many keys: a person waits."""
Visitor: TypeAlias = tuple[KeyTemplate, Callable[[bytes], None]]
"""A template, and what is called with each key that begins as it does."""


def walk(redis: RedisStore, visitors: Iterable[Visitor]) -> bool:
    """Call the visitors with their keys. Returns whether the walk saw all of Redis."""
    by_prefix: dict[bytes, list[Callable[[bytes], None]]] = defaultdict(list)
    for template, visit in visitors:
        by_prefix[template.prefix.encode()].append(visit)
    if not by_prefix:
        return True
    lengths = sorted({len(prefix) for prefix in by_prefix})
    common = _common(min(by_prefix), max(by_prefix)).decode(errors="ignore")
    pattern, end = scan_pattern(KeyTemplate("", (common, ""), ())), time.monotonic() + LONGEST_S
    for node in redis.nodes:
        for page in pages(node.client.scan, also_empty=True, match=pattern, count=SCAN_COUNT):
            for key in page:
                for length in lengths:
                    if length > len(key):
                        break
                    for visit in by_prefix.get(key[:length], ()):
                        visit(key)
            if time.monotonic() > end:
                return False
    return True


def _common(first: bytes, last: bytes) -> bytes:
    """The common beginning of both, and of all that sort between them."""
    return next((first[:at] for at in range(len(first), 0, -1) if last.startswith(first[:at])), b"")
