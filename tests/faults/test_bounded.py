"""bounded: memory does not grow with the backlog or the length of an outage, and the lane says that it is behind."""

from __future__ import annotations

import itertools
import json
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.faults.conftest import Rig
from tests.support.check import meanwhile, wait_until
from tests.support.contracts import projection
from tests.support.memory import Memory
from tests.support.scene import Flow

COUNT = 1000
MANY, FEW = 16, 4
"""So many changes of every document: many of them take 64 MB, and more in Python."""
TEXT_BYTES = 4000
MOST_GROWTH_MB = 50
FRESHNESS = {"freshness": "1s"}


def text(turn: int) -> str:
    return f"{turn} ".ljust(TEXT_BYTES, "x")


def start(rig: Rig) -> Flow:
    documents: list[dict[str, Any]] = [{"_id": n, "n": 0, "text": text(0)} for n in range(COUNT)]
    return rig.scene.run("film", projection(["n", "text"]), documents=documents, slo=FRESHNESS)


def write(flow: Flow, turns: int = MANY) -> None:
    """At full speed."""
    for turn in range(1, turns + 1):
        write_turn(flow, turn)


def write_turn(flow: Flow, turn: int) -> None:
    flow.collection.update_many({}, {"$set": {"n": turn, "text": text(turn)}})


def more_to_come(flow: Flow) -> AbstractContextManager[None]:
    """Every document changes about twice a second: something is left to do, however fast the daemon is meanwhile."""
    turns = itertools.count(MANY + 1)
    return meanwhile(lambda: write_turn(flow, next(turns)), 0.5)


def memory(rig: Rig) -> Memory:
    return Memory(rig.scene.daemon.process.pid)


def usual(rig: Rig, flow: Flow) -> float:
    """What the daemon takes when it does the same work with nothing in its way."""
    with memory(rig) as watched:
        write(flow, FEW)
        flow.catch_up()
    return watched.most


def complaint(rig: Rig, flow: Flow) -> str:
    """What /readyz says of the lane; empty while it is ready."""
    code, body = rig.scene.daemon.get("/readyz")
    waiting: dict[str, str] = json.loads(body)["waiting_for"]
    assert (code == 503) == bool(waiting)
    return waiting.get(flow.contract, "")


def wait_complaint(rig: Rig, flow: Flow, *parts: str) -> None:
    wait_until(
        lambda: any(part in complaint(rig, flow) for part in parts),
        20,
        lambda: f"one of {parts}; /readyz says {complaint(rig, flow)!r}",
    )


def assert_recovers(rig: Rig, flow: Flow) -> None:
    """By itself, and without another snapshot."""
    flow.catch_up()
    flow.assert_same()
    rig.scene.daemon.wait_ready()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1
    assert len(rig.scene.daemon.logs(event="syncd started")) == 1


@pytest.mark.at_scale
def test_a_slow_redis(rig: Rig) -> None:
    """A Redis that takes 200 ms for a reply makes the lane late, not large; not ready until it has caught up."""
    flow = start(rig)
    calm = usual(rig, flow)
    rig.redis_proxy.delay(0.1)
    with memory(rig) as watched:
        write(flow)
        with more_to_come(flow):
            wait_complaint(rig, flow, "s behind; slo.freshness is 1 s")
            before = flow.position()["time"]
            wait_until(lambda: flow.position()["time"] != before, 20, flow.lane)
            assert complaint(rig, flow)
            assert flow.differences()
        rig.redis_proxy.restore()
        assert_recovers(rig, flow)
    assert watched.most < calm + MOST_GROWTH_MB, f"{watched.most:.0f} MB; {calm:.0f} before"


AWAY = {
    "cut": ("no connection to Redis",),
    "blackhole": ("s behind", "no answer from MongoDB or Redis", "no connection to Redis"),
    "half_open": ("s behind", "no answer from MongoDB or Redis", "no connection to Redis"),
}


@pytest.mark.at_scale("blackhole", "half_open")
@pytest.mark.parametrize("trouble", AWAY)
def test_a_redis_that_is_away(rig: Rig, trouble: str) -> None:
    """However Redis is away, what MongoDB takes meanwhile waits there and not in the daemon."""
    flow = start(rig)
    calm = usual(rig, flow)
    getattr(rig.redis_proxy, trouble)()
    with memory(rig) as watched:
        write(flow)
        wait_complaint(rig, flow, *AWAY[trouble])
        write(flow, FEW)
        assert complaint(rig, flow)
        assert flow.differences()
        rig.redis_proxy.restore()
        assert_recovers(rig, flow)
    assert watched.most < calm + MOST_GROWTH_MB, f"{watched.most:.0f} MB; {calm:.0f} before"


def test_a_backlog_from_before_the_start(rig: Rig) -> None:
    """What was written while the daemon was down is worked off in a few replies at a time; ready when that is done."""
    flow = start(rig)
    calm = usual(rig, flow)
    rig.scene.daemon.kill()
    write(flow)
    rig.redis_proxy.delay(0.005)
    rig.scene.start()
    with memory(rig) as watched:
        wait_complaint(rig, flow, "catching_up")
        rig.redis_proxy.restore()
        flow.catch_up()
    flow.assert_same()
    rig.scene.daemon.wait_ready()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1
    assert watched.most < calm + MOST_GROWTH_MB, f"{watched.most:.0f} MB; {calm:.0f} before"


def test_a_long_way_to_redis(rig: Rig) -> None:
    """A link that takes 40 ms there and back makes calls late, and no smaller: only a busy Redis does."""
    flow = rig.scene.add("far", projection(["n"]), documents=[{"_id": n, "n": n} for n in range(8000)])
    rig.redis_proxy.delay(0.02)
    rig.scene.start()
    flow.wait_live()
    flow.assert_same()
    assert flow.metric("syncd_batch_seconds_count") < 100  # 32 of 256 writes, and some for the position
