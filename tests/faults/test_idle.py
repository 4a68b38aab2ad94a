"""nothing_lost, nothing_silent: a lane without traffic keeps its place in MongoDB's oplog, and a person hears when one
does not.
"""

from __future__ import annotations

import time
from pathlib import Path

from bson import Timestamp
from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig
from tests.support.broken.proxy import Proxy
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Document, Flow, Scene

FILM = [{"_id": 1, "n": 0}]
WARNING = "the stored position nears the end of the oplog; let the lane catch up, or make the oplog larger"


def seconds(flow: Flow) -> int:
    """The time of the stored position."""
    return int(flow.position()["time"].split(b":")[0])


def cluster_time(client: MongoClient[Document]) -> int:
    reply = client.admin.command("ping")
    return int(reply["$clusterTime"]["clusterTime"].time)


def test_others_are_written(rig: Rig) -> None:
    """The position of an idle lane moves while others are written, and its age stays below the oplog's window."""
    busy = rig.scene.add("busy", projection(["n"]), documents=FILM)
    idle = rig.scene.run("idle", projection(["n"]), documents=FILM)
    busy.wait_live()
    event = idle.position()["event"]
    for _ in range(2):
        before = seconds(idle)

        def moved(before: int = before) -> bool:
            time.sleep(1)
            busy.collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
            return seconds(idle) > before

        wait_until(moved, 70, idle.position)
    assert idle.position()["event"] == event, "nothing came through the stream"
    assert idle.lane()["changes"] == 0
    busy.catch_up()
    busy.assert_same()
    wait_until(lambda: rig.scene.daemon.metric("syncd_oplog_window_seconds") > 0, 20, "the oplog's window")
    assert 0 <= idle.metric("syncd_position_age_seconds") < 70
    assert not rig.scene.daemon.logs(event=WARNING)


def test_stopped_and_started(rig: Rig) -> None:
    """An idle lane that is asked to stop stores how far it had read, and goes on from there without a copy."""
    busy = rig.scene.add("busy", projection(["n"]), documents=FILM)
    idle = rig.scene.run("idle", projection(["n"]), documents=FILM)
    busy.wait_live()
    for _ in range(2):
        busy.collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
        busy.catch_up()
        goal = int(busy.position()["time"].split(b":")[0])
        wait_until(lambda goal=goal: int(idle.lane()["position"].split(":")[0]) >= goal, 70, idle.lane)
        assert rig.scene.daemon.terminate() == 0
        assert seconds(idle) >= goal
        idle.collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
        rig.scene.start()
        for flow in (busy, idle):
            flow.wait_live()
            flow.wait_same()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 2
    assert not rig.scene.daemon.logs(event="position lost")


def jump(client: MongoClient[Document], ahead_s: int) -> None:
    """MongoDB's own time goes ahead, as it would by waiting, and the oplog with it."""
    later = Timestamp(cluster_time(client) + ahead_s, 1)
    with client.start_session() as session:
        session.advance_cluster_time({"clusterTime": later, "signature": {"hash": b"\0" * 20, "keyId": 0}})
        client["faults"].other.insert_one({}, session=session)
    assert cluster_time(client) >= later.time


def test_a_lane_that_cannot_move(redis_server: RedisServer, tmp_path: Path) -> None:
    """A lane that nears the end of the oplog because Redis is away says so once, in time, with both figures."""
    with (
        ReplicaSet() as mongo,
        Proxy(redis_server.port) as proxy,
        Scene(tmp_path, "faults", mongo.uri, redis_server.url, daemon_redis=proxy.redis_url) as scene,
    ):
        scene.redis.flushall()
        flow = scene.run("film", projection(["n"]), documents=FILM)
        proxy.cut()
        flow.wait_state("waiting")
        stored = seconds(flow)
        jump(scene.mongo, 1000)
        wait_until(lambda: scene.daemon.logs(event=WARNING), 40, flow.lane)
        (said,) = scene.daemon.logs(event=WARNING)
        assert said["level"] == "error"
        assert said["contract"] == flow.contract
        assert said["position_age_seconds"] >= 1000
        assert 1000 <= said["oplog_window_seconds"] < 1200
        assert seconds(flow) == stored
        assert scene.daemon.metric("syncd_oplog_window_seconds") >= 1000
        proxy.restore()
        flow.collection.update_one({"_id": 1}, {"$set": {"n": 1}})
        flow.catch_up()
        flow.assert_same()
        assert len(scene.daemon.logs(event=WARNING)) == 1
        assert len(scene.daemon.logs(event="snapshot started")) == 1
