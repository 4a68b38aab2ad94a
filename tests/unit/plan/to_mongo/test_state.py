"""The content of a key becomes an update of its document, or says why not."""

from __future__ import annotations

from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId

from syncd.errors import ProjectionError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_mongo.state import FoundKey, StatePlan, compile_state
from syncd.plan.values.codec import dump_json, hash_field, json_field
from syncd.plan.values.table.type_rows import ROWS, Row
from tests.support.contracts import from_redis, model, projection
from tests.unit.plan.strategies import identity


def plan(type: str = "hash", key: str = "session:{_id}", **more: Any) -> StatePlan:
    shape = projection(name="session", type=type, key=key, **more)
    return compile_state(model(shape, name="sessions", collection="shop.sessions", sync=from_redis("outbox")))


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        (b"session:42", 42),
        (b"session:%342", "42"),
        (b"session:ada", "ada"),
        (b"session:65a1b2c3d4e5f60718293a4b", ObjectId("65a1b2c3d4e5f60718293a4b")),
    ],
)
def test_the_id_is_that_of_the_key(key: bytes, wanted: Any) -> None:
    """As keys are written from `_id` in the other direction."""
    assert plan(fields=["a"]).document_id(key) == wanted


@pytest.mark.parametrize("key", [b"session", b"other:1", b"session:1:2", b"session:a b", b"session:\xff"])
def test_another_key_is_refused(key: bytes) -> None:
    """It stands for no document of the contract."""
    with pytest.raises(ProjectionError) as caught:
        plan(fields=["a"]).document_id(key)
    assert caught.value.reason == "foreign_key"


FAR = 253402300800000  # milliseconds: the first of the year 10000


@pytest.mark.parametrize(
    ("template", "more", "key"),
    [
        ("session:{_id}", {}, b"session:%%~date~%d" % FAR),
        ("session:{_id}", {}, b"session:" + encode_key_value({"a": [{"b": DatetimeMS(FAR)}]}).encode()),
        ("session:{_id}", {"key_types": {"_id": "epoch_ms"}}, b"session:%d" % FAR),
        ("session:{at}:{n}", {"key_values": "text", "key_types": {"at": "date"}}, b"session:%d:1" % FAR),
        ("session:{at}:{n}", {"key_values": "text", "key_types": {"at": "epoch"}}, b"session:1e12:1"),
    ],
)
def test_a_key_with_a_date_that_drivers_cannot_read_is_refused(
    template: str, more: dict[str, Any], key: bytes
) -> None:
    """A client that may write a key would keep Python and others from reading the collection."""
    shape = plan(key=template, fields=["a"], **more)
    assert "beyond the years 1 to 9999" in shape.why_not(key)
    with pytest.raises(ProjectionError) as caught:
        shape.document_id(key)
    assert caught.value.reason == "foreign_key"


def test_fields_of_a_hash() -> None:
    """Each to its path with its type; what is not there is taken out; when the key expires is a field if asked for."""
    fields = {"zip": "address.zip", "n": {"from": "n", "type": "long"}, "gone": "old.gone"}
    shape = plan(fields=fields, ttl={"field": "expires_at"})
    update = shape.update(FoundKey("hash", {b"zip": b"1", b"n": b"2", b"secret": b"3"}, 5000))
    assert update.set == {"address.zip": "1", "n": Int64(2), "expires_at": DatetimeMS(5000)}
    assert type(update.set["n"]) is Int64
    assert update.unset == ["old.gone"]
    assert shape.update(FoundKey("hash", {b"zip": b"1"}, None)).unset == ["n", "old.gone", "expires_at"]


def test_members_of_json() -> None:
    """With a type from its text, without one as JSON has it; null is null."""
    fields = {"at": {"from": "at", "type": "date"}, "tags": "tags", "none": "none", "gone": "gone"}
    text = b'{"at": "1970-01-01T00:00:05Z", "tags": ["a", {"b": 1}], "none": null, "more": 1}'
    for type in ("json", "string"):
        shape = plan(type, fields=fields)
        update = shape.update(FoundKey(shape.type, text, None))
        assert update.set == {"at": DatetimeMS(5000), "tags": ["a", {"b": 1}], "none": None}
        assert update.unset == ["gone"]


@pytest.mark.parametrize(
    ("type", "content", "wanted"),
    [
        ("string", b"7", 7),
        ("list", [b"2", b"1", b"2"], [2, 1, 2]),
        ("set", [b"2", b"1"], [1, 2]),
        ("zset", [[b"5", b"1.5"], [b"4", b"inf"]],
         [{"member": 5, "score": 1.5}, {"member": 4, "score": float("inf")}]),
    ],
)  # fmt: skip
def test_values_and_elements(type: str, content: Any, wanted: Any) -> None:
    """One path holds them; a set, which has no order, makes the same array every time."""
    shape = plan(type, value={"from": "all.of", "type": "int"})
    assert shape.update(FoundKey(type, content, None)).set == {"all.of": wanted}


@pytest.mark.parametrize(
    ("type", "more", "content", "reason"),
    [
        ("hash", {"fields": {"a": {"from": "a", "type": "int"}}}, {b"a": b"secret"}, "cannot_convert"),
        ("hash", {"fields": ["a"]}, {b"a": b"secret\xff"}, "not_unicode"),
        ("json", {"fields": ["a"]}, b'["secret"]', "cannot_convert"),
        ("json", {"fields": ["a"]}, b"{secret", "cannot_convert"),
        ("json", {"fields": ["a"]}, b'{"a": %s}' % (b"[" * 180 + b"]" * 180), "json_too_deep"),
        ("json", {"fields": {"a": {"from": "a", "type": "vector", "dims": 2}}}, b'{"a": [1]}', "vector_length"),
        ("set", {"value": {"from": "a", "type": "int"}}, [b"1", b"secret"], "cannot_convert"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_why(type: str, more: Any, content: Any, reason: str) -> None:
    """Without a value."""
    shape = plan(type, **more)
    with pytest.raises(ProjectionError) as caught:
        shape.update(FoundKey(shape.type, content, None))
    assert caught.value.reason == reason
    assert "secret" not in str(caught.value)


def test_a_key_of_another_type() -> None:
    """Is no key of the contract, whatever it holds."""
    with pytest.raises(ProjectionError, match="the key is a list, the contract says hash"):
        plan(fields=["a"]).update(FoundKey("list", [b"1"], None))


@pytest.mark.parametrize("row", [row for row in ROWS if row.back], ids=lambda row: row.type)
def test_a_type_comes_back(row: Row) -> None:
    """What syncd wrote into a hash, a JSON document, a list or a sorted set out of a document is that document's."""
    assert row.back is not None
    spec: Any = {"from": "v", "type": row.back}
    shape = plan(fields={"v": spec})
    in_hash = hash_field("v", shape.fields[0].spec, None)(row.value)
    assert in_hash is not None
    raw = in_hash.encode() if isinstance(in_hash, str) else in_hash
    wanted = identity(row.value)
    assert identity(shape.update(FoundKey("hash", {b"v": raw}, None)).set["v"]) == wanted
    text = dump_json({"v": json_field("v", shape.fields[0].spec, None)(row.value)})
    in_json = plan("json", fields={"v": spec}).update(
        FoundKey("ReJSON-RL", text.encode() if isinstance(text, str) else text, None)
    )
    assert identity(in_json.set["v"]) == wanted
    (element,) = plan("list", value=spec).update(FoundKey("list", [raw], None)).set["v"]
    assert identity(element) == wanted
    (member,) = plan("zset", value=spec).update(FoundKey("zset", [[raw, b"1"]], None)).set["v"]
    assert identity(member["member"]) == wanted
