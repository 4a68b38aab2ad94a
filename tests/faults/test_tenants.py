"""One contract over the collections of many tenants, which come and go (nothing_lost, no_ghosts)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE

TENANTS = 6 if SCALE == 1 else 30 * SCALE
"""300 with SYNCD_TEST_SCALE=10."""
ROUNDS, DOCUMENTS, KILLS = 15 * SCALE, 4, 2
PREFIX, KEYS = "tenant-", "faults:tenants:user:"

pytestmark = pytest.mark.timeout(180 * SCALE)


def name_of(number: int) -> str:
    return f"{PREFIX}{number}"


def step(rig: Rig, draw: random.Random, there: set[int]) -> None:
    """A tenant comes, goes, or changes its documents."""
    number = draw.randrange(TENANTS)
    users = rig.scene.mongo[name_of(number)]["users"]
    if number not in there:
        users.insert_many([{"_id": n, "name": f"{number} {draw.random()}"} for n in range(DOCUMENTS)])
        there.add(number)
    elif draw.random() < 0.2:
        rig.scene.mongo.drop_database(name_of(number))
        there.remove(number)
    else:
        users.update_many({"_id": {"$gt": 0}}, {"$set": {"name": f"{number} {draw.random()}"}})
        users.replace_one({"_id": 0}, {"name": f"{number} {draw.random()}"}, upsert=True)
        users.delete_one({"_id": draw.randrange(DOCUMENTS)})


def wanted(rig: Rig, there: set[int]) -> dict[str, str]:
    """By the documents."""
    return {
        f"{KEYS}{name_of(number)}:{one['_id']}": one["name"]
        for number in there
        for one in rig.scene.mongo[name_of(number)]["users"].find()
    }


def shown(rig: Rig) -> dict[str, str]:
    """By Redis."""
    keys = [*rig.scene.redis.scan_iter(match=f"{KEYS}*", count=10_000)]
    pipe = rig.scene.redis.pipeline(transaction=False)
    for key in keys:
        pipe.hget(key, "name")
    return {key.decode(): said.decode() for key, said in zip(keys, pipe.execute(), strict=True) if said}


def differences(rig: Rig, there: set[int]) -> Any:
    ours, theirs = shown(rig), wanted(rig, there)
    differing = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    return f"{len(differing)} of {len(theirs)} differ: {differing[:5]}"


def test_tenants_come_and_go_while_the_daemon_is_killed(rig: Rig) -> None:
    """nothing_lost, no_ghosts: databases of tenants are made and dropped, and their documents change, while the daemon
    is killed; in the end each tenant has the keys of its documents, and one that is gone has none."""
    draw, there = random.Random(3), set[int]()
    shape = projection({"name": "name"}, name="user", key="{$db}:{_id}")
    rig.scene.contracts.write("tenants", shape, collection=f"{PREFIX}*.users")
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_DISCOVER_EVERY="0.3")
    try:
        for number in range(TENANTS // 2):
            rig.scene.mongo[name_of(number)]["users"].insert_one({"_id": 0, "name": "first"})
            there.add(number)
        rig.scene.start()
        for _ in range(KILLS + 1):
            for _ in range(ROUNDS):
                step(rig, draw, there)
            rig.scene.daemon.kill()
            for _ in range(3):
                step(rig, draw, there)
            rig.scene.start()
        wait_until(lambda: shown(rig) == wanted(rig, there), 60.0 * SCALE, lambda: differences(rig, there))
        left = set(map(name_of, range(TENANTS))) - set(map(name_of, there))
        wait_until(
            lambda: not [key for one in left for key in rig.scene.redis.scan_iter(f"syncd:{{*@{one}.*")],
            60.0 * SCALE,
        )
        assert not rig.scene.daemon.logs(event="unexpected error")
    finally:
        for number in range(TENANTS):
            rig.scene.mongo.drop_database(name_of(number))
