"""A primary of Redis that dies while its replica is behind, and comes back as a replica (nothing_lost, never_backwards,
applied_once, nothing_silent).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from syncd.embedded import LOOPBACK, RedisServer, ReplicaSet
from syncd.embedded.cluster import RedisCluster
from syncd.errors import TransientError
from syncd.plan.claims import MONGO, Claims
from syncd.stores.redis.cluster.nodes import ClusterStore
from syncd.stores.redis.records.lease import Lease, new_owner
from syncd.stores.redis.records.leases import Leases
from syncd.stores.redis.records.position import ControlKeys, Position
from syncd.stores.redis.store import RedisStore
from syncd.to_redis.apply.calls.fan_out import writer_of
from tests.support.broken.proxy import Proxy
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import connect
from tests.support.ways.stream import add_series, append_timed, wait_done, wait_numbers

CARD = projection(["title", "n"])
MOVING = projection(["title", "n"], name="slug", key="{slug}")
COUNT = 500
LEASE = {"SYNCD_LEASE_TTL": "30"}
"""What the other server has of a lease is good for longer than a test takes."""
PROMPT = {"repl-diskless-sync-delay": 0}
"""A replica need not wait for others that might come."""


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "slug": f"s{number}", "title": f"film {number}", "n": n}


@dataclass
class Pair:
    """Two servers that can be primary. `front` is how daemon and test reach the one that is meant to be; `link` is how
    `second` reaches `first` to replicate."""

    scene: Scene
    first: RedisServer
    second: RedisServer
    front: Proxy
    link: Proxy

    def point_at(self, server: RedisServer) -> None:
        """As a service name does after a failover: old connections break, new ones go to the other server."""
        self.front.target = (LOOPBACK, server.port)
        self.front.cut()
        self.front.restore()
        self.scene.redis.connection_pool.disconnect()

    def promote_second(self) -> None:
        """The first dies, and with it everything that had not reached the second."""
        self.first.kill()
        self.link.cut()
        tell(self.second, "REPLICAOF", "NO", "ONE")
        self.point_at(self.second)


def tell(server: RedisServer, *words: str) -> Any:
    with connect(server.url) as client:
        return client.execute_command(*words)


def follow(server: RedisServer, port: int) -> None:
    """`server` becomes a replica of the one at `port`, and has all of it."""
    tell(server, "REPLICAOF", LOOPBACK, str(port))

    def caught_up() -> bool:
        said = tell(server, "INFO", "replication")
        return bool(said["master_link_status"] == "up")

    wait_until(caught_up, 20, lambda: tell(server, "INFO", "replication"))


@pytest.fixture
def pair(replica_set: ReplicaSet, tmp_path: Path) -> Iterator[Pair]:
    with (
        RedisServer(modules=False, appendonly=True, config=PROMPT) as first,
        RedisServer(modules=False, appendonly=True, config=PROMPT) as second,
        Proxy(first.port) as front,
        Proxy(first.port) as link,
        Scene(tmp_path, "faults", replica_set.uri, front.redis_url) as scene,
    ):
        scene.mongo.drop_database("faults")
        follow(second, link.port)
        yield Pair(scene, first, second, front, link)


def start(pair: Pair) -> Flow:
    """A live contract, of which the second server has everything."""
    documents = [film(number) for number in range(COUNT)]
    flow = pair.scene.run("film", CARD, MOVING, unique=[["slug"]], documents=documents, env=LEASE)
    flow.wait_same()
    assert tell(pair.first, "WAIT", "1", "20000") == 1
    key = flow.names.control("position")
    wait_until(lambda: tell(pair.second, "HGET", key, "phase") == b"stream", 20)
    return flow


def change(flow: Flow, n: int) -> None:
    """Updates, a replace, a new document, one that goes and one that moves to another key."""
    flow.collection.update_many({"_id": {"$lt": COUNT // 2}}, {"$set": {"n": n}})
    flow.collection.replace_one({"_id": 300}, film(300, n))
    flow.collection.insert_one(film(1000 * n, n))
    flow.collection.delete_one({"_id": 400 + n})
    flow.collection.update_one({"_id": 490 + n}, {"$set": {"slug": f"moved{n}"}})


def assert_one_snapshot(pair: Pair) -> None:
    assert len(pair.scene.daemon.logs(event="snapshot started")) == 1
    assert not pair.scene.daemon.logs(event="lane standby")


def test_a_failover_that_loses_writes(pair: Pair) -> None:
    """nothing_lost: writes that the replica never got roll back together with the position; the lane repeats them from
    the stream, and copies nothing again."""
    flow = start(pair)
    pair.link.blackhole()
    change(flow, 1)
    flow.wait_same()
    wait_until(lambda: flow.position()["time"] != tell(pair.second, "HGET", position_of(flow), "time"))
    assert tell(pair.second, "HGET", flow.key(1), "n") == b"0"
    before = flow.metric("syncd_lane_restarts_total")
    pair.promote_second()
    flow.wait_same()
    change(flow, 2)
    flow.wait_same()
    assert_one_snapshot(pair)
    assert flow.metric("syncd_lane_restarts_total") > before, "the lane has met the fail-over"


def test_a_primary_that_gets_the_data_of_its_replica(pair: Pair) -> None:
    """nothing_lost, applied_once, nothing_silent: a primary takes over the older data of its replica, and no connection
    breaks. Quiet lanes see within seconds that Redis lacks what it had confirmed, say so, and go on from what is
    stored; entries that come again for a time series are there once."""
    flow, series = start(pair), add_series(pair.scene, "series")
    append_timed(series, range(20))
    wait_numbers(series, range(20))
    wait_done(series)
    pair.scene.daemon.pause()
    append_timed(series, range(20, 40))
    assert tell(pair.first, "WAIT", "1", "20000") == 1
    pair.link.blackhole()
    pair.scene.daemon.resume()
    wait_numbers(series, range(40))
    wait_done(series)
    change(flow, 1)
    flow.wait_same()
    wait_until(lambda: flow.position()["time"] != tell(pair.second, "HGET", position_of(flow), "time"))
    pair.scene.daemon.pause()
    tell(pair.second, "REPLICAOF", "NO", "ONE")
    follow(pair.first, pair.second.port)
    tell(pair.first, "REPLICAOF", "NO", "ONE")
    assert flow.hash(1)["n"] == "0"
    pair.scene.daemon.resume()
    flow.wait_same()
    (said,) = pair.scene.daemon.logs(event="lane interrupted", contract=flow.contract)
    assert "lost its last writes" in said["error"] and said["level"] == "warning"
    assert flow.metric("syncd_lane_restarts_total", why="redis_went_back") == 1
    wait_done(series)
    append_timed(series, range(40, 60))
    wait_numbers(series, range(60))
    wait_done(series)
    change(flow, 2)
    flow.wait_same()
    assert_one_snapshot(pair)


def position_of(flow: Flow) -> str:
    return flow.names.control("position")


def has_heard(lease: Lease) -> bool:
    """Whether the lane hears of lost writes at its next sign of life."""
    try:
        lease.hold()
    except TransientError as error:
        return "lost its last writes" in str(error)
    return False


@pytest.mark.parametrize("kind", [RedisServer, RedisCluster])
def test_a_server_that_is_back_without_its_last_call(kind: type[RedisServer | RedisCluster]) -> None:
    """nothing_lost: a server dies and is back at once, without the last call that it had confirmed. A quiet lane makes
    none that would show it, and hears of it with a renewal of its lease, from each node of a cluster."""
    with (
        kind(modules=False, appendonly=True) as server,
        closing(
            RedisStore(server.url) if isinstance(server, RedisServer) else ClusterStore(server.url)
        ) as store,
        closing(Leases(store, new_owner(), 30.0)) as leases,
    ):
        last = server if isinstance(server, RedisServer) else server.nodes[-1]
        store.connect()
        lease = leases.of(ControlKeys("film", place=store.place), Claims(MONGO, "", ()))
        lease.acquire()
        with closing(writer_of(lease.store, lease.keys, lease)) as writer:
            for _ in range(2):
                writer.send(writer.operations("film", "1", 10, {}), Position(token={"_data": "82"}))
                assert writer.receive().ok
                assert tell(last, "CONFIG", "SET", "appendonly", "no")  # what comes now is on no disk
        assert not has_heard(lease)
        last.kill()
        last.start()
        wait_until(lambda: has_heard(lease), 10, "the lane has not heard that a call is lost")


def test_a_failover_while_changes_stream(pair: Pair) -> None:
    """nothing_lost: the primary may die between any two calls, with the replica some calls behind."""
    flow = start(pair)
    pair.link.delay(0.05)
    for n in range(1, 6):
        change(flow, n)
    wait_until(lambda: flow.hash(1).get("n") in {"3", "4", "5"}, 20, flow.lane)
    pair.promote_second()
    change(flow, 6)
    flow.wait_same()
    assert_one_snapshot(pair)


def test_an_old_primary_that_comes_back_as_a_replica(pair: Pair) -> None:
    """nothing_lost, nothing_silent: a daemon that is still led to the old primary, a replica now, waits and says why;
    it loses nothing, and goes on when it is led to the new one."""
    flow = start(pair)
    pair.promote_second()
    change(flow, 1)
    flow.wait_same()
    pair.first.start()
    follow(pair.first, pair.second.port)
    pair.point_at(pair.first)
    change(flow, 2)
    wait_until(lambda: "cannot take writes now" in flow.wait_state("waiting")["error"], 20, flow.lane)
    assert not pair.scene.daemon.is_ready()
    assert flow.hash(1)["n"] == "1"
    pair.point_at(pair.second)
    flow.wait_same()
    assert_one_snapshot(pair)
