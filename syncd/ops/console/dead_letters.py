"""Dead letters for people: by reason and field, and which of them an action is about."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from syncd.stores.redis.records.dead_letters import DeadLetter, Kind, count_dead_letters, dead_letters
from syncd.stores.redis.store import RedisStore
from syncd.text import escaped

MOST_READ = 10_000
"""A contract may keep a million: a page is not to read them all."""
MOST_SHOWN = 100


def groups(store: RedisStore, contract: str) -> dict[str, Any]:
    """How many wait, and of the first MOST_READ how many of each kind, the most frequent first. No keys."""
    found: dict[Kind, dict[str, Any]] = {}
    read = 0
    for dead in islice(dead_letters(store, contract), MOST_READ):
        read += 1
        kind = dead.kind
        group = found.setdefault(kind, {**kind._asdict(), "count": 0, "first": dead.at})
        group["count"] += 1
        group |= {"last": dead.at, "detail": dead.detail}
    return {
        "waiting": count_dead_letters(store, contract),
        "read": read,
        "groups": sorted(found.values(), key=lambda group: -group["count"]),
    }


def of_kind(store: RedisStore, contract: str, kind: Kind) -> Iterator[DeadLetter]:
    """The dead letters of this kind, oldest first."""
    return filter(kind.has, dead_letters(store, contract))


def shown(store: RedisStore, contract: str, kind: Kind) -> list[dict[str, Any]]:
    """The first of this kind with key and `_id`, for those who may see them."""
    return [
        {
            "entry": dead.entry,
            "key": escaped(dead.key),
            "id": escaped(dead.id),
            "at": dead.at,
            "detail": dead.detail,
        }
        for dead in islice(of_kind(store, contract, kind), MOST_SHOWN)
    ]
