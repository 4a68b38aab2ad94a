"""Fields of an entry straight to BSON. Pure.

An entry has few fields and there are many entries. So a function is generated for each contract, without a loop over
fields, and what is most common is encoded without a Python value between; everything else, and everything that is
wrong, goes the long way through `EntryField.value`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, TypeAlias

import bson
from bson.errors import BSONError

from syncd.errors import ProjectionError
from syncd.plan.paths import MISSING
from syncd.plan.to_mongo.entry_field import EntryField

Encode: TypeAlias = Callable[[bytes, Mapping[bytes, bytes]], bytes]
Placed: TypeAlias = list[tuple[tuple[str, ...], EntryField]]
"""Fields, each with its path from here on."""

_INT = "{into}.append({head} + {pack}(int(raw)) if len(raw) <= {most} and raw.isdigit() else {slow}(raw))"
_QUICK = {
    "string": "{into} += ({head}, int32(len(raw) + 1), raw, NUL) if raw.isascii() else ({slow}(raw),)",
    # So many digits surely fit 32 and 64 bits.
    "int": _INT.replace("{pack}", "int32").replace("{most}", "9"),
    "long": _INT.replace("{pack}", "int64").replace("{most}", "18"),
    # And so many lie before the year 10000.
    "epoch_ms": _INT.replace("{pack}", "int64").replace("{most}", "14"),
    "double": "{into}.append({head} + double(float(raw)) if is_exact(raw) else {slow}(raw))",
    "bool": "{into}.append({head} + BOOLS[raw] if raw in BOOLS else {slow}(raw))",
}
_SLOW = "{into}.append({slow}(raw))"
TYPE_BYTES = {
    "string": b"\x02", "int": b"\x10", "long": b"\x12", "epoch_ms": b"\x09", "double": b"\x01", "bool": b"\x08",
}  # fmt: skip
DOCUMENT = b"\x03"
ID, NUL = b"\x02_id\x00", b"\x00"
BOOLS = {b"true": b"\x01", b"false": b"\x00", b"1": b"\x01", b"0": b"\x00"}
_GLOBALS: dict[str, Any] = {
    "ID": ID,
    "NUL": NUL,
    "BOOLS": BOOLS,
    "int32": Struct("<i").pack,
    "int64": Struct("<q").pack,
    "double": Struct("<d").pack,
    # A double gives back as many digits as this.
    "is_exact": re.compile(rb"-?[0-9]{1,8}(?:\.[0-9]{1,7})?").fullmatch,
    "join": b"".join,
}


def encoder(fields: Sequence[EntryField]) -> Encode:
    """What makes the document of an `_id` and an entry: fields in the order of the contract, with those of one inner
    document together. It raises ProjectionError."""
    names = dict(_GLOBALS)
    lines = [
        "def document(ident, said):",
        " get = said.get",
        " parts = [ID, int32(len(ident) + 1), ident, NUL]",
        *(f" {line}" for line in _lines([(field.path, field) for field in fields], "parts", names)),
        " body = join(parts)",
        " return int32(len(body) + 5) + body + NUL",
    ]
    exec("\n".join(lines), names)  # noqa: S102 - our own text; a contract's words come in as repr() only
    made: Encode = names["document"]
    return made


def element_encoder(field: EntryField) -> Callable[[bytes], bytes]:
    """What makes the element of one field. It raises ProjectionError."""
    names = dict(_GLOBALS)
    value = _value(field, field.path[-1], "parts", names)
    exec(f"def made(raw):\n parts = []\n {value}\n return join(parts)", names)  # noqa: S102 - as above
    made: Callable[[bytes], bytes] = names["made"]
    return made


def grouped(fields: Placed) -> Iterator[tuple[str, Placed]]:
    """Fields by the first name of their paths, with what is left of these: nothing, unless it is an inner document."""
    groups: dict[str, Placed] = {}
    for path, field in fields:
        groups.setdefault(path[0], []).append((path[1:], field))
    return iter(groups.items())


def _lines(fields: Placed, into: str, names: dict[str, Any]) -> Iterator[str]:
    for name, group in grouped(fields):
        if not group[0][0]:
            yield from _field(group[0][1], name, into, names)
            continue
        inner = f"parts{len(names)}"
        names[inner] = None  # taken
        yield f"{inner} = []"
        yield from _lines(group, inner, names)
        yield f"body = join({inner})"
        yield "if body:"
        yield f" {into} += ({element(DOCUMENT, name)!r}, int32(len(body) + 5), body, NUL)"


def _field(field: EntryField, name: str, into: str, names: dict[str, Any]) -> Iterator[str]:
    yield f"raw = get({field.name!r})"
    yield "if raw is not None:"
    yield " " + _value(field, name, into, names)


def _value(field: EntryField, name: str, into: str, names: dict[str, Any]) -> str:
    kind = field.spec.type or "string"
    slow = f"slow{len(names)}"
    names[slow] = _slow(field, name)
    head = repr(element(TYPE_BYTES[kind], name)) if kind in TYPE_BYTES else ""
    return _QUICK.get(kind, _SLOW).format(into=into, head=head, slow=slow)


def element(type_byte: bytes, name: str) -> bytes:
    """How an element begins."""
    return type_byte + name.encode() + b"\x00"


def _slow(field: EntryField, name: str) -> Callable[[bytes], bytes]:
    def encode(raw: bytes) -> bytes:
        value = field.taken(raw)
        try:
            return b"" if value is MISSING else bson.encode({name: value})[4:-1]
        except (BSONError, OverflowError):
            detail = "JSON with an integer beyond 64 bits, or a name that BSON cannot hold"
            instead = field.instead(ProjectionError("unsupported_type", detail))
            return b"" if instead is MISSING else bson.encode({name: instead})[4:-1]

    return encode
