"""Strings: one value as it is, or all fields as JSON text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from syncd.plan.types.base import DataType, Labels, Merged, Names, Written
from syncd.plan.types.hash import as_text
from syncd.plan.types.json import JsonMembers
from syncd.plan.values.texts import as_bytes, json_text, to_hash, to_json

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Content, Put


class _String(Written):
    read = (b"GET",)

    def put(self, content: Content, ttl: int) -> Sequence[Any]:
        """Code, ttl, value."""
        return "s", ttl, content

    def differing(self, write: Put, found: Any) -> Names:
        """Byte by byte."""
        return () if as_bytes(write.content) == found else ("value",)


class Value(_String, Merged):
    """A string that is one value."""

    def content(self, fields: dict[str, Any]) -> Content | None:
        """The value; where it is missing there is no key."""
        value: Content | None = fields.get("value")
        return value

    def shown(self, content: Content) -> Any:
        """Text or bytes."""
        return as_text(content)[0]

    def given(self, said: Any) -> Any:
        """One value. What is no text is written as a field of a document would be."""
        if said is None or isinstance(said, dict | list):
            raise ValueError("one value")
        return as_bytes(to_hash(said))

    def members(self, content: Any) -> Mapping[Any, Any]:
        """The value, by the name that it has everywhere."""
        return {b"value": content}

    def texts(self, encoded: Any) -> tuple[str | bytes, bytes] | None:
        """Text or bytes. A null is left out."""
        return None if encoded is None else as_text(encoded)

    def operation(self, sets: Mapping[str, Any], removed: Sequence[str], *, is_there: bool) -> list[Any]:
        """A new value, or no key."""
        return ["s", 2, "0", sets["value"]] if sets else ["d", 1, STRING.redis]


class Object(JsonMembers, _String):
    """A string that holds all fields as JSON."""

    as_json = True

    def content(self, fields: dict[str, Any]) -> Content | None:
        """The text of all fields."""
        return json_text(fields)

    def shown(self, content: Content) -> Any:
        """As it is parsed."""
        return orjson.loads(as_bytes(content))

    def everything(self, document: Mapping[str, Any], labels: Labels) -> Content:
        """The text of the document."""
        return json_text(to_json(document))


STRING = DataType(name="string", redis="string", sample=("SET", "1"), fields=Object(), value=Value())
