"""Guards of documents that show others, as `guards` has those of keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from syncd.to_redis.apply.apply_log import NOTHING
from tests.simulation.guards import Guard


def _forgetting(before: Any) -> Any:
    return classmethod(lambda cls, text: replace(before.__func__(cls, text), pending={}))


def _uncovered(before: Any) -> Any:
    def draft(self: Any, call: Any) -> Any:
        found = before(self, call)
        return None if found is None else replace(found, covers=NOTHING)

    return draft


def _of_any_moment(before: Any) -> Any:
    return lambda self, named: replace(before(self, named), time=self.time)


JOIN_GUARDS = (
    Guard(
        "joins: the position says what is to be read again", 203, "nothing_lost", joins=True,
        python="syncd.stores.redis.records.refreshes:JoinedPosition.read", instead=_forgetting,
    ),
    Guard(
        "joins: a chunk leaves out what a page wrote later", 16, "never_backwards", joins=True,
        python="syncd.to_redis.joins.units:PageUnit._draft", instead=_uncovered,
    ),
    Guard(
        "joins: a page is read at the change that it answers, or later", 1477, "nothing_lost", joins=True,
        python="syncd.stores.redis.records.refreshes:JoinedPosition.changed", instead=_of_any_moment,
    ),
)  # fmt: skip
