"""A key and its document as states that can be compared."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from syncd.errors import ProjectionError
from syncd.plan.both.merge import Base
from syncd.plan.both.plan import Record, TwoWayPlan, compile_two_way, digests, known_of, stored
from syncd.plan.to_mongo.state import FoundKey
from tests.unit.contract.contracts import contract, load, projection

SYNC = "sync: {direction: both, capture: outbox, on_conflict: merge_fields}\n"
MOMENT = DatetimeMS(datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


def plan(path: Path, fields: str, type: str = "hash") -> TwoWayPlan:
    (loaded,) = load(path, contract(projection(fields, type=type, key="x:{_id}") + SYNC))
    return compile_two_way(loaded.contract)


def of_hash(**fields: bytes) -> FoundKey:
    return FoundKey("hash", {name.encode(): text for name, text in fields.items()}, None)


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("string", "text"),
        ("int", 5),
        ("long", Int64(5)),
        ("double", 1.0),
        ("double", 0.1),
        ("decimal", Decimal128("1.50")),
        ("bool", True),
        ("date", MOMENT),
        ("epoch_ms", MOMENT),
        ("objectId", ObjectId("65a1b2c3d4e5f60718293a4b")),
        ("uuid", Binary(bytes(range(16)), 4)),
        ("binary", b"\x00\xff"),
        ("json", {"b": [1, 2.5, None], "a": "x"}),
    ],
)
def test_what_redis_gets_is_no_change(tmp_path: Path, type: str, value: Any) -> None:
    """no_echo: of every type, what MongoDB's value becomes in Redis is read as the same value."""
    compiled = plan(tmp_path, f"{{v: {{from: in.v, type: {type}}}}}")
    there = compiled.of_document({"_id": 1, "in": {"v": value}})
    assert there is not None
    text = there["v"].text
    back = compiled.of_key(of_hash(v=text.encode() if isinstance(text, str) else text))
    assert digests(back) == digests(there)
    assert compiled.of_document({"in": {"v": back["v"].content}} if back else None) is not None


def test_other_forms_of_a_value(tmp_path: Path) -> None:
    """A number or a JSON text that is written in another way is no change; null and a missing field are the same."""
    compiled = plan(tmp_path, "{n: {from: n, type: int}, d: {from: d, type: json}, x: x}")
    there = compiled.of_document({"n": 7, "d": {"a": 1}, "x": None})
    assert digests(compiled.of_key(of_hash(n=b"007", d=b'{ "a": 1 }'))) == digests(there)
    assert compiled.of_key(FoundKey("none", None, None)) is None
    assert compiled.of_document(None) is None


def test_json_members(tmp_path: Path) -> None:
    """The order of members inside a member counts for nothing; null is a value."""
    compiled = plan(tmp_path, "{a: a, b: b}", "json")
    there = compiled.of_document({"a": {"x": 1, "y": [1.5]}, "b": None})
    found = FoundKey("ReJSON-RL", b'{"b":null,"own":1,"a":{"y":[1.5],"x":1}}', None)
    assert digests(compiled.of_key(found)) == digests(there)
    assert there is not None
    assert compiled.operation(None, there, frozenset("ab"))[:1] == ["j"]
    changed = compiled.operation(there, {"a": there["b"]}, frozenset("ab"))
    assert changed == ["J", 6, "0", 2, '$["a"]', b"null", 1, '$["b"]']


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    """Another type of key, text that is no number, and an array on the way."""
    compiled = plan(tmp_path, "{n: {from: in.n, type: int}}")
    for found in (FoundKey("set", None, None), of_hash(n=b"x")):
        with pytest.raises(ProjectionError):
            compiled.of_key(found)
    with pytest.raises(ProjectionError):
        compiled.of_document({"in": [{"n": 1}]})


def test_operations_of_a_hash(tmp_path: Path) -> None:
    """Only the named fields are touched; where nothing is to be done, nothing is."""
    compiled = plan(tmp_path, "{a: a, b: b}")
    state = compiled.of_key(of_hash(a=b"1", b=b"2"))
    taken = compiled.of_document({"a": "3"})
    assert taken is not None
    assert compiled.operation(state, taken, frozenset("ab")) == ["H", 6, "0", 2, "a", "3", 1, "b"]
    assert compiled.operation(None, {}, frozenset()) == ["-", 0]


def test_what_is_stored() -> None:
    """Of a contract that went one way before there is a digest, and no record."""
    record = Record(Base({"a": "1", "b": ""}, None), "7.1")
    assert stored(f"abc:-1 {record.encoded().decode()}") == ("abc:-1", record)
    record = Record(Base({"a": "1"}, {"a": "2"}), "7.1", "0011", "0010")
    assert stored(f"abc:-1 {record.encoded().decode()}") == ("abc:-1", record)
    assert stored("abc:-1") == ("abc:-1", None)
    assert stored("") == ("", None)


def test_a_document_that_got_what_was_pending() -> None:
    """nothing_lost: whatever became of the document since, it tells by its position that our write was done."""
    record = Record(Base({"a": "1", "b": "1"}, {"a": "2"}), "7.1", "0011")
    found = FoundKey("hash", {}, None, "abc:-1", f"abc:-1 {record.encoded().decode()}")
    done = Record(Base({"a": "2", "b": "1"}), "7.1", written="0011")
    assert known_of(found, {"_id": 1, "_syncd": {"pos": "0011"}, "a": "3"}) == done
    assert known_of(found, None, "0011") == done
    for document in (None, {"_id": 1}, {"_id": 1, "_syncd": 7}, {"_id": 1, "_syncd": {"pos": "0010"}}):
        assert known_of(found, document) == record


def test_a_date_that_drivers_cannot_read_goes_neither_way(tmp_path: Path) -> None:
    """Written to Redis it could not come back, and the document would be stuck with its next change."""
    compiled = plan(tmp_path, "{at: {from: at, type: date}}")
    with pytest.raises(ProjectionError, match="field `at`: a date beyond the years"):
        compiled.of_document({"at": DatetimeMS(253_402_300_800_000)})
