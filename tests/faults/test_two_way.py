"""Both sides are written while everything on the way breaks (nothing_lost, never_backwards, fenced, applied_once,
no_echo, nothing_silent, bounded).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.conftest import Rig
from tests.support.broken.failpoint import blocking
from tests.support.broken.hold import Hold
from tests.support.check import wait_until
from tests.support.scene import Document, Flow
from tests.support.ways.twoway import (
    add_two_way,
    as_hash,
    change_key,
    conflicts,
    documents,
    hset,
    remove_key,
    wait_alike,
    wait_document,
)
from tests.support.ways.twoway_load import film


def about(flow: Flow, *parts: bytes) -> tuple[bytes, ...]:
    """What a call of a function for this contract has in it."""
    return flow.names.control("lease").encode(), *parts


def updating(flow: Flow) -> tuple[bytes, ...]:
    """What the update of a document of this contract has in it."""
    name = flow.collection.name.encode()
    return b"\x02update\x00" + (len(name) + 1).to_bytes(4, "little") + name + b"\x00", b"$expr"


POINTS: dict[str, Callable[[Rig, Flow], Hold]] = {
    "what is pending is not stored": lambda rig, flow: rig.redis_proxy.hold_request(
        *about(flow, b"syncd_synced")
    ),
    "MongoDB is not written": lambda rig, flow: rig.mongo_proxy.hold_request(*updating(flow)),
    "MongoDB is written, its reply not seen": lambda rig, flow: rig.mongo_proxy.hold_reply(*updating(flow)),
    "Redis is not written": lambda rig, flow: rig.redis_proxy.hold_request(*about(flow, b"syncd_merge")),
    "Redis is written, its reply not seen": lambda rig, flow: rig.redis_proxy.hold_reply(
        *about(flow, b"syncd_merge")
    ),
    "the outbox is not emptied": lambda rig, flow: rig.redis_proxy.hold_request(
        *about(flow, b"syncd_done_state")
    ),
}


def test_the_newest_change_wins_though_the_stream_comes_late(rig: Rig) -> None:
    """nothing_silent: after a pause the side that changed last wins, whichever side syncd hears of first: the stream is
    slow, and entries of the outbox wait behind more than syncd reads at once."""
    flow = add_two_way(rig.scene, "newest", "outbox", rule="newest", documents=[film(n) for n in range(6)])
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    rig.scene.daemon.terminate()
    first, last = range(3), range(3, 6)

    def in_mongo(numbers: range) -> None:
        flow.collection.update_many({"_id": {"$in": [*numbers]}}, {"$set": {"a": "mongo"}})

    def in_redis(numbers: range) -> None:
        for n in numbers:
            hset(flow, n, a="redis")

    in_redis(range(6))  # then once more, far behind, those that are the last
    in_mongo(first)
    for n in range(1500):
        hset(flow, 100 + n, a="other")
    in_mongo(last)
    time.sleep(0.01)
    in_redis(last)
    with blocking(flow.collection, "getMore", 2.0, times=2):
        rig.scene.start()
        flow.wait_live()
        for n in range(6):
            flow.wait_hash(n, {**as_hash(film(n)), "a": "mongo" if n in first else "redis"})
    wait_alike(flow)
    said = {one["document"]: one["winner"] for one in conflicts(flow)}
    assert said == {n: "mongo" if n in first else "redis" for n in range(6)}


def test_only_the_key_in_doubt_waits(rig: Rig) -> None:
    """nothing_silent: while it is not known which side changed last, entries behind that key are merged, each once: no
    count grows, and a dead letter is written once."""
    rig.keep_own_streams()
    flow = add_two_way(rig.scene, "doubt", "outbox", rule="newest", documents=[film(0)])
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    hold = rig.mongo_proxy.hold_request(b"getMore\x00", flow.collection.name.encode() + b"\x00")
    hold.wait()
    flow.collection.update_one({"_id": 0}, {"$set": {"a": "mongo"}})
    hset(flow, 0, a="redis")
    flow.redis.xadd(flow.names.control("outbox"), {"of": "nobody"})
    for n in range(1, 2500):
        hset(flow, n, a="other")
    wait_until(lambda: len(documents(flow)) == 2500, 60, flow.lane)

    def counts() -> list[float]:
        flow.lane()
        dead_letters = flow.redis.xinfo_stream(flow.names.control("dead"))["entries-added"]
        echo = flow.metric("syncd_writes_total", store="redis", result="echo")
        return [dead_letters, echo, flow.metric("syncd_changes_total", op="update")]

    wait_until(lambda: counts()[2] >= 2499, 20, counts)
    before = counts()
    assert (before[0], before[2]) == (1, 2499)
    calls = flow.redis.info("commandstats")["cmdstat_fcall"]["calls"]
    wait_until(lambda: flow.redis.info("commandstats")["cmdstat_fcall"]["calls"] > calls + 40, 60, flow.lane)
    assert counts() == before
    assert flow.hash(0)["a"] == "redis"
    assert documents(flow)[0]["a"] == "mongo"
    hold.release()
    wait_until(lambda: not flow.redis.xlen(flow.names.control("outbox")), 20, flow.lane)
    wait_document(flow, 0, without_id(film(0)) | {"a": "redis"})
    assert [one["document"] for one in conflicts(flow)] == [0]
    wait_until(
        lambda: counts()[2] == 2502, 20, counts
    )  # and of the stream the update, and what followed from it


EXPIRING: dict[str, tuple[str, dict[str, Any]]] = {
    "hash": ("outbox", {}),
    "json": ("outbox", {"type": "json"}),
    "string": ("outbox", {"type": "string", "fields": None, "shape": {"value": "a"}}),
    "heard": ("keyspace", {}),
    "deletes": ("keyspace", {"sync": {"on_expire": "delete"}}),
}
MAKE = {"json": ("JSON.SET", "$", '{"a": "redis"}'), "string": ("SET", "redis")}


@pytest.mark.parametrize("kind", EXPIRING)
def test_a_key_that_expires_before_the_stream_reports_our_own_write(rig: Rig, kind: str) -> None:
    """no_echo: what syncd wrote to MongoDB itself does not bring back a key that expired before the stream reported it,
    nor does a change of fields that the contract has not; the document stays, or goes where the contract says so. A
    change of one of its fields does bring it back, without a time to live."""
    rig.keep_own_streams()
    capture, more = EXPIRING[kind]
    flow = add_two_way(rig.scene, kind, capture, documents=[film(1)], **more)
    rig.scene.start()
    flow.wait_live()
    held = rig.mongo_proxy.hold_request(b"getMore\x00", flow.collection.name.encode() + b"\x00")
    held.wait()
    change_key(flow, "new", MAKE.get(kind, ("HSET", "a", "redis")))
    wait_document(flow, "new", {"a": "redis"})
    is_agreed(flow, "new")
    flow.redis.pexpire(flow.key("new"), 1)
    if kind == "deletes":
        wait_until(lambda: "new" not in documents(flow), 20, flow.lane)
    flow.wait_gone("new")
    held.release()
    heard_of(flow, 2)
    assert not flow.redis.exists(flow.key("new"))
    assert ("new" in documents(flow)) is (kind != "deletes")
    if kind == "deletes":
        return
    flow.collection.update_one({"_id": "new"}, {"$set": {"of_others": 1}})
    heard_of(flow, 3)
    assert not flow.redis.exists(flow.key("new"))
    flow.collection.update_one({"_id": "new"}, {"$set": {"a": "mongo"}})
    wait_until(lambda: flow.redis.exists(flow.key("new")), 20, flow.lane)
    assert flow.redis.ttl(flow.key("new")) == -1
    assert not conflicts(flow)


def is_agreed(flow: Flow, end: object) -> None:
    """Wait until the merge is remembered to its end."""

    def agreed() -> bool:
        digest, _, record = (flow.redis.hget(flow.names.control("synced"), flow.key(end)) or b"").partition(
            b" "
        )
        return digest not in (b"", b"?") and b'"p":{}' in record

    wait_until(agreed, 20, lambda: flow.redis.hgetall(flow.names.control("synced")))


def heard_of(flow: Flow, end: int) -> None:
    """Make a document, and wait until all that the stream reported up to it is merged."""
    flow.collection.insert_one(film(end))
    wait_until(lambda: flow.redis.exists(flow.key(end)), 20, flow.lane)
    wait_until(lambda: not flow.redis.zcard(flow.names.control("marks")), 20, flow.lane)


def test_a_key_that_expires_in_the_middle_of_a_merge(rig: Rig) -> None:
    """no_echo: a new key that expires when its document is made, and before that is agreed on, stays away; one that
    is deleted at that moment takes its document with it."""
    flow = add_two_way(rig.scene, "middle", "outbox", documents=[film(1)])
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    for end in ("expires", "deleted"):
        hold = rig.redis_proxy.hold_request(*about(flow, b"syncd_agree"))
        hset(flow, end, a="redis")
        hold.wait()
        if end == "expires":
            flow.redis.pexpire(flow.key(end), 1)
        else:
            remove_key(flow, end)
        flow.wait_gone(end)
        hold.release()
    wait_document(flow, "deleted", None)
    wait_until(lambda: not flow.redis.xlen(flow.names.control("outbox")), 20, flow.lane)
    heard_of(flow, 2)
    assert documents(flow)["expires"] == {"a": "redis"}
    assert not flow.redis.exists(flow.key("expires"), flow.key("deleted"))
    assert not conflicts(flow)


def test_kills_in_the_middle_of_a_merge(rig: Rig) -> None:
    """nothing_lost, applied_once: killed at any point of a merge, and with a change of Redis before it comes back, each
    side ends with what the other one changed, the conflict has one record, and nothing of it is a second conflict."""
    flow = add_two_way(rig.scene, "kill", "outbox", documents=[film(n) for n in range(len(POINTS))])
    rig.scene.start()
    for number, hold_at in enumerate(POINTS.values()):
        flow.wait_live()
        wait_alike(flow)
        rig.scene.daemon.pause()
        flow.collection.update_one({"_id": number}, {"$set": {"a": "mongo", "c": "mongo"}})
        hset(flow, number, b="redis", c="redis")
        hold = hold_at(rig, flow)
        rig.scene.daemon.resume()
        hold.wait()
        rig.scene.daemon.kill()
        hset(flow, number, b="again")
        rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    wanted = {"n": 0, "a": "mongo", "in": {"b": "again"}, "c": "mongo"}
    assert documents(flow) == dict.fromkeys(range(len(POINTS)), wanted)
    records = {record["document"]: record["fields"] for record in conflicts(flow)}
    assert all(fields == [{"field": "c", "mongo": "mongo", "redis": "redis"}] for fields in records.values())
    assert len(conflicts(flow)) == len(POINTS)


def test_two_kills_before_redis_knows(rig: Rig) -> None:
    """nothing_lost: what a first merge had written to MongoDB when it was killed is still known as agreed when a second
    one, of another field, is killed too: a change of Redis behind both is no conflict."""
    flow = add_two_way(rig.scene, "twice", "outbox", documents=[film(0)])
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    for change in ({"b": "first"}, {"n": 7}):
        hold = rig.redis_proxy.hold_request(*about(flow, b"syncd_agree"))
        hset(flow, 0, **change)
        if not rig.scene.daemon.process.alive:
            rig.scene.daemon.launch()
        hold.wait()
        rig.scene.daemon.kill()
        hold.release()
    hset(flow, 0, b="last")
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    assert documents(flow) == {0: without_id(film(0)) | {"n": 7, "in": {"b": "last"}}}
    assert not conflicts(flow)


def test_a_document_that_changes_behind_our_write(rig: Rig) -> None:
    """nothing_lost, nothing_silent: killed when MongoDB is written and Redis does not know, and then the application
    changes the document: that is a change of MongoDB's and no conflict with ourselves; and where it is a conflict, it
    has a record of its own, beside that of the first."""
    flow = add_two_way(rig.scene, "behind", "outbox", rule="redis_wins", documents=[film(0), film(1)])
    rig.scene.start()
    for end, first, again in ((0, {}, {}), (1, {"a": "first"}, {"a": "again"})):
        flow.wait_live()
        wait_alike(flow)
        rig.scene.daemon.pause()
        if first:
            flow.collection.update_one({"_id": end}, {"$set": first})
        hset(flow, end, a="redis")
        hold = POINTS["MongoDB is written, its reply not seen"](rig, flow)
        rig.scene.daemon.resume()
        hold.wait()
        rig.scene.daemon.kill()
        assert documents(flow)[end]["a"] == "redis"
        flow.collection.update_one({"_id": end}, {"$set": {"a": "second"}})
        if again:
            hset(flow, end, **again)
        rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    assert [documents(flow)[end]["a"] for end in (0, 1)] == ["second", "again"]
    told = [(one["document"], field["mongo"]) for one in conflicts(flow) for field in one["fields"]]
    assert sorted(told) == [(1, "first"), (1, "second")]


def test_changes_between_read_and_write(rig: Rig) -> None:
    """nothing_lost, nothing_silent: what a client changes between a read and the write that follows is merged too: in
    the document, in the key, in the document while the key is written; and a deletion is none the less one."""
    flow = add_two_way(rig.scene, "between", "outbox", documents=[film(n) for n in range(4)])
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    held = rig.mongo_proxy.hold_request(*updating(flow))
    hset(flow, 0, c="redis")
    held.wait()
    flow.collection.update_one({"_id": 0}, {"$set": {"c": "mongo"}})
    held.release()
    wait_document(flow, 0, without_id(film(0)) | {"c": "mongo"})
    wait_until(lambda: flow.hash(0)["c"] == "mongo", 20, flow.lane)

    held = rig.redis_proxy.hold_request(*about(flow, b"syncd_merge"))
    flow.collection.update_one({"_id": 1}, {"$set": {"c": "mongo"}})
    held.wait()
    hset(flow, 1, c="redis", b="new")
    held.release()
    wait_document(flow, 1, without_id(film(1)) | {"c": "mongo", "in": {"b": "new"}})
    wait_until(lambda: flow.hash(1)["c"] == "mongo", 20, flow.lane)
    assert {one["document"]: one["fields"] for one in conflicts(flow)} == {
        number: [{"field": "c", "mongo": "mongo", "redis": "redis"}] for number in (0, 1)
    }

    held = rig.redis_proxy.hold_request(*about(flow, b"syncd_merge"))
    flow.collection.update_one({"_id": 2}, {"$set": {"a": "first"}})
    held.wait()
    marks = flow.names.control("marks")
    before = flow.redis.zscore(marks, flow.key(2))
    flow.collection.update_one({"_id": 2}, {"$set": {"a": "second"}})
    wait_until(lambda: flow.redis.zscore(marks, flow.key(2)) != before, 20, flow.lane)
    held.release()
    wait_until(lambda: flow.hash(2)["a"] == "second", 20, lambda: (flow.hash(2), flow.lane()))

    held = rig.redis_proxy.hold_request(*about(flow, b"syncd_read_state"))
    flow.collection.update_one({"_id": 3}, {"$set": {"of_others": 1}})
    held.wait()
    remove_key(flow, 3)
    held.release()
    wait_document(flow, 3, None)
    assert len(conflicts(flow)) == 2


def without_id(document: Document) -> Document:
    return {name: value for name, value in document.items() if name != "_id"}
