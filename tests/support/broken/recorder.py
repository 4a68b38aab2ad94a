"""Documents that count up, and a reader that notes every key which goes back, is torn or vanishes."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import PyMongoError
from redis import Redis

from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import connect

FIELDS = {"a": "a", "b": "b.deep", "title": "title"}

PAUSE_S = 0.01
"""Between two reads, and between two writes: without it, both take what the daemon and its neighbours need."""
Films = Collection[dict[str, Any]]


class Recorder(threading.Thread):
    """Reads the watched documents' keys again and again, as an application would, and notes every wrong thing."""

    def __init__(self, url: str, watched: Sequence[int], *flows: Flow, may_vanish: bool = False) -> None:
        super().__init__(daemon=True)
        self._redis = connect(url)
        shapes = [(flow, said) for flow in flows for said in flow.projections]
        self._keys = [flow.key(n, said["projection"]) for flow, said in shapes for n in watched]
        self._kinds = [said["type"] for _, said in shapes for _ in watched]
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
            self._stop_it.wait(2 * PAUSE_S)

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


def _write(films: Films, number: int, version: int, way: str) -> None:
    which = {"_id": number}
    if way == "s":
        films.update_one(which, {"$set": {"a": version, "b.deep": version}})
    elif way == "p":  # as a whole subdocument
        films.update_one(which, {"$set": {"a": version, "b": {"deep": version}}})
    elif way == "r":
        films.replace_one(which, state(number, version))
    else:
        assert way == "d"
        films.delete_one(which)
        films.insert_one(state(number, version))


class Counter:
    """What `counting_up` has done so far."""

    def __init__(self) -> None:
        self.version = 0
        self.acknowledged: dict[int, int] = {}
        """Document -> the newest version that MongoDB said it has."""
        self.refused = 0


@contextmanager
def counting_up(
    films: Films, watched: Sequence[int], seed: int, ways: str, *, may_fail: bool = False
) -> Iterator[Counter]:
    """Gives the watched documents higher and higher versions, one by one, in every way there is to write.

    `may_fail`: writes that MongoDB does not acknowledge are counted, and writing goes on.
    """
    stop, counter = threading.Event(), Counter()

    def step(chance: random.Random) -> None:
        counter.version += 1
        number, version = chance.choice(watched), counter.version
        try:
            _write(films, number, version, chance.choice(ways))
        except PyMongoError:
            counter.refused += 1
            if not may_fail:
                raise
        else:
            counter.acknowledged[number] = version

    def write() -> None:
        chance = random.Random(seed)
        with suppress(PyMongoError):
            while not stop.wait(PAUSE_S):
                step(chance)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield counter
    finally:
        stop.set()
        thread.join()
    assert may_fail or not counter.refused, "a write failed"


def add_both(scene: Scene, count: int) -> tuple[Flow, Flow]:
    """Two contracts over one collection: one that takes deltas, and one that reads, for it has a filter."""
    shapes = [projection(FIELDS, name="card"), projection(FIELDS, name="doc", type="json")]
    deltas = scene.add("deltas", *shapes, documents=[state(number, 0) for number in range(count)])
    reads = scene.add("reads", *shapes, source=deltas, filter={"title": {"$exists": True}})
    return deltas, reads
