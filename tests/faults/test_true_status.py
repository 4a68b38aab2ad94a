"""Pages, probes and metrics while lanes are in trouble: unknown is unknown, and ready means that a daemon serves
(nothing_lost, fenced, nothing_silent, bounded).
"""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow

CARD = projection({"title": "title", "n": {"from": "n", "type": "int"}})
STOP_S = 10.0
SOON_S = 3.0
"""Far below the quarter of a minute in which everything is counted anyway."""


def film(number: int, n: Any = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n}


def complaint(daemon: Daemon) -> str:
    return str(daemon.status()["lanes"][0]["complaint"])


def test_a_lane_that_opens_its_stream(rig: Rig) -> None:
    """nothing_silent: a lane that has opened its stream, and no more, is neither live nor ready; its
    age is that of what shows, its position the stored one, and its dead letters are those in Redis."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(20)])
    flow.collection.update_many({"_id": {"$lt": 12}}, {"$set": {"n": "none"}})
    flow.catch_up()
    rig.scene.daemon.terminate()
    hold = rig.mongo_proxy.hold_request(flow.command("collection"), b"getMore")
    rig.scene.start()
    hold.wait()
    lane = flow.wait_state("catching_up")
    assert not rig.scene.daemon.is_ready()
    wait_until(lambda: flow.lane()["lag_seconds"] > 2)
    lane = flow.lane()
    assert (lane["state"], lane["dead_letters"]) == ("catching_up", 12)
    assert lane["position"] == flow.position()["time"].decode()
    hold.release()
    flow.wait_live()
    rig.scene.daemon.wait_ready()


def test_a_lease_that_is_lost_while_the_stream_is_opened(rig: Rig) -> None:
    """nothing_silent, fenced: a lane whose lease went while MongoDB opened its stream never says that it is live."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(5)])
    rig.scene.daemon.terminate()
    hold = rig.mongo_proxy.hold_request(flow.command("collection"), b"getMore")
    rig.scene.start()
    hold.wait()
    flow.redis.delete(flow.names.control("lease"))
    flow.redis.set(flow.names.control("lease"), "another/daemon/1/x:1", px=3000)
    hold.release()
    flow.wait_state("standby")
    assert not rig.scene.daemon.logs(event="lane live")[1:], "only that of the run before"
    assert not rig.scene.daemon.is_ready()
    lane = flow.lane()
    assert (lane["lag_seconds"], lane["position"], lane["dead_letters"]) == (None, None, None)
    assert math.isnan(flow.metric("syncd_lag_seconds"))
    flow.wait_live()


def test_a_quiet_lane_that_is_interrupted(rig: Rig) -> None:
    """nothing_silent: what other collections do moves the position of a quiet lane in memory alone. Where its link to
    Redis breaks it goes on from the stored one, and does not say that Redis has lost anything."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(5)])
    flow.catch_up()
    flow.collection.database["other"].insert_one({})
    wait_until(lambda: flow.lane()["position"] != flow.position()["time"].decode(), 20, flow.lane)
    rig.redis_proxy.cut()
    wait_until(lambda: flow.lane()["state"] == "waiting", 20, flow.lane)
    rig.redis_proxy.restore()
    flow.wait_live()
    assert not [
        one for one in rig.scene.daemon.logs(level="warning") if "lost its last writes" in one["event"]
    ]
    assert flow.metric("syncd_lane_restarts_total", why="redis_went_back") == 0


def test_dead_letters_are_counted_at_the_event(rig: Rig) -> None:
    """nothing_silent: what cannot be applied is on the page at once, also while a later start waits for MongoDB."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(20)])
    assert flow.lane()["dead_letters"] == 0
    flow.collection.update_many({"_id": {"$lt": 12}}, {"$set": {"n": "none"}})
    wait_until(lambda: flow.lane()["dead_letters"] == 12, SOON_S, flow.lane)
    assert flow.metric("syncd_dead_letters_waiting") == 12
    rig.scene.daemon.terminate()
    rig.mongo_proxy.cut()
    rig.scene.start()
    lane = flow.wait_state("waiting")
    wait_until(lambda: flow.lane()["dead_letters"] == 12, SOON_S, flow.lane)
    assert lane["lag_seconds"] is None or lane["lag_seconds"] > 0
    assert not rig.scene.daemon.is_ready()


def test_a_standby_of_a_daemon_that_does_not_serve(rig: Rig) -> None:
    """nothing_silent: a contract that no daemon serves is ready nowhere. While the daemon that holds the lease copies,
    the other one says so as well, and is ready when the first one is."""
    flow = rig.scene.add("film", CARD, documents=[film(n) for n in range(50)])
    hold = rig.mongo_proxy.hold_request(flow.command("find"))
    first, second = rig.scene.daemon, rig.scene.another_daemon(SYNCD_MONGO_URI=rig.mongo.uri)
    first.start()
    hold.wait()
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    wait_until(
        lambda: complaint(second).endswith("is not ready: snapshot"), SOON_S, lambda: complaint(second)
    )
    assert not first.is_ready()
    assert not second.is_ready()
    hold.release()
    flow.wait_live()
    first.wait_ready()
    second.wait_ready(10)


def test_a_standby_without_a_serving_daemon(rig: Rig) -> None:
    """nothing_silent: a lease that some process holds without saying that it works is no service."""
    flow: Flow = rig.scene.add("film", CARD, documents=[film(1)])
    flow.redis.set(flow.names.control("lease"), "some/other/1/process:7")
    rig.scene.start()
    flow.wait_state("standby")
    wait_until(
        lambda: complaint(rig.scene.daemon).endswith("has not said that it works"),
        20,
        rig.scene.daemon.status,
    )
    assert not rig.scene.daemon.is_ready()
    flow.redis.delete(flow.names.control("lease"))
    flow.wait_live()


@pytest.mark.at_scale("both")
@pytest.mark.parametrize("dead", ["redis", "mongo", "both"])
def test_a_daemon_that_cannot_commit_ends_soon(rig: Rig, dead: str) -> None:
    """bounded: SIGTERM at a daemon whose links are dead, and give no error, ends it within seconds."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(20)])
    proxies = {"redis": rig.redis_proxy, "mongo": rig.mongo_proxy}
    for name in proxies if dead == "both" else (dead,):
        proxies[name].blackhole()
    flow.collection.update_many({}, {"$set": {"n": 1}})
    wait_until(lambda: not rig.scene.daemon.is_ready(), 20)
    began = time.monotonic()
    assert rig.scene.daemon.terminate(25) == 0
    assert time.monotonic() - began < STOP_S


def test_redis_loads_its_data(rig: Rig) -> None:
    """nothing_lost: a Redis that was away for a while, and refuses everything while it loads, finds the lane back
    within a second or two, however long it was away."""
    flow = rig.scene.run("film", CARD, documents=[film(n) for n in range(20)])
    rig.redis_proxy.cut()
    flow.wait_state("waiting")
    time.sleep(8)  # so many failures that the pauses had grown to their longest
    rig.redis_proxy.restore()
    began = time.monotonic()
    flow.wait_live()
    assert time.monotonic() - began < 3
