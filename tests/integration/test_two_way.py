"""Changes of both sides go to the other one."""

from __future__ import annotations

import datetime
import threading
import time
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS

from syncd.plan.values.raw import element_at
from syncd.stores.mongo.reads.replies import RAW_CODEC
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import Names
from tests.support.scene import Document, Flow, Scene
from tests.support.servers.shared import connect
from tests.support.shapes.odd_bson import int32, put, raw, text
from tests.support.ways.twoway import (
    add_two_way,
    change_key,
    conflicts,
    hdel,
    hset,
    remove_key,
    wait_alike,
    wait_document,
)


def live(scene: Scene, short: str, *args: Any, **more: Any) -> Flow:
    flow = add_two_way(scene, short, *args, **more)
    if not scene.daemon.process.alive:
        scene.start()
    flow.wait_live()
    return flow


def without_id(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "_id"}


@pytest.mark.parametrize("capture", ["outbox", "keyspace"])
def test_changes_of_both_sides(shared: Scene, capture: str) -> None:
    """What was there on one side is copied; then each change goes over, deletions too; other fields are left alone."""
    films = [{"_id": n, "n": n, "a": f"a{n}", "in": {"b": "b"}, "mine": 1} for n in range(3)]
    key = Names(shared.token, f"plain-{capture}").prefix("card") + "7"
    shared.redis.hset(key, mapping={"n": 7, "c": "from redis"})
    flow = live(shared, f"plain-{capture}", capture, documents=films)
    wait_alike(flow)
    assert flow.hash(1) == {"n": "1", "a": "a1", "b": "b"}
    wait_document(flow, 7, {"n": 7, "c": "from redis"})
    hset(flow, 1, c="new", own="x")
    wait_document(flow, 1, {"n": 1, "a": "a1", "in": {"b": "b"}, "mine": 1, "c": "new"})
    flow.collection.update_one({"_id": 1}, {"$set": {"in.b": "other"}, "$unset": {"a": ""}})
    flow.wait_hash(1, {"n": "1", "b": "other", "c": "new", "own": "x"})
    hdel(flow, 1, "own", "c")
    wait_document(flow, 1, {"n": 1, "in": {"b": "other"}, "mine": 1})
    remove_key(flow, 0)
    wait_document(flow, 0, None)
    flow.collection.delete_one({"_id": 2})
    flow.wait_gone(2)
    wait_alike(flow)
    assert conflicts(flow) == []


def test_json(shared: Scene) -> None:
    """Members are merged one by one, with their types; what the contract does not name stays."""
    fields = {"at": {"from": "at", "type": "date"}, "tags": "tags", "deep": "x.deep", "odd name": "odd"}
    film = {"_id": "a", "at": datetime.datetime(2026, 1, 2, 3, 4, 5), "tags": ["x"], "x": {"deep": None}}
    flow = live(shared, "json", "outbox", fields, type="json", documents=[film])
    whole = {"at": "2026-01-02T03:04:05.000Z", "tags": ["x"], "deep": None}
    wait_until(lambda: flow.json("a") == whole, 20, lambda: (flow.json("a"), flow.lane()))
    change_key(flow, "a", ("JSON.SET", "$.own", "1"), ("JSON.SET", '$["odd name"]', '{"b": 1.0}'))
    wait_document(flow, "a", {**without_id(film), "odd": {"b": 1.0}})
    flow.collection.update_one(
        {"_id": "a"}, {"$set": {"tags": [1, {"y": 2}], "odd": 5}, "$unset": {"x.deep": ""}}
    )
    wanted = {"at": whole["at"], "tags": [1, {"y": 2}], "odd name": 5, "own": 1}
    wait_until(lambda: flow.json("a") == wanted, 20, lambda: (flow.json("a"), flow.lane()))
    change_key(flow, "a", ("JSON.DEL", "$.tags"))
    wait_document(flow, "a", {"at": film["at"], "x": {}, "odd": 5})
    change_key(flow, "b", ("JSON.SET", "$", '{"at": "2026-05-05T00:00:00Z"}'))
    wait_document(flow, "b", {"at": datetime.datetime(2026, 5, 5)})
    flow.collection.insert_one({"_id": "c"})
    wait_until(lambda: flow.json("c") == {}, 20, flow.lane)
    assert conflicts(flow) == []


def test_a_string(shared: Scene) -> None:
    """One value, both ways."""
    flow = live(
        shared, "string", "keyspace", None, type="string", shape={"value": {"from": "v", "type": "int"}}
    )
    flow.redis.set(flow.key(1), "5")
    wait_document(flow, 1, {"v": 5})
    flow.collection.update_one({"_id": 1}, {"$inc": {"v": 1}})
    wait_until(lambda: flow.redis.get(flow.key(1)) == b"6", 20, flow.lane)
    flow.redis.incr(flow.key(1))
    wait_document(flow, 1, {"v": 7})
    flow.redis.delete(flow.key(1))
    wait_document(flow, 1, None)


RULES = {
    "merge_fields": ("mongo", {"a": "redis", "c": "mongo", "n": "1", "b": "mongo"}),
    "mongo_wins": ("mongo", {"a": "old", "c": "mongo", "n": "1", "b": "mongo"}),
    "redis_wins": ("redis", {"a": "redis", "b": "redis", "c": "old", "n": "1"}),
    "newest": ("redis", {"a": "redis", "b": "redis", "c": "old", "n": "1"}),
}
"""Who wins, and what the hash holds then."""


def test_conflicts(scene: Scene) -> None:
    """nothing_silent: both sides changed while no daemon ran. The rule decides, and MongoDB has a record of what both
    sides said; under `merge_fields` only the field that both changed is lost on one side."""
    film = {"_id": 1, "n": 1, "a": "old", "in": {"b": "old"}, "c": "old"}
    flows = {
        rule: add_two_way(scene, rule.replace("_", "-"), "outbox", rule=rule, documents=[film])
        for rule in RULES
    }
    scene.start()
    for flow in flows.values():
        flow.wait_live()
        wait_alike(flow)
    scene.daemon.terminate()
    for flow in flows.values():
        flow.collection.update_one({"_id": 1}, {"$set": {"in.b": "mongo", "c": "mongo"}})
    time.sleep(0.01)  # so that `newest` has something to see
    for flow in flows.values():
        hset(flow, 1, a="redis", b="redis")
    scene.start()
    for rule, flow in flows.items():
        winner, merged = RULES[rule]
        flow.wait_live()
        flow.wait_hash(1, merged)
        wait_alike(flow)
        (conflict,) = conflicts(flow)
        assert (conflict["why"], conflict["winner"], conflict["document"]) == ("both_changed", winner, 1)
        assert {"field": "b", "mongo": "mongo", "redis": "redis"} in conflict["fields"]
        assert len(conflict["fields"]) == (1 if rule == "merge_fields" else 3)
        assert flow.metric("syncd_conflicts_total", resolution=winner) == 1
        assert flow.lane()["conflicts"] == 1


def test_keys_that_expire(shared: Scene) -> None:
    """That is no deletion: the key comes back with the next change of its document; one that the application makes
    again takes nothing out of it; and a key that was deleted while no daemon listened was deleted."""
    films = [{"_id": n, "n": n, "a": "a", "c": "c"} for n in range(4)]
    flow = live(shared, "expire", "keyspace", documents=films)
    wait_alike(flow)
    for number in (0, 1):
        flow.redis.pexpire(flow.key(number), 1)
    flow.wait_gone(0)
    flow.wait_gone(1)
    synced = flow.names.control("synced")
    wait_until(
        lambda: all(b'"l":true' in flow.redis.hget(synced, flow.key(n)) for n in (0, 1)), 20, flow.lane
    )
    hset(flow, 1, a="new")
    wait_document(flow, 1, {"n": 1, "a": "new", "c": "c"})
    flow.wait_hash(1, {"n": "1", "a": "new", "c": "c"})
    assert flow.keys() == {"1", "2", "3"}
    flow.collection.update_one({"_id": 0}, {"$set": {"c": "changed"}})
    flow.wait_hash(0, {"n": "0", "a": "a", "c": "changed"})
    shared.daemon.terminate()
    flow.redis.delete(flow.key(2))
    shared.start()
    wait_document(flow, 2, None)
    wait_alike(flow)
    assert conflicts(flow) == []


def test_authority(shared: Scene) -> None:
    """A change on the side that has no say is undone, counted and recorded."""
    authority = {"mongo": ["a"], "redis": ["n"]}
    film = {"_id": 1, "n": 1, "a": "plan"}
    flow = live(shared, "authority", "keyspace", sync={"authority": authority}, documents=[film])
    flow.wait_hash(1, {"n": "1", "a": "plan"})
    hset(flow, 1, n=2, a="mine")
    wait_document(flow, 1, {"n": 2, "a": "plan"})
    flow.wait_hash(1, {"n": "2", "a": "plan"})
    flow.collection.update_one({"_id": 1}, {"$set": {"n": 9, "a": "other"}})
    flow.wait_hash(1, {"n": "2", "a": "other"})
    wait_document(flow, 1, {"n": 2, "a": "other"})
    wait_until(lambda: flow.metric("syncd_conflicts_total", resolution="undone") == 2, 20, flow.lane)
    assert [(one["why"], one["winner"]) for one in conflicts(flow)] == [
        ("authority", "mongo"),
        ("authority", "redis"),
    ]


def test_dead_letters_and_replay(shared: Scene, redis_url: str) -> None:
    """What one side cannot hold is parked, and a change that fits, or a replay, removes it."""
    flow = live(shared, "letters", "outbox")
    hset(flow, 1, n="many")
    flow.collection.insert_one({"_id": 2, "n": "secret"})
    flow.collection.insert_one({"_id": 3, "in": [{"b": 1}]})
    wait_until(lambda: len(flow.dead_letters()) == 3, 20, lambda: (flow.dead_letters(), flow.lane()))
    assert {dead_letter["reason"] for dead_letter in flow.dead_letters()} == {"cannot_convert"}
    assert "secret" not in str(flow.dead_letters())
    hset(flow, 1, n="5")
    wait_document(flow, 1, {"n": 5})
    flow.collection.update_one({"_id": 2}, {"$set": {"n": 6}})
    flow.wait_hash(2, {"n": "6"})
    wait_until(lambda: len(flow.dead_letters()) == 1, 20, flow.dead_letters)
    ran = syncd("deadletters", "replay", flow.contract, "--all", SYNCD_REDIS_URL=redis_url)
    assert ran.stdout.strip() == "0 written, 1 still failing, 0 not found", ran.stderr
    wait_until(
        lambda: [dead_letter["id"] for dead_letter in flow.dead_letters()] == ["3"], 20, flow.dead_letters
    )
    flow.collection.update_one({"_id": 3}, {"$set": {"in": {"b": "x"}}})
    flow.wait_hash(3, {"b": "x"})
    wait_until(lambda: not flow.dead_letters(), 20, flow.dead_letters)


def test_an_id_that_drivers_cannot_read_goes_neither_way(
    shared: Scene, mongo_uri: str, redis_url: str
) -> None:
    """A document with a date beyond the year 9999 for its `_id` is a dead letter, a key with one is left out, and a
    copy, a check and all others go on."""
    far, key = DatetimeMS(10**15), Names(shared.token, "far").prefix("card") + f"%~date~{2 * 10**15}"
    shared.redis.hset(key, mapping={"n": 7})
    flow = live(shared, "far", "keyspace", documents=[{"_id": 1, "n": 1}, {"_id": far, "n": 2}])
    flow.wait_hash(1, {"n": "1"})
    wait_until(lambda: flow.lane()["unfit_keys"]["count"] == 1, 20, flow.lane)
    assert [dead_letter["reason"] for dead_letter in flow.dead_letters()] == ["cannot_convert"]
    assert flow.collection.count_documents({}) == 2
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    ran = syncd("reconcile", flow.contract, "--contracts", shared.contracts.path, **env)
    assert ran.returncode == 0, ran.stdout + ran.stderr


ODD: dict[str, tuple[int, bytes]] = {
    "reference": (0x03, raw(("$id", 0x10, int32(1)), ("$ref", 0x02, text(b"c")))),
    "twice": (0x03, raw(("a", 0x10, int32(1)), ("a", 0x10, int32(2)))),
    "undefined": (0x06, b""),
    "option": (0x0B, b"a\0zq\0"),
    "pointer": (0x0C, text(b"c") + bytes(range(12))),
}
"""By name: type and bytes of values that MongoDB keeps, and that its driver gives back as others."""


@pytest.mark.parametrize("type", ["hash", "json"])
def test_what_the_driver_reads_as_another_value_holds_up_no_lane(shared: Scene, type: str) -> None:
    """Another field of the document is changed and the value stays as it is, byte by byte; the document can be deleted
    by its key; and changes of other keys go on."""
    fields = {"n": {"from": "n", "type": "int"}, "odd": "odd"}
    flow = live(shared, f"odd-{type}", "outbox", fields, type=type)
    documents = {
        name: raw(("_id", 0x02, text(name.encode())), ("odd", *odd), ("n", 0x10, int32(0)))
        for name, odd in ODD.items()
    }
    assert put(flow.collection, *documents.values()) == len(ODD)
    wait_until(lambda: flow.keys("card") == set(ODD), 20, lambda: (flow.keys("card"), flow.lane()))
    for name in ODD:
        change_key(flow, name, ("JSON.SET", "$.n", "5") if type == "json" else ("HSET", "n", "5"))
    stored = flow.collection.with_options(RAW_CODEC)
    for name, (kind, value) in ODD.items():
        wait_until(lambda name=name: stored.find_one({"_id": name, "n": 5}), 20, flow.lane)
        found: Any = stored.find_one({"_id": name})
        assert element_at(bytes(found.raw), ["odd"]) == (b"odd", kind, value)
        remove_key(flow, name)
        wait_until(lambda name=name: not stored.find_one({"_id": name}, {"_id": 1}), 20, flow.lane)
    assert not flow.dead_letters()


def test_a_key_that_changes_all_the_time_holds_up_itself_alone(scene: Scene, redis_url: str) -> None:
    """Whatever is read of it is old when it is written. The lane goes on, other keys arrive, and so does the last state
    once it rests."""
    flow = live(scene, "hot", "keyspace")
    hset(flow, 1, n="0")
    wait_document(flow, 1, {"n": 0})
    ends, changed = threading.Event(), 0

    def change() -> None:
        nonlocal changed
        with connect(redis_url) as client:
            while not ends.is_set():
                pipe = client.pipeline(transaction=False)
                for _ in range(200):
                    changed += 1
                    pipe.hset(flow.key(1), "n", changed)
                pipe.execute()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for number in range(2, 8):
            hset(flow, number, n="1")
            wait_document(flow, number, {"n": 1})
    finally:
        ends.set()
        thread.join()
    wait_document(flow, 1, {"n": changed})
    assert flow.metric("syncd_lane_restarts_total") == 0
