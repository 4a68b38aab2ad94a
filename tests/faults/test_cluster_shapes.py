"""Every shape of keys on a Redis Cluster: elements, members, shared hashes, joins and change feeds, while the daemon is
killed, slots move and a node fails over (nothing_lost, no_ghosts, never_torn, applied_once, nothing_silent)."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from syncd.embedded import RedisServer
from syncd.embedded.cluster import RedisCluster
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore
from syncd.stores.redis.cluster.slots import slot_of
from tests.support.check import meanwhile, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import fail_over, half_moved, move, slots_of, stop_replication
from tests.support.shapes.feeds import assert_told, entries, feed
from tests.support.shapes.joins import Shop
from tests.support.shapes.joins import wait_same as wait_joined
from tests.support.shapes.members import BOARD, NEAR, RECALL, TAGS, best, members_of, player, wait_members
from tests.support.shapes.sharing import People
from tests.support.ways.stream import add_stream, append, wait_done, wait_numbers
from tests.support.ways.stream import key as stream_of

COUNT = 60
GAMES, LABELS = [f"g{number}" for number in range(12)], [f"t{number}" for number in range(12)]
PARTS = projection(
    {"version": "version", "text": "parts.text"}, name="parts", type="json", each="parts", key="{parts.id}"
)
LOST = "Redis has lost dead letters; their entries are delivered again"
BEST = {**BOARD, "projection": "best", "keep": {"highest": 5}}


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[RedisCluster]:
    """Three masters; what is acknowledged outlives a kill."""
    with RedisCluster(3, appendonly=True, modules=True) as nodes:
        yield nodes


class Shapes:
    """Contracts of every shape, what changes their documents, and what must be there in the end."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.draw = scene, Random(5)
        self.turns: Counter[int] = Counter()
        self.shop = Shop(scene, "shop")
        self.shop.fill(COUNT, 10)
        self.people = People(scene, "person")
        documents = [{"_id": number, "version": 0, "parts": self._parts(number)} for number in range(COUNT)]
        self.parts = scene.add("parts", PARTS, documents=documents, unique=[["parts.id"]])
        players = [self._player(number) for number in range(COUNT)]
        self.members = scene.add("members", BOARD, TAGS, NEAR, RECALL, documents=players)
        self.best = scene.add("best", BEST, source=self.members)
        self.joined = self.shop.add()
        self.half = scene.add("half", self.people.part(["a"]), documents=[{"_id": 1, "a": 1, "b": 1}])
        self.other = scene.add("other", self.people.part(["b"]), source=self.half)
        self.told = scene.add("told", feed(["n"]), documents=[{"_id": -1, "n": 1}])
        self.matched = scene.add("matched", feed(["n"]), source=self.told, filter={"n": {"$mod": [3, 0]}})
        scene.start()
        for flow in self.flows:
            flow.wait_live()

    @property
    def flows(self) -> list[Flow]:
        """All contracts."""
        return [
            self.parts, self.members, self.best, self.joined, self.half, self.other, self.told, self.matched
        ]  # fmt: skip

    def _parts(self, number: int) -> list[dict[str, Any]]:
        self.turns[-1] += 1
        some = range(self.draw.randrange(5))
        return [{"id": f"p{number}x{self.turns[-1] % 7}x{at}", "text": f"text {at}"} for at in some]

    def _player(self, number: int) -> dict[str, Any]:
        draw = self.draw
        more = {"game": draw.choice(GAMES), "points": self._points(number), "tags": draw.sample(LABELS, 3)}
        return player(number, **more, at=[draw.randrange(-90, 90), draw.randrange(-60, 60)])

    def _points(self, number: int) -> int:
        """No two players have the same."""
        return self.draw.randrange(1000) * 1000 + number

    def change(self) -> None:
        """One change of each."""
        number, draw = self.draw.randrange(COUNT), self.draw
        self._change_parts(number)
        of = self.members.collection
        match draw.randrange(5):
            case 0:
                of.delete_one({"_id": number})
            case 1:
                of.replace_one({"_id": number}, self._player(number), upsert=True)
            case 2:
                of.update_one({"_id": number}, {"$set": {"game": draw.choice(GAMES)}})
            case _:
                of.update_one({"_id": number}, {"$set": {"points": self._points(number)}})
        self.shop.customers.update_one({"_id": number % 10}, {"$set": {"tier": draw.randrange(100)}})
        self.shop.orders.update_one({"_id": number}, {"$set": {"customer_id": draw.randrange(10)}})
        fields = draw.choice(["a", "b"])
        self.half.collection.update_one({"_id": number}, {"$inc": {fields: 1}}, upsert=True)
        if number % 4 == 0:
            self.half.collection.delete_one({"_id": number + 1})
        self.turns[number] += 1
        self.told.collection.update_one({"_id": number}, {"$inc": {"n": 1}}, upsert=True)

    def _change_parts(self, number: int) -> None:
        of = self.parts.collection
        if self.draw.randrange(6) == 0:
            of.delete_one({"_id": number})
        else:
            whole = {"_id": number, "version": self.turns[-1], "parts": self._parts(number)}
            of.replace_one({"_id": number}, whole, upsert=True)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """While the block runs; then everything is as the documents say, and no entry is missing or there twice."""
        with meanwhile(self.change, 0.02):
            yield
        self.scene.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
        self.wait_same()

    def wait_same(self) -> None:
        self.parts.wait_same(60)
        wait_members(self.members)
        wait_until(lambda: members_of(self.best, "best") == best(self.best, BEST), 60, self.best.lane)
        wait_joined(self.shop, self.joined, 60)
        self.people.wait_all({self.half: ["a"], self.other: ["b"]})
        count = sum(turns for number, turns in self.turns.items() if number >= 0)
        wait_until(lambda: len(entries(self.told)) >= count, 60, self.told.lane)
        told: dict[str, list[int]] = {}
        for _, one in entries(self.told):
            told.setdefault(one["_id"], []).append(int(one["n"]))
        for ident, found in told.items():
            turns = self.turns[int(ident)]
            assert (len(found), found[-1], sorted(found)) == (turns, turns, found), (
                "each change has one entry"
            )
        wait_until(self._is_told, 60, self.matched.lane)
        for flow in self.flows:
            flow.wait_live()
            assert not flow.dead_letters()
        copies = Counter(one["contract"] for one in self.scene.daemon.logs(event="snapshot started"))
        assert max(copies.values()) == 1, copies

    def _is_told(self) -> bool:
        try:
            assert_told(self.matched)
        except (AssertionError, KeyError):
            return False
        return True


def slots_with_keys(cluster: RedisCluster, node: RedisServer) -> list[int]:
    """Some of the slots of a node that have keys."""
    with cluster.client(node) as client:
        slots = {slot_of(key) for key in client.scan_iter(count=1000)}
    return sorted(slots)[::12]


def strays(scene: Scene, cluster: RedisCluster) -> list[tuple[str, bytes]]:
    """Entries of maps about keys that are on another node than the map."""
    store = ClusterStore(cluster.url)
    found = []
    for number, node in enumerate(store.nodes):
        for name in node.client.scan_iter(f"{node.place}syncd:*", count=1000):
            for key in _named(node.client, name):
                if store.node_of(key) != number:
                    found.append((str(node), name))
    store.close()
    return found


def _named(client: Any, name: bytes) -> Iterator[bytes]:
    """Keys that a map names."""
    if b":owners:" in name:
        yield from client.hkeys(name)
    elif b":members:" in name or b":keys:parts:" in name:
        for raw in client.hvals(name):
            said = json.loads(raw) if raw.startswith(b"[") else []
            keys = said[1::2] if b":keys:" in name else [said[0]] if has_fields(said) else said[::2]
            yield from (key.encode() for key in keys)
    elif b":matched:" in name:
        yield name.partition(b":matched:")[2]


def has_fields(said: list[Any]) -> bool:
    return len(said) == 2 and isinstance(said[1], list)


def test_slots_move_and_the_daemon_is_killed(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts, applied_once: slots with keys, streams and records of syncd move to a node that is new,
    and back, while the daemon is killed twice; what documents have on each node goes with the keys, nothing is copied
    again, and each change has one entry."""
    shapes = Shapes(scene)
    store = ClusterStore(cluster.url)
    places = {slot_of(node.place) for node in store.nodes}
    streams = {slot_of(flow.key("changes", "feed")) for flow in (shapes.told, shapes.matched)}
    masters = [node for node in cluster.nodes if slots_of(cluster, node)]
    fourth = cluster.join()
    with shapes.changing():
        for source in masters:
            own = slots_of(cluster, source)
            some = {*slots_with_keys(cluster, source)} | {slot for slot in places | streams if slot in own}
            move(cluster, sorted(some & {*own}), source, fourth)
            if source is not masters[0]:
                scene.daemon.kill()
                scene.daemon.start()
    assert not strays(scene, cluster)
    with shapes.changing():
        move(cluster, slots_of(cluster, fourth), fourth, masters[0])
    assert not strays(scene, cluster)
    cluster.nodes.remove(fourth)
    name = cluster.id_of(fourth)
    for node in cluster.nodes:
        cluster.tell(node, "CLUSTER FORGET", name)
    fourth.close()


def test_a_failover_that_loses_writes(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_lost, no_ghosts, applied_once: what the replica of one node never got, keys, maps and entries, comes
    again with the record of that node; entries have the ids that they had."""
    shapes = Shapes(scene)
    master = [node for node in cluster.nodes if slots_of(cluster, node)][1]
    replica = cluster.join()
    cluster.tell(replica, "CLUSTER REPLICATE", cluster.id_of(master))
    wait_until(lambda: cluster.tell(replica, "INFO", "replication")["master_link_status"] == "up", 20)
    with shapes.changing():
        stop_replication(cluster, master)
        threading.Event().wait(1.0)
        fail_over(cluster, master, replica)


def test_the_command_line(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent, no_ghosts: a check finds and repairs elements, members and fields that are wrong on any node, and
    remove takes what a contract has of keys that it shares. A copy that a person asks for leaves no gap in a feed."""
    shapes = Shapes(scene)
    env = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": cluster.url}
    env["SYNCD_CONTRACTS"] = str(scene.contracts.path)
    redis, flows = scene.redis, (shapes.parts, shapes.members, shapes.half)
    for _ in range(100):
        shapes.change()
    shapes.wait_same()
    for flow in flows:
        said = syncd("reconcile", flow.contract, **env)
        assert said.returncode == 0, said.stdout + said.stderr
    for verb in ("check --connect", "doctor", f"snapshot {shapes.told.contract}"):
        said = syncd(*verb.split(), **env)
        assert said.returncode < 2, said.stdout + said.stderr
    for key in sorted(shapes.parts.keys("parts"))[::3]:
        redis.delete(shapes.parts.key(key, "parts"))
    for game in GAMES:
        redis.zadd(shapes.members.key(game, "board"), {"-1": 5})
        redis.srem(shapes.members.key(game.replace("g", "t"), "tags"), "1", "2")
    for ident in range(0, COUNT, 2):
        redis.hdel(shapes.people.key(ident), "a")
    for flow in flows:
        said = syncd("reconcile", flow.contract, "--repair", **env)
        assert (said.returncode, ", 0 left" in said.stdout) == (0, True), said.stdout + said.stderr
    shapes.wait_same()
    scene.contracts.remove("half")
    scene.contracts.remove("members")
    for flow in (shapes.half, shapes.members):
        left = f"{flow.contract}: left"
        wait_until(lambda left=left: left in syncd("status", "--orphans", **env).stdout, 30)  # type: ignore[misc]
        said = syncd("remove", flow.contract, "--keys", "--yes", **env)
        assert said.returncode == 0, said.stdout + said.stderr
    shapes.people.wait_all({shapes.other: ["b"]})
    assert not any(shapes.members.keys(name) for name in ("board", "tags", "near", "recall"))


def test_a_stream_is_appended(cluster: RedisCluster, scene: Scene) -> None:
    """applied_once, nothing_lost, nothing_silent: the daemon is killed and the slot of the stream moves while entries
    go through; each is one document or one dead letter, and none waits."""
    flow = add_stream(scene, "in")
    scene.start()
    flow.wait_live()
    count, odd = 0, 0
    for turn in range(4):
        append(flow, range(count, count + 2000))
        append(flow, ["odd"])  # type: ignore[list-item]
        count, odd = count + 2000, odd + 1
        if turn == 1:
            scene.daemon.kill()
            scene.daemon.start()
        elif turn == 2:
            slot = slot_of(stream_of(flow))
            source = next(node for node in cluster.nodes if slot in slots_of(cluster, node))
            move(cluster, [slot], source, next(node for node in cluster.nodes if node is not source))
            scene.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    wait_numbers(flow, range(count))
    wait_done(flow)
    assert len(flow.dead_letters()) == odd
    env = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": cluster.url}
    env["SYNCD_CONTRACTS"] = str(scene.contracts.path)
    for verb in ("check --connect", f"reconcile {flow.contract}"):
        said = syncd(*verb.split(), **env)
        assert said.returncode == 0, said.stdout + said.stderr
    said = syncd("deadletters", "replay", flow.contract, "--all", **env)
    assert f"0 written, {odd} still failing" in said.stdout, said.stdout + said.stderr
    assert len(flow.dead_letters()) == odd


def test_a_failover_that_loses_dead_letters(cluster: RedisCluster, scene: Scene) -> None:
    """nothing_silent, nothing_lost: entries of a stream are acknowledged on its node, and their dead letters go with
    the failover of another one; each comes back, once, but for one that a person has dropped. Remove leaves no note."""
    flow, _ = add_stream(scene, "in"), add_stream(scene, "keep")
    master = next(node for node in cluster.nodes if slot_of(HOME) in slots_of(cluster, node))
    other = next(node for node in cluster.nodes if node is not master and slots_of(cluster, node))
    if (slot := slot_of(stream_of(flow))) in slots_of(cluster, master):
        move(cluster, [slot], master, other)
    replica = cluster.join()
    cluster.tell(replica, "CLUSTER REPLICATE", cluster.id_of(master))
    wait_until(lambda: cluster.tell(replica, "INFO", "replication")["master_link_status"] == "up", 20)
    scene.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    scene.start()
    flow.wait_live()
    env = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": cluster.url}
    odd = append(flow, ["odd"] * 2)  # type: ignore[list-item]
    wait_until(lambda: waiting(flow) == sorted(odd), 20, lambda: waiting(flow))
    cluster.tell(master, "WAIT", 1, 5000)
    stop_replication(cluster, master)
    odd += append(flow, ["odd"] * 3)  # type: ignore[list-item]
    wait_until(lambda: waiting(flow) == sorted(odd), 20, lambda: waiting(flow))
    wait_done(flow)
    ((last, _),) = scene.redis.xrevrange(f"{HOME}{flow.names.control('dead')}", count=1)
    said = syncd("deadletters", "drop", flow.contract, last.decode(), **env)
    assert said.stdout == "dropped 1\n", said.stdout + said.stderr
    fail_over(cluster, master, replica)
    scene.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    wait_until(lambda: waiting(flow) == sorted(odd[:-1]), 20, lambda: waiting(flow))
    append(flow, [1])
    wait_numbers(flow, [1])
    wait_done(flow)
    assert waiting(flow) == sorted(odd[:-1])
    assert sum(one["count"] for one in scene.daemon.logs(event=LOST)) == 2
    scene.contracts.remove("in")
    wait_until(lambda: f"{flow.contract}: left" in syncd("orphans", **env).stdout, 30)
    said = syncd("remove", flow.contract, "--yes", **env)
    assert said.returncode == 0, said.stdout + said.stderr
    assert not [key for key in scene.redis.scan_iter(count=1000) if f"{{{flow.contract}}}".encode() in key]


def waiting(flow: Flow) -> list[str]:
    """Entries that have a dead letter."""
    return sorted(one["id"] for one in flow.dead_letters())


def test_a_call_that_ends_in_the_middle(cluster: RedisCluster, scene: Scene) -> None:
    """no_ghosts: a document comes to other keys, and what it leaves has just gone to another node, so that the call
    ends when the new keys are written; the document goes before the slots have arrived, and leaves nothing there."""
    parts = scene.add("parts", PARTS, unique=[["parts.id"]])
    board = scene.add("board", BOARD)
    first, second = _two_on_a_node(cluster, parts.names.prefix("parts"), board.names.prefix("board"))
    parts.collection.insert_one({"_id": 1, "version": 1, "parts": [{"id": first, "text": "x"}]})
    board.collection.insert_one({"_id": 1, "game": first, "points": 1})
    scene.start()
    gone = [parts.key(first, "parts"), board.key(first, "board")]
    came = [parts.key(second, "parts"), board.key(second, "board")]
    for flow in (parts, board):
        flow.wait_live()
    assert scene.redis.exists(*gone) == 2
    slots = [slot_of(key) for key in gone]
    source = next(node for node in cluster.nodes if slots[0] in slots_of(cluster, node))
    target = next(node for node in cluster.nodes if node is not source)
    with half_moved(cluster, slots, source, target), cluster.client(source) as client:
        parts.collection.update_one({"_id": 1}, {"$set": {"parts": [{"id": second, "text": "y"}]}})
        board.collection.update_one({"_id": 1}, {"$set": {"game": second}})
        for key in came:
            wait_until(lambda key=key: client.exists(key))  # type: ignore[misc]
        parts.collection.delete_one({"_id": 1})
        board.collection.delete_one({"_id": 1})
    scene.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
    for flow in (parts, board):
        flow.wait_live()
    for key in (*gone, *came):
        wait_until(lambda key=key: not scene.redis.exists(key), message=key)  # type: ignore[misc]
    copies = Counter(one["contract"] for one in scene.daemon.logs(event="snapshot started"))
    assert max(copies.values()) == 1, copies


def _two_on_a_node(cluster: RedisCluster, *prefixes: str) -> list[str]:
    """Ends with which all keys of these prefixes are on one node."""
    own = {*slots_of(cluster, next(node for node in cluster.nodes if slots_of(cluster, node)))}
    names = (f"e{number}" for number in range(10_000))
    return [name for name in names if all(slot_of(prefix + name) in own for prefix in prefixes)][:2]
