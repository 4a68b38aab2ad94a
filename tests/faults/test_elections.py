"""nothing_lost, never_backwards: elections of a replica set of three lose nothing, and let no key go back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo import MongoClient

from syncd.embedded import Mongod, RedisServer, ReplicaSet
from tests.support.broken.proxy import Proxy
from tests.support.broken.recorder import Counter, Films, Recorder, add_both, counting_up
from tests.support.check import wait_until
from tests.support.scene import Document, Flow, Scene
from tests.support.servers.shared import start_again

COUNT = 400
WATCHED = tuple(range(5, COUNT, 50))
DOOMED = 10**9
"""A version that only a primary without followers ever has."""
SMALL = {"SYNCD_CHUNK_DOCUMENTS": "50", "SYNCD_BATCH_WRITES": "20"}


@dataclass(frozen=True)
class Trio:
    """Three members, which may be killed and must run again at the end, and a daemon that knows all of them."""

    scene: Scene
    mongo: ReplicaSet
    redis: RedisServer
    redis_proxy: Proxy
    safe: MongoClient[Document]
    """Its writes are acknowledged by the majority."""

    def films(self, flow: Flow) -> Films:
        return self.safe[flow.collection.database.name][flow.collection.name]


@pytest.fixture(scope="module")
def three_members(no_child_survives: None) -> Iterator[ReplicaSet]:
    with ReplicaSet(3, test_commands=True) as mongo:
        yield mongo


@pytest.fixture
def trio(three_members: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Trio]:
    mongo = three_members
    for member in mongo.members:
        start_again(member)
    mongo.start()
    with (
        MongoClient[Document](mongo.uri, w="majority") as safe,
        Proxy(redis_server.port) as proxy,
        Scene(tmp_path, "faults", mongo.uri, redis_server.url, daemon_redis=proxy.redis_url) as scene,
    ):
        safe.drop_database("faults")
        scene.redis.flushall()
        yield Trio(scene, mongo, redis_server, proxy, safe)


@contextmanager
def under_load(trio: Trio, flows: tuple[Flow, ...], seed: int) -> Iterator[Counter]:
    """The watched documents count up, some unacknowledged where no member can do it; at the end all is right."""
    with Recorder(trio.redis.url, WATCHED, *flows) as recorder:
        with counting_up(trio.films(flows[0]), WATCHED, seed, "spr", may_fail=True) as counter:
            yield counter
        trio.redis_proxy.restore()
        for flow in flows:
            flow.wait_live(60)
            flow.wait_same(30)
    assert max(recorder.newest.values()) <= counter.version
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    assert recorder.steps > 100
    assert not trio.scene.daemon.logs(event="lane interrupted", level="error")
    assert_acknowledged(counter, *flows)
    assert_one_snapshot(trio, *flows)


def assert_acknowledged(counter: Counter, *flows: Flow) -> None:
    """Comparing with MongoDB alone would not show a change that got lost on both sides."""
    for flow in flows:
        for number, version in counter.acknowledged.items():
            assert int(flow.hash(number)["a"]) >= version


def assert_one_snapshot(trio: Trio, *flows: Flow) -> None:
    for flow in flows:
        started = trio.scene.daemon.logs(event="snapshot started", contract=flow.contract)
        assert [entry["reason"] for entry in started if entry["reason"] != "going on"] == ["no position"]
        assert not trio.scene.daemon.logs(event="position lost")


def shows(flow: Flow, versions: dict[int, int]) -> bool:
    """Whether the lane has got as far as these."""
    found = flow.hashes(versions)
    return all(int(found[number]["a"]) >= version for number, version in versions.items())


def more(counter: Counter, count: int) -> None:
    """Until so many more writes were acknowledged, or refused."""
    goal = counter.version + count
    wait_until(lambda: counter.version > goal, 60)


def phases(flows: tuple[Flow, ...]) -> set[bytes | None]:
    return {flow.position().get("phase") for flow in flows}


@pytest.mark.at_scale
def test_an_election_in_the_middle_of_a_snapshot(trio: Trio) -> None:
    """A snapshot whose primary steps down goes on where it was, beside a stream that another member gives."""
    trio.redis_proxy.delay(0.002)
    flows = add_both(trio.scene, COUNT)
    trio.scene.daemon = trio.scene.another_daemon(**SMALL)
    with under_load(trio, flows, seed=1) as counter:
        trio.scene.start()
        wait_until(lambda: all(flow.copied() >= COUNT // 4 for flow in flows), 60, flows[0].lane)
        copied = [flow.copied() for flow in flows]
        old = trio.mongo.wait_for_primary()
        assert trio.mongo.step_down() is not old
        assert phases(flows) == {b"snapshot"}, "it was over too early"
        more(counter, 20)
        wait_until(lambda: phases(flows) == {b"stream"}, 60, flows[1].lane)
        more(counter, 20)
    for flow, before in zip(flows, copied, strict=True):
        resumed = trio.scene.daemon.logs(event="snapshot started", contract=flow.contract, reason="going on")
        assert all(entry["copied"] >= before for entry in resumed)


@pytest.mark.at_scale
def test_elections_in_the_middle_of_updates(trio: Trio) -> None:
    """A stream of updates goes on through one election after the other."""
    flows = add_both(trio.scene, COUNT)
    trio.scene.start()
    for flow in flows:
        flow.wait_live()
    with under_load(trio, flows, seed=2) as counter:
        for _ in range(2):
            more(counter, 50)
            trio.mongo.step_down()
        more(counter, 50)


@contextmanager
def not_replicating(members: list[Mongod]) -> Iterator[None]:
    """These members fetch nothing from their primary, which may be killed in the block, but vote."""
    for member in members:
        member.command("configureFailPoint", "stopReplProducer", mode="alwaysOn")
    try:
        yield
    finally:
        for member in members:
            member.command("configureFailPoint", "stopReplProducer", mode="off")


def test_a_primary_that_is_killed(trio: Trio) -> None:
    """What the majority acknowledged before a kill -9 of the primary arrives; what is rolled back then never shows."""
    flows = add_both(trio.scene, COUNT)
    trio.scene.start()
    for flow in flows:
        flow.wait_live()
    with under_load(trio, flows, seed=3) as counter:
        more(counter, 50)
        trio.redis_proxy.blackhole()  # committed changes wait in the daemon, which reads their documents afterwards
        more(counter, 50)
        known = dict(counter.acknowledged)
        old = trio.mongo.wait_for_primary()
        with not_replicating([member for member in trio.mongo.members if member is not old]):
            with MongoClient[Document](old.uri, w=1, journal=False, retryWrites=False) as client:
                films = client[flows[0].collection.database.name][flows[0].collection.name]
                films.update_many({}, {"$set": {"a": DOOMED, "b.deep": DOOMED}})
                trio.redis_proxy.restore()
                wait_until(lambda: all(shows(flow, known) for flow in flows), 60, flows[0].lane)
                # The writer's next write may come behind, and then waits for a majority: there is one at most.
                assert films.count_documents({"a": DOOMED}) >= COUNT - 1
            old.kill()
        trio.mongo.wait_for_primary(other_than=old)
        more(counter, 50)
        start_again(old)
        more(counter, 50)
    assert trio.safe["faults"][flows[0].collection.name].count_documents({"a": DOOMED}) == 0, (
        "it was rolled back"
    )


def test_a_daemon_that_starts_without_a_primary(trio: Trio) -> None:
    """A daemon that finds no primary lives, says what it waits for, and goes on without a copy when there is one."""
    flows = add_both(trio.scene, COUNT)
    trio.scene.start()
    for flow in flows:
        flow.wait_live()
    with under_load(trio, flows, seed=4) as counter:
        more(counter, 200)
        for flow in flows:
            wait_until(lambda flow=flow: int(flow.hash(WATCHED[0])["a"]) > 0)
        trio.scene.daemon.kill()
        more(counter, 50)
        first, *others = trio.mongo.members
        for member in others:
            member.kill()
        wait_until(lambda: not first.is_writable(), 30)
        trio.scene.start()
        for flow in flows:
            lane = flow.wait_state("waiting", 60)
            assert "MongoDB" in lane["error"]
        code, body = trio.scene.daemon.get("/readyz")
        assert code == 503
        assert "MongoDB" in body
        pid = trio.scene.daemon.process.pid
        starting = [threading.Thread(target=start_again, args=(member,)) for member in others]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        more(counter, 50)
    assert trio.scene.daemon.process.pid == pid
