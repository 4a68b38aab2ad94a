"""Keyspace events on a Redis Cluster: a subscription a node, while slots move, nodes come, go and fail over
(nothing_lost, no_ghosts, fenced, nothing_silent)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random

import pytest
from redis.exceptions import RedisClusterException, RedisError

from syncd.embedded import LOOPBACK, RedisServer, ReplicaSet
from syncd.embedded.binaries import valkey_server
from syncd.embedded.cluster import RedisCluster
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore
from syncd.stores.redis.cluster.slots import slot_of
from tests.support.broken.proxy import Proxy
from tests.support.check import meanwhile, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import (
    fail_over,
    half_moved,
    masters,
    move,
    move_at_once,
    slots_of,
    stop_replication,
)
from tests.support.ways.keyspace import add_keyspace, compared, wait_compared, wait_like_keys
from tests.support.ways.outbox import documents, hashes

COUNT = 200
STAYS = range(COUNT // 2, COUNT)
"""Keys that are changed and never deleted."""
EXPIRES = 10_000
"""Keys from here on are written once, and expire: their documents stay."""
EXPIRES_MS = 700
LOST = "keys are gone since their slot moved, perhaps lost; their documents stay"
LEASE = {"SYNCD_LEASE_TTL": "3"}


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[RedisCluster]:
    """Three masters with a replica each; what is acknowledged outlives a kill."""
    with RedisCluster(3, 1, appendonly=True) as nodes:
        yield nodes


def begin(scene: Scene, short: str) -> Flow:
    flow = add_keyspace(scene, short)
    scene.start()
    flow.wait_live()
    pipe_write(flow, range(COUNT), 0)
    wait_like_keys(flow)
    return flow


def pipe_write(flow: Flow, ends: object, n: int) -> None:
    for end in ends:  # type: ignore[attr-defined]
        flow.redis.hset(flow.key(end), mapping={"n": n, "text": f"version {n} of {end}"})


class Application:
    """Changes, deletes, and lets keys expire; knows which it has deleted."""

    def __init__(self, flow: Flow) -> None:
        self._flow, self._random, self._turns = flow, Random(11), count(1)
        self.expiring = count(EXPIRES)

    def turn(self) -> None:
        n, client, key = next(self._turns), self._flow.redis, self._flow.key
        try:
            pipe_write(self._flow, self._random.sample(range(COUNT), 8), n)
            client.delete(key(self._random.randrange(STAYS.start)))
            client.hincrby(key(self._random.choice(STAYS)), "n", 1)
            client.hset(key(end := next(self.expiring)), mapping={"n": n, "text": f"version {n} of {end}"})
            client.pexpire(key(end), EXPIRES_MS)
        except (RedisError, RedisClusterException, AttributeError):
            time.sleep(0.05)  # a node is away, or the driver does not know one for a slot for a moment


@contextmanager
def changes(flow: Flow, *, loses: bool = False) -> Iterator[Application]:
    """Keys change, go and expire until the block ends; then both sides are the same. No document goes but by a
    deletion, whatever moves. `loses`: Redis may have lost writes, so that the application writes all keys again."""
    application, gone = Application(flow), set[int]()
    with flow.collection.watch([{"$match": {"operationType": "delete"}}]) as stream:
        with meanwhile(application.turn, 0.02):
            yield application
        flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
        time.sleep(EXPIRES_MS / 1000)
        if loses:
            pipe_write(flow, range(COUNT), -1)
        wait_like(flow)
        flow.wait_live(60)
        wait_like(flow)
        while (event := stream.try_next()) is not None:
            gone.add(event["documentKey"]["_id"])
    assert not {end for end in gone if end >= STAYS.start}, "nothing goes that was not deleted"
    assert flow.dead_letters() == []


def wait_like(flow: Flow, timeout: float = 60, but: int = EXPIRES) -> None:
    """Until every document is what its key says; those of keys that expired stay, `but` among them."""

    def differing() -> list[object]:
        wanted, there = (
            {end: one for end, one in found.items() if end < EXPIRES and end != but}
            for found in (hashes(flow), documents(flow))
        )
        return [end for end in wanted.keys() | there.keys() if wanted.get(end) != there.get(end)]

    wait_until(lambda: not differing(), timeout, lambda: f"{differing()}; {flow.lane()}")


def logged(scene: Scene, event: str) -> int:
    return len(scene.daemon.logs(event=event))


def slots_of_keys(flow: Flow, cluster: RedisCluster, node: RedisServer, most: int) -> list[int]:
    held = set(slots_of(cluster, node))
    return sorted({slot for end in range(COUNT) if (slot := slot_of(flow.key(end))) in held})[:most]


def test_slots_move_and_nodes_come_and_go(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts: under load slots move key by key to a node that is new, which then takes part, and
    back; also those of syncd's own records. No event of a key that moves counts as its deletion."""
    flow = begin(scene, "moves")
    first, second, third = masters(cluster)
    places = [slot_of(node.place) for node in ClusterStore(cluster.url).nodes]
    fourth = cluster.join()
    with changes(flow):
        for source in (first, second, third):
            mine = set(slots_of(cluster, source)) & set(places)
            move(cluster, [*slots_of_keys(flow, cluster, source, 15), *mine], source, fourth)
        wait_until(lambda: logged(scene, "slots moved"), 30, scene.daemon.process.log_tail)
        wait_compared(flow, "slots")
    held = slots_of(cluster, fourth)
    with changes(flow):
        move(cluster, held, fourth, first)
    cluster.nodes.remove(fourth)
    for node in cluster.nodes:
        cluster.tell(node, "CLUSTER FORGET", cluster.id_of(fourth))
    fourth.close()
    with changes(flow):
        pass


def test_what_no_event_says(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost: while the daemon is away keys are changed, deleted and expire on all nodes, and their slots move to
    another one, with what syncd remembers of them: the comparison finds it all, and tells deletions from the rest."""
    flow = begin(scene, "away")
    first, second, _ = masters(cluster)
    pipe_write(flow, range(EXPIRES, EXPIRES + 30), 1)
    for end in range(EXPIRES, EXPIRES + 30):
        flow.redis.pexpire(flow.key(end), 2500)
    wait_until(lambda: len(documents(flow)) == COUNT + 30, 20, flow.lane)
    time.sleep(0.5)
    scene.daemon.kill()
    pipe_write(flow, range(100, 200), 5)
    for end in range(100):
        flow.redis.delete(flow.key(end))
    moved = slots_of_keys(flow, cluster, first, 40)
    move(cluster, moved, first, second)
    for end in range(COUNT - 50, COUNT):
        flow.redis.delete(flow.key(end))
    time.sleep(2.5)
    scene.daemon.start()
    wait_like(flow)
    assert len(documents(flow)) == COUNT - 150 + 30, "documents of keys that expired stay"
    move(cluster, moved, second, first)


def test_a_slot_on_its_way(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent, nothing_lost: while keys of some slots have moved and the slots have not, their documents stay as
    they were, all others go on; what changes and goes there meanwhile shows when the slots have arrived. A key that
    gets its first expiry meanwhile, and expires, was not deleted."""
    flow = begin(scene, "halfway")
    first, second, _ = masters(cluster)
    slots = slots_of_keys(flow, cluster, first, 5)
    inside = [end for end in range(COUNT) if slot_of(flow.key(end)) in slots]
    outside = next(end for end in range(COUNT) if end not in inside)
    with cluster.client(second) as taker, half_moved(cluster, slots, first, second):
        time.sleep(1)
        for slot in slots:
            cluster.tell(first, "CLUSTER", "SETSLOT", slot, "STABLE")  # as a replica that takes over
        time.sleep(3)
        assert set(inside) <= documents(flow).keys()
        pipe_write(flow, [outside], 7)
        wait_until(lambda: documents(flow)[outside]["n"] == 7, 20, flow.lane)
        for end, command in zip(inside, ("DEL", "PERSIST", "PEXPIRE"), strict=False):
            taker.execute_command("ASKING")
            taker.execute_command(command, flow.key(end), *([50] if command == "PEXPIRE" else []))
        assert flow.lane()["lag_seconds"] > 1
        new = next(end for end in range(COUNT, EXPIRES) if slot_of(flow.key(end)) == slots[0])
        with cluster.client(first) as giver:
            giver.hset(flow.key(new), mapping={"n": 1, "text": f"version 1 of {new}"})
            wait_until(lambda: new in documents(flow), 20, flow.lane)
            giver.execute_command("MIGRATE", LOOPBACK, second.port, flow.key(new), 0, 5000)
        time.sleep(1)
        assert new in documents(flow)
    wait_like(flow, but=inside[2])
    assert inside[0] not in documents(flow)
    assert inside[2] in documents(flow)
    move(cluster, slots, second, first)


def test_a_node_that_is_emptied(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, nothing_silent: FLUSHALL on one node is no deletion: its documents stay, and what is written there
    shows. A subscription to one node that breaks leads to a comparison. A contract that left is
    removed."""
    flow = begin(scene, "emptied")
    node = masters(cluster)[1]
    cluster.tell(node, "FLUSHALL")
    wait_until(lambda: compared(flow, "request"), 30, flow.lane)
    flow.wait_live()
    assert len(documents(flow)) == COUNT
    pipe_write(flow, range(COUNT), 3)
    with changes(flow):
        cluster.tell(masters(cluster)[2], "CLIENT", "KILL", "TYPE", "pubsub")
        wait_compared(flow, "subscription")
    scene.contracts.write("keep", projection(["title"], name="kept"))
    scene.contracts.remove("emptied")
    env = env_of(scene, cluster)
    wait_until(lambda: f"{flow.contract}: left" in syncd("orphans", **env).stdout, 30)
    removed = syncd("remove", flow.contract, "--yes", **env)
    assert removed.returncode == 0, removed.stdout + removed.stderr
    left = [key for node in masters(cluster) for key in keys_of(cluster, node)]
    assert not [key for key in left if flow.contract.encode() in key and b"syncd:" in key]
    assert {end for end in range(COUNT) if flow.redis.exists(flow.key(end))} == documents(flow).keys() - set(
        range(EXPIRES, 2 * EXPIRES)
    )


def keys_of(cluster: RedisCluster, node: RedisServer) -> list[bytes]:
    with cluster.client(node) as client:
        return list(client.scan_iter(count=1000))


def env_of(scene: Scene, cluster: RedisCluster) -> dict[str, str]:
    return {
        "SYNCD_MONGO_URI": scene.reach["mongo_uri"],
        "SYNCD_REDIS_URL": cluster.url,
        "SYNCD_CONTRACTS": str(scene.contracts.path),
    }


def test_failovers(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, fenced: a master is cut off, and its replica takes over; it comes back as a replica; another one is
    killed; all nodes start again; the daemon is killed. After each, what is written shows, and nothing goes that was
    not deleted."""
    flow = begin(scene, "failovers")
    first, second, _ = masters(cluster)
    with changes(flow, loses=True):
        first.pause()
        wait_until(lambda: len(masters_but(cluster, first)) == 3, 30)
        time.sleep(1)
        first.resume()
        wait_until(lambda: cluster.tell(first, "ROLE")[0] == b"slave", 30)
    with changes(flow, loses=True):
        fail_over(cluster, second, replica_of(cluster, second))
        scene.daemon.kill()
        scene.daemon.start()
    with changes(flow, loses=True):
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        cluster.wait(lambda said: said["cluster_state"] == "ok")


def test_a_failover_that_loses_keys_on_their_way(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent: keys have moved to a master that dies before its replica has them: no server has them any more,
    and no one has deleted them. Their documents stay, and the log and a check say how many; a repair works on all
    nodes."""
    flow = begin(scene, "lost")
    first, second, _ = masters(cluster)
    replica = replica_of(cluster, second)
    scene.daemon.kill()
    stop_replication(cluster, second)
    slots = slots_of_keys(flow, cluster, first, 20)
    inside = {end for end in range(COUNT) if slot_of(flow.key(end)) in slots}
    move(cluster, slots, first, second)
    fail_over(cluster, second, replica)
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    assert not inside & hashes(flow).keys()
    scene.daemon.start()
    wait_compared(flow, "start")
    assert documents(flow).keys() == set(range(COUNT))
    (said,) = scene.daemon.logs(event=LOST)
    assert said["keys"] == len(inside)
    env = env_of(scene, cluster)
    checked = json.loads(syncd("reconcile", flow.contract, "-o", "json", **env).stdout)
    assert (checked["result"], checked["expired"]) == ("clean", len(inside))
    there = sorted(set(range(COUNT)) - inside)
    flow.collection.delete_many({"_id": {"$in": there[:20]}})
    flow.collection.update_many({"_id": {"$in": there[20:40]}}, {"$set": {"n": 99}})
    repaired = syncd("reconcile", flow.contract, "--repair", **env)
    assert "40" in repaired.stdout, repaired.stdout + repaired.stderr
    found = documents(flow)
    assert {end: found[end] for end in there} == hashes(flow)


def test_masters_that_come_back(cluster: RedisCluster, scene: Scene, replica_set: ReplicaSet) -> None:
    """nothing_lost, nothing_silent: while MongoDB is away a replica is master, keys expire there, and the former master
    is one again: nothing that it said as a replica counts, and the lane goes on. Then the home loses the dead letter of
    a key of another node: it is made again, but where a person has dropped it."""
    with Proxy(int(replica_set.members[0].port)) as way:
        scene.daemon = scene.another_daemon(SYNCD_MONGO_URI=way.mongo_uri)
        flow = begin(scene, "back")
        home = next(node for node in masters(cluster) if slot_of(HOME) in slots_of(cluster, node))
        other = next(node for node in masters(cluster) if node is not home)
        held = {*slots_of(cluster, other)}
        odd, *expire = [end for end in range(COUNT) if slot_of(flow.key(end)) in held][:9]
        for end in expire:
            flow.redis.pexpire(flow.key(end), 3000)
        time.sleep(1)
        way.cut()
        replica = follower(cluster, other)
        takes_over(cluster, replica, other)
        wait_until(lambda: not any(flow.redis.exists(flow.key(end)) for end in expire), 20)
        takes_over(cluster, other, replica)
        way.restore()
        flow.wait_live()
        assert {*expire} <= documents(flow).keys()
        pipe_write(flow, expire, 3)
        wait_like(flow)
        replica = follower(cluster, home)
        stop_replication(cluster, home)
        flow.redis.hset(flow.key(odd), "n", "odd")
        wait_until(flow.dead_letters, 20, flow.lane)
        home.kill()
        wait_until(lambda: cluster.tell(replica, "ROLE")[0] == b"master", 30, "takes over")
        home.start()
        cluster.wait(lambda said: said["cluster_state"] == "ok")
        flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
        wait_until(flow.dead_letters, 20, flow.lane)
        assert logged(scene, "Redis has lost dead letters; their keys are read again") == 1
        wait_until(
            lambda: [bool(one["position"]) for one in flow.lane()["nodes"]] == [True] * 3, 20, flow.lane
        )
        said = syncd("deadletters", "drop", flow.contract, "--all", **env_of(scene, cluster))
        assert "dropped 1" in said.stdout, said.stderr
        scene.daemon.kill()
        scene.start()
        flow.wait_live()
        assert not flow.dead_letters()
        pipe_write(flow, [odd], 4)
        wait_like(flow)


def follower(cluster: RedisCluster, master: RedisServer) -> RedisServer:
    """A replica that has what the master has; a new one where another test has taken all."""
    if not cluster.tell(master, "INFO", "replication")["connected_slaves"]:
        cluster.tell(cluster.join(), "CLUSTER REPLICATE", cluster.id_of(master))
        wait_until(lambda: cluster.tell(master, "INFO", "replication")["connected_slaves"], 20)
    found = replica_of(cluster, master)
    wait_until(lambda: cluster.tell(found, "INFO", "replication")["master_link_status"] == "up", 20)
    return found


def takes_over(cluster: RedisCluster, replica: RedisServer, master: RedisServer) -> None:
    """In order, so that nothing is lost."""
    cluster.tell(replica, "CLUSTER", "FAILOVER")
    wait_until(lambda: cluster.tell(master, "ROLE")[0] == b"slave", 30, "takes over")
    follower(cluster, replica)


@pytest.mark.at_scale
def test_slots_that_valkey_moves_by_itself(replica_set: ReplicaSet, tmp_path: Path) -> None:
    """nothing_lost, no_ghosts: in both directions, under load, where the server moves slots as a whole, and back."""
    with (
        RedisCluster(3, binary=valkey_server()) as cluster,
        Scene(tmp_path, "faults", replica_set.uri, cluster.url, env=LEASE) as scene,
    ):
        scene.mongo.drop_database("faults")
        film = scene.add("film", projection(["title", "n"]), documents=[{"_id": n} for n in range(COUNT)])
        flow = begin(scene, "whole")
        first, second, third = cluster.nodes
        turns = count(1)

        def touch() -> None:
            film.collection.update_many({"_id": {"$mod": [7, (n := next(turns)) % 7]}}, {"$set": {"n": n}})

        with changes(flow), meanwhile(touch, 0.01):
            for source, target in ((first, second), (third, second), (second, first)):
                some = [slot for slot in slots_of(cluster, source) if slot % 2]
                move_at_once(cluster, some, source, target)
        film.wait_same(60)
        assert logged(scene, "slots moved") and not film.dead_letters()


def masters_but(cluster: RedisCluster, silent: RedisServer) -> list[RedisServer]:
    return [n for n in cluster.nodes if n is not silent and cluster.tell(n, "ROLE")[0] == b"master"]


def replica_of(cluster: RedisCluster, master: RedisServer) -> RedisServer:
    name = str(master.port).encode()
    for node in cluster.nodes:
        role = cluster.tell(node, "ROLE")
        if role[0] == b"slave" and str(role[2]).encode() == name:
            return node
    raise AssertionError("no replica")
