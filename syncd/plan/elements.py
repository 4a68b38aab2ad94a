"""Fields of an entry straight to BSON. Pure.

An entry has few fields and there are many entries, so what is most common is encoded here without a Python value
between; everything else, and everything that is wrong, goes the long way through `EntryField.value`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import NamedTuple, TypeAlias

import bson
from bson.errors import BSONError

from syncd.errors import ProjectionError
from syncd.plan.entry_field import EntryField

Encode: TypeAlias = Callable[[bytes], bytes]

_INT32, _INT64, _DOUBLE = Struct("<i").pack, Struct("<q").pack, Struct("<d").pack
_SHORT, _LONG = 9, 18
"""Digits that surely fit 32 and 64 bits."""
_EXACT = re.compile(rb"-?[0-9]{1,8}(?:\.[0-9]{1,7})?")
"""A double gives back as many digits as this."""
_BOOLS = {b"true": b"\x01", b"false": b"\x00", b"1": b"\x01", b"0": b"\x00"}


class _Member(NamedTuple):
    """A field of the entry, or a document inside the document."""

    name: bytes
    """Of the field in the entry; empty for a document."""
    encode: Encode
    head: bytes
    members: tuple[_Member, ...]


class Encoder:
    """Fields in the order of the contract, with those of one inner document together."""

    def __init__(self, fields: Sequence[EntryField]) -> None:
        self._members = _tree([(field.path, field) for field in fields])

    def document(self, ident: bytes, said: Mapping[bytes, bytes]) -> bytes:
        """The document with this `_id`. Raises ProjectionError."""
        parts = [b"\x02_id\x00", _INT32(len(ident) + 1), ident, b"\x00"]
        _append(parts, self._members, said)
        body = b"".join(parts)
        return _INT32(len(body) + 5) + body + b"\x00"


def _append(parts: list[bytes], members: tuple[_Member, ...], said: Mapping[bytes, bytes]) -> None:
    for name, encode, head, inner in members:
        if not inner:
            raw = said.get(name)
            if raw is not None:
                parts.append(encode(raw))
            continue
        within: list[bytes] = []
        _append(within, inner, said)
        if within:
            body = b"".join(within)
            parts += (head, _INT32(len(body) + 5), body, b"\x00")


def _tree(fields: list[tuple[tuple[str, ...], EntryField]]) -> tuple[_Member, ...]:
    members: list[_Member] = []
    groups: dict[str, list[tuple[tuple[str, ...], EntryField]]] = {}
    for path, field in fields:
        groups.setdefault(path[0], []).append((path[1:], field))
    for name, group in groups.items():
        if group[0][0]:
            members.append(_Member(b"", _never, b"\x03" + name.encode() + b"\x00", _tree(group)))
        else:
            members.append(_Member(group[0][1].name, _encoder(group[0][1], name), b"", ()))
    return tuple(members)


def _never(raw: bytes) -> bytes:
    raise AssertionError("a document has no value of its own")


def _encoder(field: EntryField, name: str) -> Encode:
    kind = field.spec.type or "string"
    make = _QUICK.get(kind)
    slow = _slow(field, name)
    return slow if make is None else make(name.encode() + b"\x00", slow)


def _slow(field: EntryField, name: str) -> Encode:
    def encode(raw: bytes) -> bytes:
        try:
            return bson.encode({name: field.value(raw)})[4:-1]
        except (BSONError, OverflowError):
            detail = "JSON with an integer beyond 64 bits, or a name that BSON cannot hold"
            raise ProjectionError("unsupported_type", detail) from None

    return encode


def _string(name: bytes, slow: Encode) -> Encode:
    head = b"\x02" + name

    def encode(raw: bytes) -> bytes:
        if not raw.isascii():
            try:
                raw.decode()
            except UnicodeDecodeError:
                return slow(raw)  # which says what is wrong
        return b"%b%b%b\x00" % (head, _INT32(len(raw) + 1), raw)

    return encode


def _int(name: bytes, slow: Encode) -> Encode:
    head = b"\x10" + name
    return lambda raw: head + _INT32(int(raw)) if len(raw) <= _SHORT and raw.isdigit() else slow(raw)


def _integer(mark: bytes) -> Callable[[bytes, Encode], Encode]:
    def make(name: bytes, slow: Encode) -> Encode:
        head = mark + name
        return lambda raw: head + _INT64(int(raw)) if len(raw) <= _LONG and raw.isdigit() else slow(raw)

    return make


def _double(name: bytes, slow: Encode) -> Encode:
    head, fits = b"\x01" + name, _EXACT.fullmatch
    return lambda raw: head + _DOUBLE(float(raw)) if fits(raw) else slow(raw)


def _bool(name: bytes, slow: Encode) -> Encode:
    known = {text: b"\x08" + name + value for text, value in _BOOLS.items()}
    return lambda raw: known.get(raw) or slow(raw)


_QUICK: dict[str, Callable[[bytes, Encode], Encode]] = {
    "string": _string,
    "int": _int,
    "long": _integer(b"\x12"),
    "epoch_ms": _integer(b"\x09"),
    "double": _double,
    "bool": _bool,
}
