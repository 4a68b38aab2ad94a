"""Members of shared keys where values are odd, a contract is split, or a copy would remove too many."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId

from tests.support.check import wait_until
from tests.support.scene import Scene
from tests.support.shapes.members import BOARD, NEAR, RECALL, TAGS, members_of, player, wait_members
from tests.support.ways.reconcile import check

IDS: list[Any] = [
    "", "a:b", "{x}", "\u00fc", 1, 1.5, ObjectId(), {"a": 1}, datetime.datetime(2020, 1, 1), Binary(b"\xff\x00"),
    True, Decimal128("1.75"), "x" * 1000, Int64(2**40), "1",
]  # fmt: skip
TAGS_OF_ALL: list[Any] = [
    "", "a:b", "{t}", "\u00fc", 1, 1.0, "1", None, True, {"a": 1}, ObjectId(), "  ", "new\nline",
]  # fmt: skip
DUE = {"projection": "due", "type": "zset", "key": "all", "member": "{_id}", "score": "until"}


@pytest.fixture
def scene(redis_url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


def test_ids_and_tags_of_every_type(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_lost: whatever `_id` and elements are, each document is a member of its own keys, and a check finds no
    difference: not after random moves, beside a dead letter, nor after a copy."""
    draw = random.Random(3)
    documents = [
        player(one, game=draw.choice(TAGS_OF_ALL), points=number, tags=TAGS_OF_ALL, at={"lat": 1, "lng": 2},
               v=[0.0, 0.0, 1.0], kind={"deep": [1, None, float("nan")]}, until=datetime.datetime(2030, 1, 1))
        for number, one in enumerate(IDS)
    ]  # fmt: skip
    flow = scene.run("odd", BOARD, TAGS, NEAR, RECALL, DUE, documents=documents)
    assert not flow.dead_letters()
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    assert {len(board) for board in members_of(flow, "tags").values()} == {len(IDS)}
    assert set(members_of(flow, "due")["all"].values()) == {1893456000000.0}
    for _ in range(20):
        for one in IDS:
            change = {
                "game": draw.choice(TAGS_OF_ALL), "points": draw.random(), "tags": draw.sample(TAGS_OF_ALL, 3),
            }  # fmt: skip
            flow.collection.update_one({"_id": one}, {"$set": change})
    flow.collection.update_one({"_id": IDS[0]}, {"$set": {"tags": [[1]]}})
    wait_until(lambda: len(flow.dead_letters()) == 1, 60, flow.lane)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    flow.collection.delete_many({"_id": {"$ne": IDS[0]}})
    flow.redis.rpush(flow.names.control("requests"), "snapshot")
    wait_until(lambda: [*members_of(flow, "due")["all"]] == [""], 60, flow.lane)
    wait_until(lambda: len(scene.daemon.logs(event="snapshot finished", contract=flow.contract)) == 2, 60)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"


def test_a_contract_in_two_parts(scene: Scene) -> None:
    """no_ghosts: documents of two partitions share keys; after a copy of both, members that are in no map are gone, and
    none of another partition's."""
    flow = scene.add("part", BOARD, TAGS, documents=[player(n, tags=[f"t{n % 7}"]) for n in range(300)])

    def start() -> None:
        daemons = [scene.another_daemon(SYNCD_PARTITION=f"{number}/2") for number in (1, 2)]
        for daemon in daemons:
            daemon.start()
        for daemon in daemons:
            daemon.wait_ready()
        scene.daemon = daemons[0]
        running[:] = daemons

    running: list[Any] = []
    start()
    wait_members(flow)
    flow.collection.update_many({"_id": {"$mod": [3, 0]}}, {"$set": {"game": "go"}, "$push": {"tags": "x"}})
    flow.collection.delete_many({"_id": {"$gt": 270}})
    wait_members(flow)
    for daemon in running:
        daemon.kill()
    flow.redis.sadd(flow.key("t2", "tags"), "stranger", "3")
    flow.collection.delete_many({"_id": {"$gt": 240}})
    flow.redis.delete(*(flow.names.control(f"{part}:position") for part in ("1of2", "2of2")))
    start()
    wait_members(flow)


def test_a_copy_that_would_remove_too_many(scene: Scene) -> None:
    """no_ghosts: a sweep counts members, and more of them than `sweep_limit` go only where a person allows it."""
    flow = scene.run("many", BOARD, documents=[player(number) for number in range(300)])
    scene.daemon.kill()
    flow.collection.delete_many({"_id": {"$gte": 100}})
    flow.redis.delete(flow.names.control("position"))
    scene.start()
    lane = flow.wait_state("paused")
    assert "200 of 300" in lane["error"]
    assert len(members_of(flow, "board")["chess"]) == 300
    allowed = flow.position()["fingerprint"].decode()
    flow.redis.hset(flow.names.control("position"), "next", f"purge {allowed}")
    scene.daemon.kill()
    scene.start()
    wait_members(flow)
