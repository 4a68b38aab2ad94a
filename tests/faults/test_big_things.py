"""What is large, deep or many: it arrives, and the daemon stays small (nothing_lost, never_backwards, never_torn,
nothing_silent, bounded).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from pymongo import UpdateOne
from pymongo.collection import Collection

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig
from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.memory import MB, Memory
from tests.support.scale import SCALE
from tests.support.scene import Flow, Scene
from tests.support.shapes.feeds import feed, said, stream_of, wait_count

MOST_MB = 200
"""30: a million documents, and 300,000 changes of one. Takes minutes."""
EVENT_TOO_LARGE = 10334
Films = Collection[dict[str, Any]]
LONG_NAME = "x" * 100_000
"""A field of this name: the event of an update names it again for every member that changed, the oplog once."""


def memory(rig: Rig) -> Memory:
    return Memory(rig.scene.daemon.process.pid)


def restarts(flow: Flow) -> float:
    return flow.metric("syncd_lane_restarts_total")


def test_a_document_of_sixteen_megabytes(redis_server: RedisServer, tmp_path: Path) -> None:
    """nothing_lost: a document as large as MongoDB takes arrives by snapshot, insert, replace and update alike."""
    text = "x" * 15_900_000
    shapes = [projection(["n", "text"]), projection(["n", "text"], name="doc", type="json")]
    with (
        ReplicaSet(cache_gb=1) as mongo,
        Scene(tmp_path, "faults", mongo.uri, redis_server.url) as scene,
    ):
        scene.redis.flushall()
        flow = scene.run("film", *shapes, documents=[{"_id": 1, "n": 1, "text": text}])
        flow.assert_same()
        flow.collection.insert_one({"_id": 2, "n": 1, "text": text})
        flow.collection.update_one({"_id": 1}, {"$set": {"n": 2}})
        flow.collection.replace_one({"_id": 1}, {"n": 3, "text": text})
        flow.collection.update_one({"_id": 1}, {"$set": {"text": text[1:]}})
        flow.catch_up()
        flow.assert_same()
        assert restarts(flow) == 0


def test_a_change_that_is_larger_than_an_event_may_be(rig: Rig) -> None:
    """nothing_lost, nothing_silent: a change whose event would take 20 MB arrives without a copy."""
    said = projection({"n": "n", "first": f"{LONG_NAME}.a0", "last": f"{LONG_NAME}.a199"})
    many = {f"a{number}": 0 for number in range(200)}
    large = {"_id": 1, "n": 0, LONG_NAME: many | {"text": "x" * MB}}
    flow = rig.scene.run("film", said, documents=[large, {"_id": 2, "n": 0}])
    for turn in range(1, 3):
        members = {f"a{number}": {"$literal": turn} for number in range(200)}
        changed = {LONG_NAME: {"$mergeObjects": [f"${LONG_NAME}", members]}}
        flow.collection.update_one({"_id": 2}, {"$set": {"n": turn}})
        flow.collection.update_one({"_id": 1}, [{"$replaceWith": {"$mergeObjects": ["$$ROOT", changed]}}])
        flow.collection.update_one({"_id": 2}, {"$inc": {"n": 10}})
        flow.collection.insert_one({"_id": 100 + turn, "n": turn})
        flow.catch_up()
        flow.assert_same()
        assert flow.hash(1)["last"] == str(turn)
        entries = rig.scene.daemon.logs(event="lane interrupted")
        assert len(entries) == turn
        assert str(EVENT_TOO_LARGE) in entries[-1]["error"] or "16 MB" in entries[-1]["error"]
    assert restarts(flow) == 2
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1


def test_an_id_that_is_larger_than_any_event(rig: Rig) -> None:
    """nothing_lost, nothing_silent: a document that no stream can deliver, for its _id is too long, comes by a copy."""
    said = projection(["n"], key="{slug}")
    flow = rig.scene.run("film", said, unique=[["slug"]], documents=[{"_id": 1, "slug": "one", "n": 1}])
    flow.collection.insert_one({"_id": "i" * 6 * MB, "slug": "two", "n": 2})
    flow.collection.insert_one({"_id": 3, "slug": "three", "n": 3})
    flow.wait_same()
    flow.wait_live()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 2
    (lost,) = rig.scene.daemon.logs(event="position lost")
    assert "16 MB" in lost["error"]
    flow.collection.update_one({"_id": 3}, {"$set": {"n": 4}})
    flow.wait_same()


def test_ids_that_one_reply_cannot_hold(rig: Rig) -> None:
    """nothing_lost: a page of `_id` is larger than a message of MongoDB may be, where documents name a joined one, and
    where a sweep asks which keys and members have a document, and which documents still match: all is found."""
    ids = [f"{'x' * 1_100_000}{n}" for n in range(16)]
    other = rig.scene.mongo["faults"]["other"]
    other.insert_one({"_id": 1, "name": "before"})
    join = {"other": {"collection": other.full_name, "on": {"of": "_id"}, "fields": ["name"]}}
    board = {"projection": "board", "type": "set", "key": "all", "member": "{_id}"}
    documents = [{"_id": one, "of": 1, "is": True} for one in ids]
    flow = rig.scene.add("big", projection({"name": "other.name"}), joins=join, documents=documents)
    flow.collection.create_index({"of": 1, "_id": 1})
    told = rig.scene.add("told", feed(["of"]), board, source=flow, filter={"is": True})
    rig.scene.start()
    flow.wait_live()
    told.wait_live()
    other.update_one({"_id": 1}, {"$set": {"name": "behind"}})
    wait_until(
        lambda: all(flow.redis.hget(flow.key(one), "name") == b"behind" for one in ids), message=flow.lane
    )
    flow.redis.hset(flow.key("none"), "name", "an orphan")
    flow.collection.update_one({"_id": ids[0]}, {"$set": {"is": False}})
    wait_count(told, 1)
    told.redis.sadd(told.names.control(f"matched:{stream_of(told)}"), "none")
    for one in (flow, told):
        one.redis.rpush(one.names.control("requests"), "snapshot")
    wait_until(lambda: not flow.redis.exists(flow.key("none")), message=flow.lane)
    wait_count(told, 2)
    assert [one["op"] for one in said(told)] == ["leave", "delete"]
    assert flow.redis.hlen(flow.key(ids[0])) == 1
    assert restarts(flow) == restarts(told) == 0


def test_a_backlog_of_long_ids(rig: Rig) -> None:
    """nothing_lost: MongoDB has no reply, or breaks off the connection, where the token behind 16 MB of changes is too
    long for one. The lane asks for fewer at once, and goes on without a copy."""
    rig.scene.add("other", projection(["n"]))
    flow = rig.scene.run("long", projection(["n"]))
    rig.scene.daemon.kill()
    ids = [f"{n:04}{'x' * (20_000 + 7 * n)}" for n in range(1_200)]
    flow.collection.insert_many([{"_id": one, "n": 1} for one in ids])
    rig.scene.start()
    wait_until(lambda: flow.redis.exists(*map(flow.key, ids)) == len(ids), message=flow.lane)
    flow.wait_live()
    assert flow.copied() == 0


def test_events_that_are_too_large_on_and_on(rig: Rig) -> None:
    """nothing_silent: a stream that answers "too large" whatever it is asked for does not keep the lane in a circle."""
    rig.keep_own_streams()
    flow = rig.scene.run("film", projection(["n"]), documents=[{"_id": 1, "n": 1}])
    with failing(flow.collection, "getMore", EVENT_TOO_LARGE) as point:
        flow.collection.update_one({"_id": 1}, {"$set": {"n": 2}})
        flow.wait_state("failed")
        hits = point.hits
        assert hits <= 10
    flow.wait_same()
    flow.wait_live()


def test_a_transaction_of_twenty_thousand_writes(rig: Rig) -> None:
    """nothing_lost: a daemon killed in the middle of one transaction goes on in the middle of it."""
    count = 20_000
    said = projection(["n", "title"])
    flow = rig.scene.run("film", said, documents=[{"_id": n, "n": 0, "title": "old"} for n in range(5000)])
    rig.scene.daemon.kill()
    with flow.collection.database.client.start_session() as session, session.start_transaction():
        flow.collection.update_many({}, {"$set": {"n": 1}}, session=session)
        flow.collection.delete_many({"_id": {"$lt": 1000}}, session=session)
        new = [{"_id": 5000 + number, "n": 2, "title": "x" * 100} for number in range(count - 6000)]
        flow.collection.insert_many(new, session=session)
    rig.redis_proxy.delay(0.005)
    for _ in range(2):
        before = flow.position()
        rig.scene.start()
        wait_until(lambda before=before: flow.position()["token"] != before["token"], 20, flow.lane)
        rig.scene.daemon.kill()
        assert flow.differences()
    rig.redis_proxy.restore()
    rig.scene.start()
    flow.catch_up()
    flow.assert_same()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1


def test_a_document_with_five_thousand_fields(rig: Rig) -> None:
    """nothing_lost, never_torn: a hash of 5,000 fields is written and changed in one step, all of it."""
    names = [f"f{number}" for number in range(5000)]
    whole = {name: f"value of {name}" for name in names}
    shapes = [projection(names), projection(names, name="doc", type="json")]
    flow = rig.scene.run("film", *shapes, documents=[{"_id": 1, **whole}])
    flow.assert_same()
    flow.collection.insert_one({"_id": 2, **whole})
    flow.collection.update_one({"_id": 1}, {"$set": dict.fromkeys(names, 7)})
    flow.collection.update_one({"_id": 2}, {"$unset": dict.fromkeys(names[100:], "")})
    flow.wait_same()
    flow.redis.delete(flow.key(1), flow.key(1, "doc"))
    flow.collection.update_one({"_id": 1}, {"$set": dict.fromkeys(names[:4999], 8)})
    flow.collection.replace_one({"_id": 2}, {"f17": 1})
    flow.wait_same()
    assert not flow.dead_letters()
    assert restarts(flow) == 0


def test_a_document_that_changes_on_and_on(rig: Rig) -> None:
    """nothing_lost, never_backwards: a hot document ends as it is in MongoDB, and never shows an older version."""
    shapes = [projection(["n", "text"]), projection(["n", "text"], name="doc", type="json")]
    flow = rig.scene.run("film", *shapes, documents=[{"_id": 1, "n": 0, "text": ""}])
    shown = [0]

    def watch(done: threading.Event) -> None:
        while not done.wait(0.005):
            shown.append(int(flow.hash(1)["n"]))

    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(done,))
    watcher.start()
    count = 5_000 * SCALE
    for start in range(0, count, 1000):
        changes = [UpdateOne({"_id": 1}, {"$set": {"n": start + k, "text": f"t{k}"}}) for k in range(1, 1001)]
        flow.collection.bulk_write(changes)
    flow.wait_same()
    done.set()
    watcher.join()
    assert shown == sorted(shown)
    assert len(set(shown)) > 10
    assert flow.hash(1)["n"] == str(count)
    assert restarts(flow) == 0


def fill(films: Films, count: int) -> None:
    """Made by MongoDB itself, which takes a tenth of the time."""
    for start in range(0, count, 10_000):
        made = {"_id": "$$this", "n": 0, "text": "x" * 200}
        numbers = {"$range": [start, start + 10_000]}
        films.database.aggregate(
            [{"$documents": {"$map": {"input": numbers, "in": made}}}, {"$merge": films.name}]
        )


@pytest.mark.timeout(300 * SCALE)
def test_an_update_of_very_many_documents(rig: Rig) -> None:
    """bounded: the memory of the daemon does not grow with the backlog, nor with the collection."""
    count = 8_000 if SCALE == 1 else 30_000 * SCALE
    patience = 60.0 * SCALE
    flow = rig.scene.add("film", projection(["n", "text"]))
    reading = rig.scene.add("read", projection(["n"]), source=flow, filter={"gone": {"$exists": False}})
    fill(flow.collection, count)
    rig.scene.start()
    with memory(rig) as copying:
        for lane in (flow, reading):
            lane.wait_live(patience)
    flow.collection.update_many({"_id": {"$lt": count // 20}}, {"$set": {"n": 1}})
    with memory(rig) as little:
        flow.catch_up(patience)
        reading.wait_live(patience)
    rig.scene.daemon.pause()
    flow.collection.update_many({}, {"$set": {"n": 2}})
    rig.scene.daemon.resume()
    with memory(rig) as much:
        flow.catch_up(patience)
        wait_until(lambda: reading.hash("marker") == flow.hash("marker"), patience, reading.lane)
    flow.assert_same()
    reading.wait_same(patience)
    seen = f"{copying.most:.0f} MB copying, {little.most:.0f} with few changes, {much.most:.0f} with many"
    assert max(copying.most, much.most) < MOST_MB, seen
    assert much.most < max(little.most, copying.most) + 30, seen


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def test_a_document_as_deep_as_can_be(rig: Rig) -> None:
    """nothing_silent: a document that is too deep for JSON in Redis is a dead letter, and the lane goes on."""
    shapes = [projection(["n"]), projection(["n", "deep"], name="doc", type="json")]
    flow = rig.scene.run("film", *shapes, documents=[{"_id": 1, "n": 1, "deep": nested(179)}])
    flow.collection.insert_one({"_id": 2, "n": 1, "deep": nested(179)})
    flow.collection.insert_one({"_id": 3, "n": 1, "deep": nested(50)})
    flow.collection.update_one({"_id": 3}, {"$set": {"n": 2, "deep": nested(179)}})
    flow.collection.insert_one({"_id": 4, "n": 4, "deep": nested(100)})
    wait_until(lambda: flow.json(4, "doc") is not None, 20, flow.lane)
    assert flow.json(4, "doc") == {"n": 4, "deep": nested(100)}
    assert [
        (dead_letter["id"], dead_letter["projection"], dead_letter["reason"])
        for dead_letter in flow.dead_letters()
    ] == [(ident, "doc", "json_too_deep") for ident in ("1", "2", "3")]
    assert flow.lane()["state"] == "live"
    assert restarts(flow) == 0
    assert flow.keys() == {"1", "2", "3", "4"}
    flow.collection.update_many({}, {"$set": {"deep": 1}})
    flow.wait_same()


def test_an_update_after_a_dead_letter(rig: Rig) -> None:
    """never_torn: a change of one field does not show beside older values of others that came with a dead letter."""
    fields = {"title": "title", "year": {"from": "year", "type": "int"}}
    shapes = [projection(fields), projection(fields, name="doc", type="json")]
    flow = rig.scene.run("film", *shapes, documents=[{"_id": n, "title": "a", "year": n} for n in (1, 2)])
    flow.collection.update_many({}, {"$set": {"title": "b", "year": "no number"}})
    wait_until(lambda: len(flow.dead_letters()) == 4, 20, flow.lane)
    assert {flow.hash(1)["title"], flow.json(1, "doc")["title"]} == {"a"}, (
        "it shows the last state that fitted"
    )
    flow.collection.update_one({"_id": 1}, {"$set": {"year": 5}})
    flow.wait_hash(1, {"title": "b", "year": "5"})
    assert flow.json(1, "doc") == {"title": "b", "year": 5}
    rig.scene.daemon.kill()
    rig.scene.start()
    flow.collection.update_one({"_id": 2}, {"$set": {"year": 6}})
    flow.wait_hash(2, {"title": "b", "year": "6"})
    assert flow.json(2, "doc") == {"title": "b", "year": 6}
