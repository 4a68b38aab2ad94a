"""Lists, whose elements are an array of the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.entry_field import EntryField
from syncd.plan.types.base import Captured, DataType


class Elements(Captured):
    """A key that holds elements, which are one `value` of the contract."""

    def members(self, content: Any) -> Mapping[Any, Any]:
        """All elements, by the name of the value."""
        return {b"value": content}

    def taken(self, field: EntryField, raw: Any) -> Any:
        """An array. What does not fit may be left out of it."""
        return elements(field, raw)


class List(Elements):
    """The elements in their order."""


def elements(field: EntryField, raw: Iterable[bytes]) -> list[Any]:
    """Each element by the field's type, without those that are left out."""
    return [taken for element in raw if (taken := field.taken(element)) is not MISSING]


LIST = DataType(name="list", redis="list", sample=("RPUSH", "1"), value=List())
