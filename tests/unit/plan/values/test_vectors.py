"""Vectors: bytes for hashes, numbers for JSON."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy
import pytest
from bson.binary import Binary, BinaryVectorDtype
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.model.values import VectorType
from syncd.errors import ProjectionError
from syncd.plan.values.vectors import vector_bytes, vector_from_bytes, vector_list

FLOAT32 = BinaryVectorDtype.FLOAT32
INT8 = BinaryVectorDtype.INT8
PACKED_BIT = BinaryVectorDtype.PACKED_BIT


@given(st.lists(st.one_of(st.floats(-6e4, 6e4), st.integers(-100, 100), st.integers(0, 9).map(Int64))))
def test_bytes_are_those_of_numpy(vector: list[Any]) -> None:
    """Lists of doubles, ints and longs give the little-endian elements that numpy gives."""
    for datatype, dtype in (("float32", "<f4"), ("float16", "<f2")):
        expected = numpy.array(vector, dtype="<f8").astype(dtype)
        assert vector_bytes(vector, len(vector), datatype) == expected.tobytes()
        assert vector_from_bytes(expected.tobytes(), datatype) == expected.tolist()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_bson_vectors_are_taken_as_they_are(vector: list[float]) -> None:
    """A FLOAT32 vector of BSON gives its own elements."""
    stored = Binary.from_vector(vector, FLOAT32)
    assert vector_bytes(stored, len(vector)) == bytes(stored)[2:]
    assert vector_list(stored, len(vector)) == vector


def test_int8_vectors_become_floats() -> None:
    """An INT8 vector of BSON is a vector of floats in Redis, and FLOAT32 may go into float16."""
    stored = Binary.from_vector([1, -128, 127], INT8)
    assert vector_bytes(stored, 3) == struct.pack("<3f", 1, -128, 127)
    assert vector_list(stored, 3) == [1.0, -128.0, 127.0]
    assert vector_bytes(Binary.from_vector([0.5, -2.0], FLOAT32), 2, "float16") == struct.pack("<2e", 0.5, -2)


def test_json_keeps_the_precision() -> None:
    """JSON gets the list itself, unrounded."""
    vector = [0.1, 0.2]
    assert vector_list(vector, 2) is vector


@pytest.mark.parametrize("value", [[0.5] * 255, Binary.from_vector([0.5] * 255, FLOAT32), []])
def test_another_length_is_refused(value: Any) -> None:
    """The message counts both lengths."""
    for function in (vector_bytes, vector_list):
        with pytest.raises(ProjectionError) as caught:
            function(value, 256)
        assert caught.value.reason == "vector_length"
        assert caught.value.detail.endswith("elements, the contract says 256")


@pytest.mark.parametrize("datatype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("element", "detail"),
    [
        ("1", "is no number but string"), (None, "is no number but null"), (True, "is no number but bool"),
        (False, "is no number but bool"), (Decimal128("1"), "is no number but decimal"),
        ([1.0], "is no number but array"),
        (math.nan, "is not finite"), (math.inf, "is not finite"), (-math.inf, "is not finite"),
        (1e39, "is too large for {}"), (-1e300, "is too large for {}"), (10**400, "is too large for {}"),
    ],
)  # fmt: skip
def test_an_element_that_does_not_fit(element: Any, detail: str, datatype: VectorType) -> None:
    """Anything but a finite number is refused, with its place, in every element type."""
    with pytest.raises(ProjectionError) as caught:
        vector_bytes([0.5, 0.25, element, 0.125], 4, datatype)
    assert (caught.value.reason, caught.value.detail) == (
        "vector_element",
        "element 2 " + detail.format(datatype),
    )


@given(st.lists(st.floats(width=32), min_size=1, max_size=8))
def test_bson_vectors_are_checked(vector: list[float]) -> None:
    """NaN and infinity do not pass in a FLOAT32 vector of BSON either; the largest float32 does."""
    stored = Binary.from_vector(vector, FLOAT32)
    if all(map(math.isfinite, vector)):
        assert vector_bytes(stored, len(vector)) == bytes(stored)[2:]
        return
    for datatype in ("float32", "float16"):
        with pytest.raises(ProjectionError, match="vector_element"):
            vector_bytes(stored, len(vector), datatype)


@pytest.mark.parametrize(
    "value",
    ["0.5", None, {"a": 1}, b"\0\0\0\0", Binary(b"\0\0\0\0", 128), Binary.from_vector([1], PACKED_BIT),
     Binary(b"\x27\0\0", 9), Binary(b"", 9)],
)  # fmt: skip
def test_what_is_no_vector(value: Any) -> None:
    """Only arrays and BSON vectors of numbers are vectors; packed bits are not."""
    with pytest.raises(ProjectionError, match="cannot_convert"):
        vector_bytes(value, 1)
