"""Values as they come out of BSON, for hypothesis; and what it means that MongoDB holds two of them equal."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import bson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import strategies as st

from syncd.plan.values.codec import CODEC

int64 = st.integers(-(2**63), 2**63 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
uint32 = st.integers(0, 2**32 - 1)
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0$"), max_size=6)
like_another_type = st.one_of(
    int64.map(str),
    st.binary(min_size=12, max_size=12).map(bytes.hex),
    st.uuids().map(str),
    st.sampled_from(["", "-", "-0", "007", "%~null", "%342", "%~doc~", "a:b", "{x}", "9" * 24, "1" * 36]),
)


def _decimal128(parts: tuple[bool, int, int]) -> Decimal128:
    sign, coefficient, exponent = parts
    return Decimal128(Decimal((int(sign), tuple(map(int, str(coefficient))), exponent)))


decimals = st.one_of(
    st.tuples(st.booleans(), st.integers(0, 10**34 - 1), st.integers(-6176, 6111)).map(_decimal128),
    st.tuples(st.booleans(), st.integers(0, 200), st.integers(-3, 3)).map(_decimal128),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "-0", "0E+500"]).map(Decimal128),
)
doubles = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**63, -(2.0**63), 1e300]))
numbers = st.one_of(int32, int64.map(Int64), st.integers(-3, 3), doubles, decimals)
dates = int64.map(DatetimeMS)
uuids = st.uuids().map(lambda value: Binary(value.bytes, 4))
binaries = st.one_of(
    st.binary(max_size=20),
    st.tuples(st.binary(max_size=20), st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 128, 255])).map(
        lambda pair: Binary(*pair)
    ),
    uuids,
)
regexes = st.tuples(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=10),
    st.sets(st.sampled_from("ilmsux")).map("".join),
).map(lambda pair: Regex(*pair))
scalars = st.one_of(
    numbers, text, like_another_type, binaries, dates, regexes, st.booleans(), st.none(),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.tuples(uint32, uint32).map(lambda pair: Timestamp(*pair)),
    st.sampled_from([MinKey(), MaxKey()]),
    text.map(Code),
    st.tuples(text, st.dictionaries(names, numbers, max_size=2)).map(lambda pair: Code(*pair)),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=4)),
    max_leaves=8,
)
key_values = values.filter(lambda value: not isinstance(value, list))


def decoded(value: Any) -> Any:
    """The value after a trip through BSON, as syncd sees it."""
    return bson.decode(bson.encode({"v": value}, codec_options=CODEC), CODEC)["v"]


def identity(value: Any) -> Any:
    """What MongoDB compares: two values are equal to it exactly where their identities are equal."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float | Decimal128):
        return ("number", _number(value))
    if isinstance(value, DBRef):
        return identity(dict(value.as_doc()))
    if isinstance(value, dict):
        return ("object", tuple((name, identity(item)) for name, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(identity, value)))
    if isinstance(value, Code):
        return ("code", str(value), None if value.scope is None else identity(dict(value.scope)))
    if isinstance(value, bytes):
        return ("binary", bytes(value), getattr(value, "subtype", 0))
    if isinstance(value, Regex):
        return ("regex", value.pattern, value.flags)
    if isinstance(value, DatetimeMS):
        return ("date", int(value))
    return (type(value).__name__, value)


def _number(value: int | float | Decimal128) -> Any:
    exact = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    if exact.is_nan():
        return "nan"
    return str(exact) if exact.is_infinite() else Fraction(exact)
