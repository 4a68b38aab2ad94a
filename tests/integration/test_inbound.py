"""MongoDB to Redis: what a snapshot and every kind of change do to the keys of a projection."""

from __future__ import annotations

import signal
import struct
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from bson import Binary, ObjectId

from tests.support.broken.proxy import Proxy
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Scene

FILMS = [
    {"_id": 1, "title": "Metropolis", "year": 1927, "tags": ["robot", "city"]},
    {"_id": 2, "title": "M", "year": 1931, "tags": []},
    {"_id": 3, "title": "Alphaville", "year": 1965},
]
FIELDS = ["title", "year", "tags"]


@pytest.mark.parametrize("kind", ["hash", "json", "string"])
def test_a_snapshot_copies_every_document(shared: Scene, kind: str) -> None:
    """Documents that were there before the contract are there, whole, in each type of key."""
    flow = shared.run(f"snapshot-{kind}", projection(FIELDS, type=kind), documents=FILMS)
    flow.assert_same()
    assert len(flow.keys()) == 3


@pytest.mark.parametrize("kind", ["hash", "json", "string"])
def test_changes_arrive(shared: Scene, kind: str) -> None:
    """Insert, update, replace, unset, upsert and delete each show in Redis."""
    flow = shared.run(f"changes-{kind}", projection(FIELDS, type=kind), documents=FILMS)
    films = flow.collection
    steps: list[Any] = [
        lambda: films.insert_one({"_id": 4, "title": "Stalker", "year": 1979}),
        lambda: films.update_one({"_id": 1}, {"$set": {"year": 1926, "other": 1}, "$inc": {"seen": 1}}),
        lambda: films.replace_one({"_id": 2}, {"_id": 2, "title": "M (sound)"}),
        lambda: films.update_one({"_id": 3}, {"$unset": {"year": ""}, "$set": {"tags": ["noir"]}}),
        lambda: films.update_one({"_id": 5}, {"$set": {"title": "Solaris"}}, upsert=True),
        lambda: films.update_many({}, {"$set": {"year": 2000}}),
        lambda: films.delete_one({"_id": 4}),
    ]
    for step in steps:
        step()
        flow.wait_same()
    assert flow.keys() == {"1", "2", "3", "5"}


def test_an_update_of_other_fields_writes_nothing(shared: Scene) -> None:
    """A change of fields that no projection names leaves the key alone."""
    flow = shared.run("other-fields", projection(["title"]), documents=FILMS)
    flow.redis.hset(flow.key(1), "title", "touched by hand")
    flow.collection.update_one({"_id": 1}, {"$set": {"year": 1}})
    flow.catch_up()
    assert flow.hash(1) == {"title": "touched by hand"}


NESTED = {"street": "address.street", "city": "address.city", "whole": "address", "rooms": "rooms"}


@pytest.mark.parametrize("kind", ["hash", "json"])
def test_nested_paths_follow_every_way_of_writing_them(shared: Scene, kind: str) -> None:
    """A path is right after a change of itself, of what is above it, of what is below it, and of an array element."""
    house = {"_id": 1, "address": {"street": "A", "city": "X"}, "rooms": [{"m2": 10}, {"m2": 20}]}
    flow = shared.run(f"nested-{kind}", projection(NESTED, type=kind), documents=[house])
    houses = flow.collection
    changes: list[Any] = [
        {"$set": {"address.street": "B"}},
        {"$set": {"address": {"city": "Y", "zip": 7}}},
        {"$set": {"address.geo.lat": 1.5}},
        {"$unset": {"address.city": ""}},
        {"$unset": {"address": ""}},
        {"$set": {"rooms.1.m2": 25}},
        {"$push": {"rooms": {"m2": 30}}},
        {"$pop": {"rooms": -1}},
        {"$set": {"rooms.0": {"m2": [1, {"a": 2}]}}},
        {"$set": {"rooms.0.m2.1.a": 3, "address": {"street": "C"}}},
        [{"$set": {"rooms": {"$slice": ["$rooms", 1]}, "address.street": "D"}}],
    ]
    for change in changes:
        houses.update_one({"_id": 1}, change)
        flow.wait_same()


def test_an_element_of_an_array_changes_what_is_read_through_it(shared: Scene) -> None:
    """A mapped path through an array shows an element's change, also when another field changes with it."""
    order = {"_id": 1, "lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}], "state": "open"}
    flow = shared.run("array", projection({"skus": "lines.sku", "state": "state"}), documents=[order])
    flow.wait_hash(1, {"skus": '["a","b"]', "state": "open"})
    flow.collection.update_one({"_id": 1}, {"$set": {"lines.1.sku": "c"}})
    flow.wait_hash(1, {"skus": '["a","c"]', "state": "open"})
    flow.collection.update_one({"_id": 1}, {"$push": {"lines": {"sku": "d"}}, "$set": {"state": "paid"}})
    flow.wait_hash(1, {"skus": '["a","c","d"]', "state": "paid"})


def test_a_filter_decides_who_is_there(shared: Scene) -> None:
    """A document that leaves the filter leaves Redis, one that enters it comes, one deleted outside it stays away."""
    shown = {"state": "public", "rank": {"$gte": 5}}
    documents = [
        {"_id": 1, "state": "public", "rank": 9, "title": "in"},
        {"_id": 2, "state": "public", "rank": 1, "title": "out"},
        {"_id": 3, "state": "draft", "rank": 9, "title": "out"},
    ]
    flow = shared.run("filter", projection(["title", "rank"]), filter=shown, documents=documents)
    assert flow.keys() == {"1"}
    flow.collection.update_one({"_id": 1}, {"$set": {"rank": 2}})
    flow.wait_gone(1)
    flow.collection.update_one({"_id": 2}, {"$set": {"rank": 5}})
    flow.wait_hash(2, {"title": "out", "rank": "5"})
    flow.collection.delete_one({"_id": 1})
    flow.collection.replace_one({"_id": 2}, {"_id": 2, "state": "draft", "rank": 5})
    flow.collection.insert_many(
        [{"_id": 4, "state": "public", "rank": 0}, {"_id": 5, "state": "public", "rank": 7}]
    )
    flow.collection.update_one({"_id": 3}, {"$set": {"state": "public"}})
    flow.wait_same()
    assert flow.keys() == {"3", "5"}


def test_a_key_of_another_field_follows_it(shared: Scene) -> None:
    """When the field in the key changes, the new key comes and the old one goes; a delete removes the present one."""
    documents = [{"_id": 1, "slug": "one", "title": "A"}, {"_id": 2, "slug": "two", "title": "B"}]
    flow = shared.run("slug", projection(["title"], key="{slug}"), unique=[["slug"]], documents=documents)
    assert flow.keys() == {"one", "two"}
    flow.collection.update_one({"_id": 1}, {"$set": {"slug": "uno", "title": "C"}})
    flow.wait_same()
    assert flow.keys() == {"uno", "two"}
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "D"}})
    flow.wait_same()
    flow.collection.delete_one({"_id": 1})
    flow.wait_gone("uno")
    flow.collection.insert_one({"_id": 3, "slug": "one", "title": "E"})
    flow.collection.replace_one({"_id": 2}, {"_id": 2, "slug": "zwei", "title": "F"})
    flow.wait_same()
    assert flow.keys() == {"one", "zwei"}


def test_two_documents_swap_their_keys(shared: Scene) -> None:
    """After two documents exchanged the field in their keys, in one transaction or step by step, each key is right."""
    documents = [{"_id": 1, "slug": "a", "title": "first"}, {"_id": 2, "slug": "b", "title": "second"}]
    flow = shared.run("swap", projection(["title"], key="{slug}"), unique=[["slug"]], documents=documents)
    films = flow.collection
    for one, other, middle in [("b", "a", "x"), ("a", "b", "y")]:
        films.update_one({"_id": 1}, {"$set": {"slug": middle}})
        films.update_one({"_id": 2}, {"$set": {"slug": other}})
        films.update_one({"_id": 1}, {"$set": {"slug": one}})
        flow.wait_same()
    with shared.mongo.start_session() as session, session.start_transaction():
        films.update_one({"_id": 1}, {"$set": {"slug": "b"}}, session=session)
        films.update_one({"_id": 2}, {"$set": {"slug": "a"}}, session=session)
    flow.wait_same()
    assert flow.keys() == {"a", "b"}
    # One takes over the key of the other, which is deleted: the key belongs to the living.
    with shared.mongo.start_session() as session, session.start_transaction():
        films.delete_one({"_id": 1}, session=session)
        films.update_one({"_id": 2}, {"$set": {"slug": "b"}}, session=session)
    flow.wait_same()
    assert flow.keys() == {"b"}


@pytest.mark.parametrize("kind", ["hash", "json", "string"])
def test_a_fixed_ttl_is_set_and_set_again(shared: Scene, kind: str) -> None:
    """Every write of a key, whole or in part, gives it its full time to live."""
    flow = shared.run(f"ttl-{kind}", projection(["title"], type=kind, ttl="10m"), documents=FILMS)
    films = flow.collection
    changes: list[Any] = [
        lambda: None,
        lambda: films.update_one({"_id": 1}, {"$set": {"title": "new"}}),
        lambda: films.replace_one({"_id": 1}, {"_id": 1, "title": "newer"}),
    ]
    for change in changes:
        change()
        flow.wait_same()
        assert 500_000 < flow.redis.pttl(flow.key(1)) <= 600_000
        assert flow.redis.pexpire(flow.key(1), 60_000)


def test_a_ttl_from_a_field(shared: Scene) -> None:
    """The key expires at the document's date; without a date it stays, and with one that has passed it goes."""
    now = datetime.now(UTC)
    documents = [
        {"_id": 1, "title": "hour", "until": now + timedelta(hours=1)},
        {"_id": 2, "title": "ever"},
        {"_id": 3, "title": "past", "until": now - timedelta(hours=1)},
    ]
    shapes = [
        projection(["title"], name=kind, type=kind, ttl={"field": "until"}) for kind in ("hash", "json")
    ]
    flow = shared.run("ttl-field", *shapes, documents=documents)
    for kind in ("hash", "json"):
        assert flow.keys(kind) == {"1", "2"}
        assert 3_500_000 < flow.redis.pttl(flow.key(1, kind)) <= 3_600_000
        assert flow.redis.pttl(flow.key(2, kind)) == -1
    flow.collection.update_one({"_id": 1}, {"$unset": {"until": ""}})
    flow.collection.update_one({"_id": 2}, {"$set": {"until": now - timedelta(seconds=1)}})
    flow.collection.update_one({"_id": 3}, {"$set": {"until": now + timedelta(hours=2)}})
    for kind in ("hash", "json"):
        wait_until(lambda kind=kind: flow.keys(kind) == {"1", "3"})
        assert flow.redis.pttl(flow.key(1, kind)) == -1
        assert 7_100_000 < flow.redis.pttl(flow.key(3, kind)) <= 7_200_000


def test_masks_and_expressions(shared: Scene) -> None:
    """Masked values never reach Redis, also not by an update; expressions are computed again by every change."""
    fields = {
        "card": {"from": "card", "mask": "last4"},
        "secret": {"from": "secret", "mask": "redact"},
        "label": {"expr": "join('-', [title, to_string(release.year)])"},
        "year": {"from": "release.year", "type": "string"},
    }
    document = {
        "_id": 1,
        "card": "4111111111111111",
        "secret": "s3cret",
        "title": "M",
        "release": {"year": 1931},
    }
    flow = shared.run("masks", projection(fields), documents=[document])
    flow.wait_hash(1, {"card": "****1111", "secret": "[redacted]", "label": "M-1931", "year": "1931"})
    flow.collection.update_one({"_id": 1}, {"$set": {"card": "5500000000002222", "secret": "other"}})
    flow.wait_hash(1, {"card": "****2222", "secret": "[redacted]", "label": "M-1931", "year": "1931"})
    flow.collection.update_one({"_id": 1}, {"$set": {"release.year": 1932}})
    flow.wait_hash(1, {"card": "****2222", "secret": "[redacted]", "label": "M-1932", "year": "1932"})


def test_all_fields(shared: Scene) -> None:
    """`fields: all` is the whole document, follows fields that come and go, and keeps nothing that went."""
    shapes = [projection("all", name="hash"), projection("all", name="json", type="json")]
    flow = shared.run("all", *shapes, documents=[{"_id": 1, "a": 1, "b": {"c": [1, 2]}}])
    assert flow.hash(1, "hash") == {"_id": "1", "a": "1", "b": '{"c":[1,2]}'}
    assert flow.json(1, "json") == {"_id": 1, "a": 1, "b": {"c": [1, 2]}}
    flow.collection.update_one({"_id": 1}, {"$unset": {"a": ""}, "$set": {"b.d": "x", "e": True}})
    flow.wait_hash(1, {"_id": "1", "b": '{"c":[1,2],"d":"x"}', "e": "true"}, "hash")
    assert flow.json(1, "json") == {"_id": 1, "b": {"c": [1, 2], "d": "x"}, "e": True}


def test_two_projections_change_together(shared: Scene) -> None:
    """Every projection of a contract follows every change; a delete removes all keys of the document."""
    shapes = [
        projection(["title"], name="card", ttl="1h"),
        projection({"name": "title", "when": "year"}, name="full", type="json"),
    ]
    flow = shared.run("two", *shapes, documents=FILMS)
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "changed", "year": 5}})
    flow.collection.update_one({"_id": 2}, {"$set": {"year": 6}})
    flow.collection.delete_one({"_id": 3})
    flow.wait_same()
    assert flow.keys("card") == flow.keys("full") == {"1", "2"}


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


def test_changes_while_the_daemon_was_down(scene: Scene) -> None:
    """What changed while no daemon ran is in Redis after the next start, without another snapshot. Where the position
    was lost as well there is one, and keys of documents that are gone are swept out."""
    documents = [{"_id": n, "title": f"film {n}"} for n in range(500)]
    flow = scene.run("down", projection(["title"]), documents=documents)
    for snapshots, gone in ((1, 100), (2, 200)):
        assert scene.daemon.terminate() == 0
        if snapshots == 2:
            flow.redis.delete(flow.names.control("position"))
        flow.collection.delete_many({"_id": {"$lt": gone}})
        flow.collection.update_one({"_id": 300}, {"$set": {"title": f"changed {gone}"}})
        flow.collection.insert_one({"_id": 1000 + gone, "title": "new"})
        scene.start()
        flow.wait_live()
        flow.wait_same()
        assert len(scene.daemon.logs(event="snapshot started", contract=flow.contract)) == snapshots
    assert len(flow.keys()) == 302


def test_a_stop_in_the_middle_of_a_snapshot(scene: Scene, redis_url: str) -> None:
    """A snapshot that was stopped goes on where it was: no document is written twice, and none is left out."""
    total, chunk = 12_000, 200
    documents = [{"_id": n, "title": f"film {n}", "text": "x" * 200} for n in range(total)]
    flow = scene.add("stop", projection(["title", "text"]), documents=documents)
    flow.count_reads()
    with Proxy(urlsplit(redis_url).port or 0) as proxy:
        env = {"SYNCD_CHUNK_DOCUMENTS": str(chunk), "SYNCD_BATCH_WRITES": "20"}
        slow = scene.another_daemon(SYNCD_REDIS_URL=proxy.redis_url, **env)
        middle = proxy.hold_request(b"syncd_apply", flow.key(total // 4).encode() + b"\r\n")
        slow.launch()
        middle.wait()
        slow.process.signal(signal.SIGTERM)
        middle.release()
        assert slow.wait_exit() == 0
    first = flow.copied()
    position = flow.position()
    assert position["phase"] == b"snapshot"
    assert len(flow.keys()) == first < total
    scene.start()
    flow.wait_live()
    read = flow.documents_read()
    flow.assert_same()
    assert flow.copied() == total
    assert flow.metric("syncd_writes_total", result="put") == total - first
    assert total <= read <= total + 4 * chunk, "chunks that were done are not read again"


def test_a_collection_that_does_not_exist_yet(shared: Scene) -> None:
    """A contract may come before its collection; the first document shows."""
    flow = shared.run("later", projection(["title"]))
    assert flow.collection.name not in flow.collection.database.list_collection_names()
    flow.collection.insert_one({"_id": 1, "title": "first"})
    flow.wait_hash(1, {"title": "first"})


def test_the_keys_of_a_template_belong_to_syncd(scene: Scene) -> None:
    """The first copy overwrites what an application wrote under a key of the template, and leaves alone what has no
    document, a key of another type, and one with a part more, which is no key of the template."""
    flow = scene.add("mine", projection(["title"]), documents=FILMS)
    flow.redis.hset(flow.key(2), mapping={"title": "the application's", "cart": "full"})
    flow.redis.hset(flow.key(77), "cart", "full")
    flow.redis.rpush(flow.key(78), "an entry")
    flow.redis.set(flow.key("2:cart"), "full")
    scene.start()
    flow.wait_live()
    assert flow.hash(2) == {"title": "M"}
    assert flow.keys() == {"1", "2", "3", "77", "78", "2:cart"}
