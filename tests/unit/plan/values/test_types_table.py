"""The reference of types, and that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import bson
import pytest
from bson.datetime_ms import DatetimeMS

from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.values import FieldType
from syncd.plan.keys.templates import decode_key_value, encode_key_value
from syncd.plan.values.codec import CODEC, dump_json, from_hash, from_json, hash_field, json_field, to_json
from syncd.plan.values.table.type_rows import ROWS, Row
from syncd.plan.values.table.type_table import CONVERSIONS, conversion_spec, markdown
from tests.unit.plan.strategies import identity

PAGE = Path(__file__).parents[4] / "docs" / "reference" / "types.md"
REVERSIBLE = [row for row in ROWS if row.back]
PRESENT = [row for row in ROWS if "v" in bson.decode(row.document, CODEC)]

_TYPE_NUMBERS = {*range(0x01, 0x14), 0x7F, 0xFF}
_SUBTYPES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 128}


def _name(row: Row) -> str:
    return row.type


def test_the_page_is_up_to_date() -> None:
    """docs/reference/types.md is what the code prints."""
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run python -m syncd.plan.values.table.type_table > docs/reference/types.md"
    )


def test_every_bson_type_has_a_row() -> None:
    """All types and all subtypes of binary that the BSON specification lists are in the table."""
    assert {row.document[4] for row in PRESENT} == _TYPE_NUMBERS
    assert {row.document[11] for row in PRESENT if row.document[4] == 0x05} == _SUBTYPES


@pytest.mark.parametrize("row", PRESENT, ids=_name)
def test_a_row_is_written(row: Row) -> None:
    """Each example goes into a hash and into JSON, where it is what `to_json` says."""
    spec = FieldSpec.model_validate("v")
    in_hash = hash_field("v", spec, None)(row.value)
    assert (in_hash is None) == (row.value is None)
    assert from_json(dump_json(json_field("v", spec, None)(row.value)).decode(), "json") == to_json(row.value)


@pytest.mark.parametrize("row", REVERSIBLE, ids=_name)
def test_a_row_comes_back(row: Row) -> None:
    """With the type that the table names, the same value is read from a hash and from JSON."""
    assert row.back is not None
    spec = FieldSpec.model_validate({"from": "v", "type": row.back})
    in_hash = hash_field("v", spec, None)(row.value)
    assert in_hash is not None
    raw = in_hash.encode() if isinstance(in_hash, str) else in_hash
    assert identity(from_hash(raw, row.back)) == identity(row.value)
    in_json = to_json(json_field("v", spec, None)(row.value))
    assert identity(from_json(in_json, row.back)) == identity(row.value)


@pytest.mark.parametrize("row", [row for row in PRESENT if row.type != "array"], ids=_name)
def test_a_row_is_a_key(row: Row) -> None:
    """Each example has a text in a key, out of which it comes back."""
    assert identity(decode_key_value(encode_key_value(row.value))) == identity(row.value)


def test_every_type_of_a_contract_is_described() -> None:
    """No `type:` is missing from the second table, and each example is accepted."""
    assert set(CONVERSIONS) == set(get_args(FieldType))
    for field_type, (value, _, _) in CONVERSIONS.items():
        hash_field("v", conversion_spec(field_type), None)(value)


def test_dates_keep_their_64_bits() -> None:
    """CODEC decodes a date far outside Python's range."""
    assert bson.decode(bson.encode({"v": DatetimeMS(2**63 - 1)}), CODEC)["v"] == DatetimeMS(2**63 - 1)
