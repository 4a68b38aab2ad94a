"""Entries of a stream into documents, while everything on the way breaks (nothing_lost, applied_once, nothing_silent,
bounded).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig, again, killed_at
from tests.support.broken.failpoint import failing
from tests.support.check import PATIENCE_S, meanwhile, wait_until
from tests.support.memory import Memory
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import start_again
from tests.support.ways.stream import add_stream, append, key, numbers, pending, wait_done, wait_numbers

COUNT = 300
GONE = "entries were removed before they were in MongoDB; let the stream keep more"


def live(rig: Rig, short: str) -> Flow:
    flow = add_stream(rig.scene, short)
    rig.scene.start()
    flow.wait_live()
    return flow


def inserting(flow: Flow) -> bytes:
    name = flow.collection.name.encode()
    return b"\x02insert\x00" + (len(name) + 1).to_bytes(4, "little") + name + b"\x00"


def wait_more(flow: Flow, than: int) -> None:
    wait_until(lambda: flow.collection.estimated_document_count() > than, 30, flow.lane)


def test_kill_between_write_and_acknowledgement(rig: Rig) -> None:
    """nothing_lost, applied_once: kill -9 when MongoDB has the documents and Redis does not know; they come again, and
    are there once."""
    flow = live(rig, "ack")
    hold = rig.redis_proxy.hold_request(b"XACK", key(flow).encode())
    append(flow, range(COUNT))
    with killed_at(rig, hold):
        assert numbers(flow)
        assert pending(flow)
    wait_numbers(flow, range(COUNT))
    wait_done(flow)
    wait_until(lambda: flow.metric("syncd_writes_total", store="mongo", result="repeated") > 0, 20, flow.lane)
    assert flow.dead_letters() == []


@pytest.mark.parametrize("reply", [False, True], ids=["before it", "behind it"])
def test_kill_at_the_write(rig: Rig, reply: bool) -> None:
    """nothing_lost, applied_once: kill -9 before MongoDB gets the documents, and before it has answered."""
    flow = live(rig, "write")
    hold = (rig.mongo_proxy.hold_reply if reply else rig.mongo_proxy.hold_request)(inserting(flow))
    append(flow, range(COUNT))
    with killed_at(rig, hold):
        assert pending(flow)
    wait_numbers(flow, range(COUNT))
    wait_done(flow)


def test_kill_between_dead_letter_and_its_reply(rig: Rig) -> None:
    """nothing_silent, applied_once: kill -9 when a dead letter is stored, before the daemon knows; there is one dead
    letter."""
    flow = live(rig, "letter")
    hold = rig.redis_proxy.hold_reply(b"syncd_park")
    rig.scene.redis.xadd(key(flow), {"n": "no number"})
    with killed_at(rig, hold):
        wait_until(lambda: len(flow.dead_letters()) == 1, 20)
    append(flow, range(5))
    wait_numbers(flow, range(5))
    wait_done(flow)
    assert [dead_letter["reason"] for dead_letter in flow.dead_letters()] == ["cannot_convert"]


def test_five_kills_in_the_middle(rig: Rig) -> None:
    """nothing_lost, applied_once: kill -9 five times while 20,000 entries go through; there are 20,000 documents."""
    flow = live(rig, "kills")
    written = 0
    for turn in range(5):
        append(flow, range(written, written + 4000))
        written += 4000
        wait_more(flow, written - 4000 + 300 * turn)
        again(rig)
    wait_numbers(flow, range(written), 60)
    wait_done(flow)
    assert flow.dead_letters() == []


def test_a_failing_write_is_repeated(rig: Rig) -> None:
    """nothing_lost, applied_once: MongoDB answers an insert with an election's error, more often than its driver
    repeats it."""
    flow = live(rig, "codes")
    with failing(flow.collection, "insert", 10107, times=6):
        append(flow, range(COUNT))
        wait_numbers(flow, range(COUNT))
    wait_done(flow)
    assert flow.metric("syncd_lane_restarts_total", why="transient") > 0
    assert flow.dead_letters() == []


def test_mongodb_away(rig: Rig) -> None:
    """nothing_lost, nothing_silent: MongoDB cannot be reached; the lane says so, the stream grows, and all arrives."""
    flow = live(rig, "away")
    append(flow, range(10))
    wait_numbers(flow, range(10))
    wait_done(flow)  # a document is there a moment before its entry is acknowledged
    rig.mongo_proxy.cut()
    append(flow, range(10, COUNT))
    flow.wait_state("waiting", 40)
    assert not rig.scene.daemon.is_ready()
    wait_until(lambda: flow.metric("syncd_outbox_entries") == COUNT - 10, 40, flow.lane)
    assert flow.metric("syncd_lag_seconds") > 0
    assert rig.scene.redis.xlen(key(flow)) == COUNT
    rig.mongo_proxy.restore()
    wait_numbers(flow, range(COUNT))
    wait_done(flow)


def test_a_lost_reply_of_redis(rig: Rig) -> None:
    """nothing_lost, applied_once: Redis hands out entries and the reply is lost; they come again."""
    flow = live(rig, "reply")
    closed = rig.redis_proxy.close_after_next_request(b"XREADGROUP")
    append(flow, range(COUNT))
    assert closed.wait(PATIENCE_S)
    append(flow, range(COUNT, 2 * COUNT))
    wait_numbers(flow, range(2 * COUNT))
    wait_done(flow)


def test_a_destroyed_group(rig: Rig) -> None:
    """nothing_lost, nothing_silent: a person destroys the group; it is made again where it stood, with a warning."""
    flow = live(rig, "group")
    append(flow, range(10))
    wait_numbers(flow, range(10))
    wait_until(lambda: flow.lane()["waiting"] == 0 and flow.lane()["position"] != "0-0", 20, flow.lane)
    stored = rig.scene.redis.xinfo_stream(key(flow))["last-generated-id"]
    wait_until(lambda: flow.position().get("acknowledged") == stored, 20, flow.position)
    pipe = rig.scene.redis.pipeline(transaction=True)
    pipe.xgroup_destroy(key(flow), flow.contract)
    for number in range(10, COUNT):
        pipe.xadd(key(flow), {"n": number})
    pipe.execute()
    wait_numbers(flow, range(COUNT))
    wait_done(flow)
    assert rig.scene.daemon.logs(event="consumer group was gone, made again", start=stored.decode())
    assert flow.metric("syncd_writes_total", store="mongo", result="repeated") == 0


def test_a_deleted_stream(rig: Rig) -> None:
    """nothing_lost: a person deletes the stream, and one with ids of its own takes its place; it is read from its
    beginning."""
    flow = live(rig, "deleted")
    append(flow, range(10))
    wait_numbers(flow, range(10))
    wait_until(lambda: flow.position().get("acknowledged", b"0-0") != b"0-0", 20)
    pipe = rig.scene.redis.pipeline(transaction=True)
    pipe.delete(key(flow))
    for number in range(10, 20):
        pipe.xadd(key(flow), {"n": number}, id=f"1-{number}")
    pipe.execute()
    wait_numbers(flow, range(20))


def test_trimmed_while_pending(rig: Rig) -> None:
    """nothing_silent: another client trims entries that a daemon had taken and not written; they are counted and
    logged."""
    flow = live(rig, "pending")
    hold = rig.mongo_proxy.hold_request(inserting(flow))
    append(flow, range(20))
    hold.wait()
    rig.scene.daemon.kill()
    wait_until(lambda: not rig.mongo_proxy.connections, 20)
    taken = pending(flow)
    assert taken
    rig.scene.redis.xtrim(key(flow), maxlen=0)
    rig.mongo_proxy.restore()
    rig.scene.daemon.start()
    append(flow, [100])
    wait_numbers(flow, [100])
    wait_done(flow)
    assert sum(entry["count"] for entry in rig.scene.daemon.logs(event=GONE)) == 20
    assert flow.metric("syncd_outbox_trimmed_total") == 20


def test_trimmed_before_they_are_read(rig: Rig) -> None:
    """nothing_silent: a short MAXLEN removes entries before they are read; they are counted, and counted once,
    and entries that are removed after they were written are not."""
    flow = live(rig, "unread")
    append(flow, range(10))
    wait_numbers(flow, range(10))
    wait_done(flow)
    rig.scene.daemon.terminate()
    append(flow, range(10, 60))
    rig.scene.redis.xtrim(key(flow), maxlen=20, approximate=False)
    rig.scene.daemon.start()
    wait_numbers(flow, [*range(10), *range(40, 60)])
    wait_done(flow)
    rig.scene.redis.xtrim(key(flow), maxlen=0)
    append(flow, range(60, 70))
    wait_numbers(flow, [*range(10), *range(40, 70)])
    wait_done(flow)
    assert flow.metric("syncd_outbox_trimmed_total") == 30
    assert [entry["count"] for entry in rig.scene.daemon.logs(event=GONE)] == [30]


def test_two_daemons_of_which_one_dies(rig: Rig) -> None:
    """nothing_lost, applied_once: of two daemons that share the group one is killed again and again; the other takes
    over what it had taken."""
    flow = live(rig, "two")
    second = rig.scene.another_daemon()
    written = 0
    for _ in range(3):
        second.start()
        second.wait_ready()
        append(flow, range(written, written + 3000))
        written += 3000
        wait_more(flow, written - 3000)
        second.kill()
    wait_numbers(flow, range(written))
    wait_done(flow)
    left = rig.scene.redis.xinfo_consumers(key(flow), flow.contract)
    wait_until(lambda: len(rig.scene.redis.xinfo_consumers(key(flow), flow.contract)) == 1, 30, left)


def test_redis_restarted_with_its_data(tmp_path: Path, replica_set: ReplicaSet) -> None:
    """nothing_lost, applied_once: a Redis that keeps its data is killed and comes back; group and entries are there."""
    with (
        RedisServer(appendonly=True, config={"appendfsync": "always"}) as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        scene.mongo.drop_database("faults")
        flow = add_stream(scene, "restart")
        scene.start()
        flow.wait_live()
        for turn in range(2):
            append(flow, range(turn * COUNT, (turn + 1) * COUNT))
            server.kill()
            server.start()
        wait_numbers(flow, range(2 * COUNT))
        wait_done(flow)


@pytest.mark.at_scale
def test_elections_in_the_middle(tmp_path: Path) -> None:
    """nothing_lost, applied_once: the primary is killed twice while entries go through; each has one document."""
    with (
        ReplicaSet(members=3) as replica_set,
        RedisServer() as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        flow = add_stream(scene, "election")
        scene.start()
        flow.wait_live()
        written = 0

        def write() -> None:
            nonlocal written
            append(flow, range(written, written + 10))
            written += 10

        with meanwhile(write, 0.01):
            for _ in range(2):
                wait_until(lambda: flow.lane().get("state") == "live", 60)
                primary = replica_set.wait_for_primary()
                primary.kill()
                replica_set.wait_for_primary(other_than=primary)
                start_again(primary)
        wait_numbers(flow, range(written), 60)
        wait_done(flow)
        assert flow.dead_letters() == []


def test_memory_does_not_grow_with_the_stream(rig: Rig) -> None:
    """bounded: 60 MB of entries wait, of 100 kB each; the daemon does not hold more than some batches of 16 MB."""
    flow = add_stream(rig.scene, "large")
    large = "x" * 100_000
    for start in range(0, 600, 50):
        append(flow, range(start, start + 50), more=large)
    rig.scene.start()
    with Memory(rig.scene.daemon.process.pid) as memory:
        wait_numbers(flow, range(600))
        wait_done(flow)
    assert memory.most < 250
