"""An input costs only itself: what one document, key or entry holds never stops those beside it."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from bson import Code

from syncd.contract.model.redis.template import KeyTemplate
from syncd.embedded import RedisServer
from syncd.plan.keys.templates import key_reader
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.shapes.odd_bson import int32, odd_ids, put, raw, text
from tests.support.shapes.odd_keys import ODD_ENDS, is_read
from tests.support.ways.keyspace import add_keyspace
from tests.support.ways.outbox import add_outbox
from tests.support.ways.reconcile import check
from tests.support.ways.twoway import add_two_way

SHAPES = [projection(["n"]), projection("all", name="doc", type="json")]


def healthy(start: int) -> list[dict[str, Any]]:
    return [{"_id": number, "n": number} for number in range(start, start + 30)]


def wait_keys(flow: Flow, wanted: set[str], name: str = "card") -> None:
    wait_until(lambda: flow.keys(name) == wanted, 60, lambda: (flow.lane(), flow.keys(name) ^ wanted))


def test_an_id_that_no_driver_gives_back(scene: Scene) -> None:
    """nothing_lost, nothing_silent: an `_id` that is not UTF-8, or that a driver changes, is a dead letter in snapshot,
    stream, update and deletion; nothing beside it waits, and a snapshot ends behind it."""
    flow = scene.add("film", projection(["n"]), documents=healthy(0))
    films = flow.collection
    odd = [raw(one, n=1) for number in (3, 4, 5) for one in odd_ids(number).values()]
    assert put(films, *odd) == len(odd)
    scene.daemon = scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="10")
    scene.start()
    flow.wait_live()
    wait_keys(flow, {str(n) for n in range(30)})
    dead_letters = flow.dead_letters()
    assert {one["reason"] for one in dead_letters} == {"odd_id"}
    assert len({one["id"] for one in dead_letters}) == len(dead_letters) == len(odd)
    films.update_many({"n": 1}, {"$set": {"seen": True, "n": 2}})
    assert put(films, *(raw(one, n=1, seen=True) for one in odd_ids(6).values())) == len(odd_ids(6))
    films.insert_many(healthy(100))
    wait_keys(flow, {str(n) for n in [*range(30), *range(100, 130)]})
    waiting = len(odd) + len(odd_ids(6))
    assert len(flow.dead_letters()) >= waiting
    assert len({one["id"] for one in flow.dead_letters()}) == len(flow.dead_letters())
    films.delete_many({"seen": True, "_id": {"$not": {"$type": "int"}}})
    films.insert_many(healthy(200))
    wait_keys(flow, {str(n) for n in [*range(30), *range(100, 130), *range(200, 230)]})
    assert flow.metric("syncd_lane_restarts_total") == 0


def test_large_documents_beside_an_odd_id(scene: Scene) -> None:
    """nothing_lost: an odd `_id` costs only itself where documents are large, too, and where it is an ordinary object:
    as bytes of a reply they are read in another way than small ones."""
    large = "x" * 5000
    flow = scene.add("large", projection(["n", "text"]), documents=healthy(0))
    films = flow.collection
    films.insert_many([{"_id": {"a": 1}, "n": 1, "text": large}, {"_id": "z", "n": 1, "text": large}])
    odd = [raw(one, n=1, text=large) for one in odd_ids(3).values()]
    assert put(films, *odd) == len(odd)
    scene.start()
    flow.wait_live()
    wait_until(lambda: len(flow.keys()) == 32, 60, lambda: (flow.lane(), flow.keys()))
    films.update_many({"n": 1}, {"$set": {"n": 2, "text": large + "y"}})
    films.insert_one({"_id": {"a": 2}, "n": 2, "text": large})
    films.insert_one({"_id": 100, "n": 2})
    wait_until(lambda: len(flow.keys()) == 34, 60, lambda: (flow.lane(), flow.keys()))
    assert len(flow.dead_letters()) == len(odd)
    assert flow.metric("syncd_lane_restarts_total") == 0


ODD_VALUES = {
    "a reference": raw(("$ref", 0x02, text(b"c")), ("$id", 0x10, int32(5)), n=1),
    "half of a reference": raw(("$ref", 0x02, text(b"x")), n=1),
    "a database of a reference": raw(
        ("$db", 0x02, text(b"x")), ("$ref", 0x02, text(b"c")), ("$id", 0x0A, b""), n=1
    ),
    "a binary of a wrong length": raw(("b", 0x05, int32(3) + b"\x02abc"), n=1),
    "one further in": raw(("b", 0x03, raw(("b", 0x05, int32(9) + b"\x02\xff\xff\xff\xffabcde"))), n=1),
    "a name that is not UTF-8": raw(("a", 0x10, int32(1)), n=1).replace(b"\x10a\0", b"\x10\xff\0"),
    "text that is not UTF-8": raw(("a", 0x02, text(b"\xff")), n=1),
    "a text of nothing but zeros": raw(("a", 0x02, text(b"\0\0\0")), n=1),
}


REFERENCE: dict[str, Any] = {
    "$setField": {
        "field": {"$literal": "$ref"},
        "value": "c",
        "input": {"$setField": {"field": {"$literal": "$id"}, "value": 1, "input": "$$ROOT"}},
    }
}
"""Makes a document look like a reference, by an update."""


def with_id(document: bytes, document_id: int) -> bytes:
    body = b"\x10_id\0" + int32(document_id) + document[4:]
    return (len(body) + 4).to_bytes(4, "little") + body


def test_a_value_that_no_driver_reads(scene: Scene) -> None:
    """nothing_lost, nothing_silent: a reference where a document is, or BSON that no driver reads, costs that document
    alone: keys that hold it are right or a dead letter, keys that do not are right; in snapshot and stream."""
    shapes = [projection(["n"]), projection("all", name="doc", type="json"), projection("all", name="flat")]
    flow = scene.add("film", *shapes, documents=healthy(0))
    odd = [with_id(one, 100 + at) for at, one in enumerate(ODD_VALUES.values())]
    assert put(flow.collection, *odd) == len(odd)
    scene.start()
    flow.wait_live()
    check_odd(flow, range(100, 100 + len(odd)), range(30))
    more = [with_id(one, 200 + at) for at, one in enumerate(ODD_VALUES.values())]
    assert put(flow.collection, *more) == len(more)
    flow.collection.insert_many(healthy(300))
    check_odd(
        flow, [*range(100, 100 + len(odd)), *range(200, 200 + len(odd))], [*range(30), *range(300, 330)]
    )
    flow.collection.update_many({"n": 1}, {"$set": {"seen": 1}})
    flow.collection.update_many({"n": 1}, [{"$set": {"m": {"$literal": {"$ref": "c", "$id": 5}}}}])
    flow.collection.update_one({"_id": 1}, [{"$replaceWith": REFERENCE}])
    check_odd(
        flow, [*range(100, 100 + len(odd)), *range(200, 200 + len(odd))], [*range(30), *range(300, 330)]
    )
    flow.catch_up()
    assert flow.metric("syncd_lane_restarts_total") == 0


def check_odd(flow: Flow, odd: Iterable[int], fine: Iterable[int]) -> None:
    """Everything is in the keys that do not hold what is odd; the other projections have a key or a dead letter."""
    every = {str(one) for one in [*odd, *fine]}
    wait_keys(flow, every)
    for name in ("doc", "flat"):
        parked = {one["id"] for one in flow.dead_letters() if one["projection"] == name}
        assert flow.keys(name) | parked == every
        assert not flow.keys(name) & parked
    assert flow.lane()["state"] == "live"


def write_key(flow: Flow, end: bytes | str, n: int) -> None:
    """A hash, and its entry where there is an outbox."""
    key = flow.key("").encode() + (end if isinstance(end, bytes) else end.encode())
    pipe = flow.redis.pipeline(transaction=True)
    pipe.hset(key, mapping={"n": n})
    pipe.xadd(flow.names.control("outbox"), {"key": key})
    pipe.execute()


def check_keys(flow: Flow, told: Collection[bytes], fine: Collection[str], before: int) -> None:
    """The fine ones are documents, each odd one that is reported is a document or has a dead letter."""

    def is_done() -> bool:
        there = flow.collection.count_documents({"_id": {"$in": list(fine)}})
        odd = flow.collection.count_documents({"n": 1})
        parked = len({one["id"] for one in flow.dead_letters()})
        return there == len(fine) and odd + parked - before == len(told)

    wait_until(
        is_done, 60, lambda: (flow.lane(), flow.collection.count_documents({"n": 1}), flow.dead_letters())
    )
    assert flow.metric("syncd_lane_restarts_total") == 0


def check_odd_keys(flow: Flow, told: Collection[bytes] = ODD_ENDS) -> None:
    before = len(flow.dead_letters())
    for number, end in enumerate(ODD_ENDS):
        write_key(flow, end, 1)
        write_key(flow, f"fine-{number}", 2)
    fine = [f"fine-{number}" for number in range(len(ODD_ENDS))]
    check_keys(flow, told, fine, before)
    flow.collection.insert_one({"_id": "of mongo", "n": 3})
    for end in ODD_ENDS:
        flow.redis.delete(flow.key("").encode() + end)
    for number in range(5):
        write_key(flow, f"later-{number}", 2)
    wait_until(lambda: flow.collection.count_documents({"_id": {"$regex": "^later"}}) == 5, 60, flow.lane)
    assert flow.metric("syncd_lane_restarts_total") == 0


def test_an_outbox_with_keys_that_mongodb_refuses(scene: Scene) -> None:
    """nothing_lost, nothing_silent: whatever stands in a key, only that key is parked: many at once, a few, when they
    go, and behind them."""
    flow = add_outbox(scene, "film", {"n": {"from": "n", "type": "int"}})
    scene.start()
    flow.wait_live()
    check_odd_keys(flow)


def test_keyspace_events_with_keys_that_mongodb_refuses(scene: Scene, mongo_uri: str, tmp_path: Path) -> None:
    """nothing_lost, nothing_silent: of keyspace events, too, only the odd key is parked; a key that is none of the
    template is not even a dead letter."""
    with RedisServer() as server, Scene(tmp_path / "own", scene.token, mongo_uri, server.url) as own:
        flow = add_keyspace(own, "film", {"n": {"from": "n", "type": "int"}})
        own.start()
        flow.wait_live()
        read = key_reader(KeyTemplate.parse(flow.key("{_id}")), stored=True)
        check_odd_keys(flow, [end for end in ODD_ENDS if is_read(read, flow.key("").encode() + end)])


def test_many_pointers(scene: Scene) -> None:
    """nothing_lost: an index has DBPointers in another order than `$expr`; a copy in small steps, from one to the next,
    passes none over."""
    flow = scene.add("film", projection(["n"]), documents=healthy(0))
    chance = random.Random(4)
    pointers = [
        raw(("_id", 0x0C, text(bytes(chance.choices(b"defgh", k=5))) + chance.randbytes(12)), n=1)
        for _ in range(120)
    ]
    assert put(flow.collection, *pointers) == len(pointers)
    flow.collection.insert_one({"_id": Code("f()"), "n": 1})  # behind them
    scene.daemon = scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="10")
    scene.start()
    flow.wait_live()
    assert len({one["id"] for one in flow.dead_letters()}) == len(pointers)
    assert len(flow.keys()) == len(healthy(0)) + 1


def test_both_ways_with_keys_that_mongodb_refuses(scene: Scene) -> None:
    """nothing_lost, nothing_silent: both ways, too, only the odd key is parked, and a document whose `_id` no key can
    have."""
    flow = add_two_way(scene, "film", "outbox", {"n": {"from": "n", "type": "int"}})
    odd = [raw(one) for one in odd_ids(3).values()]
    assert put(flow.collection, *odd) == len(odd)
    scene.start()
    flow.wait_live()
    wait_until(lambda: len(flow.dead_letters()) == len(odd), 60, flow.dead_letters)
    assert {one["reason"] for one in flow.dead_letters()} == {"odd_id"}
    assert put(flow.collection, *(raw(one) for one in odd_ids(4).values())) == len(odd)
    wait_until(lambda: len(flow.dead_letters()) == 2 * len(odd), 60, flow.dead_letters)
    flow.collection.delete_many({"_id": {"$type": ["object", "dbPointer", "javascript"]}})
    check_odd_keys(flow)


def regex(pattern: bytes) -> bytes:
    return pattern + b"\0\0"


NO_WAY_BACK = {
    "text that is not UTF-8": ("a", 0x02, text(b"\xff")),
    "a regular expression that is not": ("a", 0x0B, regex(b"\xff")),
    "code that is not": ("a", 0x0D, text(b"\xff")),
    "code that is not, with a scope": ("a", 0x0F, int32(15) + text(b"\xff") + int32(5) + b"\0"),
    "bytes that are no text": ("a", 0x05, int32(2) + b"\0\xff\xfe"),
}


def test_both_ways_with_values_that_have_no_way_back(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_lost, nothing_silent: a value that a key could not give back is a dead letter with a reason of its own
    before it is written, not once it is there, and a check comes to an end beside it."""
    flow = add_two_way(scene, "film", "keyspace", {"a": "a", "n": "n"}, documents=healthy(0))
    odd = [with_id(raw(one), 100 + at) for at, one in enumerate(NO_WAY_BACK.values())]
    assert put(flow.collection, *odd) == len(odd)
    scene.start()
    flow.wait_live()
    wait_until(lambda: len(flow.dead_letters()) == len(odd), 60, flow.dead_letters)
    assert {one["reason"] for one in flow.dead_letters()} == {"not_unicode"}
    wait_keys(flow, {str(n) for n in range(30)})
    at = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    ran = syncd("reconcile", flow.contract, "--contracts", scene.contracts.path, "-o", "json", **at)
    assert (json.loads(ran.stdout)["drift"]["content"], ran.stderr) == (0, "")
    flow.collection.delete_many({"_id": {"$gte": 100}})
    flow.collection.insert_one({"_id": 30, "n": 30})
    wait_keys(flow, {str(n) for n in range(31)})
    assert flow.collection.count_documents({}) == 31


def test_commands_beside_odd_documents(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_lost: a check, by digests and in full, a replay, a new snapshot by workers and a draft come to an end;
    dead letters can be read."""
    shapes = [projection(["n"]), projection("all", name="doc", type="json")]
    flow = scene.add("film", *shapes, documents=healthy(0), reconcile={"check": "digest"})
    # Out of a pipeline of MongoDB's comes another one of a name twice, and a draft or a digest has one.
    odd = [raw(one, n=1) for name, one in odd_ids(3).items() if name != "a name twice"]
    odd += [with_id(one, 100 + at) for at, one in enumerate(ODD_VALUES.values())]
    assert put(flow.collection, *odd) == len(odd)
    scene.daemon = scene.another_daemon(SYNCD_SNAPSHOT_PROCESSES="2", SYNCD_CHUNK_DOCUMENTS="10")
    scene.start()
    flow.wait_live()
    waiting = len(flow.dead_letters())
    assert waiting > len(odd_ids(3))
    at = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    for kind in ("digest", "full"):
        chosen = ("--check", kind, "--contracts", scene.contracts.path, "-o", "json")
        ran = syncd("reconcile", flow.contract, *chosen, **at)
        assert ran.returncode in (0, 1), ran.stderr
        assert "Traceback" not in ran.stderr
        assert json.loads(ran.stdout)["drift"] == {"missing": 0, "extra": 0, "content": 0, "ttl": 0}, (
            ran.stdout
        )
    listed = syncd("deadletters", "list", flow.contract, "-o", "json", **at)
    assert len(json.loads(listed.stdout)) == waiting
    before = {(one["projection"], one["id"], one["reason"]) for one in flow.dead_letters()}
    replayed = json.loads(syncd("deadletters", "replay", flow.contract, "--all", "-o", "json", **at).stdout)
    after = {(one["projection"], one["id"], one["reason"]) for one in flow.dead_letters()}
    assert after == before
    assert replayed == {"contract": flow.contract, "written": 0, "still_failing": waiting, "not_found": 0}
    assert len(flow.dead_letters()) == waiting
    assert syncd("snapshot", flow.contract, **at).returncode == 0
    finished = {"event": "snapshot finished", "contract": flow.contract}
    wait_until(
        lambda: len(scene.daemon.logs(**finished)) == 2 and flow.lane()["state"] == "live", 60, flow.lane
    )
    assert len(flow.dead_letters()) == waiting
    draft = syncd("init", flow.collection.full_name, **at)
    assert (draft.returncode, draft.stderr) == (0, "")
    assert flow.metric("syncd_lane_restarts_total") == 0


def test_a_filter_that_fails_on_a_document(scene: Scene) -> None:
    """nothing_lost, nothing_silent: a document on which the filter raises an error is a dead letter, in snapshot and
    stream; one on which it no longer does is there at once. A filter that MongoDB refuses as a whole stops the lane and
    makes no dead letter."""
    ratio = {"$expr": {"$gt": [{"$divide": [10, "$n"]}, 1]}}
    numbers = [{"_id": number, "n": number % 7} for number in range(35)]
    how = {"filter": ratio, "reconcile": {"check": "digest"}}
    flow = scene.add("film", projection(["n"]), documents=numbers, **how)
    wrong = ({"$expr": {"$nothing": 1}}, {"$expr": {"$divide": [10, 0]}})
    refused = [
        scene.add(f"refused-{at}", projection(["n"]), source=flow, filter=one) for at, one in enumerate(wrong)
    ]
    scene.daemon = scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="10")
    scene.start()
    flow.wait_live()
    wait_keys(flow, {str(one["_id"]) for one in numbers if one["n"]})
    dead_letters = flow.dead_letters()
    assert {(one["id"], one["reason"]) for one in dead_letters} == {
        (str(one["_id"]), "filter_fails") for one in numbers if not one["n"]
    }
    assert len(dead_letters) == 5
    flow.collection.insert_many({"_id": number, "n": number % 7} for number in range(35, 70))
    flow.collection.update_one({"_id": 0}, {"$set": {"n": 3}})
    wait_keys(flow, {str(number) for number in range(70) if number % 7} | {"0"})
    wait_until(lambda: len(flow.dead_letters()) == 10, 60, flow.dead_letters)
    assert flow.metric("syncd_lane_restarts_total") == 0
    for one in refused:
        one.wait_state("failed")
        assert one.dead_letters() == []


def test_checks_beside_a_filter_that_fails(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """A check, by digests and in full, names the documents on which the filter fails, compares and repairs the rest,
    also keys of which the maps know nothing, where MongoDB has to be asked whose they are."""
    ratio = {"$expr": {"$gt": [{"$divide": [10, "$n"]}, 1]}}
    shapes = projection(["n"]), projection(["n"], name="slug", key="{slug}")
    films = [{"_id": number, "n": number % 7, "slug": f"s{number}"} for number in range(35)]
    how = {"filter": ratio, "unique": [["slug"]], "reconcile": {"check": "digest"}}
    flow = scene.run("film", *shapes, documents=films, **how)
    flow.redis.hset(flow.key(1), "n", "another")
    flow.redis.delete(flow.key("s2", "slug"))
    flow.redis.hset(flow.key("s7", "slug"), "n", "0")  # once it had a key, and the maps have lost it
    flow.redis.delete(*flow.redis.keys(flow.names.control("owners:*")))
    found = check(scene, flow, mongo_uri, redis_url, by_digest=True)
    assert (found.check, found.note.partition(":")[0]) == ("full", "compared in full")
    assert found.filter_fails == [str(number) for number in range(0, 35, 7)]
    wrong = {mark.key for mark in found.examples}
    assert {flow.key(1), flow.key("s2", "slug"), flow.key("s7", "slug")} <= wrong
    repaired = check(scene, flow, mongo_uri, redis_url, repair=True)
    assert (repaired.left, repaired.filter_fails) == (0, found.filter_fails)
    assert flow.hash(1) == {"n": "1"} and not flow.redis.exists(flow.key("s7", "slug"))


def test_an_expression_that_grows(scene: Scene) -> None:
    """bounded, nothing_silent: a document of which an expression makes too much is a dead letter, and the lane goes
    on."""
    fields = {"n": "n", "many": {"expr": "a" + "|[@,@]" * 13}}
    flow = scene.add(
        "film", projection(fields, type="json"), documents=[{"_id": 1, "a": "x" * 5000}, {"_id": 2}]
    )
    scene.start()
    flow.wait_live()
    flow.collection.insert_many([{"_id": 3, "a": "y" * 5000}, {"_id": 4, "a": 1}])
    wait_keys(flow, {"2", "4"})
    wait_until(lambda: len(flow.dead_letters()) == 2, 60, flow.dead_letters)
    assert {(one["id"], one["reason"]) for one in flow.dead_letters()} == {
        ("1", "expression"),
        ("3", "expression"),
    }
    assert flow.metric("syncd_lane_restarts_total") == 0
