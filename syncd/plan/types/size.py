"""About how much memory of Redis a key takes, by what it holds: as MEMORY USAGE says it. Pure.

From 8.2 on Redis holds a key's name, its expiry and a short string in one piece; before, each is a piece of its own.
Small hashes, sets, sorted sets and lists are one text (a listpack), larger ones a table. RedisJSON has a node for each
value. jemalloc rounds the size of each piece up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

_IN_ONE_PIECE = 64
"""Bytes of name and string together."""
_OF_A_NAME = 22
_SEVERAL_PIECES = 40
"""An entry of the dictionary, and the object."""
_OF_AN_EXPIRY = 8
_LONGEST_EMBEDDED = 44
_MOST_PACKED, _LONGEST_PACKED = 128, 64
_OF_A_TABLE = 56
_OF_AN_ENTRY = {"hash": 24, "set": 34, "zset": 140}
"""Beside its texts and its place in the table."""
_SMALL = range(-128, 384)
"""Numbers that RedisJSON holds without a piece of their own."""


class Size(NamedTuple):
    """Of one key."""

    content: int
    """Bytes of names and values, and of the key's own name."""
    memory: int


def size_of(kind: str, key: str, parts: Sequence[bytes], ttl: int, *, in_one_piece: bool) -> Size:
    """`kind`: as `TYPE` says it. `parts`: names and values of a hash, elements, or the one value. `in_one_piece`: of a
    Redis that holds names so."""
    name = len(key.encode())
    content = name + sum(map(len, parts))
    expiry = _OF_AN_EXPIRY if ttl else 0
    if not in_one_piece:
        return Size(content, _SEVERAL_PIECES + _text(name) + 3 * expiry + _body(kind, parts, embeds=True))
    whole = _OF_A_NAME + name + expiry
    if kind == "string" and (_is_number(parts[0]) or whole + len(parts[0]) + 2 <= _IN_ONE_PIECE):
        return Size(content, _rounded(whole + (0 if _is_number(parts[0]) else len(parts[0]) + 2)))
    return Size(content, _rounded(whole) + _body(kind, parts, embeds=False))


def _body(kind: str, parts: Sequence[bytes], *, embeds: bool) -> int:
    if kind == "string":
        return _string(parts[0], embeds=embeds)
    if kind == "ReJSON-RL":
        return _node(orjson.loads(parts[0]))
    if kind == "list":
        return _rounded(7 + sum(map(_packed, parts)))
    pairs = 1 if kind == "set" else 2
    count = len(parts) // pairs
    if count <= _MOST_PACKED and max(map(len, parts), default=0) <= _LONGEST_PACKED:
        return _rounded(7 + sum(map(_packed, parts)))
    places = 4
    while places < count:
        places *= 2
    return (
        _OF_A_TABLE
        + 8 * places
        + count * _OF_AN_ENTRY.get(kind, 24)
        + sum(_text(len(part)) for part in parts)
    )


def _string(value: bytes, *, embeds: bool) -> int:
    if not embeds:
        return _text(len(value))
    if _is_number(value):
        return 0
    # In one piece with the object, which is counted already.
    return _rounded(len(value) + 20) - 16 if len(value) <= _LONGEST_EMBEDDED else _text(len(value))


def _node(value: Any) -> int:
    """Of RedisJSON: a reference, and what it leads to."""
    if isinstance(value, dict):
        names = sum(len(name.encode()) for name in value)
        return 8 + (16 + 24 * _room(len(value)) + names + sum(map(_node, value.values())) if value else 0)
    if isinstance(value, list):
        return 8 + (16 + 8 * _room(len(value)) + sum(map(_node, value)) if value else 0)
    if isinstance(value, str):
        return 8 + len(value.encode())
    if isinstance(value, float):
        return 24
    if isinstance(value, int) and not isinstance(value, bool) and value not in _SMALL:
        return 12 if -(1 << 23) <= value < 1 << 23 else 24
    return 8


def _room(count: int) -> int:
    """For so many there is room for a power of two."""
    room = 4
    while room < count:
        room *= 2
    return room


def _packed(part: bytes) -> int:
    """An entry of a listpack: its head, itself, and how long it was."""
    if _is_number(part):
        number = int(part)
        return next((size for size, bits in _NUMBERS if -(1 << bits) <= number < 1 << bits), 10)
    head = 1 if len(part) < 64 else 2 if len(part) < 4096 else 5
    whole = head + len(part)
    return whole + (1 if whole < 128 else 2 if whole < 16_384 else 3)


_NUMBERS = ((2, 6), (3, 12), (4, 15), (5, 23), (6, 31))
"""Bytes of an entry, and how many bits a number may have."""


def _is_number(part: bytes) -> bool:
    digits = part[1:] if part[:1] == b"-" else part
    return 0 < len(digits) < 19 and digits.isdigit() and (digits[:1] != b"0" or part == b"0")


def _text(length: int) -> int:
    """A text in a piece of its own: a head, and an end."""
    return _rounded(length + (2 if length < 32 else 4 if length < 256 else 6))


def _rounded(size: int) -> int:
    """As jemalloc does."""
    step = 8 if size <= 64 else 16 if size <= 128 else 1 << (size - 1).bit_length() - 3
    return -(-size // step) * step
