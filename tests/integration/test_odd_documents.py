"""Documents that are hard to project: ids of every type, nulls, keys of another type, values that do not fit."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

from bson import Binary, ObjectId

from tests.integration.test_inbound import FIELDS, FILMS
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Scene

OBJECT_ID = ObjectId("507f1f77bcf86cd799439011")


ONE_OF_EACH: list[Any] = [
    1,
    "1",
    "one",
    1.5,
    OBJECT_ID,
    str(OBJECT_ID),
    {"a": 1, "b": "x"},
    {"b": "x", "a": 1},
    None,
    True,
    Binary(b"\x00\x01", 0),
    Binary(b"\x00\x01", 5),
    datetime(2024, 1, 2, tzinfo=UTC),
    "a:b c{}",
    "a%3Ab c{}",
    "",
    "é",
]


# Enough of each that the snapshot's chunks begin and end between types and within them.
MORE_OF_SOME: list[Any] = [
    *range(2, 60),
    *(f"text {n}" for n in range(60)),
    *({"a": n} for n in range(40)),
    *(ObjectId() for _ in range(60)),
    *(Binary(bytes([n])) for n in range(40)),
    *(datetime(2023, 1, 1, 0, n, tzinfo=UTC) for n in range(60)),
]


def test_ids_of_every_type_have_keys_of_their_own(shared: Scene) -> None:
    """A collection of mixed `_id` types is copied completely, no two documents share a key, all can be deleted."""
    ids = ONE_OF_EACH + MORE_OF_SOME
    documents = [{"_id": id_, "at": str(at)} for at, id_ in enumerate(ids)]
    flow = shared.run("mixed", projection(["at"]), documents=documents)
    keys = flow.keys()
    assert len(keys) == len(ids)
    assert {flow.hash(key)["at"] for key in keys} == {str(at) for at in range(len(ids))}
    assert flow.hash(1) == {"at": "0"}
    assert flow.hash(OBJECT_ID) == {"at": "4"}
    flow.collection.update_many({}, {"$set": {"at": "seen"}})
    wait_until(lambda: all(flow.hash(key) == {"at": "seen"} for key in keys))
    assert flow.keys() == keys
    flow.collection.delete_many({})
    wait_until(lambda: not flow.keys())


def test_a_field_that_becomes_null(shared: Scene) -> None:
    """null leaves a hash, is null in JSON, and is what `null` says where it says something."""
    shapes = [
        projection({"a": "a", "b": "b"}, name="plain"),
        projection({"a": {"from": "a", "null": "keep"}, "b": "b"}, name="kept"),
        projection({"a": "a", "b": "b"}, name="json", type="json"),
        projection({"a": {"from": "a", "null": "omit"}, "b": "b"}, name="less", type="json"),
    ]
    flow = shared.run("null", *shapes, documents=[{"_id": 1, "a": "x", "b": "y"}])
    changes: list[Any] = [{"$set": {"a": None}}, [{"$replaceWith": {"_id": 1, "a": None, "b": "y"}}]]
    for change in changes:
        flow.collection.update_one({"_id": 1}, change)
        flow.wait_hash(1, {"b": "y"}, "plain")
        flow.wait_hash(1, {"a": "", "b": "y"}, "kept")
        assert flow.json(1, "json") == {"a": None, "b": "y"}
        assert flow.json(1, "less") == {"b": "y"}
        flow.collection.update_one({"_id": 1}, {"$set": {"a": "back"}})
        flow.wait_hash(1, {"a": "back", "b": "y"}, "plain")


def test_a_hash_without_fields_is_no_key(shared: Scene) -> None:
    """When the last field of a hash goes, the key goes; when one comes again, the key comes."""
    flow = shared.run(
        "empty", projection(["title", "year"]), documents=[{"_id": 1, "title": "x"}, {"_id": 2}]
    )
    assert flow.keys() == {"1"}
    flow.collection.update_one({"_id": 1}, {"$unset": {"title": ""}})
    flow.wait_gone(1)
    flow.collection.update_many({}, {"$set": {"year": 7}})
    flow.wait_hash(1, {"year": "7"})
    flow.wait_hash(2, {"year": "7"})
    flow.collection.update_one({"_id": 2}, {"$set": {"title": "z"}, "$unset": {"year": ""}})
    flow.wait_hash(2, {"title": "z"})


def test_a_replace_removes_stale_fields(shared: Scene) -> None:
    """After a replace a hash has the fields of the new document only."""
    flow = shared.run("stale", projection(FIELDS), documents=FILMS)
    flow.redis.hset(flow.key(1), "left over", "x")
    flow.collection.replace_one({"_id": 1}, {"_id": 1, "year": 3})
    flow.wait_hash(1, {"year": "3"})


def test_a_foreign_type_is_left_alone(shared: Scene) -> None:
    """A key of another type that syncd did not write becomes a dead letter; it stays, and the lane goes on."""
    flow = shared.run("foreign", projection(["title"]), documents=FILMS[:1])
    flow.redis.rpush(flow.key(2), "mine")
    flow.collection.insert_many([*FILMS[1:], {"_id": 9, "title": "after"}])
    flow.wait_hash(9, {"title": "after"})
    flow.wait_hash(3, {"title": "Alphaville"})
    assert flow.redis.lrange(flow.key(2), 0, -1) == [b"mine"]
    (dead_letter,) = flow.dead_letters()
    assert (dead_letter["reason"], dead_letter["key"], dead_letter["id"]) == ("wrong_type", flow.key(2), "2")
    assert flow.metric("syncd_dead_letters_total", reason="wrong_type") == 1
    flow.redis.delete(flow.key(2))
    flow.collection.update_one({"_id": 2}, {"$set": {"title": "again"}})
    flow.wait_hash(2, {"title": "again"})


def test_documents_that_do_not_fit_another_type(shared: Scene) -> None:
    """When a projection becomes another Redis type, a key whose document does not fit goes when the copy ends, and is
    counted. A document that fits later has its key again."""

    def shapes(type: str) -> list[dict[str, Any]]:
        fields = {"n": {"from": "n", "type": "int"}} if type == "json" else ["n"]
        both = {"card": "{_id}", "slug": "{slug}"}
        return [projection(fields, type=type, name=name, key=key) for name, key in both.items()]

    documents = [{"_id": 1, "slug": "a", "n": 1}, {"_id": 2, "slug": "b", "n": "two"}]
    flow = shared.run("retyped", *shapes("hash"), documents=documents, unique=[["slug"]])
    flow.wait_live()
    flow.write(*shapes("json"), unique=[["slug"]])
    wait_until(lambda: (flow.keys(), flow.keys("slug")) == ({"1"}, {"a"}), 60, flow.lane)
    assert {one["reason"] for one in flow.dead_letters()} == {"cannot_convert"}
    assert flow.metric("syncd_keys_removed_total", reason="retired") == 2
    flow.collection.update_one({"_id": 2}, {"$set": {"n": 2}})
    for key in (flow.key(2), flow.key("b", "slug")):
        wait_until(lambda: flow.redis.execute_command("JSON.GET", key) == b'{"n":2}', 60, flow.lane)  # noqa: B023
    assert {one["reason"] for one in flow.dead_letters()} == {"cannot_convert"}


def test_too_many_keys_of_the_type_of_before(shared: Scene) -> None:
    """Where many documents do not fit another Redis type, their keys go only when a person says so."""
    documents = [{"_id": n, "n": "text"} for n in range(150)]
    flow = shared.run("unfit", projection(["n"], type="hash"), documents=documents)
    flow.wait_live()
    flow.write(projection({"n": {"from": "n", "type": "int"}}, type="json"))
    wait_until(lambda: "150 of 150 keys" in str(flow.lane()), 60, flow.lane)
    assert flow.redis.hgetall(flow.key(7)) == {b"n": b"text"}
    assert len(flow.keys()) == len(documents)


def test_bad_documents_do_not_stop_ten_thousand_good_ones(shared: Scene) -> None:
    """Of 10,000 documents one has a vector of the wrong length and one lacks the key's field: a dead letter each."""
    documents: list[dict[str, Any]] = [
        {"_id": n, "slug": f"s{n}", "title": f"film {n}", "v": [float(n), 1.0, 2.0]} for n in range(10_000)
    ]
    documents[4_321]["v"] = [7.25, 1.0]
    del documents[8_765]["slug"]
    documents[8_765]["title"] = "a title that must not leak"
    shapes = [
        projection(["title"], name="card", key="{slug}"),
        projection({"title": "title", "v": {"from": "v", "type": "vector", "dims": 3}}, name="vec"),
    ]
    flow = shared.run("bad", *shapes, unique=[["slug"]], documents=documents)
    assert len(flow.keys("card")) == 9_999
    assert len(flow.keys("vec")) == 9_999
    assert flow.redis.hget(flow.key(42, "vec"), "v") == struct.pack("<3f", 42, 1, 2)
    dead_letters = {dead_letter["reason"]: dead_letter for dead_letter in flow.dead_letters()}
    assert len(flow.dead_letters()) == 2
    assert dead_letters.keys() == {"vector_length", "key_field_missing"}
    assert dead_letters["vector_length"]["id"] == "4321"
    assert dead_letters["vector_length"]["projection"] == "vec"
    assert dead_letters["key_field_missing"]["id"] == "8765"
    for reason in dead_letters:
        assert flow.metric("syncd_dead_letters_total", reason=reason) == 1
    said = str(flow.dead_letters())
    assert "leak" not in said
    assert "7.25" not in said
    assert (
        len([line for line in shared.daemon.logs(event="dead letter") if line["contract"] == flow.contract])
        == 2
    )


def test_dead_letters_and_logs_hold_no_values(shared: Scene) -> None:
    """What a document holds never reaches a dead letter or the log, whatever the change was."""
    fields = {"n": {"from": "n", "type": "int"}, "card": {"from": "card", "mask": "last4"}, "title": "title"}
    flow = shared.run(
        "private", projection(fields), documents=[{"_id": 1, "n": 1, "card": "4111222233334444"}]
    )
    private = ["no number at all", "4111222233334444", "a private title"]
    bad = {"n": private[0], "card": private[1], "title": private[2]}
    flow.collection.insert_one({"_id": 2, **bad})
    flow.collection.update_one({"_id": 1}, {"$set": bad})
    flow.collection.replace_one({"_id": 2}, {"_id": 2, **bad})
    wait_until(
        lambda: {dead_letter["id"] for dead_letter in flow.dead_letters()} == {"1", "2"},
        message=flow.dead_letters,
    )
    wait_until(lambda: flow.metric("syncd_dead_letters_total", reason="cannot_convert") >= 2)
    told = str(flow.dead_letters()) + shared.daemon.process.log.read_text()
    assert not [value for value in private if value in told]
    assert all(
        "updated" not in dead_letter["change"] or '"n"' in dead_letter["change"]
        for dead_letter in flow.dead_letters()
    )
