"""The two ways of applying an update, by its delta and by a read of the document, leave the same bytes in Redis."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from pymongo import DeleteOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from syncd.plan.values.codec import JSON_DEPTH
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

IDS = 60
FIELDS: dict[str, Any] = {
    "a": "a",
    "deep": "deep.er.value",
    "part": "deep.er",
    "tags": "tags",
    "first": "tags_of.name",
    "number": {"from": "n", "type": "int"},
    "kept": {"from": "b", "null": "keep"},
    "masked": {"from": "secret", "mask": "redact"},
    "twice": "a",
}
PLACES = ["a", "b", "tags", "tags_of", "deep", "deep.er", "deep.er.value", "secret", "other", "renamed"]
EVERYTHING = {"_id": {"$exists": True}}


def a_value(chance: random.Random, depth: int = 0) -> Any:
    """Anything that a field may hold."""
    plain = [
        chance.randrange(-5, 5), chance.random(), f"text {chance.randrange(9)}", None, True, Int64(2**40), "",
        Decimal128("1.50"), ObjectId(f"{chance.randrange(9):024x}"), "ünïcode", float("nan"), -0.0, 3.0,
    ]  # fmt: skip
    if depth < 2 and chance.random() < 0.4:
        values = [a_value(chance, depth + 1) for _ in range(chance.randrange(4))]
        return values if chance.random() < 0.5 else dict(zip(("er", "value", "name"), values, strict=False))
    return chance.choice(plain)


def a_document(chance: random.Random) -> dict[str, Any]:
    return {
        "a": a_value(chance),
        "n": chance.randrange(100),
        "deep": {"er": {"value": a_value(chance)}, "x": 1},
        "tags": [a_value(chance, 2) for _ in range(chance.randrange(4))],
        "tags_of": [{"name": chance.randrange(9)} for _ in range(chance.randrange(3))],
        "secret": "nobody's business",
    }


def an_update(chance: random.Random) -> Any:
    """One update of any kind; some of them fail, where a document is not of the shape that they need."""
    place = chance.choice(PLACES)
    at = chance.randrange(4)
    if chance.random() < 0.4:
        return {"$set": {"a": a_value(chance), "b": at}}
    return chance.choice(
        [
            {"$set": {place: a_value(chance)}},
            {"$set": {place: a_value(chance), "extra": 1}},
            {"$unset": {place: ""}},
            {"$set": {"n": chance.randrange(9)}, "$unset": {"a": ""}},
            {"$push": {"tags": {"$each": [a_value(chance), 1], "$slice": -4}}},
            {"$push": {"tags_of": {"name": at}}},
            {"$pull": {"tags": 1}},
            {"$pop": {"tags": chance.choice([1, -1])}},
            {"$set": {f"tags.{at}": a_value(chance)}},
            {"$set": {f"tags_of.{at}.name": at}},
            {"$set": {f"tags_of.{at}": {"name": at}}},
            {"$rename": {"a": "renamed"}},
            {"$rename": {"renamed": "a"}},
            {"$rename": {"deep": "elsewhere"}},
            {"$inc": {"n": 1}},
            [{"$set": {"deep": {"er": {"value": "$n"}}}}],
            [{"$set": {"tags": {"$slice": ["$tags", 1]}}}, {"$unset": "tags_of"}],
        ]
    )


def a_change(chance: random.Random) -> Any:
    which = {"_id": chance.randrange(IDS)}
    kind = chance.random()
    if kind < 0.04:
        return DeleteOne(which)
    if kind < 0.14:
        return ReplaceOne(which, a_document(chance), upsert=True)
    return UpdateOne(which, an_update(chance))


def content(flow: Flow) -> dict[str, Any]:
    """Every key of the contract, byte for byte. The order of fields says nothing in either type."""
    found: dict[str, Any] = {}
    for end in flow.keys("card"):
        found[f"card {end}"] = flow.redis.hgetall(flow.key(end, "card"))
    for end in flow.keys("doc"):
        found[f"doc {end}"] = flow.json(end, "doc")
    return found


@pytest.mark.at_scale("1", "2")
@pytest.mark.parametrize("seed", range(3))
def test_deltas_and_reads_give_the_same(shared: Scene, seed: int) -> None:
    """Random documents under random updates: a contract that takes deltas ends each time as one that reads."""
    chance = random.Random(seed)
    shapes = [
        projection(FIELDS, name="card"),
        projection({**FIELDS, "masked": {"from": "secret", "mask": "last4"}}, name="doc", type="json"),
    ]
    documents = [{"_id": n, **a_document(chance)} for n in range(IDS)]
    fast = shared.run(f"fast-{seed}", *shapes, documents=documents)
    plain = shared.run(f"plain-{seed}", *shapes, source=fast, filter=EVERYTHING)
    for size in (1, 2, 5, 10, 20, 20, 20, 20, 60, 300):
        with suppress(BulkWriteError):  # what does not fit the document at hand changes nothing
            fast.collection.bulk_write([a_change(chance) for _ in range(size)], ordered=False)
        fast.catch_up()
        plain.catch_up()
        assert content(plain) == content(fast)
    assert fast.metric("syncd_writes_total", result="patch") > 50
    assert plain.metric("syncd_writes_total", result="patch") == 0
    assert not fast.dead_letters() + plain.dead_letters()


def test_json_is_as_deep_by_a_delta(shared: Scene) -> None:
    """What a copy refuses for its depth, the object of the key included, no delta writes."""
    deep: Any = 1
    for _ in range(JSON_DEPTH):
        deep = {"a": deep}
    shape = projection(["a", "n"], type="json")
    documents = [{"_id": 1, "a": 1, "n": 0}, {"_id": 2, "a": 1, "n": 0}]
    fast = shared.run("depth", shape, documents=documents)
    fast.collection.update_one({"_id": 1}, {"$set": {"a": deep}})
    fast.collection.update_one({"_id": 2}, {"$set": {"a": deep["a"]}})
    fast.catch_up()
    assert [(one["id"], one["reason"]) for one in fast.dead_letters()] == [("1", "json_too_deep")]
    assert (fast.json(1), fast.json(2)) == ({"a": 1, "n": 0}, {"a": deep["a"], "n": 0})
