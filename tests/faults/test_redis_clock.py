"""nothing_lost, never_backwards: Redis's clock goes back, and lanes go on at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.scene import Flow
from tests.support.ways import keyspace, outbox, stream, twoway

HOUR_US = 3_600_000_000
SOON_S = 20
"""Of which a start takes most."""

ADD: dict[str, Callable[..., Flow]] = {
    "outbox": outbox.add_outbox,
    "keyspace": keyspace.add_keyspace,
    "series": stream.add_series,
    "both": lambda scene, name: twoway.add_two_way(scene, name, "keyspace"),
}


def change(flow: Flow, kind: str, n: int) -> None:
    if kind == "outbox":
        outbox.put(flow, [1], n)
    elif kind == "series":
        stream.append_timed(flow, [n])
    else:
        flow.redis.hset(flow.key(1), mapping={"n": n})


def shows(flow: Flow, kind: str, n: int) -> bool:
    return flow.collection.count_documents({"n": n}) == 1


@pytest.mark.at_scale(all_but_one_of=2)
@pytest.mark.parametrize("memory", ["kept", "lost"])
@pytest.mark.parametrize("kind", list(ADD))
def test_a_clock_that_goes_back(rig: Rig, kind: str, memory: str) -> None:
    """nothing_lost, never_backwards: Redis's clock goes back by an hour, with its data or without what it noted of its
    times: a lane that writes to MongoDB goes on at once, and every later change arrives."""
    # MongoDB remembers the numbers of a contract, so each test has one of its own.
    flow = ADD[kind](rig.scene, f"{kind}-{memory}")
    daemon, position = rig.scene.daemon, flow.names.control("position")
    daemon.start()
    flow.wait_live()
    assert daemon.terminate() == 0
    # What an hour ahead leaves behind: in Redis, and by the changes of then in MongoDB.
    seconds, _ = flow.redis.time()
    ahead = str(seconds * 1_000_000 + HOUR_US)
    flow.redis.hset(position, mapping={"session": ahead, "clock": ahead, "above": ahead})
    daemon.start()
    flow.wait_live()
    change(flow, kind, 1)
    wait_until(lambda: shows(flow, kind, 1), 20, flow.lane)
    assert daemon.terminate() == 0
    if memory == "lost":
        flow.redis.hdel(position, "session", "clock", "above", "number")
    told = len(daemon.logs(event="lease lost"))
    daemon.start()
    began = time.monotonic()
    flow.wait_live()
    for n in (2, 3):
        change(flow, kind, n)
        wait_until(lambda n=n: shows(flow, kind, n), 20, lambda: (flow.lane(), daemon.process.log_tail()))
    assert time.monotonic() - began < SOON_S
    assert len(daemon.logs(event="lease lost")) == told
    if memory == "kept":
        assert not daemon.logs(event="lane interrupted")
        assert flow.metric("syncd_redis_went_back_total") == 0 or kind in ("series", "both")


def test_a_lease_of_before(rig: Rig) -> None:
    """nothing_lost: a lease that a dead daemon of another machine left behind lives an hour longer where Redis's clock
    goes back; another daemon takes over after the usual time all the same."""
    flow = outbox.add_outbox(rig.scene, "film")
    rig.scene.redis.set(flow.names.control("lease"), "elsewhere/1.1/1/x:1", px=3_600_000)
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_LEASE_TTL="2")
    rig.scene.daemon.start()
    began = time.monotonic()
    flow.wait_live(30)
    assert time.monotonic() - began < SOON_S
