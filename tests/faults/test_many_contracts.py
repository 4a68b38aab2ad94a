"""Hundreds of contracts in one daemon (nothing_lost, bounded)."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Scene

CARD = projection(["title"])
CONTRACTS = 120 if SCALE == 1 else 200
"""More than the hundred connections that a pool of redis-py has by itself."""
SPARE = 64
SLOW_MACHINE_S = 120.0


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def limits(pid: int) -> tuple[int, int]:
    """Of open files, soft and hard."""
    said = Path(f"/proc/{pid}/limits").read_text().splitlines()
    line = next(line for line in said if line.startswith("Max open files"))
    return int(line.split()[3]), int(line.split()[4])


@pytest.fixture
def scene(replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Scene]:
    """Without proxies, which are Python as well and would need more of the machine than the daemon."""
    # Hundreds of lanes that begin on a slow machine may need longer than ten seconds for a turn.
    slow = {"SYNCD_LEASE_TTL": "30"}
    with Scene(tmp_path, "faults", replica_set.uri, redis_server.url, env=slow) as scene:
        scene.mongo.drop_database("faults")
        scene.redis.flushall()
        yield scene


def test_hundreds_of_contracts(scene: Scene) -> None:
    """bounded, nothing_lost: more than a hundred contracts in one daemon all become live, none lacks a connection, and
    when they are quiet they share a few"""
    flows = [
        scene.add(f"c{number}", CARD, documents=[{"_id": 1, "title": f"of {number}"}])
        for number in range(CONTRACTS)
    ]
    scene.start()
    daemon = scene.daemon
    daemon.wait_ready(SLOW_MACHINE_S)
    assert not daemon.logs(event="lane interrupted"), daemon.logs(event="lane interrupted")[:3]
    for flow in flows[::20]:
        flow.assert_same()
        flow.collection.insert_one({"_id": 2, "title": "later"})
    for flow in flows[::20]:
        flow.wait_same()
    own = scene.redis.client_list
    wait_until(lambda: sum(c["name"] == "syncd" for c in own()) <= SPARE + 8, 60, lambda: len(own()))
    assert daemon.process.pid is not None
    assert descriptors(daemon.process.pid) < 8 * CONTRACTS
    assert daemon.terminate(60) == 0


def test_more_descriptors_than_the_system_gives_at_first(rig: Rig) -> None:
    """bounded: a daemon raises its soft limit of open files to the hard one"""
    rig.scene.add("one", CARD, documents=[{"_id": 1, "title": "one"}])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        rig.scene.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert rig.scene.daemon.process.pid is not None
    assert limits(rig.scene.daemon.process.pid) == (hard, hard)
