"""Members of sorted sets: leaderboards, rankings by time."""

from __future__ import annotations

from typing import Any

from bson.datetime_ms import DatetimeMS

from syncd.contract.model.redis.projection import Projection
from syncd.plan.to_redis.fields import Field
from syncd.plan.types.base import Names
from syncd.plan.types.members.base import MemberForm, ReadValues, Values, of_one_path, patchable
from syncd.plan.values.scores import score_of


class SortedMembers(MemberForm):
    """Members with a score."""

    kind = "zset"
    scan = "ZSCAN"

    def reader(self, projection: Projection) -> ReadValues:
        """The score."""
        assert projection.score is not None
        return of_one_path("score", projection.score, _score)

    def fields(self, projection: Projection) -> list[Field] | None:
        """The score."""
        return patchable("score", projection.score, _score) if projection.score else None

    def paths(self, projection: Projection) -> set[str]:
        """The score."""
        return {projection.score} if projection.score else set()

    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """Its score."""
        return [("ZSCORE", key, member)]

    def _member_shown(self, values: Values) -> Any:
        return float(values[0])

    def is_there(self, found: Any) -> bool:
        """A score of 0 is one."""
        return found[0] is not None

    def flaws(self, values: Values, found: Any) -> Names:
        """As doubles."""
        return () if float(found[0]) == float(values[0]) else ("score",)


def _score(value: Any) -> Values:
    """A number, or a date in epoch milliseconds."""
    return (repr(score_of(int(value) if isinstance(value, DatetimeMS) else value)),)
