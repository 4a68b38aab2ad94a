"""Many entries straight to BSON, a field of all of them at a time. Pure.

An entry alone costs a dozen steps of the interpreter a field. Here a field costs a few for all entries of the same
fields, and what is done for each entry is a loop in C: all texts are checked in one call, and one `join` makes a
document of its pieces. A field where one value is not of the most common form goes value by value (see elements).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import chain, groupby, repeat
from operator import add
from struct import Struct
from typing import NamedTuple, TypeAlias

from syncd.errors import ProjectionError
from syncd.plan.to_mongo.elements import (
    BOOLS,
    DOCUMENT,
    ID,
    NUL,
    TYPE_BYTES,
    Placed,
    element,
    element_encoder,
    encoder,
    grouped,
)
from syncd.plan.to_mongo.entry_field import EntryField

Said: TypeAlias = Sequence[bytes]
"""What an entry says: names and values by turns."""
Values: TypeAlias = Sequence[bytes]
"""Of one field, of each entry."""
Encoded: TypeAlias = tuple[list[bytes], dict[int, ProjectionError]]
"""Documents, and the places of those that are none."""

FEWEST = 8
"""Fewer entries are quicker one by one."""


class Column(NamedTuple):
    """A piece of each document."""

    pieces: Iterable[bytes]
    size: int | list[int]
    """Of each piece, or of all of them."""


Pieces: TypeAlias = list[bytes | Column]
"""Of many documents, in order; what is the same in all of them is there once."""

_int32, _int64, _double = Struct("<i").pack, Struct("<q").pack, Struct("<d").pack
_LENGTHS = [_int32(length) for length in range(4096)]
_MOST_DIGITS_32, _MOST_DIGITS_64, _MOST_DIGITS_MS = 9, 18, 14
"""So many surely fit; as milliseconds, before the year 10000."""
_MOST_DOUBLE = 17
# A double gives back as many digits as this.
_are_exact = re.compile(rb"(?:-?[0-9]{1,8}(?:\.[0-9]{1,7})?,)*+").fullmatch


class Columns:
    """Makes documents of the entries of one contract."""

    def __init__(self, fields: Sequence[EntryField], head: bytes) -> None:
        """`head`: how each `_id` begins."""
        self._head = head
        self._fields: Placed = [(field.path, field) for field in fields]
        self._whole = encoder(fields)
        # What does not fit is seen here, and the entry is then done alone, where `on_error` counts.
        self._elements = {field.name: element_encoder(field.strict) for field in fields}
        self._is_strict = all(field.spec.on_error == "letter" for field in fields)

    def encoded(self, idents: Sequence[bytes], said: Sequence[Said]) -> Encoded:
        """The documents of entries, in their order, by the ends of their `_id`s."""
        if len(said) < FEWEST:
            return self._one_by_one(idents, said)
        if (values := _by_field(said)) is not None:
            return self._spared(idents, said, *self._alike(idents, values))
        made = [b""] * len(said)
        refused: dict[int, ProjectionError] = {}
        for places in _kinds(said):
            documents, wrong = self.encoded([idents[at] for at in places], [said[at] for at in places])
            refused |= {places[at]: error for at, error in wrong.items()}
            for at, document in zip(places, documents, strict=True):
                made[at] = document
        return made, refused

    def _spared(
        self,
        idents: Sequence[bytes],
        said: Sequence[Said],
        made: list[bytes],
        refused: dict[int, ProjectionError],
    ) -> Encoded:
        """Those that were refused once more, where `on_error` says what becomes of a field."""
        if self._is_strict or not refused:
            return made, refused
        places = list(refused)
        again, wrong = self._one_by_one([idents[at] for at in places], [said[at] for at in places])
        for at, document in zip(places, again, strict=True):
            made[at] = document
        return made, {places[at]: error for at, error in wrong.items()}

    def _one_by_one(self, idents: Sequence[bytes], said: Sequence[Said]) -> Encoded:
        made: list[bytes] = []
        refused: dict[int, ProjectionError] = {}
        for at, (ident, fields) in enumerate(zip(idents, said, strict=True)):
            try:
                made.append(self._whole(self._head + ident, dict(zip(it := iter(fields), it, strict=False))))
            except ProjectionError as error:
                made.append(b"")
                refused[at] = error
        return made, refused

    def _alike(self, idents: Sequence[bytes], said: Mapping[bytes, Values]) -> Encoded:
        refused: dict[int, ProjectionError] = {}
        pieces = [ID, *_texts(idents, self._head), *self._inner(self._fields, said, refused)]
        return _joined(_framed(pieces), len(idents)), refused

    def _inner(
        self, fields: Placed, said: Mapping[bytes, Values], refused: dict[int, ProjectionError]
    ) -> Pieces:
        pieces: Pieces = []
        for name, group in grouped(fields):
            if group[0][0]:
                if inner := self._inner(group, said, refused):
                    pieces += (element(DOCUMENT, name), *_framed(inner))
            elif (values := said.get((field := group[0][1]).name)) is not None:
                pieces += _quick(field, name, values) or (self._slow(field, values, refused),)
        return pieces

    def _slow(self, field: EntryField, values: Values, refused: dict[int, ProjectionError]) -> Column:
        encode = self._elements[field.name]
        elements: list[bytes] = []
        for at, raw in enumerate(values):
            try:
                elements.append(encode(raw))
            except ProjectionError as error:
                elements.append(b"")
                refused[at] = error
        return Column(elements, list(map(len, elements)))


def _by_field(said: Sequence[Said]) -> dict[bytes, Values] | None:
    """The values of each field; None unless all entries have the same fields in the same order."""
    names, width = said[0][::2], len(said[0])
    if set(map(len, said)) != {width}:
        return None
    parts = list(chain.from_iterable(said))
    if any(parts[2 * at :: width] != [name] * len(said) for at, name in enumerate(names)):
        return None
    return {name: parts[2 * at + 1 :: width] for at, name in enumerate(names)}


def _kinds(said: Sequence[Said]) -> Iterable[list[int]]:
    """The places of entries that have the same fields."""
    kinds: dict[tuple[bytes, ...], list[int]] = {}
    for at, fields in enumerate(said):
        kinds.setdefault(tuple(fields[::2]), []).append(at)
    return kinds.values()


def _framed(pieces: Pieces) -> Pieces:
    """A document of its elements."""
    columns = [piece.size for piece in pieces if isinstance(piece, Column)]
    sizes = [size for size in columns if isinstance(size, list)]
    fixed = 5 + sum(size for size in columns if isinstance(size, int))
    fixed += sum(len(piece) for piece in pieces if isinstance(piece, bytes))
    if not sizes:
        return [_int32(fixed), *pieces, NUL]
    return [_lengths(reduce(_added, sizes), fixed), *pieces, NUL]


def _added(some: list[int], others: list[int]) -> list[int]:
    return list(map(add, some, others))


def _lengths(sizes: list[int], more: int) -> Column:
    if max(sizes) + more < len(_LENGTHS):
        return Column(map(_LENGTHS[more:].__getitem__, sizes), 4)
    return Column([_int32(size + more) for size in sizes], 4)


def _joined(pieces: Pieces, count: int) -> list[bytes]:
    columns: list[Iterable[bytes]] = []
    for is_column, group in groupby(pieces, lambda piece: isinstance(piece, Column)):
        if is_column:
            columns += (piece.pieces for piece in group if isinstance(piece, Column))
        else:
            columns.append(repeat(b"".join(piece for piece in group if isinstance(piece, bytes)), count))
    return list(map(b"".join, zip(*columns, strict=True)))


def _quick(field: EntryField, name: str, values: Values) -> Pieces | None:
    """Elements whose values are all of the most common form of their type."""
    kind = field.spec.type or "string"
    found = _QUICK[kind](values) if kind in _QUICK else None
    return None if found is None else [element(TYPE_BYTES[kind], name), *found]


def _texts(values: Values, head: bytes = b"") -> Pieces:
    sizes = list(map(len, values))
    if len(set(sizes)) == 1:  # ids and codes mostly are
        return [_int32(len(head) + sizes[0] + 1), head, Column(values, sizes[0]), NUL]
    return [_lengths(sizes, len(head) + 1), head, Column(values, sizes), NUL]


def _strings(values: Values) -> Pieces | None:
    if not all(map(bytes.isascii, values)):
        try:
            for value in values:
                value.decode()
        except UnicodeDecodeError:
            return None
    return _texts(values)


def _ints(values: Values, digits: int, pack: Callable[[int], bytes], size: int) -> Pieces | None:
    if not all(map(bytes.isdigit, values)) or max(map(len, values)) > digits:
        return None
    return [Column(map(pack, map(int, values)), size)]


def _int32s(values: Values) -> Pieces | None:
    return _ints(values, _MOST_DIGITS_32, _int32, 4)


def _int64s(values: Values) -> Pieces | None:
    return _ints(values, _MOST_DIGITS_64, _int64, 8)


def _millis(values: Values) -> Pieces | None:
    return _ints(values, _MOST_DIGITS_MS, _int64, 8)


def _doubles(values: Values) -> Pieces | None:
    if max(map(len, values)) > _MOST_DOUBLE:
        return None
    listed = b",".join((*values, b""))
    if listed.count(b",") > len(values) or not _are_exact(listed):
        return None
    return [Column(map(_double, map(float, values)), 8)]


def _bools(values: Values) -> Pieces | None:
    bits = [BOOLS.get(value, b"") for value in values]
    return None if b"" in bits else [Column(bits, 1)]


_QUICK: dict[str, Callable[[Values], Pieces | None]] = {
    "string": _strings,
    "int": _int32s,
    "long": _int64s,
    "epoch_ms": _millis,
    "double": _doubles,
    "bool": _bools,
}
