"""Members of sets: which documents have a tag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd.contract.model.redis.projection import Projection
from syncd.plan.to_redis.fields import Field
from syncd.plan.types.base import Names
from syncd.plan.types.members.base import MemberForm, ReadValues, Values


class SetMembers(MemberForm):
    """Members alone."""

    kind = "set"
    scan = "SSCAN"

    def reader(self, projection: Projection) -> ReadValues:
        """Nothing."""

        def read(document: Mapping[str, Any]) -> Values | None:
            return ()

        return read

    def fields(self, projection: Projection) -> list[Field] | None:
        """Nothing that an update could change alone, so that most need no read."""
        return []

    def paths(self, projection: Projection) -> set[str]:
        """None."""
        return set()

    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """Whether it is there."""
        return [("SISMEMBER", key, member)]

    def _member_shown(self, values: Values) -> Any:
        return None

    def flaws(self, values: Values, found: Any) -> Names:
        """It has nothing that could."""
        return ()
