"""Arrays of documents as lists, sets and sorted sets: copied, followed, compared, there and back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.compare import ELEMENTS
from tests.support.contracts import from_redis, projection
from tests.support.scene import Flow, Scene
from tests.support.ways.reconcile import check, drift_of

LONGEST = 100_000
MANY = 30


def tags(number: int, version: int = 0) -> dict[str, Any]:
    """Every third document has none, in three ways."""
    some = [f"t{number % 7}", version, f"t{number % 5}"]
    none: list[dict[str, Any]] = [{}, {"tags": None, "board": None}, {"tags": [], "board": []}]
    if number % 3 == 2:
        return {"_id": number, "n": version, **none[number // 3 % 3]}
    board = [{"member": f"m{at}", "score": at * 1.5 + version} for at in range(number % 4 + 1)]
    return {"_id": number, "n": version, "tags": some, "board": board}


SHAPES = (
    projection(["n"]),
    projection(name="list", type="list", value={"from": "tags"}),
    projection(name="last", type="list", value={"from": "tags"}, keep={"last": 2}, ttl="1h"),
    projection(name="set", type="set", value={"from": "tags"}),
    projection(name="zset", type="zset", value={"from": "board"}),
)


@pytest.fixture(scope="module")
def flow(shared: Scene) -> Flow:
    return shared.run("arrays", *SHAPES, documents=[tags(number) for number in range(MANY)])


def test_every_change(flow: Flow) -> None:
    """nothing_lost: a copy, an insert, updates of the array, of one element and of another field, an array that goes,
    and a deletion: each key is the array."""
    flow.wait_same()
    assert flow.redis.exists(flow.key(2, "list"), flow.key(5, "set"), flow.key(8, "zset")) == 0
    films = flow.collection
    films.insert_many([tags(number) for number in range(MANY, 2 * MANY)])
    films.update_one({"_id": 0}, {"$push": {"tags": "pushed"}})
    films.update_one({"_id": 1}, {"$set": {"tags.1": "in the middle", "board.0.score": 99}})
    films.update_one({"_id": 3}, {"$set": {"n": 7}})
    films.update_one({"_id": 4}, {"$unset": {"tags": "", "board": ""}})
    films.update_one({"_id": 6}, {"$set": {"tags": [], "board": []}})
    films.update_one({"_id": 7}, {"$pop": {"tags": 1}})
    films.update_one({"_id": 2}, {"$set": {"tags": ["new"], "board": [{"member": "new", "score": 0}]}})
    films.replace_one({"_id": 9}, tags(9, 9))
    films.delete_many({"_id": {"$in": [10, 12]}})
    flow.wait_same()
    assert flow.redis.exists(flow.key(4, "list"), flow.key(6, "zset"), flow.key(10, "set")) == 0
    assert 0 < flow.redis.ttl(flow.key(0, "last")) <= 3600
    assert flow.redis.ttl(flow.key(0, "list")) == -1
    assert flow.dead_letters() == []


def test_a_dead_letter_and_its_replay(flow: Flow) -> None:
    """nothing_silent: a document whose array is none has a dead letter for each of these shapes, which says so; its
    keys stay as they were, and the others follow. The next change that fits answers it."""
    flow.wait_same()
    before = flow.redis.lrange(flow.key(13, "list"), 0, -1)
    flow.collection.update_one({"_id": 13}, {"$set": {"tags": "no array", "n": 5}})
    wait_until(lambda: len(flow.dead_letters()) == 3, 60, flow.lane)
    assert {letter["reason"] for letter in flow.dead_letters()} == {"not_an_array"}
    assert {letter["detail"] for letter in flow.dead_letters()} == {"field `value`: string is not an array"}
    flow.wait_hash(13, {"n": "5"})
    assert flow.redis.lrange(flow.key(13, "list"), 0, -1) == before
    flow.collection.update_one({"_id": 13}, {"$set": {"tags": ["again"]}})
    flow.wait_same()


def test_a_long_array(flow: Flow) -> None:
    """bounded: 100,000 elements in one document go in one step; no reader ever sees a part of them."""
    long = {"_id": 10_000, "tags": list(range(LONGEST))}
    long["board"] = [{"member": at, "score": at} for at in range(LONGEST)]
    flow.collection.insert_one(long)
    seen = set()

    def lengths() -> set[int]:
        redis = flow.redis
        seen.add(redis.llen(flow.key(10_000, "list")))
        return {redis.scard(flow.key(10_000, "set")), redis.zcard(flow.key(10_000, "zset"))}

    wait_until(lambda: lengths() == {LONGEST}, 60, flow.lane)
    flow.collection.update_one({"_id": 10_000}, {"$set": {"tags": [*range(LONGEST - 1)]}})
    wait_until(lambda: lengths() == {LONGEST - 1, LONGEST}, 60, flow.lane)
    assert seen <= {0, LONGEST, LONGEST - 1}
    flow.assert_same()
    flow.collection.delete_one({"_id": 10_000})
    flow.wait_gone(10_000, "zset")


def test_every_kind_of_difference(shared: Scene, flow: Flow, mongo_uri: str, redis_url: str) -> None:
    """nothing_silent: elements that are missing, further, others, in another order, with another score, or not there
    at all, a TTL, a key of no document: each is found once, and none is left after a repair. Another order of a set
    and another form of a score are no difference."""
    flow.wait_same()

    def look(**order: Any) -> Any:
        return check(shared, flow, mongo_uri, redis_url, chunk=10, **order)

    assert look().result == "clean"
    redis, key = flow.redis, flow.key
    redis.rpop(key(15, "list"))
    redis.rpush(key(16, "list"), "further")
    turned = redis.lrange(key(18, "list"), 0, -1)[::-1]
    redis.delete(key(18, "list"))
    redis.rpush(key(18, "list"), *turned)
    redis.sadd(key(15, "set"), "further")
    redis.srem(key(16, "set"), "t2")
    redis.zadd(key(15, "zset"), {"m0": 17})
    redis.zadd(key(16, "zset"), {"further": 17})
    redis.zrem(key(19, "zset"), "m1")
    redis.delete(key(18, "set"), key(19, "list"))
    redis.persist(key(19, "last"))
    redis.sadd(key(20, "set"), "of an empty array")
    redis.zadd(key(10**6, "zset"), {"of no document": 1})
    found = look()
    assert drift_of(found) == {
        ("list", key(15, "list"), "content"), ("list", key(16, "list"), "content"),
        ("list", key(18, "list"), "content"),
        ("set", key(15, "set"), "content"), ("set", key(16, "set"), "content"), ("zset", key(15, "zset"), "content"),
        ("zset", key(16, "zset"), "content"), ("zset", key(19, "zset"), "content"), ("set", key(18, "set"), "missing"),
        ("list", key(19, "list"), "missing"), ("last", key(19, "last"), "ttl"), ("set", key(20, "set"), "extra"),
        ("zset", key(10**6, "zset"), "extra"),
    }  # fmt: skip
    assert {mark.fields for mark in found.examples if mark.kind == "content"} == {("value",)}
    assert look(repair=True).left == 0
    assert look().result == "clean"
    flow.assert_same()


def test_there_and_back(shared: Scene, flow: Flow) -> None:
    """What one contract writes another one brings back, when an application has copied the keys: the same arrays."""
    flow.wait_same()
    wanted = list(flow.collection.find({"tags.0": {"$exists": True}}))
    for type in ELEMENTS:
        path = "board" if type == "zset" else "tags"
        back = shared.add(
            f"back-{type}", projection(type=type, value={"from": path}), sync=from_redis("outbox")
        )
        pipe = flow.redis.pipeline()
        for document in wanted:
            key = back.key(document["_id"])
            pipe.copy(flow.key(document["_id"], type), key)
            pipe.xadd(back.names.control("outbox"), {"key": key})
        pipe.execute()
        wait_until(lambda: back.collection.count_documents({}) == len(wanted), 60, back.lane)  # noqa: B023
        for document in wanted:
            found = back.collection.find_one({"_id": document["_id"]})
            assert found is not None
            assert _as_texts(found[path], type) == _as_texts(document[path], type)


def _as_texts(array: list[Any], type: str) -> Any:
    if type == "zset":
        return sorted((float(pair["score"]), pair["member"]) for pair in array)
    texts = [str(element) for element in array]
    return texts if type == "list" else sorted({*texts})


def test_another_type_of_a_key(shared: Scene) -> None:
    """no_ghosts: when a projection becomes another type its keys do too, also of documents without elements; what an
    application had there before any contract stays, and its document is a dead letter."""
    shape = projection(type="list", value={"from": "tags"})
    flow = shared.add("switch", shape, documents=[tags(number) for number in range(12)])
    flow.redis.set(flow.key(1), "the application's")
    wait_until(lambda: flow.dead_letters() and len(flow.keys()) == 8, 60, flow.lane)
    for type, path in (("set", "tags"), ("hash", ""), ("zset", "board"), ("list", "tags")):
        content = {"value": {"from": path}} if path else {"fields": ["n"]}
        shape = {"projection": "card", "type": type, "key": "{_id}", **content}
        flow.write(shape)
        flow.wait_live()
        many = 12 if type == "hash" else 8
        wait_until(lambda: types(flow) == {type: many - 1, "string": 1}, 60, flow.lane)  # noqa: B023
        assert flow.redis.get(flow.key(1)) == b"the application's"


def types(flow: Flow) -> dict[str, int]:
    """How many keys are of which type."""
    ends = flow.keys()
    return Counter(flow.redis.type(flow.key(end)).decode() for end in ends)
