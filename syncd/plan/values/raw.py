"""BSON at the level of bytes, for what the driver cannot read, or would not give back byte for byte. Pure.

MongoDB stores some values unchecked: text that is not UTF-8, binaries with a wrong length inside, a name twice. One
such value must not stop the documents beside it, and an `_id` has to come back exactly as it was.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import bson
from bson.code import Code
from bson.dbref import DBRef

from syncd.plan.values.bson_values import CODEC, Odd

RAW = "%~raw~"
"""How the text of a RawId begins. No key has such a part."""
ODD_ID = "has no text in a key: it is not UTF-8, names a member twice, or is of a type that drivers change"
_SIZES = {
    0x01: 8,
    0x06: 0,
    0x07: 12,
    0x08: 1,
    0x09: 8,
    0x0A: 0,
    0x10: 4,
    0x11: 8,
    0x12: 8,
    0x13: 16,
    0x7F: 0,
    0xFF: 0,
}
_NAMES = {
    0x01: "double", 0x02: "string", 0x03: "object", 0x04: "array", 0x05: "binData", 0x06: "undefined",
    0x07: "objectId", 0x08: "bool", 0x09: "date", 0x0A: "null", 0x0B: "regex", 0x0C: "dbPointer", 0x0D: "javascript",
    0x0E: "symbol", 0x0F: "javascriptWithScope", 0x10: "int", 0x11: "timestamp", 0x12: "long", 0x13: "decimal",
    0x7F: "maxKey", 0xFF: "minKey",
}  # fmt: skip
_TEXTS = {0x02, 0x0D, 0x0E}
DOCUMENT, _ARRAY = 0x03, 0x04
_BINARY, _REGEX, POINTER, _SCOPED = 0x05, 0x0B, 0x0C, 0x0F
_INEXACT = frozenset({dict, DBRef, Code})
"""Of these the driver may have made something else than it read."""


class Element(NamedTuple):
    """One member of a document."""

    name: bytes
    kind: int
    value: bytes

    def under(self, name: bytes) -> bytes:
        """As a member of that name."""
        return bytes([self.kind]) + name + b"\0" + self.value


@dataclass(frozen=True, slots=True)
class RawId(Odd):
    """An `_id` of which the driver's value would be another one, or that it cannot read at all."""

    kind: int
    value: bytes

    @property
    def bson_type(self) -> str:
        """See Odd."""
        return _NAMES[self.kind]

    @property
    def text(self) -> str:
        """It names the document, and is no part of a key."""
        return RAW + base64.urlsafe_b64encode(bytes([self.kind]) + self.value).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> RawId:
        """From its text. Raises ValueError."""
        payload = text.removeprefix(RAW)
        data = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        found = cls(data[0], data[1:]) if data else None
        if found is None or found.text != text or _size(found.kind, found.value, 0) != len(found.value):
            raise ValueError("not the text of an `_id`")
        return found


@dataclass(frozen=True, slots=True)
class Unreadable(Odd):
    """In the place of a value that the driver cannot read."""

    kind: int

    @property
    def bson_type(self) -> str:
        """See Odd."""
        return _NAMES[self.kind]


class Unfit(dict[str, Any]):
    """The `_id` of a document on which the contract's filter fails, so that it is not known whether it matches."""


def elements(document: bytes) -> Iterator[Element]:
    """The members of a document. Raises ValueError where it has no such form."""
    at, end = 4, len(document) - 1
    while at < end:
        kind, name_end = document[at], document.index(b"\0", at + 1)
        start = name_end + 1
        size = _size(kind, document, start)
        yield Element(document[at + 1 : name_end], kind, document[start : start + size])
        at = start + size


def element_at(document: bytes, path: Sequence[str]) -> Element | None:
    """The member at a path through objects; of several of one name the last, as the driver has it."""
    found = None
    for at, name in enumerate(path):
        if at and (found is None or found.kind != DOCUMENT):
            return None
        inside = document if found is None else found.value
        found = next((one for one in reversed([*elements(inside)]) if one.name == name.encode()), None)
    return found


def _size(kind: int, data: bytes, at: int) -> int:
    if kind in _SIZES:
        return _SIZES[kind]
    if kind == _REGEX:
        return data.index(b"\0", data.index(b"\0", at) + 1) + 1 - at
    length = int.from_bytes(data[at : at + 4], "little")
    if kind in _TEXTS:
        return 4 + length
    if kind in (DOCUMENT, _ARRAY, _SCOPED):
        return length
    if kind == _BINARY:
        return 5 + length
    if kind == POINTER:
        return 4 + length + 12
    raise ValueError(f"no BSON type {kind}")


def document_of(members: list[bytes]) -> bytes:
    """A document of encoded members."""
    size = 5 + sum(map(len, members))
    return b"".join((size.to_bytes(4, "little"), *members, b"\0"))


def read(document: bytes) -> dict[str, Any]:
    """A document member by member: what the driver cannot read is Unreadable, `_id` a RawId where it has to be."""
    found: dict[str, Any] = {}
    for one in elements(document):
        name = one.name.decode(errors="surrogateescape")
        found[name] = _exact_id(one) if name == "_id" else _value(one)
    return found


def _value(one: Element) -> Any:
    try:
        return bson.decode(document_of([one.under(b"")]), CODEC)[""]
    except Exception:  # noqa: BLE001 - the driver has many kinds of errors
        return Unreadable(one.kind)


def _exact_id(one: Element) -> Any:
    value = _value(one)
    is_odd = isinstance(value, Unreadable) or (may_be_inexact(value) and not _gives_back(value, one))
    return RawId(one.kind, one.value) if is_odd else value


def _gives_back(value: Any, one: Element) -> bool:
    try:
        return bool(bson.encode({"": value}, codec_options=CODEC) == document_of([one.under(b"")]))
    except UnicodeEncodeError:
        return False


def may_be_inexact(document_id: Any) -> bool:
    """Whether an `_id` that the driver has read has to be compared with its bytes."""
    kind = type(document_id)
    if kind is str:
        return not document_id.isascii() and not _is_unicode(document_id)
    return kind in _INEXACT


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode(document: Mapping[str, Any]) -> bytes:
    """A document that may hold RawIds, anywhere."""
    return document_of([_member(name.encode(), value) for name, value in document.items()])


def _member(name: bytes, value: Any) -> bytes:
    if isinstance(value, RawId):
        return Element(name, value.kind, value.value).under(name)
    if type(value) is dict:
        return Element(name, DOCUMENT, encode(value)).under(name)
    if type(value) is list:
        members = [_member(b"%d" % at, one) for at, one in enumerate(value)]
        return Element(name, _ARRAY, document_of(members)).under(name)
    return Element(name, *_encoded(value)).under(name)


def _encoded(value: Any) -> tuple[int, bytes]:
    data: bytes = bson.encode({"": value}, codec_options=CODEC)
    return data[4], data[6:-1]
