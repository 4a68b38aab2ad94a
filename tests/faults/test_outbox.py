"""Keys of an outbox into documents, while everything on the way breaks (nothing_lost, never_backwards, no_ghosts,
fenced, applied_once, no_echo, nothing_silent, bounded).
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig, again, killed_at
from tests.support.broken.failpoint import failing
from tests.support.broken.turns import Turns
from tests.support.check import wait_until
from tests.support.memory import Memory
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import start_again
from tests.support.ways.outbox import (
    add_outbox,
    call,
    documents,
    hashes,
    outbox,
    put,
    remove,
    wait_documents,
    wait_empty,
    wait_functions,
    wait_like_redis,
)

COUNT = 150
"""What MongoDB gets of them is one read of the proxy, which can tell then that a killed client is gone."""
LEASE_S = 2
EXPIRED = "keys were gone before they were read: expired or evicted; their documents stay as they were"


def live(rig: Rig, short: str, **more: object) -> Flow:
    flow = add_outbox(rig.scene, short, **more)  # type: ignore[arg-type]
    rig.scene.start()
    flow.wait_live()
    return flow


def test_kill_at_every_point(rig: Rig) -> None:
    """nothing_lost, applied_once, nothing_silent: kill -9 before MongoDB gets the states, before it has answered,
    before Redis learns of it, and before the daemon learns that Redis has; each time every document is as its key, and
    a key that cannot be written has one dead letter."""
    flow = live(rig, "point")
    points = {
        "insert": lambda: rig.mongo_proxy.hold_request(flow.command("insert")),
        "write": lambda: rig.mongo_proxy.hold_request(flow.command("update")),
        "written": lambda: rig.mongo_proxy.hold_reply(flow.command("update")),
        "acknowledge": lambda: rig.redis_proxy.hold_request(b"syncd_done_state"),
        "acknowledged": lambda: rig.redis_proxy.hold_reply(b"syncd_done_state"),
    }
    for turn, (point, hold_at) in enumerate(points.items()):
        hold = hold_at()
        pipe = rig.scene.redis.pipeline(transaction=True)
        pipe.hset(flow.key("bad"), "n", "no number")
        pipe.xadd(outbox(flow), {"key": flow.key("bad")})
        put(flow, range(COUNT), turn, pipe)
        with killed_at(rig, hold):
            assert bool(rig.scene.redis.xlen(outbox(flow))) == (point != "acknowledged")
        wait_empty(flow)
        assert [dead_letter["reason"] for dead_letter in flow.dead_letters()] == ["cannot_convert"]
        rig.scene.redis.delete(flow.key("bad"))
        assert documents(flow) == hashes(flow)


def test_kill_at_a_deletion(rig: Rig) -> None:
    """no_ghosts, applied_once: kill -9 when documents are deleted and Redis does not know; a key that is there again by
    then has its document."""
    flow = live(rig, "deletion")
    put(flow, range(20), 1)
    wait_like_redis(flow)
    hold = rig.redis_proxy.hold_request(b"syncd_done_state")
    remove(flow, range(10))
    with killed_at(rig, hold):
        put(flow, [3], 7)
    wait_like_redis(flow)
    assert documents(flow).keys() == {3, *range(10, 20)}


def writing(flow: Flow) -> Turns:
    """An application that changes and deletes keys, each time with a note."""

    def turn(number: int) -> None:
        first = 7 * number % 200
        put(flow, range(first, first + 20), number)
        remove(flow, [first + 3, first + 11])

    return Turns(turn)


def test_two_daemons_that_are_killed_in_turn(rig: Rig) -> None:
    """nothing_lost, no_ghosts: of two daemons the one that works is killed again and again while keys change and go;
    in the end every document is as its key."""
    ttl = {"SYNCD_LEASE_TTL": str(LEASE_S)}
    rig.scene.daemon = rig.scene.another_daemon(**ttl)
    flow = live(rig, "turns")
    second = rig.scene.another_daemon(**ttl)
    second.start()
    with writing(flow) as writer:
        for turn in range(4):
            daemon = (rig.scene.daemon, second)[turn % 2]
            writer.wait_turns(10)
            daemon.kill()
            daemon.start()
            wait_until(lambda: daemon.get("/status")[0] == 200, 20)  # noqa: B023 - called at once
    wait_like_redis(flow)
    assert flow.dead_letters() == []
    # What was deleted between its note and its read was deleted, and has not expired.
    assert not any(daemon.logs(event=EXPIRED) for daemon in (rig.scene.daemon, second))


@pytest.mark.parametrize("way", ["on the way", "before the write"])
def test_a_daemon_that_slept(rig: Rig, way: str) -> None:
    """fenced, never_backwards, no_ghosts: a daemon is frozen while its write is on the way, or before it is sent, for
    longer than its lease; when it wakes up, it writes no older state and brings no deleted document back."""
    ttl = {"SYNCD_LEASE_TTL": str(LEASE_S)}
    rig.scene.daemon = rig.scene.another_daemon(**ttl)
    flow = live(rig, "slept")
    put(flow, [1, 2], 1)
    wait_like_redis(flow)
    second = rig.scene.another_daemon(**ttl)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    if way == "on the way":
        hold = rig.mongo_proxy.hold_request(flow.command("update"))
    else:
        hold = rig.redis_proxy.hold_reply(b"syncd_read_state")
    put(flow, [1, 2, 3], 2)
    hold.wait()
    rig.scene.daemon.pause()
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    put(flow, [1], 3)
    remove(flow, [2, 3])
    wait_like_redis(flow)
    hold.release()
    rig.scene.daemon.resume()
    wait_until(lambda: rig.scene.daemon.lane_state() == "standby", 20, rig.scene.daemon.process.log_tail)
    daemon = rig.scene.daemon
    # Either the lease or MongoDB tells it, by the greater number of the other one's writes.
    assert daemon.logs(event="lease lost") or daemon.logs(event="lane interrupted")
    assert documents(flow) == {1: {"n": 3, "say": {"text": "version 3 of 1"}}}
    second.kill()
    put(flow, [4], 4)
    wait_like_redis(flow)


def test_mongodb_away(rig: Rig) -> None:
    """nothing_lost, nothing_silent, bounded: MongoDB cannot be reached; the outbox grows and reports its entries, its
    age and its bytes, the daemon's memory does not, and in the end every document is as its key."""
    flow = live(rig, "away")
    put(flow, range(10), 1)
    wait_like_redis(flow)
    rig.mongo_proxy.cut()
    pipe = rig.scene.redis.pipeline(transaction=False)
    for n in range(30_000):
        pipe.hset(flow.key(n % 1000), mapping={"n": n, "text": "x" * 100})
        pipe.xadd(outbox(flow), {"key": flow.key(n % 1000)})
    pipe.execute()
    remove(flow, range(5))
    flow.wait_state("waiting", 40)
    assert not rig.scene.daemon.is_ready()
    wait_until(lambda: flow.metric("syncd_outbox_entries") == 30_005, 40, flow.lane)
    assert flow.metric("syncd_outbox_bytes") > 500_000
    assert flow.metric("syncd_lag_seconds") > 0
    rig.mongo_proxy.restore()
    with Memory(rig.scene.daemon.process.pid) as memory:
        wait_like_redis(flow)
    assert memory.most < 200
    wait_until(lambda: flow.metric("syncd_outbox_entries") == 0, 20, flow.lane)
    assert flow.metric("syncd_changes_total", op="update") == 30_015


def test_memory_does_not_grow_with_large_keys(rig: Rig) -> None:
    """bounded: 80 MB wait, in keys of 200 kB; the daemon does not hold more than some reads of 4 MB."""
    flow = add_outbox(rig.scene, "large")
    for n in range(400):
        rig.scene.redis.hset(flow.key(n), mapping={"n": n, "text": "x" * 200_000})
        rig.scene.redis.xadd(outbox(flow), {"key": flow.key(n)})
    rig.scene.start()
    with Memory(rig.scene.daemon.process.pid) as memory:
        wait_empty(flow)
    assert flow.collection.estimated_document_count() == 400
    assert memory.most < 250


def test_elections_in_the_middle(tmp_path: Path) -> None:
    """nothing_lost, no_ghosts: the primary is killed while keys change and go."""
    with (
        ReplicaSet(members=3) as replica_set,
        RedisServer() as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        flow = add_outbox(scene, "election")
        scene.start()
        flow.wait_live()
        with writing(flow) as writer:
            writer.wait_turns(5)
            primary = replica_set.wait_for_primary()
            primary.kill()
            replica_set.wait_for_primary(other_than=primary)
            start_again(primary)
            flow.wait_live(60)
            writer.wait_turns(5)
        wait_like_redis(flow, 60)
        assert flow.dead_letters() == []


def test_redis_restarted_with_and_without_its_data(tmp_path: Path, replica_set: ReplicaSet) -> None:
    """nothing_lost: a Redis that keeps its data is killed and goes on where it stood. One that comes back empty has
    lost what it held, documents stay, and what is written then arrives, also over documents that seem to be later."""
    with (
        RedisServer(appendonly=True, config={"appendfsync": "always"}) as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        scene.mongo.drop_database("faults")
        flow = add_outbox(scene, "restart")
        scene.start()
        flow.wait_live()
        for turn in range(2):
            put(flow, range(100), turn)
            server.kill()
            server.start()
        wait_like_redis(flow)
        # Its clock was an hour ahead: entries and documents carry that time.
        future = f"{round(time.time() * 1000) + 3_600_000}-0"
        pipe = scene.redis.pipeline(transaction=True)
        pipe.hset(flow.key(1), mapping={"n": 5, "text": "of the future"})
        pipe.xadd(outbox(flow), {"key": flow.key(1)}, id=future)
        pipe.execute()
        put(flow, [2, 3], 5)
        wait_like_redis(flow)
        scene.redis.flushall()
        put(flow, [1], 6)
        remove(flow, [2])
        wait_until(lambda: documents(flow)[1]["n"] == 6, 40, flow.lane)
        wait_empty(flow)
        wait_until(lambda: 2 not in documents(flow), 20, flow.lane)
        assert len(documents(flow)) == 99
        assert flow.metric("syncd_redis_went_back_total") > 0
        remove(flow, [3, 4])
        put(flow, [5], 7)
        wait_until(lambda: documents(flow)[5]["n"] == 7, 20, flow.lane)
        assert documents(flow).keys() == {*range(100)} - {2, 3, 4}


def test_entries_that_another_client_removed(rig: Rig) -> None:
    """nothing_lost, nothing_silent: another client trims the outbox, and then deletes it; that is counted and logged,
    and all keys are read, so that every document is as its key."""
    flow = live(rig, "trimmed")
    put(flow, range(10), 1)
    wait_like_redis(flow)
    pipe = rig.scene.redis.pipeline(transaction=True)
    for n in range(100):
        pipe.hset(flow.key(n), mapping={"n": 2, "text": "second"})
        pipe.xadd(outbox(flow), {"key": flow.key(n)})
    pipe.xtrim(outbox(flow), maxlen=0)
    pipe.execute()
    wait_documents(flow, hashes(flow))
    gone = "entries were removed before they were in MongoDB; let the stream keep more"
    assert [entry["count"] for entry in rig.scene.daemon.logs(event=gone)] == [100]
    assert flow.metric("syncd_outbox_trimmed_total") == 100
    pipe = rig.scene.redis.pipeline(transaction=True)
    pipe.hset(flow.key(7), "n", 3)
    pipe.delete(outbox(flow))
    pipe.execute()
    wait_documents(flow, hashes(flow))
    assert rig.scene.daemon.logs(event="the outbox was deleted, all keys are read")
    put(flow, [8], 4)
    wait_like_redis(flow)


def test_syncd_makes_no_work_for_itself(rig: Rig) -> None:
    """no_echo: behind one change there is one write to MongoDB, and none of syncd's own writes is noted as a change."""
    flow = live(rig, "echo")
    with flow.collection.watch() as changes:
        put(flow, [1], 1)
        wait_like_redis(flow)
        calls = rig.scene.redis.info("commandstats")["cmdstat_fcall"]["calls"]
        wait_until(lambda: rig.scene.redis.info("commandstats")["cmdstat_fcall"]["calls"] > calls + 5, 20)
        seen = [change["operationType"] for change in iter(changes.try_next, None)]
    assert seen == ["insert"]
    assert rig.scene.redis.xinfo_stream(outbox(flow))["entries-added"] == 1


def test_a_full_redis_is_emptied(tmp_path: Path, replica_set: ReplicaSet) -> None:
    """nothing_lost, nothing_silent: Redis is full while MongoDB cannot take writes; the application gets an error,
    syncd goes on emptying the outbox, and then there is room again."""
    with (
        RedisServer(config={"maxmemory-policy": "noeviction"}) as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        scene.mongo.drop_database("faults")
        flow = add_outbox(scene, "full")
        scene.start()
        flow.wait_live()
        wait_functions(flow)
        with failing(flow.collection, "update", 10107):
            for n in range(2000):
                call(flow, "hset", n, "n", n, "text", "x")
            flow.wait_state("waiting")
            scene.redis.config_set("maxmemory", "1mb")
            with pytest.raises(OutOfMemoryError):
                call(flow, "hset", 1, "n", 7)
            assert scene.redis.xlen(outbox(flow)) == 2000
        wait_like_redis(flow)
        scene.redis.config_set("maxmemory", "0")
        call(flow, "hset", 1, "n", 8)
        wait_like_redis(flow)


def test_a_kill_in_the_middle_of_a_copy(rig: Rig) -> None:
    """nothing_lost: kill -9 while all keys are read because entries were lost; the next daemon begins again."""
    flow = live(rig, "copy")
    pipe = rig.scene.redis.pipeline(transaction=False)
    for n in range(2000):
        pipe.hset(flow.key(n), mapping={"n": n, "text": "x"})
    pipe.execute()
    rig.scene.redis.xadd(outbox(flow), {"key": flow.key(0)})
    wait_until(lambda: documents(flow), 20, flow.lane)
    hold = rig.redis_proxy.hold_reply(b"syncd_read_state", nth=4)
    rig.scene.redis.rpush(flow.names.control("requests"), "snapshot")
    hold.wait()
    again(rig)
    wait_like_redis(flow)
