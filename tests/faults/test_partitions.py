"""A contract that is split over daemons: each is killed or replaced while the others go on (nothing_lost,
never_backwards, no_ghosts, fenced).
"""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from typing import Any

from bson import ObjectId

from tests.faults.conftest import Rig
from tests.faults.test_fenced import LEASE_S, READS, calls_of, monitored
from tests.support.check import meanwhile, wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow

COUNT = 1500


def documents() -> list[dict[str, Any]]:
    """`_id`s of three types, so that the borders between chunks fall into and between all of them."""
    third = COUNT // 3
    ids = [*range(third), *(f"name{n}" for n in range(third)), *(ObjectId() for _ in range(third))]
    return [{"_id": document_id, "title": f"film {n}", "n": 0} for n, document_id in enumerate(ids)]


def add(rig: Rig) -> Flow:
    sync = {"sweep_limit": "100%"}  # many documents go while no partition has a position
    return rig.scene.add("film", projection(["title", "n"]), documents=documents(), sync=sync)


def daemon(rig: Rig, partition: str, **env: str) -> Daemon:
    settings = {"SYNCD_LEASE_TTL": str(LEASE_S), "SYNCD_CHUNK_DOCUMENTS": "100", "SYNCD_BATCH_WRITES": "20"}
    return rig.scene.another_daemon(SYNCD_PARTITION=partition, **settings, **env)


def wait_state(daemon: Daemon, state: str) -> None:
    wait_until(lambda: daemon.lane_state() == state, 40, daemon.process.log_tail)


def writing(flow: Flow) -> AbstractContextManager[None]:
    """Inserts, updates, replaces and deletes, as fast as one client can."""
    films, turns = flow.collection, itertools.count(1)
    ids = [film["_id"] for film in films.find({}, {"_id": 1})]

    def write() -> None:
        turn = next(turns)
        which = {"_id": ids[turn * 7 % len(ids)]}
        match turn % 5:
            case 0:
                films.delete_one(which)
            case 1:
                films.replace_one(which, {"title": f"turn {turn}", "n": turn}, upsert=True)
            case _:
                films.update_one(which, {"$set": {"n": turn}})

    return meanwhile(write, 0.015)


def test_one_of_two_is_killed_again_and_again(rig: Rig) -> None:
    """nothing_lost, no_ghosts: kill -9 of one daemon, while it copies and while it follows, loses nothing of its part;
    the other goes on all the while, without a restart of its lane."""
    rig.redis_proxy.delay(0.001)
    flow = add(rig)
    first, second = daemon(rig, "1/2"), daemon(rig, "2/2")
    first.start()
    with writing(flow):
        for turn in range(2):
            second.start()
            wait_until(lambda turn=turn: copied(flow, 2) > turn * 200 or live(flow, 2), 30)
            second.kill()
        wait_state(first, "live")
        changes = first.status()["lanes"][0]["changes"]
        wait_until(lambda: first.status()["lanes"][0]["changes"] > changes + 20, 20)
        second.start()
    rig.redis_proxy.restore()
    wait_state(second, "live")
    flow.wait_same()
    assert len(first.logs(event="snapshot started")) == 1
    assert not first.logs(event="lane interrupted")


def copied(flow: Flow, number: int) -> int:
    return int(flow.redis.hget(flow.names.control(f"{number}of2:position"), "copied") or 0)


def live(flow: Flow, number: int) -> bool:
    return bool(flow.redis.hget(flow.names.control(f"{number}of2:position"), "phase") == b"stream")


def of_second(flow: Flow, ids: list[Any]) -> list[Any]:
    """Which of these belong to the second of two partitions."""
    hashed = {"$mod": [{"$toHashedIndexKey": "$id"}, 2]}
    pipeline = [{"$documents": [{"id": document_id} for document_id in ids]}, {"$match": {"$expr": hashed}}]
    return [found["id"] for found in flow.collection.database.aggregate(pipeline)]


def test_removals_while_one_is_down(rig: Rig) -> None:
    """no_ghosts: documents that go while the daemon of their partition is down, or before its position is lost, leave
    no key; the daemon of the other partition does not touch their keys."""
    flow = add(rig)
    first, second = daemon(rig, "1/2"), daemon(rig, "2/2")
    for each in (first, second):
        each.start()
    for each in (first, second):
        wait_state(each, "live")
    for position_lost in (False, True):
        second.kill()
        gone = [film["_id"] for film in flow.collection.aggregate([{"$sample": {"size": 300}}])]
        flow.collection.delete_many({"_id": {"$in": gone}})
        if position_lost:
            for number in (1, 2):
                flow.redis.delete(flow.names.control(f"{number}of2:position"))
            wait_until(lambda: len(first.logs(event="snapshot finished")) == 2, 30, first.process.log_tail)
        theirs = of_second(flow, gone)
        assert 50 < len(theirs) < 250
        orphans = {str(document_id) for document_id in theirs}
        wait_until(
            lambda orphans=orphans: (
                flow.keys() - {str(film["_id"]) for film in flow.collection.find()} == orphans
            ),
            20,
            first.process.log_tail,
        )
        second.start()
        wait_state(second, "live")
        flow.wait_same()


def test_daemons_of_two_layouts(rig: Rig) -> None:
    """fenced: of daemons that split a contract differently only those of one layout write. One that slept through a
    change of the layout writes nothing more when it wakes."""
    flow = add(rig)
    halves = [daemon(rig, "1/2"), daemon(rig, "2/2")]
    for each in halves:
        each.start()
    for each in halves:
        wait_state(each, "live")
    whole = daemon(rig, "1/1", SYNCD_REDIS_URL=rig.redis.url)
    whole.start()
    wait_state(whole, "standby")
    olds = [flow.redis.get(flow.names.control(f"{number}of2:lease")).decode() for number in (1, 2)]
    rig.redis_proxy.delay(0.05)
    flow.collection.update_many({}, {"$set": {"n": 1}})
    wait_until(lambda: sum(flow.redis.hget(key, "n") == b"1" for key in sample(flow)) > 3, 20)
    assert whole.metric("syncd_writes_total") == 0
    for each in halves:
        each.pause()
    rig.redis_proxy.restore()
    assert flow.differences(), "they were paused too late, with nothing left to do"
    wait_state(whole, "live")
    flow.wait_same()
    flow.collection.update_many({}, {"$set": {"n": 2}})
    flow.wait_same()
    with monitored(rig.redis.url) as lines:
        for each in halves:
            each.resume()
        for each in halves:
            wait_state(each, "standby")
    calls = [call for old in olds for call in calls_of(lines, old)]
    assert calls, "the revived daemons did not even try"
    assert {command for called in calls for command in called} <= READS
    flow.assert_same()
    # And back: the layout changes only when the one daemon is gone.
    flow.collection.update_many({}, {"$set": {"n": 3}})
    flow.wait_same()
    assert [each.lane_state() for each in (*halves, whole)] == ["standby", "standby", "live"]
    with writing(flow):
        whole.kill()
        for each in halves:
            wait_state(each, "live")
    flow.wait_same()
    assert not flow.redis.exists(flow.names.control("position"))


def sample(flow: Flow) -> list[str]:
    return [flow.key(number) for number in range(10)]


def test_redis_forgets_everything(rig: Rig) -> None:
    """nothing_lost: a Redis that comes back empty gets all of it again, from both daemons."""
    flow = add(rig)
    pair = [daemon(rig, "1/2"), daemon(rig, "2/2")]
    for each in pair:
        each.start()
    for each in pair:
        wait_state(each, "live")
    with writing(flow):
        flow.redis.flushall()
        wait_until(lambda: len(flow.keys()) > COUNT // 2, 30)
    for each in pair:
        wait_state(each, "live")
    flow.wait_same()
