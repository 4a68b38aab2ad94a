"""Promise 2: a key always shows one real state of its document, and never an older one after a newer one."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo.collection import Collection
from redis import Redis

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow
from tests.support.servers import connect

COUNT = 3000
WATCHED = tuple(range(5, COUNT, 100))
FIELDS = {"a": "a", "b": "b.deep", "title": "title"}

Films = Collection[dict[str, Any]]


class Recorder(threading.Thread):
    """Reads the watched keys again and again, as an application would, and notes every wrong thing it sees."""

    def __init__(self, url: str, flow: Flow, may_vanish: bool = False) -> None:
        super().__init__(daemon=True)
        self._redis = connect(url)
        self._keys = [flow.key(n, said["projection"]) for said in flow.projections for n in WATCHED]
        self._kinds = [said["type"] for said in flow.projections for _ in WATCHED]
        self._may_vanish = may_vanish
        self._stop_it = threading.Event()
        self.newest = dict.fromkeys(self._keys, -1)
        self.wrong: list[str] = []
        self.rounds = 0
        self.steps = 0

    def run(self) -> None:
        while not self._stop_it.is_set():
            for key, state in zip(self._keys, self._read(self._redis), strict=True):
                self._look(key, state)
            self.rounds += 1

    def _read(self, redis: Redis) -> list[Any]:
        pipe = redis.pipeline(transaction=False)
        for key, kind in zip(self._keys, self._kinds, strict=True):
            if kind == "hash":
                pipe.hgetall(key)
            else:
                pipe.execute_command("JSON.GET", key)
        replies = pipe.execute()
        return [json.loads(reply) if isinstance(reply, bytes) else reply for reply in replies]

    def _look(self, key: str, state: Any) -> None:
        if not state:
            if self.newest[key] >= 0 and not self._may_vanish:
                self.wrong.append(f"{key} vanished after {self.newest[key]}")
            return
        plain = {(k.decode() if isinstance(k, bytes) else k): v for k, v in state.items()}
        if plain.keys() != {"a", "b", "title"} or int(plain["a"]) != int(plain["b"]):
            self.wrong.append(f"{key} is torn: {state}")
            return
        version = int(plain["a"])
        if version < self.newest[key]:
            self.wrong.append(f"{key} went from {self.newest[key]} back to {version}")
        self.steps += version > self.newest[key]
        self.newest[key] = version

    def __enter__(self) -> Recorder:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_it.set()
        self.join()
        self._redis.close()


def state(number: int, version: int) -> dict[str, Any]:
    return {"_id": number, "a": version, "b": {"deep": version}, "title": f"film {number}"}


@contextmanager
def counting_up(films: Films, seed: int, ways: str) -> Iterator[Callable[[], int]]:
    """Gives the watched documents higher and higher versions, one by one, in every way there is to write."""
    stop = threading.Event()
    version = [0]

    def step(chance: random.Random) -> None:
        version[0] += 1
        v, which = version[0], {"_id": chance.choice(WATCHED)}
        way = chance.choice(ways)
        if way == "s":
            films.update_one(which, {"$set": {"a": v, "b.deep": v}})
        elif way == "p":  # as a whole subdocument
            films.update_one(which, {"$set": {"a": v, "b": {"deep": v}}})
        elif way == "r":
            films.replace_one(which, state(which["_id"], v))
        else:
            assert way == "d"
            films.delete_one(which)
            films.insert_one(state(which["_id"], v))

    def write() -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            step(chance)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: version[0]
    finally:
        stop.set()
        thread.join()


def documents() -> list[dict[str, Any]]:
    return [state(number, 0) for number in range(COUNT)]


def both() -> list[dict[str, Any]]:
    return [projection(FIELDS, name="card"), projection(FIELDS, name="doc", type="json")]


def finish(flow: Flow, recorder: Recorder) -> None:
    wait_until(lambda: flow.lane()["state"] == "live", 40, flow.lane)
    flow.wait_same()
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    assert recorder.rounds > 50


@pytest.mark.parametrize("mode", ["deltas", "reads"])
def test_a_snapshot_beside_the_stream(rig: Rig, mode: str) -> None:
    """While a snapshot and the stream write the same keys, and the daemon is killed twice, no version decreases."""
    rig.redis_proxy.delay(0.001)
    where = {"filter": {"title": {"$exists": True}}} if mode == "reads" else {}
    flow = rig.scene.add("film", *both(), documents=documents(), **where)
    daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    with Recorder(rig.redis.url, flow) as recorder:
        with counting_up(flow.collection, seed=1, ways="spr"):
            for part in (COUNT // 3, 2 * COUNT // 3):
                daemon.start()
                wait_until(lambda part=part: flow.copied() >= part, 30, flow.position)
                daemon.kill()
                assert flow.position()["phase"] == b"snapshot"
            rig.scene.start()
            wait_until(lambda: flow.position()["phase"] == b"stream", 30, flow.position)
            time.sleep(0.3)
        rig.redis_proxy.restore()
        finish(flow, recorder)
    assert recorder.steps > 200


@pytest.mark.parametrize("mode", ["deltas", "reads"])
def test_kills_while_changes_stream(rig: Rig, mode: str) -> None:
    """A daemon that is killed and started again, and one whose replies are lost, repeats nothing that is older."""
    where = {"filter": {"title": {"$exists": True}}} if mode == "reads" else {}
    flow = rig.scene.add("film", *both(), documents=documents(), **where)
    rig.scene.start()
    flow.wait_live()
    with Recorder(rig.redis.url, flow) as recorder:
        with counting_up(flow.collection, seed=2, ways="spr") as version:
            for _ in range(2):
                rig.redis_proxy.close_after_next_request(containing=b"syncd_apply")
                goal = version() + 200
                wait_until(lambda goal=goal: version() > goal)
                rig.redis_proxy.cut()
                rig.redis_proxy.restore()
                goal = version() + 200
                wait_until(lambda goal=goal: version() > goal)
                rig.scene.daemon.kill()
                rig.scene.start()
        finish(flow, recorder)
    assert recorder.steps > 200


def test_a_second_snapshot_over_what_is_there(rig: Rig) -> None:
    """A position that is lost under load costs a new snapshot, but no key goes back meanwhile."""
    flow = rig.scene.add("film", *both(), documents=documents())
    daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    daemon.start()
    wait_until(lambda: flow.position().get("phase") == b"stream", 30, flow.position)
    rig.redis_proxy.delay(0.001)
    with Recorder(rig.redis.url, flow) as recorder:
        with counting_up(flow.collection, seed=3, ways="spr") as version:
            for _ in range(2):
                goal = version() + 100
                wait_until(lambda goal=goal: version() > goal)
                rig.scene.redis.delete(flow.names.control("position"))
                wait_until(lambda: 0 < flow.copied() < COUNT, 20, flow.position)
                wait_until(lambda: flow.position().get("phase") == b"stream", 30, flow.position)
        rig.redis_proxy.restore()
        wait_until(lambda: not flow.differences(), 20)
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    assert len(daemon.logs(event="snapshot started")) == 3


def test_documents_deleted_and_written_anew(rig: Rig) -> None:
    """A document that is deleted and inserted again may be gone for a moment, but never shows an older state."""
    rig.redis_proxy.delay(0.001)
    flow = rig.scene.add("film", *both(), documents=documents())
    daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    with Recorder(rig.redis.url, flow, may_vanish=True) as recorder:
        with counting_up(flow.collection, seed=4, ways="dds"):
            daemon.start()
            wait_until(lambda: flow.copied() >= COUNT // 2, 30, flow.position)
            daemon.kill()
            rig.scene.start()
            wait_until(lambda: flow.position()["phase"] == b"stream", 30, flow.position)
        rig.redis_proxy.restore()
        finish(flow, recorder)
