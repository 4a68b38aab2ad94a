"""A master of Redis that dies, or is cut off, and the replica that three sentinels put in its place (nothing_lost,
never_backwards, no_ghosts, nothing_silent).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import exceptions

from syncd.embedded import LOOPBACK, RedisServer, ReplicaSet
from syncd.errors import TransientError
from syncd.stores.redis.store import RedisStore, translated
from tests.support.check import meanwhile, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.sentinel import Sentinels, tell
from tests.support.servers.shared import connect

CARD = projection(["title", "n"])
MOVING = projection(["title", "n"], name="slug", key="{slug}")
COUNT = 300
LEASE = {"SYNCD_LEASE_TTL": "3"}


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "slug": f"s{number}", "title": f"film {number}", "n": n}


@pytest.fixture
def watched(no_child_survives: None) -> Iterator[Sentinels]:
    with Sentinels() as group:
        yield group


@pytest.fixture
def scene(watched: Sentinels, replica_set: ReplicaSet, tmp_path: Path) -> Iterator[Scene]:
    with Scene(
        tmp_path, "faults", replica_set.uri, watched.first.url, daemon_redis=watched.url, env=LEASE
    ) as scene:
        scene.mongo.drop_database("faults")
        yield scene


def look_at(scene: Scene, flow: Flow, server: RedisServer) -> None:
    """From now on the test asks this one."""
    scene.redis.close()
    scene.redis = flow.redis = connect(server.url)


def changes(flow: Flow) -> Iterator[int]:
    """Without an end: updates, a move to another key, a new document, one that goes."""
    for n in itertools.count(1):
        number = n % COUNT
        flow.collection.update_many({"_id": {"$gte": number, "$lt": number + 20}}, {"$set": {"n": n}})
        flow.collection.update_one({"_id": (number * 7) % COUNT}, {"$set": {"slug": f"moved{n}"}})
        flow.collection.insert_one(film(1000 + n, n))
        flow.collection.delete_one({"_id": 1000 + n - 5})
        yield n


@pytest.mark.at_scale("killed", "killed with a lost tail")
@pytest.mark.parametrize("how", ["killed", "killed with a lost tail", "frozen and back"])
def test_a_failover_under_load(watched: Sentinels, scene: Scene, how: str) -> None:
    """nothing_lost: the master dies under load, with or without changes that the replica never got, or freezes, and
    comes back believing that it is still one; lanes go on at the new master from what that holds, a lost tail is said
    and made again, nothing is copied again. An operator hands over to the old one, and that is the same."""
    flow = scene.run("film", CARD, MOVING, unique=[["slug"]], documents=[film(n) for n in range(COUNT)])
    flow.wait_same()
    more = changes(flow)
    with meanwhile(lambda: next(more), 0.01):
        wait_until(lambda: flow.hash(1000).get("n", "") or flow.metric("syncd_writes_total") > COUNT * 2 + 50)
        if how.endswith("lost tail"):
            watched.stop_replication()
            before = tell(watched.second, "HGET", flow.names.control("position"), "time")
            wait_until(lambda: flow.position()["time"] > before)
        if how.startswith("killed"):
            watched.first.kill()
        else:
            watched.first.pause()
        watched.wait_primary(watched.second)
        look_at(scene, flow, watched.second)
        if how.startswith("frozen"):
            watched.first.resume()
        wait_until(lambda: scene.daemon.logs(event="Redis has another primary"), 40, flow.lane)
        stood = flow.position()["time"]
        wait_until(lambda: flow.position()["time"] > stood, 40, flow.lane)
    flow.wait_same(60)
    flow.wait_live()
    if how.endswith("lost tail"):
        assert [
            one for one in scene.daemon.logs(contract=flow.contract) if "lost its last writes" in one["event"]
        ]
        assert flow.metric("syncd_lane_restarts_total", why="redis_went_back") > 0
    if not watched.first.alive:
        watched.first.start()
    wait_until(lambda: watched.follows(watched.first), 60)
    with meanwhile(lambda: next(more), 0.01):
        watched.hand_over(watched.first)
        look_at(scene, flow, watched.first)
    flow.wait_same(60)
    assert len(scene.daemon.logs(event="snapshot started")) == 1
    assert not scene.daemon.logs(level="error")


def test_connections_of_before_a_failover(watched: Sentinels) -> None:
    """never_backwards, no_ghosts: a frozen master comes back and answers as if nothing had happened; where one
    connection has found the new one, no other uses the old one. A server that says itself that it is a replica is
    not used, whatever Sentinel says."""
    with closing(RedisStore(watched.url)) as store:
        pool = store.client.connection_pool
        old, idle = pool.get_connection(), pool.get_connection()
        pool.release(idle)
        watched.first.pause()
        watched.wait_primary(watched.second)
        watched.first.resume()
        assert pool.get_connection() is idle
        with pytest.raises(TransientError, match="no connection"), translated():
            raise_if_old(store.with_timeout(5.0), old, idle, watched.second.port)
        tell(watched.second, "REPLICAOF", LOOPBACK, str(watched.first.port))
        pool.disconnect()
        with pytest.raises(TransientError, match="is no primary"):
            store.clock_us()


def raise_if_old(other: RedisStore, old: Any, idle: Any, port: int) -> None:
    """Both still lead to the old one, until a connection of another pool finds the new one."""
    for connection in (old, idle):
        connection.send_command("PING")
        assert connection.read_response() == b"PONG"
        assert connection.port != port
    with closing(other):
        assert other.client.connection_pool.get_connection().port == port
    with pytest.raises(exceptions.ConnectionError, match="another primary"):
        idle.send_command("PING")
    old.send_command("PING")


def test_what_doctor_says_of_a_master_that_may_be_cut_off(
    watched: Sentinels, replica_set: ReplicaSet, tmp_path: Path, scene: Scene
) -> None:
    """nothing_silent: without min-replicas-to-write a master that is cut off goes on taking writes, which are lost;
    a master that no sentinel knows, and sentinels that are away, are said."""
    scene.add("film", CARD)
    env = {"SYNCD_MONGO_URI": replica_set.uri, "SYNCD_REDIS_URL": watched.url}
    words = ("doctor", "--contracts", str(scene.contracts.path))
    assert "min-replicas-to-write 0" in syncd(*words, **env).stdout
    tell(watched.first, "CONFIG", "SET", "min-replicas-to-write", "1")
    assert "min-replicas" not in syncd(*words, **env).stdout
    unknown = syncd(*words, **{**env, "SYNCD_REDIS_URL": watched.url.replace("mymaster", "other")})
    assert "no sentinel says where other is" in unknown.stderr
    assert "No such master" in unknown.stderr
    for watcher in watched.watchers:
        watcher.stop()
    gone = syncd(*words, **env)
    assert gone.returncode == 3
    assert "no sentinel says where mymaster is" in gone.stderr
