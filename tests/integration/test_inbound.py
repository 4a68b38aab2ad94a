"""MongoDB to Redis: what a snapshot and every kind of change do to the keys of a projection."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

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
