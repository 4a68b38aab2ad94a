"""Entries of a stream into a time series, which takes the same one twice, while everything breaks (nothing_lost,
fenced, applied_once, nothing_silent).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig
from tests.faults.test_append import again, killed_at
from tests.support.broken.hold import Hold
from tests.support.broken.proxy import Proxy
from tests.support.check import PATIENCE_S, meanwhile, wait_until
from tests.support.scale import SCALE
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import start_again
from tests.support.ways.stream import add_series, append_timed, wait_done, wait_numbers

COUNT = 300
"""10: 200,000 entries instead of 20,000."""
WRITE, NOTE, WRITTEN = b"txnNumber", b"syncd_advance", b"syncd_written"


def live(rig: Rig, short: str) -> Flow:
    flow = add_series(rig.scene, short)
    rig.scene.start()
    flow.wait_live()
    return flow


def wait_count(flow: Flow, more_than: int) -> None:
    wait_until(lambda: flow.collection.count_documents({}) > more_than, 60, flow.lane)


def wait_all(flow: Flow, count: int, timeout: float = 60) -> None:
    """Exactly these documents, each once, and nothing left to do."""
    wait_until(lambda: flow.collection.count_documents({}) >= count, timeout, flow.lane)
    wait_done(flow, timeout)
    wait_numbers(flow, range(count))


def test_telemetry(rig: Rig) -> None:
    """nothing_lost, applied_once: kill -9 three times while 20,000 entries go through; there are exactly 20,000
    documents (200,000 were counted too)."""
    flow = live(rig, "telemetry")
    total, written = 20_000 * SCALE, 0
    for turn in range(1, 5):
        while written < total * turn // 4:
            append_timed(flow, range(written, written + 1000))
            written += 1000
        if turn < 4:
            wait_count(flow, written - 4000)
            again(rig)
    wait_all(flow, total, 120)
    assert flow.dead_letters() == []


@pytest.mark.parametrize(
    "hold",
    [
        lambda rig: rig.redis_proxy.hold_reply(NOTE),
        lambda rig: rig.mongo_proxy.hold_request(WRITE),
        lambda rig: rig.mongo_proxy.hold_reply(WRITE),
        lambda rig: rig.redis_proxy.hold_request(NOTE, nth=2),
        lambda rig: rig.redis_proxy.hold_reply(NOTE, nth=2),
        lambda rig: rig.redis_proxy.hold_request(WRITTEN),
        lambda rig: rig.redis_proxy.hold_reply(WRITTEN),
    ],
    ids=[
        "noted",
        "before the write",
        "written",
        "before the end of the batch",
        "ended",
        "before the acknowledgement",
        "acknowledged",
    ],
)
def test_kill_at_each_step(rig: Rig, hold: Callable[[Rig], Hold]) -> None:
    """nothing_lost, applied_once: kill -9 at each step of a batch: noted, written, acknowledged."""
    flow = live(rig, "step")
    point = hold(rig)
    append_timed(flow, range(COUNT))
    with killed_at(rig, point):
        pass
    wait_all(flow, COUNT)


def test_lost_replies(rig: Rig) -> None:
    """nothing_lost, applied_once: the replies to a note, a write and the end of a batch are lost, one after another."""
    flow = live(rig, "replies")
    written = 0
    for proxy, word in ((rig.redis_proxy, NOTE), (rig.mongo_proxy, WRITE), (rig.redis_proxy, b"XREADGROUP")):
        closed = proxy.close_after_next_request(word)
        append_timed(flow, range(written, written + COUNT))
        written += COUNT
        assert closed.wait(PATIENCE_S)
    wait_all(flow, written)
    assert flow.metric("syncd_lane_restarts_total", why="transient") > 0


def test_a_paused_daemon_writes_nothing_more(rig: Rig) -> None:
    """fenced, applied_once: SIGSTOP in the middle of a write, for longer than the lease lasts; the standby takes over,
    and what the first had on its way arrives behind that and changes nothing."""
    env = {"SYNCD_LEASE_TTL": "1.5"}
    rig.scene.daemon = rig.scene.another_daemon(**env)
    flow = live(rig, "paused")
    hold = rig.mongo_proxy.hold_request(WRITE)
    append_timed(flow, range(COUNT))
    hold.wait()
    rig.scene.daemon.pause()
    with Proxy(int(rig.mongo.members[0].port)) as beside:
        second = rig.scene.another_daemon(**env, SYNCD_MONGO_URI=beside.mongo_uri)
        second.start()
        wait_numbers(flow, range(COUNT))
        append_timed(flow, range(COUNT, 2 * COUNT))
        wait_numbers(flow, range(2 * COUNT))
        hold.release()
        rig.scene.daemon.resume()
        wait_until(lambda: flow.lane().get("state") == "standby", 20, flow.lane)
        append_timed(flow, range(2 * COUNT, 3 * COUNT))
        wait_all(flow, 3 * COUNT)
        second.kill()


def test_two_daemons_of_which_one_dies(rig: Rig) -> None:
    """nothing_lost, applied_once: of two daemons the one that writes is killed, again and again."""
    flow = live(rig, "two")
    second = rig.scene.another_daemon()
    second.start()
    second.wait_ready()
    written = 0
    for victim in (rig.scene.daemon, second, rig.scene.daemon):
        append_timed(flow, range(written, written + 3000))
        written += 3000
        wait_count(flow, written - 3000)
        victim.kill()
        victim.start()
    wait_all(flow, written)


@pytest.mark.at_scale
def test_elections_in_the_middle(tmp_path: Path) -> None:
    """nothing_lost, applied_once: the primary is killed twice, and steps down once, while entries go through."""
    with (
        ReplicaSet(members=3) as replica_set,
        RedisServer() as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        flow = add_series(scene, "election")
        scene.start()
        flow.wait_live()
        written = 0

        def write() -> None:
            nonlocal written
            append_timed(flow, range(written, written + 10))
            written += 10

        with meanwhile(write, 0.01):
            for way in ("kill", "step down", "kill"):
                wait_until(lambda: flow.lane().get("state") == "live", 60, flow.lane)
                primary = replica_set.wait_for_primary()
                if way == "kill":
                    primary.kill()
                else:
                    primary.command("replSetStepDown", 10, force=True)
                replica_set.wait_for_primary(other_than=primary)
                start_again(primary)
        wait_all(flow, written)
        assert flow.dead_letters() == []


def test_a_redis_without_its_last_writes(tmp_path: Path, replica_set: ReplicaSet) -> None:
    """applied_once, nothing_silent: Redis is killed and comes back as it was before its last writes; the entries that
    come again are looked up, with a warning, and are there once."""
    with (
        RedisServer() as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        scene.mongo.drop_database("faults")
        flow = add_series(scene, "older")
        scene.start()
        flow.wait_live()
        append_timed(flow, range(COUNT))
        wait_all(flow, COUNT)
        scene.daemon.terminate()
        append_timed(flow, range(COUNT, 2 * COUNT))
        scene.redis.save()
        scene.start()
        wait_all(flow, 2 * COUNT)
        server.kill()
        server.start()
        wait_until(
            lambda: flow.metric("syncd_append_uncertain_total", why="redis_restarted") > 0, 30, flow.lane
        )
        append_timed(flow, range(2 * COUNT, 3 * COUNT))
        wait_all(flow, 3 * COUNT)
        assert flow.metric("syncd_writes_total", store="mongo", result="repeated") >= COUNT
