"""Sets: the elements of an array, each once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.arrays import ArrayForm, taken_elements
from syncd.plan.types.base import DataType
from syncd.plan.types.members.captured_members import PlainMembers
from syncd.plan.types.members.set_members import SetMembers

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Content


class Set(ArrayForm):
    """The elements in no order."""

    code = "es"
    read = (b"SMEMBERS",)

    def _joined(self, encoded: list[Any]) -> list[bytes]:
        return list(dict.fromkeys(encoded))

    def _is_same(self, wanted: Any, found: list[bytes]) -> bool:
        return set(wanted) == set(found)

    def shown(self, content: Content) -> Any:
        """A set of bytes."""
        return frozenset(content)

    def taken(self, field: EntryField, raw: Any) -> Any:
        """In the order of their bytes, so that the same set makes the same array."""
        return taken_elements(field, sorted(raw))


SET = DataType(
    name="set",
    redis="set",
    sample=("SADD", "1"),
    value=Set(),
    member=SetMembers(),
    each_member=PlainMembers(),
)
