"""Both ways, where Redis is full, a daemon sleeps, or everything breaks at random
(nothing_lost, no_echo, fenced, bounded, nothing_silent)."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig
from tests.faults.test_two_way import about, updating
from tests.support.broken.proxy import Proxy
from tests.support.check import wait_until
from tests.support.scale import SCALE
from tests.support.scene import Flow, Scene
from tests.support.ways.twoway import (
    add_two_way,
    as_hash,
    conflicts,
    documents,
    hset,
    wait_alike,
)
from tests.support.ways.twoway_load import Load, film, is_doomed, writing

COUNT, SECONDS, REST_S, RATE = (300, 2.0, 1.0, 30.0) if SCALE == 1 else (10_000, 120.0, 10.0, 150.0)


LEASE = {"SYNCD_LEASE_TTL": "2"}


def test_a_redis_that_is_full(rig: Rig) -> None:
    """nothing_lost, bounded: while Redis takes nothing, what the application noted still goes to MongoDB, and makes
    room; what MongoDB changed goes to Redis as soon as there is memory."""
    flow = add_two_way(rig.scene, "full", "outbox", documents=[film(n) for n in range(50)])
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    rig.scene.daemon.pause()
    for number in range(40):
        hset(flow, number, b="redis")
    flow.collection.update_many({"_id": {"$gte": 30}}, {"$set": {"a": "mongo"}})
    flow.redis.config_set("maxmemory", 1)
    try:
        rig.scene.daemon.resume()
        wait_until(lambda: not flow.redis.xlen(flow.names.control("outbox")), 30, flow.lane)
        assert {found["in"]["b"] for n, found in documents(flow).items() if n < 40} == {"redis"}
        assert flow.hash(49)["a"] == "m0"
    finally:
        flow.redis.config_set("maxmemory", 0)
    wait_alike(flow)
    assert flow.hash(35) == {"n": "0", "a": "mongo", "b": "redis", "c": "x0"}
    assert not conflicts(flow)
    assert not flow.dead_letters()


@pytest.mark.parametrize("side", ["mongo", "redis"])
def test_a_write_of_a_daemon_that_slept(rig: Rig, side: str) -> None:
    """fenced: a write to either side that was on its way for a whole lease is refused, though document or key is
    again what that daemon had read; and the daemon, revived, writes nothing more."""
    flow = add_two_way(rig.scene, "slept", "outbox", documents=[film(1)])
    first, second = rig.scene.another_daemon(**LEASE), rig.scene.another_daemon(**LEASE)
    first.start()
    wait_until(lambda: first.lane_state() == "live", 20, first.process.log_tail)
    wait_until(lambda: flow.hash(1) == as_hash(film(1)), 20, first.process.log_tail)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    if side == "mongo":
        hold = rig.mongo_proxy.hold_request(*updating(flow))
    else:
        hold = rig.redis_proxy.hold_request(*about(flow, b"syncd_merge"))
    write_other_side(flow, side, "late")
    hold.wait()
    first.pause()
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    wait_until(lambda: shown(flow, side) == "late", 20, second.process.log_tail)
    write_other_side(flow, side, "then")
    wait_until(lambda: shown(flow, side) == "then", 20, second.process.log_tail)
    write_other_side(flow, side, "x0")
    wait_until(lambda: shown(flow, side) == "x0", 20, second.process.log_tail)
    hold.release()
    first.resume()
    wait_until(lambda: first.lane_state() == "standby", 20, first.process.log_tail)
    assert shown(flow, side) == "x0"  # before anything makes the second one look again
    hset(flow, 1, n=5)
    wait_until(lambda: documents(flow)[1]["n"] == 5, 20, second.process.log_tail)
    assert shown(flow, side) == "x0"
    assert first.metric("syncd_writes_total", store="mongo", result="put") == 0


def write_other_side(flow: Flow, side: str, c: str) -> None:
    if side == "mongo":
        hset(flow, 1, c=c)
    else:
        flow.collection.update_one({"_id": 1}, {"$set": {"c": c}})


def shown(flow: Flow, side: str) -> str:
    return str(documents(flow)[1]["c"]) if side == "mongo" else flow.hash(1)["c"]


@pytest.fixture(scope="module")
def members(no_child_survives: None) -> Iterator[ReplicaSet]:
    """One in CI, where the proxy cuts it off; three at scale, where they elect."""
    with ReplicaSet(1 if SCALE == 1 else 3, test_commands=True) as mongo:
        yield mongo


@pytest.fixture
def storm(members: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Rig]:
    with (
        Proxy(members.members[0].port) as mongo_proxy,
        Proxy(redis_server.port) as redis_proxy,
        Scene(
            tmp_path,
            "storm",
            members.uri,
            redis_server.url,
            daemon_mongo=mongo_proxy.mongo_uri if SCALE == 1 else None,
            daemon_redis=redis_proxy.redis_url,
            env=LEASE,
        ) as scene,
    ):
        scene.mongo.drop_database("storm")
        scene.redis.flushall()
        yield Rig(scene, members, redis_server, mongo_proxy, redis_proxy)


def kill(rig: Rig) -> None:
    rig.scene.daemon.kill()
    rig.scene.start()


def sleep_over_the_lease(rig: Rig) -> None:
    rig.scene.daemon.pause()
    time.sleep(2.5)
    rig.scene.daemon.resume()


def cut_redis(rig: Rig) -> None:
    rig.redis_proxy.cut()
    time.sleep(0.3)
    rig.redis_proxy.restore()


def cut_mongo(rig: Rig) -> None:
    """Or an election."""
    if SCALE == 1:
        rig.mongo_proxy.cut()
        time.sleep(0.3)
        rig.mongo_proxy.restore()
    else:
        rig.mongo.step_down()
        rig.mongo.wait_for_primary()


FAULTS = (kill, cut_mongo, sleep_over_the_lease, cut_redis)


@pytest.mark.at_scale("keyspace")
@pytest.mark.parametrize("capture", ["outbox", "keyspace"])
def test_both_sides_at_random(storm: Rig, capture: str) -> None:
    """nothing_lost, no_echo, nothing_silent: processes write both sides while the daemon is killed, put to sleep
    and cut off. Afterwards both sides are alike, what one side alone wrote last is there, no field that one side alone
    wrote was in a conflict, each conflict has one record, and at rest nothing is written or read any more."""
    scene = storm.scene
    flow = add_two_way(scene, capture, capture, documents=[film(n) for n in range(COUNT)])
    scene.start()
    flow.wait_live(60)
    wait_alike(flow)
    end, turn = time.monotonic() + SECONDS, 0
    with writing(flow, COUNT, storm.mongo.uri, storm.redis.url, RATE, random.randrange(1000)) as load:
        time.sleep(1.0)
        while time.monotonic() < end or turn < len(FAULTS) or not conflicts(flow):
            FAULTS[turn % len(FAULTS)](storm)
            turn += 1
            time.sleep(random.uniform(0.3, 1.0) if SCALE == 1 else random.uniform(1, 5))
    flow.wait_live(60)
    wait_alike(flow, 90)
    check(flow, load)
    at_rest(flow)
    wait_alike(flow, 5)
    print(f"{capture}: {load.writes} writes, {turn} faults, {len(conflicts(flow))} conflicts, {flow.lane()}")


def check(flow: Flow, load: Load) -> None:
    """What was acknowledged is there, and only what both sides changed was contested."""
    found = documents(flow)
    records = conflicts(flow)

    def told(number: int) -> object:
        known = flow.redis.hget(flow.names.control("synced"), flow.key(number))
        return (
            number,
            found[number],
            flow.hash(number),
            known,
            [r for r in records if r["document"] == number],
        )

    for number, value in load.mongo.items():
        assert is_doomed(number) or found[number]["a"] == value, (value, told(number))
    for number, value in load.redis.items():
        assert is_doomed(number) or found[number]["in"]["b"] == value, (value, told(number))
    assert records, "nothing was contested"
    for record in records:
        said = {one["field"] for one in record["fields"]}
        assert is_doomed(record["document"]) or said <= {"n", "c"}, record
    # Every value is written once, so that the same two values stand for the same conflict.
    recorded = Counter(
        (record["document"], str(record["fields"])) for record in records if not is_doomed(record["document"])
    )
    assert not [one for one, times in recorded.items() if times > 1]
    assert not flow.dead_letters()


def at_rest(flow: Flow) -> None:
    """no_echo: nothing is counted any more, once the last of our own changes has come by."""

    def counts() -> list[float]:
        names = ("syncd_changes_total", "syncd_writes_total", "syncd_conflicts_total")
        return [flow.metric(name) for name in names]

    def still() -> bool:
        before = counts()
        time.sleep(REST_S)
        return counts() == before

    wait_until(still, 10 + 3 * REST_S, lambda: f"rest; {counts()}")
