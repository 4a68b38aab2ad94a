"""A Redis Cluster and contracts that several processes work on: partitions, and workers that read for a copy
(nothing_lost, never_backwards, no_ghosts, fenced, nothing_silent)."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from random import Random
from typing import Any

import pytest

from syncd.embedded import LOOPBACK, RedisServer
from syncd.embedded.cluster import RedisCluster
from syncd.errors import FencedError, TransientError
from syncd.plan.claims import MONGO, Claims
from syncd.plan.partition import Partition
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore
from syncd.stores.redis.cluster.slots import slot_of
from syncd.stores.redis.records.cluster_lease import ClusterLease
from syncd.stores.redis.records.lease import Lease, Renewer
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.records.requests.pauses import pause, resume
from tests.faults.test_cluster_shapes import slots_with_keys, strays
from tests.support.check import meanwhile, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import fail_over, move, slots_of, stop_replication
from tests.support.servers.shared import connect
from tests.support.shapes.members import BOARD, TAGS, player, wait_members

COUNT = 150
WATCHED = range(1000, 1030)
"""Documents whose `n` only grows."""
CARD = projection(["title", "n"])
MOVING = projection(["title", "n"], name="slug", key="{slug}")
PARTS = projection({"text": "parts.text", "n": "n"}, name="parts", each="parts", key="{parts.id}")
LEASE = {"SYNCD_LEASE_TTL": "3"}
SPLIT = {"SYNCD_SPLIT": "true"}


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[RedisCluster]:
    """Three masters; what is acknowledged outlives a kill."""
    with RedisCluster(3, appendonly=True) as nodes:
        yield nodes


def masters(cluster: RedisCluster) -> list[RedisServer]:
    return [node for node in cluster.nodes if slots_of(cluster, node)]


def film(number: int, n: int = 0, turn: int = 0) -> dict[str, Any]:
    parts = [{"id": f"p{number}x{at}x{turn % 3}", "text": f"text {at}"} for at in range(turn % 4)]
    return {"_id": number, "slug": f"s{number}x{turn % 5}", "title": f"film {number}", "n": n, "parts": parts}


class Films:
    """Two contracts with keys of every kind, what changes their documents, and what must be there in the end."""

    def __init__(self, scene: Scene, cluster: RedisCluster) -> None:
        self.scene, self.cluster, self.draw, self.turns = scene, cluster, Random(3), count(1)
        numbers = [*range(COUNT), *WATCHED]
        documents = [film(number, turn=number) for number in numbers]
        sync = {"sweep_limit": "100%"}
        unique = [["slug"], ["parts.id"]]
        self.film = scene.add("film", CARD, MOVING, PARTS, documents=documents, unique=unique, sync=sync)
        players = [self._player(number) for number in range(COUNT)]
        self.club = scene.add("club", BOARD, TAGS, documents=players, sync=sync)

    def _player(self, number: int) -> dict[str, Any]:
        draw = self.draw
        labels = draw.sample([f"t{label}" for label in range(12)], 3)
        return player(number, game=f"g{draw.randrange(12)}", points=draw.randrange(1000), tags=labels)

    def _change(self) -> None:
        turn, number = next(self.turns), self.draw.randrange(COUNT)
        films, players = self.film.collection, self.club.collection
        films.update_many({"_id": {"$in": self.draw.sample(WATCHED, 5)}}, {"$inc": {"n": 1}})
        if turn % 7 == 0:
            films.delete_one({"_id": number})
            players.delete_one({"_id": number})
        else:
            films.replace_one({"_id": number}, film(number, turn, turn), upsert=True)
            players.replace_one({"_id": number}, self._player(number), upsert=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While the block runs; then everything is as the documents say, and every record where its keys are."""
        with meanwhile(self._change, 0.005):
            yield
        self.check()
        assert not self.film.dead_letters()

    def check(self) -> None:
        self.scene.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
        self.film.wait_same(60)
        wait_members(self.club)
        wait_until(lambda: not strays(self.scene, self.cluster), 20, lambda: strays(self.scene, self.cluster))

    @contextmanager
    def only_growing(self) -> Iterator[None]:
        """No key goes back to what it was before, while the block runs."""
        seen, wrong, redis = Counter[int](), list[str](), connect(self.cluster.url)  # of one thread

        def look() -> None:
            for number in WATCHED:
                n = int(redis.hget(self.film.key(number), "n") or 0)
                if n < seen[number]:
                    wrong.append(f"{number}: {n} after {seen[number]}")
                seen[number] = max(n, seen[number])

        with closing(redis), meanwhile(look, 0.01):
            yield
        assert seen.total() > len(WATCHED)
        assert not wrong, wrong[:5]


def live(*daemons: Daemon) -> None:
    """All lanes of these."""
    for one in daemons:
        wait_until(
            lambda one=one: (
                (lanes := one.status()["lanes"]) and {lane["state"] for lane in lanes} == {"live"}
            ),
            40,
            lambda one=one: f"{one.status()['lanes']} {one.process.log_tail()}",
        )


def copies(*daemons: Daemon) -> Counter[tuple[str, str]]:
    """How often each began."""
    return Counter(said["contract"] for one in daemons for said in one.logs(event="snapshot started"))


def part(scene: Scene, which: str, **env: str) -> Daemon:
    """A daemon of one partition, started."""
    made = scene.another_daemon(SYNCD_PARTITION=which, **env)
    made.start()
    return made


def env_of(scene: Scene, cluster: RedisCluster) -> dict[str, str]:
    env = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": cluster.url}
    return {**env, "SYNCD_CONTRACTS": str(scene.contracts.path)}


def in_sync(scene: Scene, films: Films) -> None:
    """By a check."""
    for flow in (films.film, films.club):
        said = syncd("reconcile", flow.contract, **env_of(scene, films.cluster))
        assert said.returncode == 0, said.stdout + said.stderr


def assert_shown(scene: Scene, films: Films, daemon: Daemon) -> None:
    """Nodes of each partition, by doctor and status."""
    nodes = [f"{LOOPBACK}:{node.port}" for node in masters(films.cluster)]
    said = syncd("doctor", **env_of(scene, films.cluster)).stdout
    for number in (1, 2):
        [line] = [one for one in said.splitlines() if f"partition {films.film.contract} {number}/2: " in one]
        assert all(re.search(rf"{node} \d+:\d+", line) for node in nodes), line
    for lane in daemon.status()["lanes"]:
        assert lane["partition"] == "1/2"
        assert len(lane["nodes"]) == len(nodes)
        assert all(one["position"] for one in lane["nodes"]), lane["nodes"]


def test_slots_move_and_a_daemon_is_killed(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, never_backwards, no_ghosts: slots with keys and with records of syncd move to a node that is new,
    and back, while two daemons have a partition each. One is killed, and its standby goes on. Maps that the partitions
    share are where the keys are, no key goes back, and nothing is copied again."""
    films = Films(scene, cluster)
    first, second = part(scene, "1/2"), part(scene, "2/2")
    live(first, second)
    standby = part(scene, "2/2")
    all_of_them = first, second, standby
    assert_shown(scene, films, first)
    assert copies(*all_of_them) == {films.film.contract: 2, films.club.contract: 2}
    films.check()
    places = {slot_of(node.place) for node in ClusterStore(cluster.url).nodes}
    fourth, sources = cluster.join(), masters(cluster)
    with films.only_growing(), films.changing():
        for source in sources:
            own = {*slots_of(cluster, source)}
            move(cluster, sorted(own & ({*slots_with_keys(cluster, source)[::3]} | places)), source, fourth)
            if source is sources[1]:
                second.kill()
        wait_until(lambda: any(one.logs(event="slots moved") for one in all_of_them), 30)
        live(first, standby)
    assert places <= {*slots_of(cluster, fourth)}
    with films.only_growing(), films.changing():
        move(cluster, slots_of(cluster, fourth), fourth, sources[0])
    live(first, standby)
    assert copies(*all_of_them) == {films.film.contract: 2, films.club.contract: 2}
    in_sync(scene, films)
    leave(cluster, fourth)
    removed(scene, films)


def test_one_lane_arranges_the_records_of_all(cluster: RedisCluster, scene: Scene) -> None:
    """fenced, no_ghosts: slots have moved, and the lane of a partition that brings all records along is alone: another
    has no lease any more, and gets none until that is done, or the first is gone; then it need not do so again. Where
    no lane does so because the contract has left, its keys are removed, and those of an application are not."""
    theirs = [f"faults:film:card:theirs{number}" for number in range(30)]
    for key in theirs:
        scene.redis.hset(key, "n", 1)
    flow = scene.add(
        "film", CARD, MOVING, documents=[film(number) for number in range(60)], unique=[["slug"]]
    )
    daemons = part(scene, "1/2"), part(scene, "2/2")
    live(*daemons)
    for one in daemons:
        one.terminate()
    store = ClusterStore(cluster.url)
    halves = [ControlKeys(flow.contract, one, HOME) for one in Partition(count=2).all]
    claims = Claims(MONGO, read_fields(store, halves[0], Fields.VERSION)[0], ())

    def lease(number: int, renewer: Renewer | None = None) -> ClusterLease:
        return ClusterLease(store, halves[number - 1], f"host/{number}", 30, claims, renewer)

    other, said = lease(2), list[str]()

    class Tries(Renewer):
        def add(self, lease: Lease) -> None:
            if lease.keys.place != HOME:
                said.append(why_no_lease(other))

        def remove(self, lease: Lease) -> None: ...

    other.acquire()
    other.confirm()
    source, target = masters(cluster)[:2]
    move(cluster, slots_with_keys(cluster, source), source, target)
    store.refresh()
    mover = lease(1, Tries())
    mover.acquire()
    assert len(said) >= 2  # of each other node, and of a place that a test before has left
    assert all("arranges the records" in one for one in said), said
    with pytest.raises(FencedError):
        other.confirm()
    other.acquire()
    mover.confirm()
    mover.call("syncd_alone", [], [])
    assert why_no_lease(other)
    mover.release()
    other.acquire()
    other.release()
    move_keys(cluster, [*theirs, HOME], target, source)
    removed_when_resumed(scene, cluster, flow)
    left = {key.decode() for node in masters(cluster) for key in keys_of(cluster, node)}
    assert {key for key in left if key.startswith("faults:film:")} == {*theirs}
    store.close()


def move_keys(cluster: RedisCluster, keys: Iterable[str], source: RedisServer, target: RedisServer) -> None:
    """The slots of those that are on the first node."""
    slots = {*slots_of(cluster, source)} & {slot_of(key) for key in keys}
    move(cluster, sorted(slots), source, target)


def removed_when_resumed(scene: Scene, cluster: RedisCluster, flow: Flow) -> None:
    """What a contract has that left after slots had moved, and that a person has paused."""
    env, remove = env_of(scene, cluster), ("remove", flow.contract, "--keys", "--yes")
    with closing(ClusterStore(cluster.url)) as store:
        pause(store, flow.contract, "a test")
        scene.contracts.remove("film")
        scene.contracts.write("keep", projection(["title"], name="kept"))
        scene.start()
        wait_until(lambda: f"{flow.contract}: left" in syncd("orphans", **env).stdout, 30)
        said = syncd(*remove, **env)
        assert (said.returncode, "slots have moved" in said.stderr) == (3, True), said.stdout + said.stderr
        resume(store, flow.contract)
    said = syncd(*remove, **env)
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_daemon_follows_its_own_records(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent: the home of all records is on another node. A daemon of several processes takes up an edit all
    the same, and notes which contract has left."""
    documents = [film(number) for number in range(20)]
    scene.daemon = daemon = scene.another_daemon(SYNCD_WORKERS="2", **SPLIT)
    flow, other = scene.add("film", CARD, documents=documents), scene.add("other", CARD, documents=documents)
    daemon.start()
    live(daemon)
    home = next(node for node in masters(cluster) if slot_of(HOME) in slots_of(cluster, node))
    move(cluster, [slot_of(HOME)], home, next(node for node in masters(cluster) if node is not home))
    flow.write(projection(["title"]))
    flow.wait_same()
    scene.contracts.remove("other")
    left = f"{other.contract}: left"
    wait_until(lambda: left in syncd("orphans", **env_of(scene, cluster)).stdout, 30, daemon.process.log_tail)


def why_no_lease(lease: Lease) -> str:
    try:
        lease.acquire()
    except TransientError as error:
        return str(error)
    return ""


def leave(cluster: RedisCluster, node: RedisServer) -> None:
    name = cluster.id_of(node)
    cluster.nodes.remove(node)
    for one in cluster.nodes:
        cluster.tell(one, "CLUSTER FORGET", name)
    node.close()


def test_another_number_of_partitions(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts: a daemon splits all contracts over two workers, and a node fails over and loses its last
    writes: the stream brings them again, and nothing is copied. One of three workers takes over when that daemon
    is gone, also where slots have moved since; it copies, and what went meanwhile leaves no key. A node that is emptied
    costs a copy of all partitions."""
    films = Films(scene, cluster)
    scene.daemon = two = scene.another_daemon(SYNCD_WORKERS="2", **SPLIT)
    two.start()
    live(two)
    master = masters(cluster)[1]
    replica = cluster.join()
    cluster.tell(replica, "CLUSTER REPLICATE", cluster.id_of(master))
    wait_until(lambda: cluster.tell(replica, "INFO", "replication")["master_link_status"] == "up", 20)
    with films.changing():
        stop_replication(cluster, master)
        threading.Event().wait(1.0)
        fail_over(cluster, master, replica)
    live(two)
    assert copies(two) == {films.film.contract: 2, films.club.contract: 2}
    three = scene.another_daemon(SYNCD_WORKERS="3", **SPLIT)
    three.start()
    wait_until(lambda: {lane["state"] for lane in three.status()["lanes"]} == {"standby"}, 30)
    source, target = masters(cluster)[:2]
    with films.changing():
        two.kill()
        own = {*slots_of(cluster, source)}
        move(cluster, sorted(own & {*slots_with_keys(cluster, source)}), source, target)
        films.film.collection.delete_many({"_id": {"$lt": 20}})
        scene.daemon = three
        live(three)
    assert copies(three) == {films.film.contract: 3, films.club.contract: 3}
    with films.changing():
        cluster.tell(masters(cluster)[1], "FLUSHALL")
        wait_until(lambda: copies(three).total() == 12, 40, three.process.log_tail)
    live(three)
    in_sync(scene, films)


def removed(scene: Scene, films: Films) -> None:
    """What a contract has goes with it, also where slots have moved since its lanes ended."""
    scene.contracts.remove("film")
    cluster, contract = films.cluster, films.film.contract
    wait_until(
        lambda: f"{contract}: left" in syncd("orphans", **env_of(scene, cluster)).stdout, 30, "it has left"
    )
    source, target = masters(cluster)[:2]
    places = {slot_of(node.place) for node in ClusterStore(cluster.url).nodes}
    own = {*slots_of(cluster, source)}
    move(cluster, sorted(own & ({*slots_with_keys(cluster, source)} | places)), source, target)
    said = syncd("remove", contract, "--keys", "--yes", **env_of(scene, cluster))
    assert said.returncode == 0, said.stdout + said.stderr
    left = {key for node in masters(cluster) for key in keys_of(cluster, node)}
    assert not [key for key in left if contract.encode() in key or b"faults:film:" in key]


def keys_of(cluster: RedisCluster, node: RedisServer) -> list[bytes]:
    with cluster.client(node) as client:
        return list(client.scan_iter(count=1000))


def test_a_copy_by_workers(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts, nothing_silent: processes read for the copy of two contracts with keys of every kind,
    and slots move meanwhile; what does not fit has its dead letter."""
    films = Films(scene, cluster)
    more = [{**film(number, turn=number), "parts": []} for number in range(2000, 5000)]
    films.film.collection.insert_many(more)
    films.film.collection.insert_one({"_id": 7000, "title": "no slug", "n": 1})
    small = {"SYNCD_CHUNK_DOCUMENTS": "20", "SYNCD_BATCH_WRITES": "40", "SYNCD_LEASE_TTL": "60"}
    scene.daemon = daemon = scene.another_daemon(SYNCD_SNAPSHOT_PROCESSES="2", **small)
    daemon.start()
    with ExitStack() as paused:
        wait_until(lambda: daemon.logs(event="snapshot started"), 20)
        for node in masters(cluster):
            cluster.tell(node, "CLIENT", "PAUSE", "60000", "WRITE")
            paused.callback(cluster.tell, node, "CLIENT", "UNPAUSE")
        wait_until(lambda: daemon.logs(event="snapshot workers are ready"), 30, daemon.process.log_tail)
    source, target = masters(cluster)[:2]
    move(cluster, slots_of(cluster, source)[::150], source, target)
    live(daemon)
    [odd] = films.film.dead_letters()
    assert (odd["projection"], odd["id"]) == ("slug", "7000"), odd
    films.film.collection.delete_one({"_id": 7000})
    films.check()
    assert daemon.metric("syncd_snapshot_pieces_total") > 5
