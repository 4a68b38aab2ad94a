"""Many entries at once become what each of them becomes alone."""

from __future__ import annotations

from typing import Any, get_args

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.values import FieldType
from syncd.errors import ProjectionError
from syncd.plan.to_mongo.columns import FEWEST, Columns, Said
from syncd.plan.to_mongo.elements import Encode, encoder
from syncd.plan.to_mongo.entry_field import EntryField, entry_field
from tests.unit.plan.types.test_elements import PATHS, raws, types

HEAD = b"in/"
COMMON: dict[str, Any] = {
    "string": st.sampled_from([b"", b"word", "wört".encode(), b"x" * 5_000, b"a\0b"]),
    "int": st.integers(0, 10**9 - 1).map(lambda number: str(number).encode()),
    "double": st.decimals(-9_999, 9_999, places=3).map(lambda number: str(number).encode()),
    "bool": st.sampled_from([b"true", b"false", b"0", b"1"]),
}
COMMON |= {"long": COMMON["int"], "epoch_ms": COMMON["int"]}


def fields_of(kinds: list[FieldType | None], rules: str = "letter") -> list[EntryField]:
    said = [{"from": path, "type": kind, **({"dims": 2} if kind == "vector" else {}), "on_error": rules}
            for path, kind in zip(PATHS, kinds, strict=False)]  # fmt: skip
    return [entry_field(f"f{at}", FieldSpec.model_validate(one)) for at, one in enumerate(said)]


def alone(encode: Encode, ident: bytes, said: Said) -> bytes | None:
    try:
        return encode(HEAD + ident, dict(zip(said[::2], said[1::2], strict=True)))
    except ProjectionError:
        return None


def check(fields: list[EntryField], said: list[Said]) -> None:
    idents = [f"{at}-0".encode() for at in range(len(said))]
    made, refused = Columns(fields, HEAD).encoded(idents, said)
    encode = encoder(fields)
    wanted = [alone(encode, ident, one) for ident, one in zip(idents, said, strict=True)]
    assert [None if at in refused else one for at, one in enumerate(made)] == wanted


@st.composite
def entries(draw: Any, common: bool) -> tuple[list[EntryField], list[Said]]:
    """Fields of a contract, and entries that mostly have them all; `common`: with values of the common forms."""
    known = st.sampled_from(sorted(COMMON)) if common else types
    kinds = draw(st.lists(known, min_size=1, max_size=len(PATHS)))
    names = [f"f{at}".encode() for at in range(len(kinds))] + [b"other"]
    values = [COMMON[kind] if common else raws for kind in kinds] + [raws]
    whole = st.tuples(*(st.tuples(st.just(name), value) for name, value in zip(names, values, strict=True)))
    some = whole if common else whole | st.lists(st.tuples(st.sampled_from(names), raws), max_size=5)
    count = draw(st.integers(FEWEST - 2, 3 * FEWEST))
    said = draw(st.lists(some, min_size=count, max_size=count))
    fields = fields_of(kinds, draw(st.sampled_from(["letter", "omit", "null"])))
    return fields, [[part for pair in one for part in pair] for one in said]


@given(entries(common=True))
def test_the_common_forms(case: tuple[list[EntryField], list[Said]]) -> None:
    """All of an entry's fields are there, with values of the forms that a type mostly has."""
    check(*case)


@given(entries(common=False))
def test_whatever_comes(case: tuple[list[EntryField], list[Said]]) -> None:
    """Fields are missing, come twice, in another order, or with values that do not fit."""
    check(*case)


@pytest.mark.parametrize("kind", get_args(FieldType))
@pytest.mark.parametrize(
    "odd",
    [b"", b"-1", b"1,2", b"1,", b"007", b"1e5", b"2147483648", b"\xff", b"1" * 400, b"+1", b" 1", b"-0"],
)
def test_one_odd_value(kind: FieldType, odd: bytes) -> None:
    """It changes nothing for the values beside it, whatever becomes of it."""
    for rule in ("letter", "omit", "null"):
        fields = fields_of(["int", kind], rule)
        check(fields, [[b"f0", b"1", b"f1", odd if at == 3 else b"1"] for at in range(2 * FEWEST)])


def test_a_value_that_looks_like_a_name() -> None:
    """Names and values by turns: entries of different lengths cannot be taken for others."""
    said: list[Said] = [[b"f0", b"1", b"f1", b"2"], [b"f0", b"f1"], [b"f0", b"1", b"f1", b"f0", b"f0", b"f1"]]
    check(fields_of([None, None]), said * FEWEST)


def test_documents_are_bson() -> None:
    """With the common beginning of their `_id`s."""
    made, refused = Columns(fields_of(["int"]), HEAD).encoded([b"1-0"] * FEWEST, [[b"f0", b"5"]] * FEWEST)
    assert (bson.decode(made[-1]), refused) == ({"_id": "in/1-0", PATHS[0]: 5}, {})
