"""BSON at the level of bytes: what a driver cannot read, or gives back as something else."""

from __future__ import annotations

import re
from typing import Any

import bson
import pytest

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.template import KeyTemplate
from syncd.errors import ProjectionError
from syncd.plan.keys import encode as key_encode
from syncd.plan.keys.templates import decode_key_value, encode_key_value, key_parser
from syncd.plan.to_redis.change import Dead
from syncd.plan.to_redis.compile import compile_contract
from syncd.plan.values import convert, geo, numeric, texts
from syncd.plan.values.bson_values import Table
from syncd.plan.values.raw import RawId, Unreadable, encode, read
from tests.support.shapes.odd_bson import int32, odd_ids, raw, text
from tests.support.shapes.odd_keys import ODD_ENDS


def contract(shape: dict[str, Any]) -> Contract:
    return Contract.model_validate(
        {"apiVersion": "syncd/v1", "kind": "SyncContract",
         "metadata": {"name": "c", "version": "1.0.0", "owner": "tests"},
         "mongo": {"collection": "d.c"}, "redis": [{"projection": "p", "key": "k:{_id}", **shape}]}
    )  # fmt: skip


@pytest.mark.parametrize("name", odd_ids(3))
def test_an_odd_id_keeps_its_bytes(name: str) -> None:
    """Through the text that names its document, and back into a query; and no other `_id` has that text."""
    document = raw(odd_ids(3)[name])
    found = read(document)["_id"]
    assert isinstance(found, RawId)
    assert encode({"_id": found}) == document
    assert decode_key_value(encode_key_value(found)) == found
    assert encode_key_value(found) != encode_key_value(read(raw(odd_ids(4)[name]))["_id"])


@pytest.mark.parametrize(
    "value", [1, "größe", {"a": {"b": [1.5, None]}}, b"x", True, None, {"$ref": "c", "$id": 1}]
)
def test_other_ids_are_values(value: object) -> None:
    """As the driver has them."""
    document = bson.encode({"_id": value})
    assert not isinstance(read(document)["_id"], RawId)
    assert encode(read(document)) == document


def test_a_value_that_no_driver_reads_costs_that_member() -> None:
    """The others are read."""
    found = read(raw(("b", 0x05, int32(3) + b"\x02abc"), ("t", 0x02, text(b"\xff")), n=1))
    assert isinstance(found.pop("b"), Unreadable)
    assert found == {"t": "\udcff", "n": 1}


FIELDS: list[dict[str, Any]] = [
    {"type": "hash", "fields": "all"},
    {"type": "json", "fields": "all"},
    {"type": "hash", "fields": {"id": "_id"}},
    {"type": "hash", "fields": {"id": {"from": "_id", "type": "string"}}},
    {"type": "string", "value": "_id"},
    {"type": "hash", "fields": {"n": "n"}},
]


@pytest.mark.parametrize("shape", FIELDS, ids=str)
def test_an_odd_id_has_one_reason(shape: dict[str, Any]) -> None:
    """Where the key has the `_id`, a letter says so, whatever the fields make of it."""
    plan = compile_contract(contract(shape))
    found = read(raw(odd_ids(3)["not UTF-8"], n=1))
    (write,) = plan.puts(encode_key_value(found["_id"]), found, "", {})
    assert isinstance(write, Dead)
    assert write.reason == "odd_id"


@pytest.mark.parametrize("type", ["hash", "json"])
def test_a_letter_names_the_field_of_a_whole_document(type: str) -> None:
    """Of `fields: all` too."""
    plan = compile_contract(contract({"type": type, "fields": "all"}))
    (write,) = plan.puts("1", {"_id": 1, "a": 1, "b": Unreadable(0x02)}, "", {})
    assert isinstance(write, Dead)
    assert (write.reason, write.detail) == (
        "unsupported_type", "field `b`: an unreadable string cannot be copied"
    )  # fmt: skip


def test_a_dead_letter_of_a_name_that_is_no_unicode() -> None:
    """It can be written: the name stands there with an escape."""
    plan = compile_contract(contract({"type": "hash", "fields": "all"}))
    (write,) = plan.puts("1", {"_id": 1, "b\udcff": Unreadable(0x02)}, "", {})
    assert isinstance(write, Dead)
    assert "field `b\\udcff`" in write.detail
    assert write.detail.encode()


@pytest.mark.parametrize("end", ["Ag", "", "%%%", "AgYAAABjYWbp"])
def test_what_is_no_text_of_an_id(end: str) -> None:
    """Is refused, also where it is the text of bytes that have another end."""
    with pytest.raises(ValueError, match=r"\w"):
        RawId.parse(f"%~raw~{end}")


@pytest.mark.parametrize("end", ODD_ENDS, ids=range(len(ODD_ENDS)))
def test_any_key_is_one_of_a_template_or_none(end: bytes) -> None:
    """Whatever stands in it, to read it raises no error; and the text of a RawId is in none."""
    said = key_parser(KeyTemplate.parse("film:{_id}"))(b"film:" + end)
    assert said is None or not isinstance(said["_id"], RawId)


def test_messages_name_types_of_bson() -> None:
    """Of what no driver reads, too: no conversion tells a person a name of Python's."""
    tables = {
        id(table): table
        for module in (convert, geo, key_encode, numeric, texts)
        for table in vars(module).values()
        if isinstance(table, Table)
    }
    told = set()
    for value in (RawId(0x0C, b"x"), Unreadable(0x02), {1}, (1,)):
        for table in tables.values():
            try:
                table[type(value)](value)
            except ProjectionError as error:
                told.add(error.detail)
    assert len(told) > 20
    assert not [detail for detail in told if re.search(r"RawId|Unreadable|\b(set|tuple)\b", detail)]
    assert "an unreadable string cannot be copied" in told
