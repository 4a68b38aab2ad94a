"""nothing_lost, fenced: a lease is held as long as its lane lives, also while the lane waits, and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from syncd.plan.claims import Claims
from syncd.stores.redis.records import leases as module
from syncd.stores.redis.records.leases import Leases
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from tests.faults.conftest import Rig
from tests.support.broken.failpoint import blocking, failing
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scale import SCALE
from tests.support.scene import Flow, Scene
from tests.support.servers.slow_server import slowed
from tests.support.ways import keyspace, outbox, stream, twoway

"""30: three million entries of other collections, and SYNCD_LEASE_TTL as it is by default."""
OTHERS = 50_000 if SCALE == 1 else 100_000 * SCALE
OPENING_S = 60 + 30 * SCALE
"""MongoDB goes through three million entries in half a minute; the server is slowed to a tenth."""
LEASE_S = 10.0 if SCALE >= 30 else 2.0
HIDDEN = "a restored MongoDB may go unnoticed: no right to find there, see docs/how-to/rights.md"
pytestmark = pytest.mark.timeout(180 * (1 + SCALE // 10))
SLOW_S = 5.0
"""How long a store takes for one command: longer than the lease."""


@pytest.fixture
def long_oplog(redis_server: RedisServer, tmp_path: Path) -> Iterator[tuple[ReplicaSet, Flow, Scene]]:
    """A contract whose daemon is stopped, and what others have written since."""
    with (
        ReplicaSet(test_commands=True) as mongo,
        Scene(
            tmp_path, "faults", mongo.uri, redis_server.url, env={"SYNCD_LEASE_TTL": str(LEASE_S)}
        ) as scene,
    ):
        scene.redis.flushall()
        scene.mongo.admin.command({"replSetResizeOplog": 1, "size": 4000.0})
        flow = scene.run("film", projection(["n"]), documents=({"_id": n, "n": 0} for n in range(100)))
        assert scene.daemon.terminate() == 0
        for start in range(0, OTHERS, 5000):
            scene.mongo["faults"].other.insert_many([{"_id": start + n} for n in range(5000)], ordered=False)
        flow.collection.update_one({"_id": 1}, {"$set": {"n": 1}})
        yield mongo, flow, scene


def assert_held(flow: Flow, daemons: list[Daemon], interruptions: int = 0) -> None:
    """The change shows, one lane is live, and none has lost its lease or its position, or was interrupted more often
    than so."""

    def one_is_live() -> bool:
        return "live" in [daemon.lane_state() for daemon in daemons]

    wait_until(one_is_live, OPENING_S, lambda: [daemon.process.log_tail() for daemon in daemons])
    flow.wait_same()
    for daemon in daemons:
        assert not daemon.logs(event="lease lost")
        assert not daemon.logs(event="position lost")
        assert len(daemon.logs(event="lane interrupted")) <= interruptions


@pytest.mark.at_scale("no right-1", "oplog-2")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("hidden", [False, True], ids=["oplog", "no right"])
def test_a_long_oplog_on_a_slow_server(
    long_oplog: tuple[ReplicaSet, Flow, Scene], count: int, hidden: bool
) -> None:
    """fenced, nothing_lost: behind a long oplog of other collections, on a MongoDB slowed to a tenth, a lane keeps its
    lease and becomes live, by one daemon or two, with the right to read the oplog and without."""
    mongo, flow, scene = long_oplog
    daemons = [scene.daemon, *(scene.another_daemon() for _ in range(count - 1))]
    oplog = scene.mongo.local["oplog.rs"]
    with failing(oplog, "find", 13) if hidden else nullcontext(), slowed(mongo.members[0].pid, 0.1):
        for daemon in daemons:
            daemon.start()
        # Without the right one command of MongoDB goes through all, and the lane waits a minute, then an hour for it.
        assert_held(flow, daemons, interruptions=1 if hidden and SCALE >= 30 else 0)
    # Of two that start at once either may have the lane.
    said = [one["collection"] for daemon in daemons for one in daemon.logs(event=HIDDEN)]
    assert said == ["local.oplog.rs"] * hidden


def test_a_lane_that_is_killed_while_it_goes_through_a_long_oplog(
    long_oplog: tuple[ReplicaSet, Flow, Scene],
) -> None:
    """nothing_lost: how far a lane has come behind a long oplog is stored, so that a restart does not begin again."""
    mongo, flow, scene = long_oplog
    began = flow.position()["time"]
    with slowed(mongo.members[0].pid, 0.02):
        scene.daemon.start()
        wait_until(lambda: flow.position()["time"] != began, OPENING_S, flow.position)
        if flow.redis.hget(flow.key(1), "n") != b"1":
            scene.daemon.kill()
            assert flow.position()["time"] > began
    if not scene.daemon.process.alive:
        scene.daemon.start()
    flow.wait_live(60)
    flow.assert_same()


KINDS: dict[str, tuple[Callable[[Scene], Flow], str]] = {
    "outbox": (lambda scene: outbox.add_outbox(scene, "film"), "update insert"),
    "keyspace": (lambda scene: keyspace.add_keyspace(scene, "film"), "update insert"),
    "series": (lambda scene: stream.add_series(scene, "film"), "insert"),
    "both": (lambda scene: twoway.add_two_way(scene, "film", "outbox"), "update find"),
}


def change(flow: Flow, kind: str, n: int) -> None:
    if kind == "outbox":
        outbox.put(flow, [n], n)
    elif kind == "keyspace":
        keyspace.write(flow, [n], n)
    elif kind == "series":
        stream.append_timed(flow, [n])
    else:
        twoway.hset(flow, n, n=n)


def has_come(flow: Flow, n: int) -> bool:
    return flow.collection.count_documents({}) >= n


@pytest.mark.parametrize("kind", ["outbox", "keyspace", "series", "both"])
def test_a_store_that_takes_longer_than_the_lease(rig: Rig, kind: str) -> None:
    """fenced: while MongoDB takes longer for one command than a lease lasts, a lane of any kind keeps its lease, and no
    standby takes over."""
    add, commands = KINDS[kind]
    flow = add(rig.scene)
    first, second = (rig.scene.another_daemon(SYNCD_LEASE_TTL="2") for _ in range(2))
    first.start()
    wait_until(lambda: first.lane_state() == "live", 30, first.process.log_tail)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    change(flow, kind, 1)
    wait_until(lambda: has_come(flow, 1), 20, first.process.log_tail)
    holder = flow.redis.get(flow.names.control("lease"))
    with blocking(flow.collection, commands, SLOW_S, times=1):
        change(flow, kind, 2)
        began = time.monotonic()
        wait_until(lambda: has_come(flow, 2), 40, first.process.log_tail)
    assert time.monotonic() - began > SLOW_S - 1, "nothing was slow"
    assert flow.redis.get(flow.names.control("lease")) == holder
    assert not first.logs(event="lease lost")
    assert second.lane_state() == "standby"


@pytest.fixture
def leases(rig: Rig) -> Iterator[Leases]:
    store = RedisStore(rig.redis.url)
    store.connect()
    found = Leases(store, "one/owner", 1.5)
    yield found
    found.close()
    store.close()


def test_a_lane_that_hangs(rig: Rig, leases: Leases, monkeypatch: pytest.MonkeyPatch) -> None:
    """fenced: the lease of a lane that gives no sign of life, or whose thread has ended, runs out; one that does is
    held."""
    monkeypatch.setattr(module, "SILENT_S", 2.0)
    lives, hangs, dead = (leases.of(ControlKeys(f"faults-{n}"), Claims("mongo", "1", ())) for n in range(3))
    lives.acquire()
    hangs.acquire()
    thread = threading.Thread(target=dead.acquire)
    thread.start()
    thread.join()

    def are_left() -> list[int]:
        lives.hold()
        return [n for n in range(3) if rig.scene.redis.exists(ControlKeys(f"faults-{n}").lease)]

    wait_until(lambda: are_left() == [0], 10, are_left)
    with pytest.raises(Exception, match="no sign of life"):
        hangs.hold()
    began = time.monotonic()
    wait_until(lambda: are_left() and time.monotonic() - began > 3, 10)
    assert are_left() == [0]
    lives.release()
    assert are_left() == []


def test_a_lane_that_hears_of_it(rig: Rig, leases: Leases) -> None:
    """fenced: a lane whose lease goes hears of it at its next sign of life, without a call of its own."""
    lease = leases.of(ControlKeys("faults-gone"), Claims("mongo", "1", ()))
    lease.acquire()
    rig.scene.redis.delete(ControlKeys("faults-gone").lease)

    def is_lost() -> bool:
        try:
            lease.hold()
        except module.FencedError:
            return True
        return False

    wait_until(is_lost, 10)
