"""Promise 2: a key always shows one real state of its document, and never an older one after a newer one."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.collection import Collection
from redis import Redis

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow
from tests.support.servers import connect

COUNT = 1600
WATCHED = tuple(range(5, COUNT, 100))
FIELDS = {"a": "a", "b": "b.deep", "title": "title"}

Films = Collection[dict[str, Any]]


class Recorder(threading.Thread):
    """Reads the watched keys again and again, as an application would, and notes every wrong thing it sees."""

    def __init__(self, url: str, *flows: Flow, may_vanish: bool = False) -> None:
        super().__init__(daemon=True)
        self._redis = connect(url)
        shapes = [(flow, said) for flow in flows for said in flow.projections]
        self._keys = [flow.key(n, said["projection"]) for flow, said in shapes for n in WATCHED]
        self._kinds = [said["type"] for _, said in shapes for _ in WATCHED]
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


def add_both(rig: Rig) -> tuple[Flow, Flow]:
    """Two contracts over one collection: one that takes deltas, and one that reads, for it has a filter."""
    shapes = [projection(FIELDS, name="card"), projection(FIELDS, name="doc", type="json")]
    deltas = rig.scene.add("deltas", *shapes, documents=[state(number, 0) for number in range(COUNT)])
    reads = rig.scene.add("reads", *shapes, source=deltas, filter={"title": {"$exists": True}})
    return deltas, reads


def phase_of(flow: Flow) -> bytes | None:
    return flow.position().get("phase")


def finish(rig: Rig, recorder: Recorder, *flows: Flow) -> None:
    rig.redis_proxy.restore()
    for flow in flows:
        wait_until(lambda flow=flow: not flow.differences(), 40, lambda flow=flow: flow.lane())
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    assert recorder.rounds > 50
    assert recorder.steps > 100


def test_a_snapshot_beside_the_stream(rig: Rig) -> None:
    """While a snapshot and the stream write the same keys, and the daemon is killed between, no version decreases."""
    rig.redis_proxy.delay(0.001)
    flows = add_both(rig)
    rig.scene.daemon = daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    with Recorder(rig.redis.url, *flows) as recorder:
        with counting_up(flows[0].collection, seed=1, ways="spr"):
            daemon.start()
            wait_until(lambda: all(flow.copied() >= COUNT // 3 for flow in flows), 30, flows[0].position)
            daemon.kill()
            assert {phase_of(flow) for flow in flows} == {b"snapshot"}
            daemon.start()
            wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flows[1].position)
            time.sleep(0.3)  # some changes more
        finish(rig, recorder, *flows)


def test_kills_while_changes_stream(rig: Rig) -> None:
    """A daemon that is killed, cut off, or does not get its replies, repeats nothing that is older."""
    flows = add_both(rig)
    rig.scene.start()
    for flow in flows:
        flow.wait_live()
    with Recorder(rig.redis.url, *flows) as recorder:
        with counting_up(flows[0].collection, seed=2, ways="spr") as version:

            def more(count: int) -> None:
                goal = version() + count
                wait_until(lambda: version() > goal)

            for _ in range(4):
                rig.redis_proxy.close_after_next_request(containing=b"syncd_apply")
                more(50)
            rig.redis_proxy.cut()
            rig.redis_proxy.restore()
            more(50)
            rig.scene.daemon.kill()
            more(100)
            rig.scene.start()
        finish(rig, recorder, *flows)


def test_a_second_snapshot_over_what_is_there(rig: Rig) -> None:
    """A position that is lost under load costs a new snapshot, but no key goes back meanwhile."""
    flow, _ = flows = add_both(rig)
    rig.scene.daemon = daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    daemon.start()
    wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flow.position)
    rig.redis_proxy.delay(0.001)
    with Recorder(rig.redis.url, *flows) as recorder:
        with counting_up(flow.collection, seed=3, ways="spr") as version:
            wait_until(lambda: version() > 100)
            rig.scene.redis.delete(*(flow.names.control("position") for flow in flows))
            for flow in flows:
                wait_until(lambda flow=flow: 0 < flow.copied() < COUNT, 20, flow.position)
            wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flow.position)
        finish(rig, recorder, *flows)
    assert len(daemon.logs(event="snapshot started")) == 4


def test_documents_deleted_and_written_anew(rig: Rig) -> None:
    """A document that is deleted and inserted again may be gone for a moment, but never shows an older state."""
    rig.redis_proxy.delay(0.001)
    flows = add_both(rig)
    rig.scene.daemon = daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    with Recorder(rig.redis.url, *flows, may_vanish=True) as recorder:
        with counting_up(flows[0].collection, seed=4, ways="dds"):
            daemon.start()
            wait_until(lambda: all(flow.copied() >= COUNT // 2 for flow in flows), 30, flows[0].position)
            daemon.kill()
            daemon.start()
            wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flows[0].position)
        finish(rig, recorder, *flows)
