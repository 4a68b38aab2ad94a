"""Vectors: lists of numbers and BSON's vector binaries -> the bytes and arrays that RediSearch indexes.

BSON's vector (subtype 9) is one byte of element type, one byte of padding, then the elements, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

from bson.binary import Binary
from bson.int64 import Int64

from syncd.contract.model.values import VectorType
from syncd.errors import ProjectionError
from syncd.plan.values.bson_values import VECTOR_SUBTYPE, type_name

INT8, PACKED_BIT, FLOAT32 = 0x03, 0x10, 0x27
_HEADER = 2
_FLOAT32_HEADER = bytes([FLOAT32, 0])
_NUMBERS = frozenset((float, int, Int64))
_FORMAT: dict[VectorType, str] = {"float32": "f", "float16": "e"}
_FLOAT16_SPECIAL = frozenset((*range(0x7C, 0x80), *range(0xFC, 0x100)))

Packer = Callable[[Any], bytes]


class StoredVector(NamedTuple):
    """A vector binary taken apart. `padding`: unused bits at the end of packed bits."""

    element: int
    padding: int
    data: bytes

    def numbers(self) -> list[float] | list[int]:
        """The elements; packed bits as zeros and ones, highest bit first."""
        if self.element == FLOAT32:
            return list(struct.unpack(f"<{len(self.data) // 4}f", self.data))
        if self.element == INT8:
            return list(struct.unpack(f"<{len(self.data)}b", self.data))
        bits = [byte >> bit & 1 for byte in self.data for bit in range(7, -1, -1)]
        return bits[: len(bits) - self.padding]


def stored_vector(value: Binary) -> StoredVector | None:
    """A vector binary taken apart, or None for another subtype and for bytes that are no vector."""
    if value.subtype != VECTOR_SUBTYPE or len(value) < _HEADER:
        return None
    vector = StoredVector(value[0], value[1], bytes(value[_HEADER:]))
    if vector.element == PACKED_BIT:
        fits = vector.padding < 8 and (vector.padding == 0 or vector.data != b"")
    else:
        fits = vector.padding == 0 and (vector.element == INT8 or len(vector.data) % 4 == 0)
    return vector if fits and vector.element in (INT8, PACKED_BIT, FLOAT32) else None


def vector_bytes(value: Any, dims: int, datatype: VectorType = "float32") -> bytes:
    """`dims` little-endian elements from a list of numbers, a FLOAT32 or an INT8 vector binary.

    Numbers are rounded to the element type, which is what a vector index holds. Raises ProjectionError:
    `vector_length`, `vector_element` (no number, not finite, too large), `cannot_convert` (no vector at all).
    """
    return vector_packer(dims, datatype)(value)


def vector_list(value: Any, dims: int) -> list[float]:
    """The same vector as numbers for JSON: a list as it is, neither rounded nor copied. Raises likewise."""
    vector_packer(dims, "float32")(value)
    if type(value) is list:
        return value
    return list(map(float, vector_numbers(value)))


def vector_from_bytes(raw: bytes, datatype: VectorType = "float32") -> list[float]:
    """The numbers of a vector in a hash. Raises ProjectionError where a part of an element is left, or one is no
    number: NaN and infinities are refused the other way as well."""
    size = struct.calcsize(_FORMAT[datatype])
    if len(raw) % size:
        raise ProjectionError("vector_length", f"{len(raw)} bytes are no vector of {datatype}")
    found = list(struct.unpack(f"<{len(raw) // size}{_FORMAT[datatype]}", raw))
    if not all(map(math.isfinite, found)):
        _check_each(found, datatype)
    return found


@lru_cache(maxsize=256)
def vector_packer(dims: int, datatype: VectorType = "float32") -> Packer:
    """`vector_bytes` for one length and element type, prepared once."""
    pack = struct.Struct(f"<{dims}{_FORMAT[datatype]}").pack
    may_be_infinite = _may_be_infinite if datatype == "float32" else _is_infinite_float16
    zero, one = (struct.pack(f"<{_FORMAT[datatype]}", bit) for bit in (False, True))
    whole = _HEADER + 4 * dims

    def pack_list(value: list[Any]) -> bytes:
        try:
            packed = pack(*value)
        except (struct.error, OverflowError):
            _explain(value, dims, datatype)
        # The packer accepts NaN, infinities and bools without an error, and a check of every element in Python costs
        # more than the packing. The packed bytes show, in C, that there is none of them, or leave a doubt.
        bools = (zero in packed or one in packed) and not _NUMBERS.issuperset(map(type, value))
        if bools or may_be_infinite(packed):
            _check_each(value, datatype)
        return packed

    def pack_any(value: Any) -> bytes:
        if datatype == "float32" and type(value) is Binary and value.subtype == VECTOR_SUBTYPE:
            data = value[_HEADER:]
            if len(value) == whole and value[:_HEADER] == _FLOAT32_HEADER and not _may_be_infinite(data):
                return data
        return pack_list(vector_numbers(value))

    return pack_any


def vector_numbers(value: Any) -> list[Any]:
    """The elements of a list (unchecked, not copied) or of a vector binary; ProjectionError for the rest."""
    if type(value) is list:
        return value
    if type(value) is not Binary or value.subtype != VECTOR_SUBTYPE:
        raise ProjectionError("cannot_convert", f"{type_name(value)} is not a vector")
    stored = stored_vector(value)
    if stored is None:
        raise ProjectionError("cannot_convert", "binData of subtype 9 is not a whole vector")
    if stored.element == PACKED_BIT:
        raise ProjectionError("cannot_convert", "a vector of packed bits is not a vector of floats")
    return stored.numbers()


def _may_be_infinite(packed: bytes) -> bool:
    """Whether a float32 is NaN, infinite, or above 1.7e38."""
    high = packed[3::4]
    return 0x7F in high or 0xFF in high


def _is_infinite_float16(packed: bytes) -> bool:
    return not _FLOAT16_SPECIAL.isdisjoint(packed[1::2])


def _explain(value: list[Any], dims: int, datatype: VectorType) -> NoReturn:
    if len(value) != dims:
        raise ProjectionError("vector_length", f"{len(value)} elements, the contract says {dims}")
    _check_each(value, datatype)
    raise ProjectionError("vector_element", f"an element does not fit {datatype}")


def _check_each(value: list[Any], datatype: VectorType) -> None:
    """Raises for the first element that is not a finite number of the element type."""
    pack = struct.Struct(f"<{_FORMAT[datatype]}")
    for at, element in enumerate(value):
        if type(element) not in _NUMBERS:
            raise ProjectionError("vector_element", f"element {at} is no number but {type_name(element)}")
        try:
            (packed,) = pack.unpack(pack.pack(element))
        except (struct.error, OverflowError):
            raise ProjectionError("vector_element", f"element {at} is too large for {datatype}") from None
        if not math.isfinite(packed):
            raise ProjectionError("vector_element", f"element {at} is not finite")
