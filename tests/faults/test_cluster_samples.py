"""Samples of time series into documents on a Redis Cluster: slots move, nodes are emptied and fail over (nothing_lost,
nothing_silent). Skipped where the module RedisTimeSeries cannot be loaded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import pytest
from redis.exceptions import RedisClusterException, RedisError

from syncd.embedded import RedisServer
from syncd.embedded.cluster import RedisCluster
from syncd.stores.redis.cluster.nodes import HOME
from syncd.stores.redis.cluster.slots import slot_of
from tests.support.check import meanwhile, wait_until
from tests.support.programs.needed import NotFound, give_up
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import fail_over, half_moved, masters, move, slots_of, stop_replication
from tests.support.servers.timeseries import series_cluster
from tests.support.shapes.series import add, live_series, samples, wait_samples
from tests.support.ways.outbox import documents

SENSORS = [f"s{n}" for n in range(24)]


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[RedisCluster]:
    """Three masters with a replica each."""
    try:
        with series_cluster(1) as nodes:
            yield nodes
    except NotFound as error:
        give_up(error)


def begin(scene: Scene, short: str) -> Flow:
    flow = live_series(scene, short)
    for sensor in SENSORS:
        add(flow, sensor, range(60))
    wait_samples(flow)
    return flow


def slots_of_series(flow: Flow, cluster: RedisCluster, node: RedisServer) -> list[int]:
    held = set(slots_of(cluster, node))
    return sorted({slot for one in SENSORS if (slot := slot_of(flow.key(one))) in held})


def on(flow: Flow, cluster: RedisCluster, node: RedisServer) -> list[str]:
    held = set(slots_of(cluster, node))
    return [one for one in SENSORS if slot_of(flow.key(one)) in held]


def test_slots_move_under_load(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, nothing_silent: slots move key by key, and back, while samples come in order and late and get other
    values: each has one document. While slots are halfway the other series go on, and what comes there shows when they
    have arrived. Then a node is emptied: its documents stay, and what comes next shows."""
    flow = begin(scene, "moves")
    first, second, third = masters(cluster)
    turns = count(1)

    def turn() -> None:
        n = next(turns)
        try:
            for sensor in (SENSORS[n % 24], SENSORS[(5 * n) % 24]):
                add(flow, sensor, [100 + n, 100 + n - 7.5, n % 50 + 0.5], n)
        except (RedisError, RedisClusterException, AttributeError):
            time.sleep(0.05)

    moved = slots_of_series(flow, cluster, first)
    with meanwhile(turn, 0.02):
        move(cluster, moved, first, second)
        move(cluster, slots_of_series(flow, cluster, third)[:3], third, first)
        move(cluster, moved, second, first)
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    wait_samples(flow)
    slots = slots_of_series(flow, cluster, first)[:2]
    away = [one for one in SENSORS if slot_of(flow.key(one)) in slots]
    other = next(one for one in SENSORS if one not in away)
    with cluster.client(second) as taker, half_moved(cluster, slots, first, second):
        time.sleep(1)
        taker.execute_command("ASKING")
        key, moment = flow.key(away[0]), 1_767_300_000_000
        taker.execute_command("TS.ADD", key, moment, 5)
        before = len(documents(flow))
        add(flow, other, [900, 1.25])
        wait_until(lambda: len(documents(flow)) == before + 2, 20, flow.lane)
        assert f"{key}:{moment}" not in documents(flow)
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    wait_samples(flow)
    gone = on(flow, cluster, second)
    kept = {name: one for name, one in documents(flow).items() if one["sensor"] in gone}
    cluster.tell(second, "FLUSHALL")
    time.sleep(1)
    assert kept.items() <= documents(flow).items()
    for sensor in gone:
        add(flow, sensor, [2000, 1999])
    wait_samples(flow, beside=kept)
    flow.wait_live()
    assert flow.dead_letters() == []


def test_failovers_that_lose_the_last_samples(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost: a master dies before its replica has the last samples: their documents stay, and what comes under
    the same moments afterwards replaces them. The home loses the dead letter of a sample that way: it is made again."""
    flow = begin(scene, "lost")
    home = next(node for node in masters(cluster) if slot_of(HOME) in slots_of(cluster, node))
    other, third = (node for node in masters(cluster) if node is not home)
    mine = on(flow, cluster, other)
    stop_replication(cluster, other)
    for sensor in mine:
        add(flow, sensor, [100, 101, 30.5], 50)
    wait_samples(flow)
    kept = documents(flow)
    fail_over(cluster, other, replica_of(cluster, other))
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    assert len(samples(flow)) < len(kept)
    for sensor in mine:
        add(flow, sensor, [101, 102, 40.5], 70)
    wait_samples(flow, beside=kept)
    sensor = on(flow, cluster, third)[0]
    stop_replication(cluster, home)
    flow.redis.execute_command("TS.ALTER", flow.key(sensor), "LABELS", "site", b"\xff")
    add(flow, sensor, [500])
    wait_until(flow.dead_letters, 20, flow.lane)
    fail_over(cluster, home, replica_of(cluster, home))
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    wait_until(flow.dead_letters, 40, flow.lane)
    (dead,) = flow.dead_letters()
    assert dead["key"].startswith(flow.key(sensor))
    assert scene.daemon.logs(event="Redis has lost dead letters; their keys are read again")


def replica_of(cluster: RedisCluster, master: RedisServer) -> RedisServer:
    name = str(master.port).encode()
    return next(
        node
        for node in cluster.nodes
        if (role := cluster.tell(node, "ROLE"))[0] == b"slave" and str(role[2]).encode() == name
    )
