"""A key for each element of an array (nothing_lost, never_torn, never_backwards, no_ghosts, nothing_silent)."""

from __future__ import annotations

import itertools
import random
from contextlib import AbstractContextManager
from typing import Any

import pytest
from pymongo.client_session import ClientSession

from tests.faults.conftest import Rig
from tests.support.check import meanwhile, wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

COUNT = 300
FIELDS = {"version": "version", "text": "parts.text"}
OWN = projection(FIELDS, name="own", type="json", each="parts", key="{_id}:{parts.id}")
MOVING = projection(FIELDS, name="moving", each="parts", key="{parts.id}")
SAMPLE = """
local seen = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do seen[redis.call('JSON.GET', key, '$.version')] = true end
local count = 0
for _ in pairs(seen) do count = count + 1 end
return count
"""


def document(number: int) -> dict[str, Any]:
    parts = [{"id": f"p{3 * number + n}", "text": f"text {n}"} for n in range(3)]
    return {"_id": number, "version": 0, "parts": parts}


def add(rig: Rig, **more: Any) -> Flow:
    documents = [document(number) for number in range(COUNT)]
    return rig.scene.add("parts", OWN, MOVING, documents=documents, unique=[["parts.id"]], **more)


def changing(rig: Rig, flow: Flow, seed: int) -> AbstractContextManager[None]:
    """Elements come, change, go, and move between documents; documents go and come back. All of them keep their ids
    unique."""
    of, chance, turns = flow.collection, random.Random(seed), itertools.count(1)

    def move(session: ClientSession, one: int, other: int) -> None:
        found = of.find_one({"_id": one}, session=session)
        if found is None or not found["parts"] or not of.find_one({"_id": other}, session=session):
            return
        part = found["parts"][0]
        lose = ({"_id": one}, {"$pull": {"parts": {"id": part["id"]}}, "$inc": {"version": 1}})
        gain = ({"_id": other}, {"$push": {"parts": part}, "$inc": {"version": 1}})
        for step in chance.sample([lose, gain], 2):
            of.update_one(*step, session=session)

    def write() -> None:
        turn, one, other = next(turns), *chance.sample(range(COUNT), 2)
        which = {"_id": one}
        match chance.randrange(6):
            case 0:
                there = {**which, "parts.0": {"$exists": True}}
                of.update_one(there, {"$set": {"parts.0.text": f"turn {turn}"}, "$inc": {"version": 1}})
            case 1:
                part = {"id": f"new{turn}", "text": "new"}
                of.update_one(which, {"$push": {"parts": part}, "$inc": {"version": 1}})
            case 2:
                of.update_one(which, {"$pop": {"parts": 1}, "$inc": {"version": 1}})
            case 3:
                of.delete_one(which)
            case 4:
                parts = [{"id": f"again{turn}x{n}", "text": "again"} for n in range(chance.randrange(5))]
                of.replace_one(which, {"_id": one, "version": turn, "parts": parts}, upsert=True)
            case 5:
                with rig.scene.mongo.start_session() as session:
                    session.with_transaction(lambda session: move(session, one, other))

    return meanwhile(write, 0.015)


def assert_same(flow: Flow) -> None:
    flow.wait_live(60)
    flow.wait_same(60)
    for name in ("own", "moving"):
        (owners,) = flow.redis.scan_iter(flow.names.control(f"owners:{name}:*"))
        assert flow.redis.hlen(owners) == len(flow.keys(name)), "the maps hold what there is"
    assert not flow.dead_letters()


@pytest.mark.at_scale("1")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_elements_change_while_the_daemon_is_killed(rig: Rig, workers: str) -> None:
    """nothing_lost: the daemon is killed while it copies, and three times while elements come, go and move between
    documents; at no moment do the keys of a document show two of its states, and at the end all are as in MongoDB"""
    rig.redis_proxy.delay(0.001)
    flow = add(rig)
    env = {"SYNCD_CHUNK_DOCUMENTS": "20", "SYNCD_BATCH_WRITES": "60", "SYNCD_SNAPSHOT_PROCESSES": workers}
    rig.scene.daemon = rig.scene.another_daemon(**env)
    sample = flow.redis.register_script(SAMPLE)
    with changing(rig, flow, seed=1):
        rig.scene.start()
        wait_until(lambda: flow.copied() >= COUNT // 3, 30, flow.position)
        for _ in range(3):
            rig.scene.daemon.kill()
            rig.scene.daemon.start()
            flow.wait_live(60)
            for number in range(COUNT):
                assert sample(args=[flow.key(f"{number}:*", "own")]) <= 1
    rig.redis_proxy.restore()
    assert_same(flow)


def test_elements_that_go_while_the_daemon_is_down(rig: Rig) -> None:
    """no_ghosts: elements and documents go while the daemon is down; their keys go after its start, by the stream, by a
    copy where the position is lost, and where the map from `_id` to keys, or both maps, are lost with it"""
    flow = add(rig, sync={"sweep_limit": "100%"})
    rig.scene.start()
    assert_same(flow)
    for lost in ([], ["position"], ["position", "keys:*"], ["position", "keys:*", "owners:*"]):
        rig.scene.daemon.kill()
        with changing(rig, flow, seed=len(lost)):
            flow.collection.delete_many({"_id": {"$lt": 10 * len(lost)}})
            flow.collection.update_many({"_id": {"$mod": [7, len(lost)]}}, {"$pop": {"parts": -1}})
        for name in lost:
            for key in flow.redis.scan_iter(flow.names.control(name)):
                flow.redis.delete(key)
        rig.scene.daemon.start()
        assert_same(flow)


def test_a_lost_map_is_noticed(rig: Rig) -> None:
    """no_ghosts, nothing_silent: Redis evicts the map from `_id` to keys; the daemon says so and copies again without
    being asked, and what went meanwhile leaves no key"""
    flow = add(rig)
    rig.scene.start()
    assert_same(flow)
    for key in flow.redis.scan_iter(flow.names.control("keys:own:*")):
        flow.redis.delete(key)
    flow.collection.delete_many({"_id": {"$lt": 20}})
    rig.scene.daemon.kill()
    rig.scene.daemon.start()
    assert_same(flow)
    told = rig.scene.daemon.logs(level="warning", contract=flow.contract)
    assert any("the map of keys has lost entries" in line["event"] for line in told), told
