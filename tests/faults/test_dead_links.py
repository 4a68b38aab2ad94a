"""nothing_lost, nothing_silent: a link that died without an error, or a server that froze, is found out, said and
outlived.
"""

from __future__ import annotations

import json
import time

import pytest

from tests.faults.conftest import Rig
from tests.support.check import SOON_S, wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

COUNT = 500
SAID_S = 20.0
GIVEN_UP_S = 12.0
"""After it was said that nothing is heard: by then a lane does not wait for the answer any more."""
"""A search for a server alone takes ten."""


def start(rig: Rig, **more: object) -> tuple[Flow, int]:
    flow = rig.scene.run(
        "film", projection(["n"]), documents=[{"_id": n, "n": 0} for n in range(COUNT)], **more
    )
    rig.scene.daemon.wait_ready()
    return flow, rig.scene.daemon.process.pid


def complaint(rig: Rig, flow: Flow) -> str:
    """What /readyz says of the lane; empty while it is ready."""
    code, body = rig.scene.daemon.get("/readyz")
    waiting: dict[str, str] = json.loads(body)["waiting_for"]
    assert (code == 503) == bool(waiting)
    return waiting.get(flow.contract, "")


def wait_complaint(rig: Rig, flow: Flow, part: str, timeout: float = SAID_S) -> None:
    wait_until(
        lambda: part in complaint(rig, flow),
        timeout,
        lambda: f"{part!r}; /readyz says {complaint(rig, flow)!r}, {flow.lane()}",
    )


def change(flow: Flow, n: int) -> None:
    flow.collection.update_many({}, {"$set": {"n": n}})
    flow.collection.delete_one({"_id": COUNT - n})
    flow.collection.insert_one({"_id": COUNT + n, "n": n})


def assert_recovers(rig: Rig, flow: Flow, pid: int) -> None:
    """By itself, without another snapshot."""
    flow.catch_up()
    flow.assert_same()
    rig.scene.daemon.wait_ready()
    assert rig.scene.daemon.process.pid == pid
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1


@pytest.mark.parametrize("trouble", ["blackhole", "half_open"])
def test_a_mongodb_that_does_not_answer(rig: Rig, trouble: str) -> None:
    """A stream that waits in a dead link is given up in time, and opened again where it was."""
    flow, pid = start(rig)
    getattr(rig.mongo_proxy, trouble)()
    change(flow, 1)
    wait_complaint(rig, flow, "no answer from MongoDB")
    assert flow.lane()["state"] == "live", "it does not know yet"
    wait_complaint(rig, flow, "no answer from MongoDB", GIVEN_UP_S)
    change(flow, 2)
    assert flow.differences()
    rig.mongo_proxy.restore()
    assert_recovers(rig, flow, pid)


def test_a_redis_that_does_not_answer(rig: Rig) -> None:
    """A call that waits in a dead link is given up in time, and made again from the position that Redis has."""
    flow, pid = start(rig)
    rig.redis_proxy.blackhole()
    change(flow, 1)
    wait_complaint(rig, flow, "no answer from MongoDB or Redis")
    assert flow.lane()["state"] == "live", "it does not know yet"
    wait_complaint(rig, flow, "no connection to Redis")
    change(flow, 2)
    assert flow.differences()
    rig.redis_proxy.restore()
    assert_recovers(rig, flow, pid)


def test_a_mongod_that_is_frozen(rig: Rig) -> None:
    """A mongod stopped by SIGSTOP for some seconds goes on where it was, and so does the lane."""
    flow, pid = start(rig, slo={"freshness": "1s"})
    member = rig.mongo.members[0]
    for turn in range(1, 3):
        change(flow, turn)
        member.pause()
        try:
            wait_complaint(rig, flow, "s behind; slo.freshness is 1 s")
            time.sleep(1)
            assert complaint(rig, flow)
        finally:
            member.resume()
        assert_recovers(rig, flow, pid)


def test_freshness_decides_readiness(rig: Rig) -> None:
    """A lane that is live but later than its contract promises is not ready; another, that promises nothing, is."""
    documents = [{"_id": n, "n": 0} for n in range(COUNT)]
    flow = rig.scene.add("film", projection(["n"]), documents=documents, slo={"freshness": "1s"})
    other = rig.scene.run("other", projection(["n"]), documents=documents)
    flow.wait_live()
    rig.scene.daemon.wait_ready()
    rig.redis_proxy.delay(0.3)
    for turn in range(1, 21):
        flow.collection.update_many({}, {"$set": {"n": turn}})
    wait_complaint(rig, flow, "s behind; slo.freshness is 1 s")
    lane = flow.lane()
    assert lane["state"] == "live"
    assert not lane["ready"]
    assert lane["lag_seconds"] > 1
    assert flow.metric("syncd_lag_seconds") > flow.metric("syncd_slo_freshness_seconds") == 1
    assert other.lane()["ready"]
    rig.redis_proxy.restore()
    flow.catch_up()
    rig.scene.daemon.wait_ready()
    assert not complaint(rig, flow)
    flow.assert_same()
    assert not rig.scene.daemon.logs(event="lane interrupted"), "it was late and nothing else"


def test_a_stop_while_mongodb_is_away(rig: Rig) -> None:
    """A daemon that is asked to stop does not wait for a MongoDB that does not answer, and goes on later."""
    flow, _ = start(rig)
    daemon = rig.scene.daemon
    rig.mongo_proxy.cut()
    change(flow, 1)
    wait_complaint(rig, flow, "no answer from MongoDB")
    began = time.monotonic()
    assert daemon.terminate() == 0
    assert time.monotonic() - began < SOON_S
    rig.mongo_proxy.restore()
    daemon.start()
    flow.catch_up()
    flow.assert_same()
    assert len(daemon.logs(event="snapshot started")) == 1
