"""Sorted sets, which are an array of `{member, score}` in the document."""

from __future__ import annotations

from typing import Any

from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.base import DataType
from syncd.plan.types.list import Elements


class SortedSet(Elements):
    """The members in the order of their scores."""

    def found(self, reply: Any) -> Any:
        """Pairs of member and score."""
        return list(zip(reply[::2], reply[1::2], strict=True))

    def taken(self, field: EntryField, raw: Any) -> Any:
        """Each member by the field's type, with its score."""
        return [
            {"member": taken, "score": float(score)}
            for member, score in raw
            if (taken := field.taken(member)) is not MISSING
        ]


ZSET = DataType(name="zset", redis="zset", sample=("ZADD", "1", "1"), value=SortedSet())
