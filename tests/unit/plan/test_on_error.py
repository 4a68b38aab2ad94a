"""What becomes of a value that does not fit, where the contract says it; and of what an index would not take."""

from __future__ import annotations

import math
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

from syncd.contract.model.contract import Contract
from syncd.errors import ProjectionError
from syncd.plan.both.plan import compile_two_way
from syncd.plan.to_mongo.append import compile_append
from syncd.plan.to_mongo.state import FoundKey, compile_state
from syncd.plan.to_redis.change import Put
from syncd.plan.to_redis.compile import compile_contract
from tests.support.contracts import model


def contract(
    fields: Any, *, type: str = "hash", index: Any = None, key: str = "k:{_id}", **sync: Any
) -> Contract:
    content = {"value": fields} if type in ("string", "list", "set", "zset") else {"fields": fields}
    shape = {"projection": "p", "type": type, "key": key, **content}
    if index:
        shape["index"] = {"name": "i", "fields": index}
    return model(shape, **({"sync": sync} if sync else {}))


def into_redis(said: Contract, document: dict[str, Any]) -> tuple[Any, dict[str, int]]:
    plan = compile_contract(said)
    (write,) = plan.puts("1", {"_id": 1, **document}, "", {})
    assert isinstance(write, Put)
    return write.content, {misfit.became: count for misfit, count in plan.misfits.taken().items()}


@pytest.mark.parametrize("type", ["hash", "json"])
@pytest.mark.parametrize(
    ("spec", "spoilt"),
    [
        ({"from": "a", "type": "int"}, "x"),
        ({"from": "a", "type": "int"}, 1.5),
        ({"from": "a", "type": "date"}, True),
        ({"from": "a", "type": "vector", "dims": 2}, [1, "x"]),
        ({"from": "a", "type": "vector", "dims": 2}, [1]),
        ({"from": "a", "type": "geo"}, {"lon": 1}),
        ({"from": "a", "type": "int", "mask": "hmac"}, "x"),
        ({"expr": "join('-', a)"}, 5),
    ],
)
def test_towards_redis(type: str, spec: dict[str, Any], spoilt: Any) -> None:
    """The field is left out, or null, and counted; all else of the document is written."""

    def content(rule: str) -> Any:
        said = contract({"a": {**spec, "on_error": rule}, "b": "b"}, type=type)
        plan = compile_contract(said, b"key")
        (write,) = plan.puts("1", {"_id": 1, "a": spoilt, "b": "b"}, "", {})
        assert {misfit.became: count for misfit, count in plan.misfits.taken().items()} == {
            {"omit": "omitted", "null": "null"}[rule]: 1
        }
        assert isinstance(write, Put)
        return write.content

    assert content("omit") == {"b": "b"}
    assert content("null") == ({"b": "b"} if type == "hash" else {"a": None, "b": "b"})


@pytest.mark.parametrize(("type", "spoilt"), [("hash", "\udcff"), ("json", "\udcff"), ("json", ["\udcff"])])
def test_text_that_is_no_unicode(type: str, spoilt: Any) -> None:
    """It is found with its field, and not only when the whole document is written."""
    fields = {"a": {"from": "a", "on_error": "omit"}, "b": "b"}
    content, counted = into_redis(contract(fields, type=type), {"a": spoilt, "b": "b"})
    assert (content, counted) == ({"b": "b"}, {"omitted": 1})


def test_a_delta_follows_the_rule() -> None:
    """An update of the field alone does what a write of the document does."""
    plan = compile_contract(contract({"a": {"from": "a", "type": "int", "on_error": "omit"}}))
    assert plan.deltas.read({"updatedFields": {"a": "x"}}) == [({}, frozenset({"a"}))]
    assert sum(plan.misfits.taken().values()) == 1


@pytest.mark.parametrize(
    ("type", "entry", "value", "fits"),
    [
        ("hash", "numeric", 5, True),
        ("hash", "numeric", 1.5, True),
        ("hash", "numeric", math.inf, True),
        ("hash", "numeric", Decimal128("19.90"), True),
        ("hash", "numeric", "7", True),
        ("hash", "numeric", math.nan, False),
        ("hash", "numeric", "", False),
        ("hash", "numeric", "a word", False),
        ("hash", "numeric", DatetimeMS(0), False),
        ("hash", "numeric", True, False),
        ("hash", "numeric", Decimal128("1E-6176"), False),
        ("hash", "numeric", Decimal128("1E+6000"), False),
        ("hash", "numeric", [1, 2], False),
        ("hash", "geo", "13.4,52.5", True),
        ("hash", "geo", "somewhere", False),
        ("hash", "text", b"\xff", True),
        ("json", "numeric", 5, True),
        ("json", "numeric", [1, 2.5, None], True),
        ("json", "numeric", math.nan, False),
        ("json", "numeric", math.inf, False),
        ("json", "numeric", Decimal128("19.90"), False),
        ("json", "numeric", DatetimeMS(0), False),
        ("json", "numeric", True, False),
        ("json", "numeric", [1, "x"], False),
        ("json", "tag", ["a", ObjectId()], True),
        ("json", "tag", True, True),
        ("json", "tag", [True], False),
        ("json", "tag", 5, False),
        ("json", "text", 5, False),
        ("json", "text", ["a", "b"], True),
        ("json", "geo", ["1,2", "3,4"], True),
        ("json", "geo", [1, 2], False),
    ],
)
def test_what_an_index_would_not_take(type: str, entry: str, value: Any, fits: bool) -> None:
    """It would leave the whole document out; with `on_error: null` it is one field."""
    fields = {"a": {"from": "a", "on_error": "null"}, "b": "b"}
    said = contract(fields, type=type, index=[{"name": "a", "type": entry}])
    content, counted = into_redis(said, {"a": value, "b": "b"})
    assert counted == ({} if fits else {"null": 1})
    assert (content.get("a") is not None) == fits


@pytest.mark.parametrize(
    ("value", "text", "split"),
    [
        (["war", "love"], "war|love", False),
        (["war|peace", "love"], "war|peace|love", True),
        (["war", None, 5, True], "war|5|true", False),
        ([], "", False),
        (["é", b"\xff"], "é|".encode() + b"\xff", False),
        ("a|b", "a|b", False),
    ],
)
@pytest.mark.parametrize(
    "fields", [{"a": "a"}, {"a": {"from": "a", "type": "string"}}, "all", {"a": {"expr": "a"}}]
)
def test_an_array_becomes_labels(value: Any, text: str | bytes, split: bool, fields: Any) -> None:
    """Under a tag index of a hash, joined by its separator; an element that holds it is counted."""
    if isinstance(text, bytes) and fields != "all" and "a" in fields and fields["a"] != "a":
        pytest.skip("an expression and a string have no bytes")
    index = [{"name": "a", "type": "tag", "attrs": {"separator": "|"}}]
    content, counted = into_redis(contract(fields, index=index), {"a": value})
    content = content if isinstance(content, dict) else dict(zip(["a"], content, strict=True))
    assert content["a"] == text
    assert counted == ({"split": 1} if split else {})


def test_labels_are_content() -> None:
    """A tag index that is new over a hash means another content, and so another fingerprint; over JSON it does not."""
    tag = [{"name": "a", "type": "tag"}]
    for type, same in (("hash", False), ("json", True)):
        plans = [compile_contract(contract({"a": "a"}, type=type, index=index)) for index in (None, tag)]
        assert (plans[0].fingerprint == plans[1].fingerprint) is same


INT = {"from": "n", "type": "int"}


@pytest.mark.parametrize("spoilt", [b"", b"True", b"5.0", b"\xff"])
def test_towards_mongodb(spoilt: bytes) -> None:
    """Of an entry and of a key: the field is left out, or null, and counted; or all of it is refused."""
    for rule, n in (("omit", {}), ("null", {"n": None})):
        fields = {"n": {**INT, "on_error": rule}, "s": "s"}
        flow = compile_append(
            contract(fields, type="stream", key="s", direction="redis_to_mongo", capture="append")
        )
        assert dict(flow.document("1-0", {b"n": spoilt, b"s": b"x"})) == {"_id": "s/1-0", **n, "s": "x"}
        assert sum(flow.misfits.taken().values()) == 1
        state = compile_state(contract(fields, direction="redis_to_mongo", capture="outbox"))
        update = state.update(FoundKey("hash", {b"n": spoilt, b"s": b"x"}, None))
        assert (update.set, update.unset) == ({**n, "s": "x"}, ["n"] if rule == "omit" else [])
        assert sum(state.misfits.taken().values()) == 1
    strict = compile_state(contract({"n": INT}, direction="redis_to_mongo", capture="outbox"))
    with pytest.raises(ProjectionError):
        strict.update(FoundKey("hash", {b"n": spoilt}, None))


def test_elements_towards_mongodb() -> None:
    """An element of a list, a set or a sorted set is one value."""
    for rule, expected in (("omit", [1, 2]), ("null", [1, None, 2])):
        spec = {"from": "n", "type": "int", "on_error": rule}
        for type, content in (("list", [b"1", b"x", b"2"]), ("set", [b"1", b"2", b"1x"])):
            plan = compile_state(contract(spec, type=type, direction="redis_to_mongo", capture="outbox"))
            assert plan.update(FoundKey(type, content, None)).set == {"n": expected}
        plan = compile_state(contract(spec, type="zset", direction="redis_to_mongo", capture="outbox"))
        found = plan.update(FoundKey("zset", [(b"1", b"5"), (b"x", b"6"), (b"2", b"7")], None)).set["n"]
        assert [one["member"] for one in found] == expected
        string = compile_state(contract(spec, type="string", direction="redis_to_mongo", capture="outbox"))
        assert (string.update(FoundKey("string", b"x", None)).unset == ["n"]) is (rule == "omit")


@pytest.mark.parametrize("type", ["hash", "json"])
def test_both_ways(type: str) -> None:
    """On either side a value that does not fit is as though it were not there, or null; so both sides agree."""
    for rule in ("omit", "null"):
        said = contract({"n": {**INT, "on_error": rule}, "s": "s"}, type=type, direction="both", capture="outbox",
                        on_conflict="mongo_wins")  # fmt: skip
        plan = compile_two_way(said)
        content: Any = {b"n": b"x", b"s": b"y"} if type == "hash" else b'{"n": "x", "s": "y"}'
        of_key = plan.of_key(FoundKey("hash" if type == "hash" else "ReJSON-RL", content, None))
        of_document = plan.of_document({"n": "word", "s": "y"})
        assert of_key is not None and of_document is not None
        assert {name: value.digest for name, value in of_key.items()} == {
            name: value.digest for name, value in of_document.items()
        }
        assert set(of_key) == ({"n", "s"} if type == "json" and rule == "null" else {"s"})
        assert sum(plan.misfits.taken().values()) == 2
