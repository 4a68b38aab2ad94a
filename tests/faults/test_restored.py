"""A MongoDB that is restored from a backup, restarted, or replaced by another one
(nothing_lost, no_ghosts, nothing_silent, never_backwards)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.test_lost_position import CARD, change_everything, films, reached, snapshots
from tests.support.check import wait_until
from tests.support.scene import Scene


class Backup:
    """The files of a replica set of one, as they were."""

    def __init__(self, mongo: ReplicaSet, folder: Path) -> None:
        self._mongo, self._copy = mongo, folder
        self._data = mongo.members[0].directory / "data"
        mongo.stop()
        shutil.copytree(self._data, folder)
        mongo.start()

    def restore(self) -> None:
        self._mongo.stop()
        shutil.rmtree(self._data)
        shutil.copytree(self._copy, self._data)
        self._mongo.start()


RESTORES = {"while it ran": (True, True), "while it was down": (False, False), "both idle": (False, True)}


@pytest.mark.at_scale("while it was down")
@pytest.mark.parametrize(("runs", "idle"), RESTORES.values(), ids=list(RESTORES))
def test_a_mongodb_restored_from_a_backup(
    redis_server: RedisServer, tmp_path: Path, runs: bool, idle: bool
) -> None:
    """no_ghosts, nothing_silent: what a restore of MongoDB took back does not stay in Redis."""
    with (
        ReplicaSet() as mongo,
        Scene(tmp_path, "faults", mongo.uri, redis_server.url) as scene,
    ):
        scene.redis.flushall()
        flow = scene.run("film", CARD, documents=films())
        backup = Backup(mongo, tmp_path / "backup")
        change_everything(flow)
        flow.catch_up()
        flow.assert_same()
        if idle:  # then the stored token is later than the last change
            scene.mongo["faults"].other.insert_one({})
            wait_until(lambda: flow.lane()["lag_seconds"] > 0.5)
            wait_until(lambda: flow.lane()["lag_seconds"] < 0.5)
            scene.daemon.terminate()
            assert flow.position()["token"] != flow.position()["event"]
            if runs:
                scene.start()
                flow.wait_live()
        elif not runs:
            scene.daemon.kill()
        backup.restore()
        if not runs:
            scene.start()
            flow.wait_live()
        flow.collection.update_one({"_id": 8}, {"$set": {"n": 88}})
        flow.wait_same()
        assert snapshots(scene) == 2
        assert scene.daemon.logs(event="position lost", level="warning")


@pytest.mark.at_scale("stopped", "own stream")
@pytest.mark.parametrize("lane", ["own stream", "shared stream", "killed", "stopped"])
def test_a_restore_that_no_change_follows(redis_server: RedisServer, tmp_path: Path, lane: str) -> None:
    """no_ghosts: MongoDB's files restored to an earlier moment are noticed at the next start or reconnect, though the
    collection does not change and MongoDB's time has passed the position."""
    with ReplicaSet() as mongo, Scene(tmp_path, "faults", mongo.uri, redis_server.url) as scene:
        scene.redis.flushall()
        flow = scene.run("film", CARD, documents=films())
        backup = Backup(mongo, tmp_path / "backup")
        change_everything(flow)
        flow.catch_up()
        flow.assert_same()
        if lane == "shared stream":
            scene.add("other", CARD, documents=films(1))
            wait_until(lambda: flow.lane()["stream"] == "shared", 30, flow.lane)
        elif lane == "killed":
            scene.daemon.kill()
        elif lane == "stopped":
            scene.mongo["faults"].more.insert_one({})
            scene.daemon.terminate()
        backup.restore()
        scene.mongo["faults"].more.insert_one({})
        if not scene.daemon.process.alive:
            scene.start()
        wait_until(lambda: scene.daemon.logs(event="position lost", contract=flow.contract), 40, flow.lane)
        flow.wait_live()
        flow.wait_same()


def test_a_mongodb_that_only_restarts(redis_server: RedisServer, tmp_path: Path) -> None:
    """nothing_silent: a MongoDB that restarts, or elects its primary again, has the same history: nothing is copied."""
    with ReplicaSet() as mongo, Scene(tmp_path, "faults", mongo.uri, redis_server.url) as scene:
        scene.redis.flushall()
        flow = scene.run("film", CARD, documents=films())
        change_everything(flow)
        flow.catch_up()
        wait_until(lambda: flow.position().get("witness"), 70, flow.position)
        mongo.step_down()
        flow.catch_up()
        mongo.stop()
        mongo.start()
        flow.catch_up()
        scene.daemon.terminate()
        mongo.stop()
        mongo.start()
        scene.start()
        flow.catch_up()
        flow.assert_same()
        assert snapshots(scene) == 1
        assert not scene.daemon.logs(event="position lost")


def pass_time(mongo: MongoClient[dict[str, Any]], second: int) -> None:
    """Until this MongoDB writes at a later time than `second`."""

    def write() -> bool:
        reply = mongo["faults"].command("insert", "other", documents=[{}])
        return bool(reply["operationTime"].time > second)

    wait_until(write, 10)


@pytest.mark.parametrize("known", [True, False])
def test_another_mongodb(redis_server: RedisServer, tmp_path: Path, known: bool) -> None:
    """no_ghosts: where SYNCD_MONGO_URI names another replica set, its documents are copied, though none changes. A
    position of a version before, which does not name its MongoDB, takes the present one."""
    with (
        ReplicaSet() as mongo,
        ReplicaSet() as second,
        Scene(tmp_path, "faults", mongo.uri, redis_server.url) as scene,
        MongoClient(second.uri) as other,
    ):
        scene.redis.flushall()
        flow = scene.run("film", CARD, documents=films(), sync={"sweep_limit": "100%"})
        scene.daemon.terminate()
        position = flow.names.control("position")
        if not known:
            scene.redis.hdel(position, "deployment", "witness", "event")
        other["faults"].film.insert_many(films(3))
        pass_time(other, reached(flow))  # or the position is from its future
        daemon = scene.another_daemon(SYNCD_MONGO_URI=second.uri)
        daemon.start()
        wait_until(lambda: daemon.lane_state() == "live", 30, daemon.process.log_tail)
        lost = daemon.logs(event="position lost", level="warning")
        assert bool(lost) == known
        if known:
            assert "another MongoDB" in lost[0]["error"]
            wait_until(lambda: flow.keys() == {"0", "1", "2"} or flow.keys(), 20)
            assert len(flow.keys()) == 3
        wait_until(lambda: flow.position().get("deployment", b"").startswith(b"rs/"), 20, flow.position)
