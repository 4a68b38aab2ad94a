"""What a person does to a Redis Cluster: moves slots, adds and removes nodes, lets a replica take over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from redis import Redis

from syncd.embedded import LOOPBACK, RedisServer
from syncd.embedded.cluster import RedisCluster
from tests.support.check import wait_until

KEYS_AT_ONCE = 100


def masters(cluster: RedisCluster) -> list[RedisServer]:
    """All nodes that say so of themselves."""
    return [node for node in cluster.nodes if cluster.tell(node, "ROLE")[0] == b"master"]


def slots_of(cluster: RedisCluster, node: RedisServer) -> list[int]:
    """Those that the node has by its own words."""
    for first, last, (_, port, *_), *_ in cluster.tell(node, "CLUSTER SLOTS"):
        if port == node.port:
            return [*range(first, last + 1), *_more(cluster, node, first)]
    return []


def _more(cluster: RedisCluster, node: RedisServer, but: int) -> Iterable[int]:
    for first, last, (_, port, *_), *_ in cluster.tell(node, "CLUSTER SLOTS"):
        if port == node.port and first != but:
            yield from range(first, last + 1)


def _move_keys(giver: Redis, taker: Redis, slot: int, ids: tuple[str, str], port: int) -> None:
    """All keys of a slot, which stays where it was. `ids`: of giver and taker, who listens at `port`."""
    taker.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
    giver.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
    while keys := giver.execute_command("CLUSTER GETKEYSINSLOT", slot, KEYS_AT_ONCE):
        giver.execute_command("MIGRATE", LOOPBACK, port, "", 0, 5000, "KEYS", *keys)


def move(cluster: RedisCluster, slots: Iterable[int], source: RedisServer, target: RedisServer) -> None:
    """Slot by slot and key by key, as `redis-cli --cluster reshard` does."""
    ids = cluster.id_of(source), cluster.id_of(target)
    with cluster.client(source) as giver, cluster.client(target) as taker:
        for slot in slots:
            _move_keys(giver, taker, slot, ids, target.port)
            taker.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
            giver.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
    for node in cluster.nodes:
        if node.alive and node not in (source, target):
            wait_until(lambda node=node: slot in slots_of_id(cluster, node, ids[1]), 20, "the move is known")


@contextmanager
def half_moved(
    cluster: RedisCluster, slots: Iterable[int], source: RedisServer, target: RedisServer
) -> Iterator[None]:
    """While the block runs, the keys of these slots have moved and the slots have not."""
    slots, ids = list(slots), (cluster.id_of(source), cluster.id_of(target))
    with cluster.client(source) as giver, cluster.client(target) as taker:
        for slot in slots:
            _move_keys(giver, taker, slot, ids, target.port)
        yield
        for slot in slots:
            taker.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])
            giver.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])


def slots_of_id(cluster: RedisCluster, asked: RedisServer, node: str) -> set[int]:
    """Slots of a node as another one knows it."""
    found: set[int] = set()
    for first, last, (_, _, name, *_), *_ in cluster.tell(asked, "CLUSTER SLOTS"):
        if name.decode() == node:
            found.update(range(first, last + 1))
    return found


def stop_replication(cluster: RedisCluster, master: RedisServer) -> None:
    """From now on its replicas get nothing more."""
    cluster.tell(master, "ACL", "SETUSER", "default", "-psync", "-sync", "-replconf")
    cluster.tell(master, "CLIENT", "KILL", "TYPE", "replica")
    wait_until(lambda: cluster.tell(master, "INFO", "replication")["connected_slaves"] == 0, 20, "no replica")


def fail_over(
    cluster: RedisCluster, master: RedisServer, replica: RedisServer, *, pauses: bool = False
) -> None:
    """The master dies, or takes connections and says nothing, and its replica takes its slots."""
    if pauses:
        master.pause()
    else:
        master.kill()
    wait_until(lambda: cluster.tell(replica, "ROLE")[0] == b"master", 30, "the replica takes over")
    cluster.nodes.remove(master)
    cluster.wait(lambda said: said["cluster_state"] == "ok")


def move_at_once(
    cluster: RedisCluster, slots: Iterable[int], source: RedisServer, target: RedisServer
) -> None:
    """Of Valkey 9: the server moves all of these slots, and no key is between two nodes."""
    wanted, name = set(slots), cluster.id_of(target)
    ranges = [word for slot in sorted(wanted) for word in (slot, slot)]
    cluster.tell(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *ranges, "NODE", name)
    for node in cluster.nodes:
        wait_until(lambda node=node: wanted <= slots_of_id(cluster, node, name), 30, "the move is known")
