"""A daemon between servers of its own, with a proxy on either side: everything may be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from syncd.embedded.cluster import RedisCluster
from tests.support.broken.hold import Hold
from tests.support.broken.proxy import Proxy
from tests.support.check import wait_until
from tests.support.scene import Document, Scene
from tests.support.servers.cluster import masters

OPEN_SHARED = b"\x10aggregate\x00\x01\x00\x00\x00"
"""How a stream over a whole database begins: `aggregate: 1`, where others name their collection."""
MOST_STREAMS = 50
"""More than any test opens, trying again every half minute."""


@dataclass(frozen=True)
class Rig:
    """The daemons of `scene` reach both servers through the proxies, the test itself does not."""

    scene: Scene
    mongo: ReplicaSet
    redis: RedisServer
    mongo_proxy: Proxy
    redis_proxy: Proxy

    def keep_own_streams(self) -> None:
        """From now on no lane shares a stream: a quiet one would, after seconds, and ask for its changes in another
        way. For tests that wait for the lane's own `getMore`. Lasts until the proxy is restored."""
        for _ in range(MOST_STREAMS):
            self.mongo_proxy.hold_request(OPEN_SHARED)


@pytest.fixture(scope="session")
def kept_replica_set(no_child_survives: None) -> Iterator[ReplicaSet]:
    with ReplicaSet(test_commands=True) as server:
        yield server


@pytest.fixture(scope="module")
def replica_set(kept_replica_set: ReplicaSet) -> ReplicaSet:
    """Runs, and holds no database of a module before: a test may stop, kill and restart it, but not keep it down."""
    kept_replica_set.start()
    with MongoClient[Document](kept_replica_set.uri) as client:
        for name in set(client.list_database_names()) - {"admin", "config", "local"}:
            client.drop_database(name)
    return kept_replica_set


@pytest.fixture(scope="module")
def redis_server(no_child_survives: None) -> Iterator[RedisServer]:
    """An acknowledged write outlives its kill."""
    with RedisServer(appendonly=True) as server:
        yield server


@pytest.fixture
def rig(replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Rig]:
    """For a test that leaves both servers running. What they hold is removed first."""
    with (
        Proxy(replica_set.members[0].port) as mongo_proxy,
        Proxy(redis_server.port) as redis_proxy,
        Scene(
            tmp_path,
            "faults",
            replica_set.uri,
            redis_server.url,
            daemon_mongo=mongo_proxy.mongo_uri,
            daemon_redis=redis_proxy.redis_url,
        ) as scene,
    ):
        scene.mongo.drop_database("faults")
        scene.redis.flushall()
        yield Rig(scene, replica_set, redis_server, mongo_proxy, redis_proxy)


@pytest.fixture
def scene(cluster: RedisCluster, replica_set: ReplicaSet, tmp_path: Path) -> Iterator[Scene]:
    """For a module that has a `cluster`: a daemon on it, without proxies. All masters are empty."""
    with Scene(tmp_path, "faults", replica_set.uri, cluster.url, env={"SYNCD_LEASE_TTL": "3"}) as made:
        made.mongo.drop_database("faults")
        for node in masters(cluster):
            cluster.tell(node, "FLUSHALL")
        yield made


@pytest.fixture
def narrow(rig: Rig) -> Iterator[Callable[..., None]]:
    """The daemon's user in Redis, who may do everything; a call takes rights away (`-json.set`) or gives them."""

    def allow(*rights: str) -> None:
        rig.scene.redis.execute_command("ACL", "SETUSER", "narrow", *rights)

    allow("reset", "on", ">secret", "~*", "&*", "+@all")
    url = rig.redis_proxy.redis_url.replace("//", "//narrow:secret@")
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_REDIS_URL=url)
    yield allow
    rig.scene.redis.execute_command("ACL", "DELUSER", "narrow")


def again(rig: Rig) -> None:
    rig.scene.daemon.kill()
    # What is held goes with the connection: it must not arrive after all.
    wait_until(lambda: not rig.redis_proxy.connections + rig.mongo_proxy.connections, 20)
    rig.mongo_proxy.restore()
    rig.redis_proxy.restore()
    rig.scene.daemon.start()


@contextmanager
def killed_at(rig: Rig, hold: Hold) -> Iterator[None]:
    """The block begins when the daemon has come to this point; behind it the daemon is killed and started again."""
    hold.wait()
    yield
    again(rig)
