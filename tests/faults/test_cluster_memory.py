"""What syncd remembers beside keys and streams on a Redis Cluster, digests and what goes into a time series: failovers
that lose writes, slots that move, lost positions (nothing_lost, no_ghosts, nothing_silent, applied_once, fenced)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from typing import Any

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from syncd.embedded.cluster import RedisCluster
from syncd.stores.redis.cluster.nodes import HOME, PLACES, ClusterStore
from syncd.stores.redis.cluster.slots import slot_of
from syncd.stores.redis.records.claims import CLAIMS
from syncd.stores.redis.records.cluster_lease import bring_together
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.levels import REPLAYED, are_level, have_replayed
from syncd.stores.redis.records.node_records import MAP, NODES
from syncd.stores.redis.records.position import ControlKeys
from tests.support.broken.failpoint import failing
from tests.support.broken.hold import Hold
from tests.support.broken.proxy import Proxy
from tests.support.check import meanwhile, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import fail_over, masters, move, slots_of, stop_replication
from tests.support.shapes.digests import lose, wait_known
from tests.support.ways.reconcile import check
from tests.support.ways.stream import (
    NOW_MS,
    add_series,
    add_stream,
    append,
    append_timed,
    key,
    wait_done,
    wait_numbers,
)

CARD = projection({"title": "title", "n": "n"})
BRIEF = projection(["title", "n"], name="brief")
MOVING = projection(["title", "n"], name="slug", key="{slug}")
COUNT = 400
LOST = 286
FEW = 100
BY_DIGESTS = "the position is lost, and digests say what differs"


def film(number: int, n: float = 0.5) -> dict[str, Any]:
    return {"_id": number, "slug": f"s{number}", "title": f"film {number}", "n": n}


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[RedisCluster]:
    """Three masters; what is acknowledged outlives a kill."""
    with RedisCluster(3, appendonly=True) as nodes:
        yield nodes


def begin(scene: Scene, cluster: RedisCluster, *projections: Any, **more: Any) -> Flow:
    """All of its digests are known."""
    documents = [film(number) for number in range(COUNT)]
    flow = scene.run("film", *projections, documents=documents, reconcile={"check": "digest"}, **more)
    wait_known(flow, cluster.url)
    return flow


def others(cluster: RedisCluster) -> list[RedisServer]:
    """Masters that have not the home."""
    return [node for node in masters(cluster) if slot_of(HOME) not in slots_of(cluster, node)]


def loses(cluster: RedisCluster, master: RedisServer) -> RedisServer:
    """A replica that has what its master has now, takes over later, and gets nothing more."""
    replica = cluster.join()
    cluster.tell(replica, "CLUSTER REPLICATE", cluster.id_of(master))
    wait_until(lambda: cluster.tell(replica, "INFO", "replication")["master_link_status"] == "up", 20)
    stop_replication(cluster, master)
    return replica


def at(cluster: RedisCluster, flow: Flow, master: RedisServer, some: int) -> list[int]:
    """Documents whose card a node has."""
    there = {*slots_of(cluster, master)}
    return [number for number in range(COUNT) if slot_of(flow.key(number)) in there][:some]


def at_home(cluster: RedisCluster, flow: Flow) -> int:
    """A document of which all keys are at the home."""
    node_of = ClusterStore(cluster.url).node_of
    ends = ((number, (flow.key(number), flow.key(number, "brief"))) for number in range(COUNT))
    return next(number for number, keys in ends if not any(map(node_of, keys)))


def compared(scene: Scene, flow: Flow, cluster: RedisCluster, **order: Any) -> Any:
    return check(scene, flow, scene.reach["mongo_uri"], cluster.url, by_digest=True, **order)


def begins_again(scene: Scene, flow: Flow) -> tuple[int, str]:
    """MongoDB cannot go on from the position. How many documents are read then, and why it begins as it does."""
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    flow.count_reads()
    with failing(flow.collection, "aggregate", LOST, times=1):
        scene.start()
        flow.wait_live()
    read = flow.documents_read()
    flow.wait_same()
    return read, str(scene.daemon.logs(event="snapshot started")[-1]["reason"])


def change_some(flow: Flow) -> None:
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$inc": {"n": 0.25}})
    flow.collection.update_many({"_id": {"$in": [30, 31]}}, {"$set": {"title": "new"}})
    flow.collection.delete_many({"_id": {"$gte": COUNT - 15}})
    flow.collection.insert_many([film(number) for number in range(1000, 1010)])


@pytest.mark.parametrize("has_home", [False, True], ids=["another", "home"])
@pytest.mark.at_scale("home")
def test_a_lost_position(cluster: RedisCluster, scene: Scene, *, has_home: bool) -> None:
    """nothing_lost, no_ghosts, nothing_silent: a position that MongoDB cannot resume costs what differs. Where a node
    has lost its last writes since, digests say more of it than it shows: then everything is copied, and the log says
    why."""
    flow = begin(scene, cluster, CARD, BRIEF)
    of, one = flow.collection, at_home(cluster, flow)
    # One node hears of every change, all nodes of one a second.
    with meanwhile(lambda: of.update_one({"_id": one}, {"$inc": {"n": 0.25}}), 0.03):
        wait_until(lambda: flow.lane()["stream"] == "own", 60, flow.lane)
        with failing(of, "getMore", LOST, times=1):
            wait_until(lambda: len(scene.daemon.logs(event="snapshot started")) == 2, 60, flow.lane)
    assert scene.daemon.logs(event="snapshot started")[-1]["reason"] == BY_DIGESTS
    wait_known(flow, cluster.url)
    of.update_one({"_id": one}, {"$inc": {"n": 0.25}})
    flow.wait_same()
    wait_known(flow, cluster.url)
    scene.daemon.kill()
    change_some(flow)
    read, why = begins_again(scene, flow)
    assert (read <= FEW, why) == (True, BY_DIGESTS), read
    wait_known(flow, cluster.url)
    master = next(node for node in masters(cluster) if (node not in others(cluster)) is has_home)
    replica, some = loses(cluster, master), at(cluster, flow, master, 10)
    flow.collection.update_many({"_id": {"$in": some}}, {"$inc": {"n": 0.25}})
    flow.wait_same()
    wait_known(flow, cluster.url)
    scene.daemon.kill()
    fail_over(cluster, master, replica)
    assert "a node of the cluster may have lost" in begins_again(scene, flow)[1]
    wait_known(flow, cluster.url)


def test_a_replay_that_a_failover_loses(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, nothing_silent: a replay writes a key, its dead letter goes at the home, and then the node of the
    key fails over without it. No change brings that again: all is copied, and the log says why."""
    flow = scene.run("film", CARD, documents=[film(number) for number in range(COUNT)])
    master = others(cluster)[0]
    number = at(cluster, flow, master, 1)[0]
    flow.redis.delete(flow.key(number))
    flow.redis.lpush(flow.key(number), "odd")
    flow.collection.update_one({"_id": number}, {"$set": {"n": 77.5}})
    wait_until(flow.dead_letters, 20, flow.lane)
    flow.redis.delete(flow.key(number))
    replica = loses(cluster, master)
    env = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": cluster.url}
    env["SYNCD_CONTRACTS"] = str(scene.contracts.path)
    said = syncd("deadletters", "replay", flow.contract, "--all", **env)
    assert "1 written" in said.stdout, said.stdout + said.stderr
    flow.wait_same()
    assert len(scene.daemon.logs(event="snapshot started")) == 1
    fail_over(cluster, master, replica)
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    flow.collection.update_many({"_id": {"$ne": number}}, {"$inc": {"n": 1}})
    flow.wait_same()
    reason = scene.daemon.logs(event="snapshot started")[-1]["reason"]
    assert reason.startswith("a node of the cluster has lost what a replay"), reason


@contextmanager
def changes(flow: Flow) -> Iterator[None]:
    """Documents that change, come, go and move to other keys, until the block ends; then both sides are the same."""
    random, turns = Random(7), count(1)

    def work() -> None:
        n, some = next(turns) / 4, [random.randrange(COUNT) for _ in range(12)]
        flow.collection.update_many({"_id": {"$in": some[:8]}}, {"$set": {"n": n}})
        flow.collection.delete_many({"_id": some[8]})
        for number in some[9:]:
            moved = {**film(number, n), "slug": f"s{number}-{int(n) % 3}"}
            flow.collection.replace_one({"_id": number}, moved, upsert=True)

    with meanwhile(work, 0.02):
        yield
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    flow.wait_same(60)
    flow.wait_live()


def test_checks(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent, nothing_lost: while slots move and a master goes with its last writes, under load, a check by
    digests finds nothing that is not so; afterwards all digests are known, no document is compared, and each difference
    that is planted on any node is found and repaired, and nothing else."""
    flow = begin(scene, cluster, CARD, MOVING, unique=[["slug"]])
    master, target = others(cluster)[:2]
    home = next(node for node in masters(cluster) if slot_of(HOME) in slots_of(cluster, node))

    def fails_over() -> None:
        replica = loses(cluster, master)
        threading.Event().wait(0.5)
        fail_over(cluster, master, replica)

    with changes(flow):
        for step in (
            lambda: move(cluster, [slot_of(HOME)], home, target),
            lambda: move(cluster, slots_of(cluster, master)[::300], master, target),
            fails_over,
        ):
            step()
            flow.wait_live()
            report = compared(scene, flow, cluster)
            assert (report.check, report.found) == ("digest", 0), report.as_dict()
    wait_known(flow, cluster.url)
    report = compared(scene, flow, cluster)
    assert (report.result, report.compared) == ("clean", 0), report.as_dict()
    there = [one["_id"] for one in flow.collection.find({}, {"_id": 1}).sort("_id", 1).limit(12)]
    new, gone, other = [*range(2000, 2006)], there[:6], there[6:]
    of = flow.collection
    lose(
        flow, cluster.url,
        {number: lambda n=number: of.insert_one(film(n)) for number in new}
        | {number: lambda n=number: of.delete_one({"_id": n}) for number in gone}
        | {number: lambda n=number: of.update_one({"_id": n}, {"$inc": {"n": 8.5}}) for number in other},
    )  # fmt: skip
    planted = {(flow.key(number), "missing") for number in new} | {
        (flow.key(number), "extra") for number in gone
    }
    planted |= {(flow.key(number), "content") for number in other}
    assert len({ClusterStore(cluster.url).node_of(key) for key, _ in planted}) == 3
    report = compared(scene, flow, cluster)
    assert {(one.key, one.kind) for one in report.examples} == planted, report.as_dict()
    report = compared(scene, flow, cluster, repair=True)
    assert (report.found, report.left) == (18, 0), report.as_dict()
    wait_until(lambda: not flow.differences(), 20, flow.lane)
    scene.daemon.terminate()
    keys = ControlKeys(flow.contract, place=HOME)
    assert are_level(ClusterStore(cluster.url), keys)
    source = others(cluster)[0]
    move(cluster, slots_of(cluster, source)[:1], source, others(cluster)[1])
    bring_together(ClusterStore(cluster.url), flow.contract, "another:1", 10, None)
    assert not are_level(ClusterStore(cluster.url), keys), "what moved may come from a node that lost writes"
    store = ClusterStore(cluster.url)
    places = store.nodes[0].client.hgetall(PLACES)
    store.nodes[0].client.delete(PLACES)
    store.register(store.refresh())
    assert store.nodes[0].client.hgetall(PLACES).keys() == places.keys(), "also retired ones"
    new = store.nodes[-1]
    # As of a node that is new, where bringing records to it was broken off.
    there = keys.at(new.place)
    assert new.client.hdel(there.position, REPLAYED) == 1
    assert new.client.hdel(there.arranged, NODES, MAP) == 2
    bring_together(store, flow.contract, "another:1", 10, None)
    assert have_replayed(store, keys), "it has lost no replay"
    held = HeldForAMoment()
    bring_together(store, flow.contract, "another:1", 10, held)
    assert held.lost and not held, "who has lost one renews none"


class HeldForAMoment(list[Lease]):
    """Leases that would be renewed; that of each node but the home is lost as soon as it is taken, with its claims."""

    lost = 0

    def add(self, lease: Lease) -> None:
        self.append(lease)
        if lease.keys.place != HOME:
            self.lost += lease.store.client.delete(lease.keys.lease)  # type: ignore[operator]
            lease.store.client.delete(lease.keys.place + CLAIMS)

    def remove(self, lease: Lease) -> None:
        if lease in self:
            super().remove(lease)


WRITE = b"txnNumber"


def stream_node(cluster: RedisCluster, flow: Flow) -> RedisServer:
    slot = slot_of(key(flow))
    return next(node for node in masters(cluster) if slot in slots_of(cluster, node))


def moves(cluster: RedisCluster, flow: Flow, target: RedisServer) -> None:
    move(cluster, [slot_of(key(flow))], stream_node(cluster, flow), target)
    flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]


def test_a_time_series(cluster: RedisCluster, scene: Scene, replica_set: ReplicaSet) -> None:
    """applied_once, nothing_lost, fenced: MongoDB has a batch of which Redis does not know yet, and the daemon is
    paused until another one has taken over, or killed, while the stream goes to another node, and back to one that
    remembers an older batch, and while its node fails over with its last writes. Each entry is one document or one dead
    letter, also after a replay."""
    (flow, _), count = (add_series(scene, "in"), add_stream(scene, "keep")), 0
    odd: list[str] = []
    with Proxy(int(replica_set.members[0].port)) as way:
        scene.daemon = scene.another_daemon(SYNCD_MONGO_URI=way.mongo_uri)
        scene.start()
        flow.wait_live()
        first = stream_node(cluster, flow)
        other = next(node for node in masters(cluster) if node is not first)
        replica = None
        for step in ("stays", "goes", "comes back", "fails over"):
            append_timed(flow, range(count, count + 100))
            wait_numbers(flow, range(count + 100))
            wait_done(flow)
            scene.daemon.pause()
            odd += append(flow, ["odd"], at=NOW_MS)  # type: ignore[list-item]
            append_timed(flow, range(count + 100, count + 200))
            if step == "fails over":
                replica = loses(cluster, first)  # it has the entries, and never hears what became of them
            hold = way.hold_reply(WRITE)
            scene.daemon.resume()
            hold.wait()
            if step == "stays":
                taken_over(scene, flow, way, hold, range(count + 200))
            else:
                scene.daemon.kill()
                hold.release()
            if step == "goes":
                moves(cluster, flow, other)
            elif step == "comes back":
                moves(cluster, flow, first)
            elif replica is not None:
                fail_over(cluster, first, replica)
                flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
            if not scene.daemon.process.alive:
                scene.start()
            flow.wait_live()
            count += 200
            append_timed(flow, range(count, count + 10))
            count += 10
            wait_numbers(flow, range(count))
            wait_done(flow)
            assert sorted(one["id"] for one in flow.dead_letters()) == sorted(odd), step
        entry = append_timed(flow, [count])[0]
        wait_numbers(flow, range(count + 1))
        env = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": cluster.url}
        env["SYNCD_CONTRACTS"] = str(scene.contracts.path)
        for which, told in (
            (come_back(flow, entry), "1 written"),
            ("--all", f"0 written, {len(odd)} still failing"),
        ):
            said = syncd("deadletters", "replay", flow.contract, which, **env)
            assert told in said.stdout, said.stdout + said.stderr
        wait_numbers(flow, range(count + 1))
        assert sorted(one["id"] for one in flow.dead_letters()) == sorted(odd)
        scene.contracts.remove("in")
        wait_until(lambda: f"{flow.contract}: left" in syncd("orphans", **env).stdout, 30)
        said = syncd("remove", flow.contract, "--yes", **env)
        assert said.returncode == 0, said.stdout + said.stderr
        left = f"{{{flow.contract}}}".encode()
        assert not [name for name in flow.redis.scan_iter(count=1000) if left in name]


def taken_over(scene: Scene, flow: Flow, way: Proxy, hold: Hold, wanted: range) -> None:
    """The daemon is paused for longer than its lease lasts, and another one takes over; what it then has to say of the
    batch, with a dead letter, is refused."""
    scene.daemon.pause()
    second = scene.another_daemon(SYNCD_MONGO_URI=way.mongo_uri)
    second.start()
    wait_numbers(flow, wanted)
    wait_done(flow)
    hold.release()
    scene.daemon.resume()
    wait_until(lambda: flow.lane().get("state") == "standby", 20, flow.lane)
    second.kill()


def come_back(flow: Flow, entry: str) -> str:
    """The dead letter of an entry that is a document by now, as a failover of the home brings it back."""
    dead, letters = (f"{HOME}{flow.names.control(name)}" for name in ("dead", "letters"))
    (_, said), *_ = flow.redis.xrange(dead, count=1)
    back: bytes = flow.redis.xadd(dead, {**said, b"id": entry})
    flow.redis.hset(letters, f"event {entry}", back)
    return back.decode()
