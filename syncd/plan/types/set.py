"""Sets, whose members are an array of the document."""

from __future__ import annotations

from typing import Any

from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.base import DataType
from syncd.plan.types.list import Elements, elements


class Set(Elements):
    """The members in the order of their bytes."""

    def taken(self, field: EntryField, raw: Any) -> Any:
        """A set has no order: the same set makes the same array."""
        return elements(field, sorted(raw))


SET = DataType(name="set", redis="set", sample=("SADD", "1"), value=Set())
