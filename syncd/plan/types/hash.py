"""Hashes: a field of the projection is a field of the hash, as text or bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from syncd.errors import ProjectionError
from syncd.plan.types.base import DataType, Labels, Merged, Names, change
from syncd.plan.values.texts import NOT_UNICODE, as_bytes, to_hash

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Content, Put


class Hash(Merged):
    """All fields of a hash."""

    has_rows = True
    read = (b"HGETALL",)

    def can_patch(self, names: Sequence[str]) -> bool:
        """Every field has a place of its own."""
        return True

    def content(self, fields: dict[str, Any]) -> Content | None:
        """The fields as they are."""
        return fields

    def everything(self, document: Mapping[str, Any], labels: Labels) -> Content:
        """Every field that is not null."""
        return {
            name: labels.get(name, to_hash)(value) for name, value in document.items() if value is not None
        }

    def can_hold(self, content: Content | None) -> bool:
        """Redis cannot hold an empty hash."""
        return bool(content)

    def put(self, content: Content, ttl: int) -> Sequence[Any]:
        """Code, ttl, number of names and values, name, value, ..."""
        assert isinstance(content, dict)
        body: list[Any] = ["h", ttl, 2 * len(content)]
        for pair in content.items():
            body += pair
        return body

    def patch(self, sets: Mapping[str, Any], removed: frozenset[str], ttl: int) -> Sequence[Any]:
        """Code, ttl, number of names and values, name, value, ..., number of names, name, ..."""
        return change("H", ttl, sets, removed)

    def differing(self, write: Put, found: Any) -> Names:
        """By the bytes of each field, in any order; a stale field differs as well."""
        wanted = write.content
        if type(wanted) is tuple:
            # The commonest: all fields are there. Small hashes keep the order in which they were written.
            names, values = write.shape.raw_names, _all_as_bytes(wanted)
            if found[1::2] == values and found[::2] == names:
                return ()
            if _by_name(found) == dict(zip(names, values, strict=True)):
                return ()
            wanted = dict(zip(write.shape.names, wanted, strict=True))
        assert isinstance(wanted, dict)
        there = _by_name(found)
        differ = [
            name for name, value in wanted.items() if there.pop(as_bytes(name), None) != as_bytes(value)
        ]
        return tuple(differ + [name.decode(errors="replace") for name in there])

    def shown(self, content: Content) -> Any:
        """A mapping of texts and bytes."""
        assert isinstance(content, dict)
        return {name: as_text(value)[0] for name, value in content.items()}

    def given(self, said: Any) -> Any:
        """A mapping of bytes. What is no text is written as a field of a document would be."""
        if not isinstance(said, dict) or not said:
            raise ValueError("a mapping of fields and values")
        return {as_bytes(name): as_bytes(to_hash(value)) for name, value in said.items()}

    def found(self, reply: Any) -> Any:
        """A mapping of bytes."""
        return _by_name(reply)

    def members(self, content: Any) -> Mapping[Any, Any]:
        """The same."""
        members: Mapping[bytes, bytes] = content
        return members

    def texts(self, encoded: Any) -> tuple[str | bytes, bytes] | None:
        """Text or bytes. A null is left out."""
        return None if encoded is None else as_text(encoded)

    def operation(self, sets: Mapping[str, Any], removed: Sequence[str], *, is_there: bool) -> list[Any]:
        """The same for a key that is there and for one that is not."""
        code, *operands = change("H", "0", sets, removed)
        return [code, len(operands), *operands]


def as_text(encoded: Any) -> tuple[str | bytes, bytes]:
    """An encoded field, and its bytes. Raises ProjectionError: `not_unicode`."""
    text = encoded if isinstance(encoded, str | bytes) else str(encoded)
    try:
        return text, text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError:
        raise ProjectionError("not_unicode", NOT_UNICODE) from None


def _by_name(reply: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(reply[::2], reply[1::2], strict=True))


def _all_as_bytes(values: tuple[Any, ...]) -> list[bytes]:
    try:
        return [v.encode() if type(v) is str else v if type(v) is bytes else str(v).encode() for v in values]
    except UnicodeEncodeError:
        return [as_bytes(value) for value in values]


HASH = DataType(name="hash", redis="hash", sample=("HSET", "a", "1"), fields=Hash())
