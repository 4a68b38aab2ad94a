"""Guards of documents that show others, and of hashes that an application shares, as `guards` has those of keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from syncd.to_redis.apply.apply_log import NOTHING
from tests.simulation.guards.keys import Guard, always


def _forgetting(before: Any) -> Any:
    return classmethod(lambda cls, text: replace(before.__func__(cls, text), pending={}))


def _uncovered(before: Any) -> Any:
    def draft(self: Any, call: Any) -> Any:
        found = before(self, call)
        return None if found is None else replace(found, covers=NOTHING)

    return draft


JOIN_GUARDS = (
    Guard(
        "joins: the position says what is to be read again", 484, "nothing_lost", way="joins",
        python="syncd.stores.redis.records.refreshes:JoinedPosition.read", instead=_forgetting,
    ),
    Guard(
        "joins: a chunk leaves out what a page wrote later", 39, "never_backwards", way="joins",
        python="syncd.to_redis.joins.units:PageUnit._draft", instead=_uncovered,
    ),
    Guard(
        "shared: a field that the contract does not name is another's", 1, "nothing_lost", way="shared",
        python="syncd.plan.to_redis.shared_hash:SharedHashShape.is_own", instead=always(True),
        lua=((" and has_field_of(map, member)", ""),),
    ),
)  # fmt: skip
