"""The quick way to BSON says what the long way says."""

from __future__ import annotations

from typing import Any, get_args

import bson
from bson.errors import BSONError
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError
from syncd.plan.to_mongo.elements import encoder
from syncd.plan.to_mongo.entry_field import EntryField, entry_field

PATHS = ["a", "b.c", "b.e.f", "b.e.g", "d", "h"]
numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=5).map(str),
    st.from_regex(r"[-+]?[0-9]{0,20}\.?[0-9]{0,20}", fullmatch=True),
)
words = st.sampled_from(
    ["true", "false", "1", "0", "", "True", "-0", "00", "007", ".5", "5.", "nan", "1e5", "1_0"]
)
texts = st.text().map(lambda text: text.encode("utf-8", "replace"))
raws = st.one_of(numbers.map(str.encode), words.map(str.encode), texts, st.binary())
types = st.sampled_from([None, *get_args(FieldType)])


def spec(path: str, kind: FieldType | None) -> FieldSpec:
    dims = {"dims": 2} if kind == "vector" else {}
    return FieldSpec.model_validate({"from": path, "type": kind, **dims})


def reference(ident: str, fields: list[EntryField], said: dict[bytes, bytes]) -> bytes:
    document: dict[str, Any] = {"_id": ident}
    for field in fields:
        if (raw := said.get(field.name)) is not None:
            within = document
            for name in field.path[:-1]:
                within = within.setdefault(name, {})
            within[field.path[-1]] = field.value(raw)
    try:
        return bson.encode(document)
    except (BSONError, OverflowError):
        raise ProjectionError("unsupported_type", "") from None


def outcome(make: Any) -> Any:
    try:
        return make()
    except ProjectionError as error:
        return error.reason


@given(st.lists(st.tuples(types, st.none() | raws), min_size=len(PATHS), max_size=len(PATHS)))
def test_both_ways_say_the_same(cases: list[tuple[FieldType | None, bytes | None]]) -> None:
    """The same bytes, or a refusal of one of the fields that do not fit, for every type and every text."""
    fields = [
        entry_field(f"f{at}", spec(path, kind))
        for at, (path, (kind, _)) in enumerate(zip(PATHS, cases, strict=True))
    ]
    said = {field.name: raw for field, (_, raw) in zip(fields, cases, strict=True) if raw is not None}
    wanted = outcome(lambda: reference("in/1-1", fields, said))
    found = outcome(lambda: encoder(fields)(b"in/1-1", said))
    if isinstance(wanted, str):
        # Of two that do not fit either may be reported.
        assert found in {outcome(lambda field=field: reference("in/1-1", [field], said)) for field in fields}
    assert type(found) is type(wanted)
    assert isinstance(wanted, str) or found == wanted


@given(types, raws)
def test_one_field(kind: FieldType | None, raw: bytes) -> None:
    """Alone, so that no other refusal hides it."""
    field = entry_field("f", spec("x", kind))
    wanted = outcome(lambda: reference("", [field], {b"f": raw}))
    assert outcome(lambda: encoder([field])(b"", {b"f": raw})) == wanted
