"""Guards before a sharded MongoDB, shown before a replica set that says it is one (nothing_lost, never_backwards,
no_ghosts, nothing_silent).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.mongos import FakeMongos
from tests.support.outbox import add_outbox
from tests.support.scene import Flow, Scene

CARD = projection(["title"])


@pytest.fixture
def scene(replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Scene]:
    port = replica_set.members[0].port
    with (
        FakeMongos(port) as mongos,
        Scene(tmp_path, "faults", replica_set.uri, redis_server.url, daemon_mongo=mongos.uri) as scene,
    ):
        scene.mongo.drop_database("faults")
        scene.redis.flushall()
        yield scene
        scene.mongo["config"]["collections"].delete_many({"_id": {"$regex": "^faults"}})


def shard(flow: Flow, **key: object) -> None:
    """As the config servers of a cluster have it."""
    said = {"_id": flow.collection.full_name, "key": key}
    flow.collection.database.client["config"]["collections"].insert_one(said)


def test_a_collection_whose_ids_may_repeat(scene: Scene) -> None:
    """nothing_silent: a collection that is sharded by another field than `_id` is refused with the reason; not so one
    that is sharded by `_id`, or by nothing, or whose `_id` the contract states to be unique"""
    films = [{"_id": 1, "title": "one", "region": "eu"}]
    none, by_id = scene.add("none", CARD, documents=films), scene.add("by-id", CARD, documents=films)
    other, stated = scene.add("other", CARD, documents=films), scene.add("stated", CARD, unique=[["_id"]])
    stated.collection.insert_many(films)
    shard(by_id, _id="hashed")
    shard(other, region=1, _id=1)
    shard(stated, region=1)
    scene.start()
    for flow in (none, by_id, stated):
        flow.wait_live()
        flow.assert_same()
    wait_until(lambda: "is sharded by region, _id" in other.lane().get("error", ""), 20, other.lane)
    assert "mongo.unique: [[_id]]" in other.lane()["error"] and other.lane()["state"] == "failed"


def test_a_target_that_is_sharded_by_another_field(scene: Scene) -> None:
    """nothing_silent: keys are not written into a collection whose documents `_id` alone does not find"""
    flow = add_outbox(scene, "target")
    shard(flow, region=1)
    scene.start()
    wait_until(lambda: "is sharded by region" in flow.lane().get("error", ""), 20, flow.lane)


def test_a_delete_is_looked_up(scene: Scene) -> None:
    """nothing_lost: behind mongos a delete may be half of a move to another shard, so the document is looked up before
    its key goes"""
    flow = scene.run("moves", CARD, documents=[{"_id": number, "title": "t"} for number in range(5)])
    database = flow.collection.database
    database.command("profile", 2, filter={"op": "query"})
    flow.collection.delete_one({"_id": 3})
    flow.wait_same()
    database.command("profile", 0)
    asked = {"ns": flow.collection.full_name, "command.filter._id.$in": 3}
    assert database["system.profile"].count_documents(asked) == 1
