"""Doubles as RedisJSON reads them. That it reads so is shown against the real one, in tests/integration."""

from __future__ import annotations

import math
import random
import struct
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.plan.types.json import JSON
from syncd.plan.values.redisjson import as_read, double_read, is_doubtful, readable
from syncd.plan.values.texts import dump_json

MISREAD = 0.37331193139504204
"""By one unit in the last place, as its shortest text."""
WRITTEN = b"3733119313950420480e-19"
UNREADABLE = 0.46663110464745283
"""No text is read as this double."""


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_is_read_once_is_read_again(value: float) -> None:
    """What RedisJSON makes of a double it reads as it is: so both sides agree permanently. It is a neighbour at
    most."""
    read = double_read(value)
    assert double_read(read) == read
    assert abs(read - value) <= math.ulp(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_text_that_needs_no_look(value: float) -> None:
    """A JSON text that is not checked holds no double that is misread."""
    text = orjson.dumps({"a": [value, 1], "b": "x"})
    if not is_doubtful(text):
        assert readable(value) is value
        assert double_read(value) == value


def test_most_can_be_written() -> None:
    """Of a thousand doubles no more than ten are read as another one."""
    chance = random.Random(1)
    values = [chance.uniform(-180, 180) for _ in range(5000)]
    values += [struct.unpack("<f", struct.pack("<f", chance.gauss(0, 1)))[0] for _ in range(5000)]
    assert sum(double_read(value) != value for value in values) < len(values) / 100


def test_texts() -> None:
    """The shortest text stays where it is read exactly, or where there is no better one; NaN and strings stay."""
    document = {
        "a": 19.9,
        "b": 1.5,
        "long": 52.52000659999999,
        "none": UNREADABLE,
        "s": "0.37331193139504204",
    }
    assert dump_json(document) == orjson.dumps(document)
    assert dump_json({"x": MISREAD, "n": math.nan}) == b'{"x":%s,"n":"NaN"}' % WRITTEN
    assert dump_json([MISREAD] * 20 + [-MISREAD]).endswith(b",%s,-%s]" % (WRITTEN, WRITTEN))
    assert as_read([UNREADABLE, MISREAD]) == [double_read(UNREADABLE), MISREAD] != [UNREADABLE, MISREAD]


@given(st.lists(st.floats(-9, 9).filter(lambda value: value != 0), min_size=16, max_size=40))
def test_a_vector_is_checked_at_once(values: list[float]) -> None:
    """A list of many doubles becomes what each of them does alone."""
    alone = b"[" + b",".join(dump_json(value) for value in values) + b"]"
    assert dump_json(values) == alone


@pytest.mark.parametrize(
    ("wanted", "found", "names"),
    [
        ({"a": {"x": 1, "y": [2.0]}}, b'{"a":{"y":[2],"x":1.0}}', ()),
        ({"a": UNREADABLE}, orjson.dumps({"a": double_read(UNREADABLE)}), ()),
        ({"a": [{"b": UNREADABLE}]}, orjson.dumps({"a": [{"b": double_read(UNREADABLE)}]}), ()),
        ({"a": True}, b'{"a":1}', ("a",)),
        ({"a": {"b": [0]}}, b'{"a":{"b":[false]}}', ("a",)),
        ({"a": 1, "b": [1, 2]}, b'{"a":1,"b":[1]}', ("b",)),
        ({"a": {"b": 1}}, b'{"a":{"b":1,"c":2}}', ("a",)),
        ({"a": 1}, b'{"a":1,"b":null}', ("b",)),
    ],
)
def test_a_check_reads_numbers_as_redisjson_does(
    wanted: dict[str, Any], found: bytes, names: tuple[str, ...]
) -> None:
    """In any order of members, at any depth, a double is what RedisJSON makes of it, and true is no number."""
    write: Any = SimpleNamespace(content=wanted)
    assert JSON.fields.differing(write, found) == names
