"""Change feeds while everything breaks: a reader has each change once, and none is missing (nothing_lost, applied_once,
never_torn, bounded).
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.errors import PyMongoError
from redis import Redis
from redis.exceptions import RedisError

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig, again
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Document, Flow, Scene
from tests.support.servers.shared import connect
from tests.support.shapes.feeds import entries, feed, ids, said, stream_of, wait_count

CHANGES = 1_000 * SCALE
"""Of 200,000 with SYNCD_TEST_SCALE=200."""
DOCUMENTS = 50
KILLS = (1, 2, 3) if SCALE == 1 else (0, 1, 2, 3, 4)
"""Each with something else beside it, see `disturb`."""
MEMBERS = 1 if SCALE == 1 else 3
MOST_MEMORY = 400 * 2**20
"""Bytes of a daemon, at its highest."""
GROUP = "readers"
Work = tuple[str, dict[str, str]]


@pytest.mark.parametrize("reply", [False, True], ids=["before", "after"])
def test_killed_at_the_call(rig: Rig, reply: bool) -> None:
    """applied_once: kill -9 when Redis has yet to get the entries, or has them and the daemon does not know; the same
    entries are there once, under the same ids."""
    rig.keep_own_streams()
    flow = rig.scene.run("order", feed(["n"]), projection(["n"]))
    flow.collection.insert_one({"_id": 1, "n": 0})
    wait_count(flow, 1)
    hold = (rig.redis_proxy.hold_reply if reply else rig.redis_proxy.hold_request)(b"syncd_apply", b"update")
    with flow.collection.database.client.start_session() as session, session.start_transaction():
        for n in range(1, 20):
            flow.collection.update_one({"_id": 1}, {"$set": {"n": n}}, session=session)
    hold.wait()
    before = entries(flow)
    assert len(before) == (20 if reply else 1)
    again(rig)
    wait_count(flow, 20)
    assert entries(flow)[: len(before)] == before
    assert [one["op"] for one in said(flow)] == ["insert"] + ["update"] * 19
    assert ids(flow) == sorted(set(ids(flow)))
    flow.wait_same()


@pytest.mark.parametrize("right", ["-json.set", "-xtrim"])
def test_a_call_that_fails_in_the_middle(rig: Rig, narrow: Callable[..., None], right: str) -> None:
    """applied_once: Redis fails in the middle of a call, before its entries are written or behind them, again and
    again; when it has stopped failing each change has one entry."""
    shapes = feed(["n"], keep={"entries": 1000}), projection(["n"], name="doc", type="json")
    flow = rig.scene.run("order", *shapes)
    narrow(right)
    flow.collection.insert_many([{"_id": n, "n": n} for n in range(5)])
    for _ in range(2):
        flow.wait_state("failed")
        again(rig)
    flow.wait_state("failed")
    assert flow.redis.xlen(stream_of(flow)) == (0 if right == "-json.set" else 5)
    narrow(f"+{right[1:]}")
    again(rig)
    flow.wait_live()
    flow.collection.insert_one({"_id": "last", "n": 6})
    wait_count(flow, 6)
    assert [one["_id"] for one in said(flow)] == [*"01234", "last"]
    flow.wait_same()


class Reader(threading.Thread):
    """Works off a stream as one consumer of a group: what it did and the acknowledgement are one step. It dies now and
    then with entries in hand, and takes them up again when it is back."""

    def __init__(self, url: str, stream: str, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._url, self._stream, self._chance = url, stream, random.Random(name)
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            with suppress(RedisError), connect(self._url) as client:
                self._work(client)
            time.sleep(0.01)

    def _work(self, client: Redis) -> None:
        with suppress(RedisError):
            client.xgroup_create(self._stream, GROUP, id="0", mkstream=True)
        start = "0"  # what it has, and has not acknowledged
        while not self.ended.is_set():
            found = client.xreadgroup(GROUP, self.name, {self._stream: start}, count=100, block=50)
            read = found[0][1] if found else []
            if not read:
                start = ">"
            for entry, one in read:
                if self._chance.random() < 0.002:
                    return  # it dies with what it has
                with client.pipeline(transaction=True) as both:
                    both.xack(self._stream, GROUP, entry)
                    both.rpush(f"{self._stream}:done", b"%s %s" % (entry, one.get(b"_id", b"")))
                    acknowledged, _ = both.execute()
                assert acknowledged == 1, "an entry that another reader had as well"


@contextmanager
def reading(redis: RedisServer, flow: Flow) -> Iterator[None]:
    readers = [Reader(redis.url, stream_of(flow), f"reader{n}") for n in range(2)]
    for reader in readers:
        reader.start()
    yield
    read = f"{stream_of(flow)}:done"
    wait_until(lambda: flow.redis.xlen(stream_of(flow)) == flow.redis.llen(read), 120 + 4 * SCALE)
    for reader in readers:
        reader.ended.set()
        reader.join()


class Writer(threading.Thread):
    """Inserts documents, then changes them at random: every change adds 1 to `n`, and a majority has it."""

    def __init__(self, uri: str, flow: Flow) -> None:
        super().__init__(daemon=True)
        self._uri, self._flow, self._chance = uri, flow, random.Random(7)
        self.done = 0

    def run(self) -> None:
        with MongoClient[Document](self._uri, w="majority") as client:
            found = client[self._flow.collection.database.name][self._flow.collection.name]
            found.bulk_write([InsertOne({"_id": n, "n": 0}) for n in range(DOCUMENTS)])
            while self.done < CHANGES:
                some = [
                    UpdateOne({"_id": self._chance.randrange(DOCUMENTS)}, {"$inc": {"n": 1}})
                    for _ in range(self._chance.randrange(1, 40 * SCALE))
                ]
                with suppress(PyMongoError):
                    self.done += found.bulk_write(some).modified_count


@pytest.fixture(scope="module")
def members(no_child_survives: None) -> Iterator[ReplicaSet]:
    with ReplicaSet(MEMBERS, test_commands=True) as mongo:
        yield mongo


def disturb(kill: int, flow: Flow, scene: Scene, mongo: ReplicaSet, redis: RedisServer) -> None:
    """The daemon is killed and starts again, and before or behind that a server has its trouble."""
    scene.daemon.kill()
    if kill == 1:
        mongo.step_down()
    if kill == 3:
        redis.kill()
        redis.start()
    scene.daemon.start()
    if kill in (2, 4):
        flow.wait_live(60)
    if kill == 2:
        redis.kill()
        redis.start()
    if kill == 4:
        mongo.step_down()


@pytest.mark.timeout(180 + 4 * SCALE)
def test_a_reader_has_each_change_once(
    members: ReplicaSet, redis_server: RedisServer, tmp_path: Path
) -> None:
    """nothing_lost, applied_once, bounded: kills -9 of the daemon, an election and restarts of Redis while
    documents change; a group of readers, which die too, has each change once, in the order of each document."""
    redis = redis_server
    with Scene(tmp_path, "feeds", members.uri, redis.url, env={"SYNCD_LEASE_TTL": "2"}) as scene:
        scene.mongo.drop_database("feeds")
        scene.redis.flushall()
        flow = scene.run("order", feed(["n"]), projection(["n"]))
        writer = Writer(members.uri, flow)
        with reading(redis, flow):
            writer.start()
            for turn, kill in enumerate(KILLS, 1):
                goal = turn * CHANGES // (len(KILLS) + 1)
                wait_until(lambda goal=goal: writer.done >= goal, 120 + SCALE)
                disturb(kill, flow, scene, members, redis)
            writer.join()
            versions = {str(one["_id"]): one["n"] for one in flow.collection.find()}
            wait_count(flow, DOCUMENTS + sum(versions.values()))
        flow.wait_same()
        assert_each_once(flow, versions)
        assert highest_memory(scene.daemon.process.pid) < MOST_MEMORY
        assert flow.metric("syncd_feed_gaps_total") == flow.metric("syncd_feed_entries_shifted_total") == 0


def assert_each_once(flow: Flow, versions: dict[str, int]) -> None:
    """The stream has an insert and every update of each document, which never goes back; readers had exactly these."""
    assert ids(flow) == sorted(set(ids(flow)))
    seen: dict[str, list[int]] = defaultdict(list)
    for one in said(flow):
        assert (one["op"] == "insert") is (not seen[one["_id"]])
        seen[one["_id"]].append(int(one["n"]))
    assert {ident: len(states) - 1 for ident, states in seen.items()} == versions
    assert all(states == sorted(states) and states[-1] == versions[i] for i, states in seen.items())
    done = [line.split()[0].decode() for line in flow.redis.lrange(f"{stream_of(flow)}:done", 0, -1)]
    assert sorted(done) == sorted(entry for entry, _ in entries(flow))


def highest_memory(pid: int) -> int:
    """Bytes, by Linux."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")
