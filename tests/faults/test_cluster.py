"""A Redis Cluster: one call a node, while slots move, nodes come, go and fail over (nothing_lost, never_backwards,
never_torn, no_ghosts, fenced, nothing_silent, bounded)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Any

import pytest

from syncd.embedded import LOOPBACK, RedisServer
from syncd.embedded.cluster import RedisCluster
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore
from syncd.stores.redis.cluster.slots import slot_of
from syncd.stores.redis.records.cluster_lease import bring_together
from syncd.stores.redis.records.lease import Lease, Renewer
from syncd.stores.redis.store import SOCKET_TIMEOUT_S
from tests.support.check import meanwhile, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import fail_over, half_moved, move, slots_of, stop_replication

CARD = projection(["title", "n"])
MOVING = projection(["title", "n"], name="slug", key="{slug}")
INDEX = {"name": "found", "fields": [{"name": "title", "type": "text"}]}
COUNT = 300
LEASE = {"SYNCD_LEASE_TTL": "3"}


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "slug": f"s{number}", "title": f"film {number}", "n": n}


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[RedisCluster]:
    """Three masters, one of them with a replica; what is acknowledged outlives a kill."""
    with RedisCluster(3, appendonly=True) as nodes:
        yield nodes


def begin(scene: Scene) -> Flow:
    documents = [film(number) for number in range(COUNT)]
    flow = scene.run("film", CARD, MOVING, unique=[["slug"]], documents=documents)
    flow.wait_same()
    return flow


@contextmanager
def changes(flow: Flow) -> Iterator[None]:
    """Documents that change, come, go and move to other keys, until the block ends; then both sides are the same."""
    random, turns = Random(7), count(1)

    def work() -> None:
        n, some = next(turns), [random.randrange(COUNT) for _ in range(20)]
        flow.collection.update_many({"_id": {"$in": some[:12]}}, {"$set": {"n": n}})
        flow.collection.delete_many({"_id": {"$in": some[12:14]}})
        for number in some[14:]:
            moved = {**film(number, n), "slug": f"s{number}-{n % 3}"}
            flow.collection.replace_one({"_id": number}, moved, upsert=True)

    with meanwhile(work, 0.02):
        yield
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    flow.wait_same(60)
    flow.wait_live()


def env_of(scene: Scene, cluster: RedisCluster) -> dict[str, str]:
    return {
        "SYNCD_MONGO_URI": scene.reach["mongo_uri"],
        "SYNCD_REDIS_URL": cluster.url,
        "SYNCD_CONTRACTS": str(scene.contracts.path),
    }


def logged(scene: Scene, event: str) -> int:
    return len(scene.daemon.logs(event=event))


def test_kills_and_restarts(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts, fenced: the daemon is killed again and again, another one takes over, all nodes start
    again; nothing is copied a second time."""
    flow = begin(scene)
    with changes(flow):
        for _ in range(3):
            scene.daemon.kill()
            scene.daemon.start()
            flow.wait_live()
        for node in cluster.nodes:
            node.kill()
        for node in cluster.nodes:
            node.start()
        cluster.wait(lambda said: said["cluster_state"] == "ok")
    assert logged(scene, "snapshot started") == 1
    assert not flow.dead_letters()
    assert not scene.daemon.logs(event="lane standby")
    with ClusterStore(cluster.url).client as home:
        assert home.hget(f"{HOME}{flow.names.control('position')}", "phase") == b"stream"


def test_slots_move_and_nodes_come_and_go(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts: under load slots move key by key, also those of syncd's own records, to a node that is
    new, and back; documents keep exactly the keys that they have, and nothing is copied again."""
    flow = begin(scene)
    first, second, third = cluster.nodes[:3]
    store = ClusterStore(cluster.url)
    places = [slot_of(node.place) for node in store.nodes]
    fourth = cluster.join()
    with changes(flow):
        for source in (first, second, third):
            some = [slot for slot in slots_of(cluster, source) if slot in places or slot % 200 == 0]
            move(cluster, some, source, fourth)
        wait_until(lambda: logged(scene, "slots moved"), 30, scene.daemon.process.log_tail)
        flow.wait_live()
    held = slots_of(cluster, fourth)
    assert set(places) <= set(held), "records of syncd have moved as well"
    with changes(flow):
        move(cluster, held, fourth, first)
        wait_until(lambda: not slots_of(cluster, fourth), 20)
    cluster.nodes.remove(fourth)
    name = cluster.id_of(fourth)
    for node in cluster.nodes:
        cluster.tell(node, "CLUSTER FORGET", name)
    fourth.close()
    with changes(flow):
        pass
    assert logged(scene, "snapshot started") == 1
    assert not flow.dead_letters()


def test_a_failover_that_loses_writes(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, never_backwards: what the replica never got goes back together with the record of that node, and
    comes again from the stream; the other nodes copy nothing. The master is paused, takes connections and answers none:
    no call waits for it any longer than until the others have another master."""
    master, replica = cluster.nodes[1], cluster.join()
    cluster.tell(replica, "CLUSTER REPLICATE", cluster.id_of(master))
    wait_until(lambda: cluster.tell(replica, "INFO", "replication")["master_link_status"] == "up", 20)
    flow = begin(scene)
    with changes(flow):
        stop_replication(cluster, master)
        threading.Event().wait(1.0)
        silent = cluster.url
        fail_over(cluster, master, replica, pauses=True)
        since, store, key = time.monotonic(), ClusterStore(silent), flow.key(COUNT)
        flow.collection.insert_one(film(COUNT))
        wait_until(lambda: store.at_key(key).client.exists(key), 20, scene.daemon.process.log_tail)
        assert time.monotonic() - since < SOCKET_TIMEOUT_S - 5, "a call has waited for the paused node"
        master.kill()
    assert logged(scene, "snapshot started") == 1
    assert not flow.dead_letters()


def test_a_slot_on_its_way(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent, nothing_lost: the keys of a slot have moved and the slot has not; status and doctor name it, with
    what to do, the log says it once, and the document whose key has to wait shows when the slot has arrived."""
    flow = begin(scene)
    first, second = cluster.nodes[:2]
    number = next(n for n in range(COUNT, 2 * COUNT) if slot_of(flow.key(n)) in slots_of(cluster, first))
    slot = slot_of(flow.key(number))
    said = f"{slot} from {LOOPBACK}:{first.port} to {LOOPBACK}:{second.port}"
    with half_moved(cluster, [slot], first, second):
        flow.collection.insert_one(film(number))
        wait_until(lambda: any(said in one["error"] for one in flow.lane()["errors"]), 20, flow.lane)
        doctor = syncd("doctor", **env_of(scene, cluster))
        assert said in doctor.stdout, doctor.stdout + doctor.stderr
        assert f"redis-cli --cluster fix {LOOPBACK}:{first.port}" in doctor.stdout
        wait_until(lambda: flow.lane()["errors"][-1]["times"] > 4, 20, flow.lane)
        assert logged(scene, "lane interrupted") <= 2
    with changes(flow):
        pass


def test_a_node_that_is_emptied(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, nothing_silent: the record of that node is gone, so the position is, and all is copied again."""
    flow = begin(scene)
    cluster.tell(cluster.nodes[1], "FLUSHALL")
    wait_until(lambda: logged(scene, "snapshot started") == 2, 20, scene.daemon.process.log_tail)
    with changes(flow):
        pass


def test_dead_letters(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent, never_torn: a key of another type on any node is a dead letter at one place; no update goes on
    top of what it left, and a replay writes it whole."""
    flow = begin(scene)
    numbers = range(40)
    for number in numbers:
        scene.redis.delete(flow.key(number))
        scene.redis.lpush(flow.key(number), "odd")
    flow.collection.update_many({"_id": {"$in": [*numbers]}}, {"$set": {"n": 5}})
    dead = f"{HOME}{flow.names.control('dead')}"
    wait_until(lambda: scene.redis.xlen(dead) == len(numbers), 20, lambda: scene.redis.xlen(dead))
    for number in numbers:
        scene.redis.delete(flow.key(number))
    flow.collection.update_many({"_id": {"$in": [*numbers]}}, {"$set": {"title": "again"}})
    flow.wait_same()


def most_at_once(cluster: RedisCluster, flow: Flow, documents: int) -> float:
    """About the most documents in one call to one node, by the number of arguments, while so many were copied."""
    logs = (cluster.tell(node, "SLOWLOG GET", 10_000) for node in cluster.nodes)
    calls = [one["command"] for log in logs for one in log]
    more = [int(found[1]) for call in calls if (found := re.search(rb"\((\d+) more arguments\)", call))
            and call.startswith(b"FCALL syncd_apply") and flow.contract.encode() in call]  # fmt: skip
    return max(more) / (sum(more) / documents)


def test_how_much_a_node_gets_at_once(cluster: RedisCluster, scene: Scene) -> None:
    """bounded: no call has more writes than SYNCD_BATCH_WRITES, also where the keys of all documents are on one node;
    where they are on all of them, each gets nearly as many as a Redis of its own would."""
    for node in cluster.nodes:
        cluster.tell(node, "CONFIG SET", "slowlog-log-slower-than", 0, "slowlog-max-len", 10_000)
    spread, narrow = scene.add("spread", CARD), scene.add("narrow", CARD)
    here = {*slots_of(cluster, cluster.nodes[0])}
    spread.collection.insert_many([film(number) for number in range(3_000)])
    there = [number for number in range(6_000) if slot_of(narrow.key(number)) in here]
    narrow.collection.insert_many([film(number) for number in there])
    scene.start()
    try:
        spread.wait_same()
        narrow.wait_same()
        for flow in spread, narrow:
            assert 256 / 2 < most_at_once(cluster, flow, flow.collection.count_documents({})) < 256 * 1.1
    finally:
        for node in cluster.nodes:
            cluster.tell(node, "CONFIG SET", "slowlog-log-slower-than", 10_000, "slowlog-max-len", 128)


def test_the_command_line(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent: doctor shows nodes, a check finds and repairs what differs on any of them, remove takes the keys
    and records of all; what does not run on a cluster is refused with file, line and reason."""
    lists = projection(name="tags", type="list", key="{_id}", value={"from": "tags"})
    documents = [{**film(number), "tags": [f"t{number}", "x"]} for number in range(60)]
    flow = scene.run("film", CARD, MOVING, lists, unique=[["slug"]], documents=documents)
    flow.wait_same()
    env = env_of(scene, cluster)
    said = syncd("doctor", **env)
    assert said.stdout.count("redis node") >= 3, said.stdout + said.stderr
    for number in range(0, 60, 3):
        scene.redis.delete(flow.key(number))
        scene.redis.hset(flow.key(f"s{number}", "slug"), "n", "9")
    said = syncd("reconcile", flow.contract, "--repair", **env)
    assert (said.returncode, "repaired 40, 0 left" in said.stdout) == (0, True), said.stdout + said.stderr
    flow.wait_same()
    said = syncd("reconcile", flow.contract, **env)
    assert said.returncode == 0, said.stdout + said.stderr
    scene.contracts.write("index", {**projection(["title"], name="found"), "index": INDEX})
    scene.contracts.write(
        "back", projection({"a": "a"}), sync={"direction": "redis_to_mongo", "capture": "outbox"}
    )
    said = syncd("check", "--connect", **env)
    assert said.returncode == 1
    for words in ("index knows the keys of one node alone", "write `capture: keyspace`", ":"):
        assert words in said.stdout + said.stderr, said.stdout + said.stderr
    scene.contracts.write("keep", projection(["title"], name="kept"))
    for short in ("index", "back", "film"):
        scene.contracts.remove(short)
    wait_until(lambda: f"{flow.contract}: left" in syncd("status", "--orphans", **env).stdout, 30)
    # No lane of it brings its records to where the keys are now, when slots move.
    first, second = cluster.nodes[:2]
    gone = {slot_of(place) for place in places_of(cluster)} | {
        slot_of(flow.key(end, "slug")) for end in flow.keys("slug")
    }
    move(cluster, [slot for slot in slots_of(cluster, first) if slot in gone], first, second)
    said = syncd("remove", flow.contract, "--keys", "--yes", **env)
    assert said.returncode == 0, said.stdout + said.stderr
    left = [key for node in cluster.nodes for key in _keys(cluster, node)]
    assert not [key for key in left if flow.contract.encode() in key or b"film" in key], left


def test_a_contract_takes_over_what_has_moved(cluster: RedisCluster, scene: Scene) -> None:
    """no_ghosts, fenced: keys move away from the records of their node while no daemon runs, and documents go and get
    other keys; a contract that takes the templates over comes up, and leaves no key. All leases are renewed while
    records move, also that at a place which no node has any more. When such a place has a node again, what has left
    since can be removed all the same."""
    shapes = [{**one, "key": f"/{one['projection']}:{one['key']}"} for one in (CARD, MOVING)]
    flow = scene.run("film", *shapes, unique=[["slug"]], documents=[film(number) for number in range(90)])
    scene.daemon.terminate()
    first, second = [node for node in cluster.nodes if slots_of(cluster, node)][:2]
    keys = [key for node in cluster.nodes for key in _keys(cluster, node)]
    own = {*slots_of(cluster, first)}
    moved = sorted({slot_of(key) for key in keys if key.startswith(b"faults:slug:")} & own)
    move(cluster, moved, first, second)
    for number in range(0, 90, 3):
        flow.collection.update_one({"_id": number}, {"$set": {"slug": f"other{number}"}})
    flow.collection.delete_many({"_id": {"$mod": [3, 1]}})
    scene.contracts.remove("film")
    taker = scene.add("taker", *shapes, source=flow, unique=[["slug"]])
    scene.start()
    taker.wait_live()
    said = {f"faults:slug:{one['slug']}" for one in flow.collection.find()}
    found = {key.decode() for node in cluster.nodes for key in _keys(cluster, node)}
    assert {key for key in found if key.startswith("faults:slug:")} == said
    for number, node in enumerate((store := ClusterStore(cluster.url)).nodes):
        for name in node.client.scan_iter(f"{node.place}syncd:*:owners:*", count=1000):
            assert not [key for key in node.client.hkeys(name) if store.node_of(key) != number], name
    scene.daemon.terminate()
    held, ever, places = set[str](), set[str](), set(places_of(cluster))

    class Noted(Renewer):
        def add(self, lease: Lease) -> None:
            held.add(lease.keys.place)
            ever.add(lease.keys.place)

        def remove(self, lease: Lease) -> None:
            held.discard(lease.keys.place)

    home = next(node for node in cluster.nodes if slot_of(HOME) in slots_of(cluster, node))
    move(cluster, [slot_of(HOME)], home, next(node for node in (first, second) if node is not home))
    retired = places - set(places_of(cluster))
    assert retired
    bring_together(ClusterStore(cluster.url), taker.contract, "another:1", 10, Noted())
    assert ever >= retired
    assert not held
    scene.contracts.write("keep", projection(["title"], name="kept"))
    scene.start()
    taker.wait_live()
    scene.contracts.remove("taker")
    env = env_of(scene, cluster)
    wait_until(lambda: f"{taker.contract}: left" in syncd("orphans", **env).stdout, 30)
    now = next(node for node in (first, second) if slot_of(HOME) in slots_of(cluster, node))
    move(cluster, [slot_of(HOME)], now, home)
    assert retired <= set(places_of(cluster)), "a place that says what was true before is a node's again"
    removed = syncd("remove", taker.contract, "--keys", "--yes", **env)
    assert removed.returncode == 0, removed.stdout + removed.stderr
    left = {key for node in cluster.nodes for key in _keys(cluster, node)}
    assert not [key for key in left if b"faults:" in key or taker.contract.encode() in key]
    for node in (store := ClusterStore(cluster.url)).places:
        assert taker.contract.encode() not in b" ".join(node.client.hvals(f"{node.place}syncd:claims"))


def places_of(cluster: RedisCluster) -> list[str]:
    return [node.place for node in ClusterStore(cluster.url).nodes]


def _keys(cluster: RedisCluster, node: RedisServer) -> list[bytes]:
    with cluster.client(node) as client:
        return list(client.scan_iter(count=1000))
