"""Random contracts, edits, kills and two daemons; then every key and every document (nothing_lost, no_ghosts, fenced,
applied_once, no_echo).
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.support.check import meanwhile
from tests.support.scale import SCALE
from tests.support.ways.handover import DATABASE, LEASE_S, Node, World, compared, document, note, until, world
from tests.support.ways.handover_model import COLLECTIONS, STABLE, Model, Said, Set, beginning, key_of

SECONDS = 11.0 * SCALE
PAUSE_S = 0.015
REST_S = 1.0


@pytest.fixture
def run(replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Run]:
    seed = int(os.environ.get("SYNCD_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1_000_000)
    nodes = [Node(tmp_path / f"contracts{n}", replica_set.uri, redis_server.url) for n in range(2)]
    with world(replica_set.uri, redis_server.url) as both:
        try:
            yield Run(seed, both, nodes)
        finally:
            for node in nodes:
                node.daemon.close()


def test_random_handovers(run: Run) -> None:
    """nothing_lost, no_ghosts, fenced, applied_once, no_echo: random sets of contracts of all directions, random edits
    of them that two daemons get one after the other, kill -9, stops, and pauses beyond the lease, while both sides
    write: what a template from MongoDB holds is its collection, no document goes that no application deleted, and no
    key that an application wrote. SYNCD_TEST_SEED repeats a run, SYNCD_TEST_SCALE makes it longer."""
    try:
        run.run()
    except BaseException:
        print(f"to repeat: SYNCD_TEST_SEED={run.seed} SYNCD_TEST_SCALE={SCALE} {Path(__file__).name}")
        print("\n".join(run.story))
        raise
    finally:
        print(f"seed {run.seed}: {run.told()}")


class Run:
    """One run of it, with its story so far."""

    def __init__(self, seed: int, both: World, nodes: list[Node]) -> None:
        self.seed, self.both, self.nodes = seed, both, nodes
        self.chance = random.Random(f"{seed}/edits")
        self.model = beginning(random.Random(f"{seed}/model"))
        self.story: list[str] = []
        self.counts: Counter[str] = Counter()
        self._writer = Writer(self.model, both, random.Random(f"{seed}/writer"), self.counts)

    def told(self) -> str:
        return ", ".join(f"{name} {number:,}" for name, number in sorted(self.counts.items()))

    def run(self) -> None:
        for collection, documents in self.model.documents.items():
            self.both.mongo[DATABASE][collection].insert_many(list(documents.values()))
        for node in self.nodes:
            node.start(self.model.written(self.model.contracts))
        self._say(f"begin with {self.model.contracts}")
        self.check()
        end = time.monotonic() + SECONDS
        with meanwhile(self._writer.step, PAUSE_S):
            while time.monotonic() < end:
                self._round()
        self.check()

    def _round(self) -> None:
        """An edit, with faults in it; then what applications do, with faults meanwhile."""
        kind, new = self.model.edit()
        loud, steady = self.model.is_loud(new), self.model.is_steady(new)
        self.counts[f"edit: {kind}"] += 1
        self._say(f"{kind}: {new}{'' if loud else ', no writes'}{'' if steady else ', no faults'}")
        if loud:
            self._apply(new, steady)
            with self._writer.lock:
                self.model.take(new)
        else:
            with self._writer.paused():
                self.check()
                self._apply(new, steady)
                self.model.take(new)
                self.check()
        self._applications()
        if self.chance.random() < 0.4:
            with self._writer.paused():
                self.check()

    def _apply(self, new: Set, steady: bool) -> None:
        """The daemons get their files one after the other, each in some way."""
        order = self.chance.sample(self.nodes, len(self.nodes))
        contracts = self.model.written(new)
        for node in order:
            way = self.chance.choice(("edited", "stopped", "killed") if steady else ("edited",))
            self._say(f"daemon {self.nodes.index(node)} {way}")
            self.counts[f"daemon {way}"] += 1
            if way == "edited":
                node.files.write(contracts)
            else:
                node.daemon.terminate() if way == "stopped" else node.daemon.kill()
                time.sleep(self.chance.choice((0, 0, LEASE_S * 1.2)))
                node.start(contracts)
            time.sleep(self.chance.choice((0.0, 0.2, 1.0, LEASE_S * 1.3)))
            if steady and self.chance.random() < 0.3:
                self._fault()

    def _fault(self) -> None:
        node = self.chance.choice(self.nodes)
        kind = self.chance.choice(("kill -9", "SIGSTOP"))
        self._say(f"daemon {self.nodes.index(node)} {kind}")
        self.counts[kind] += 1
        if kind == "SIGSTOP":
            node.daemon.pause()
            time.sleep(LEASE_S * self.chance.choice((0.5, 1.7)))
            node.daemon.resume()
        else:
            node.daemon.kill()
            time.sleep(self.chance.choice((0.0, LEASE_S * 1.2)))
            node.start()

    def _applications(self) -> None:
        """Applications write keys of those contracts that are theirs, when these are live; then they delete some."""
        mine = [(name, said) for name, said in self.model.contracts.items() if not said.forth]
        for name, _ in mine:
            self._wait_live(name)
        for _ in range(3 if mine else 0):
            for name, said in mine:
                with self._writer.lock:
                    self._put(name, said)
            if self.chance.random() < 0.5:
                self._fault()
        if self.chance.random() < 0.4:
            self._fault()
        if mine:
            with self._writer.paused():
                self.check()
                for name, said in mine:
                    self._wait_live(name)
                    self._remove(name, said)
                self.check()

    def _wait_live(self, name: str) -> None:
        until(lambda: any(node.states(name) == {"live"} for node in self.nodes), 60, self._lanes)

    def _put(self, name: str, said: Said) -> None:
        pipe = self.both.redis.pipeline(transaction=True)
        for number in [*self.chance.sample(range(0, STABLE, 2), 4), self._writer.fresh(even=True)]:
            key = key_of(said.templates[0], {"_id": number})
            pipe.hset(key, mapping=self.model.put(said, number, self._writer.version()))
            note(pipe, name, said.written(), key)
            self.counts["keys written"] += 1
        pipe.execute()

    def _remove(self, name: str, said: Said) -> None:
        there = sorted(n for n in self.model.ids(said, said.templates[0]) if n >= STABLE and n % 2 == 0)
        pipe = self.both.redis.pipeline(transaction=True)
        for number in there[: self.chance.randrange(4)]:
            key = key_of(said.templates[0], {"_id": number})
            pipe.delete(key)
            note(pipe, name, said.written(), key, op="del")
            self.model.remove(said, number)
            self.counts["keys deleted"] += 1
        pipe.execute()

    def check(self) -> None:
        """Both stores become what the model says, and stay so; no client may write meanwhile."""
        with self._writer.paused():
            until(self._is_right, 60, lambda: f"{self.differences()}; {self._lanes()}")
            time.sleep(REST_S)
            assert not (found := self.differences()), f"later: {found}"
        self.counts["checks"] += 1
        self.counts["documents compared"] += sum(map(len, self.model.documents.values()))
        self.counts["keys compared"] += len(self.model.wanted())

    def _is_right(self) -> bool:
        live = all(any(node.states(name) == {"live"} for node in self.nodes) for name in self.model.contracts)
        return live and not self.differences()

    def differences(self) -> list[str]:
        return [
            *(said for name in COLLECTIONS for said in self._different(name)),
            *compared("key", self.model.wanted(), self.both.keys()),
        ]

    def _different(self, collection: str) -> list[str]:
        found = {one["_id"]: one for one in self.both.mongo[DATABASE][collection].find({}, {"_syncd": 0})}
        return compared(f"document of {collection}", self.model.documents[collection], found)

    def _lanes(self) -> str:
        return "\n".join([*self.story, *(node.told() for node in self.nodes)])

    def _say(self, what: str) -> None:
        self.story.append(f"{time.strftime('%H:%M:%S')} {what}")


class Writer:
    """Changes documents, those that may be changed in MongoDB, and updates the model."""

    def __init__(self, model: Model, both: World, chance: random.Random, counts: Counter[str]) -> None:
        self._model, self._both, self._chance, self._counts = model, both, chance, counts
        self._ids, self._versions = count(STABLE), count(1)
        self.lock = threading.RLock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        with self.lock:
            yield

    def version(self) -> int:
        return next(self._versions)

    def fresh(self, *, even: bool) -> int:
        """An id that was never used."""
        return next(self._ids) * 2 + (not even)

    def step(self) -> None:
        with self.lock:
            collection = self._chance.choice(COLLECTIONS)
            way = self._chance.choices((self._update, self._insert, self._delete), (8, 1, 1))[0]
            way(collection)

    def _update(self, collection: str) -> None:
        there = self._model.documents[collection]
        number = self._chance.choice(sorted(there))
        if not self._model.may_write(collection, number):
            return
        n = self.version()
        values: dict[str, object] = {"n": n, "text": f"document {n}"}
        if self._chance.random() < 0.3 and "slug" in there[number]:
            values["slug"] = f"s{collection}{n}"
        self._both.mongo[DATABASE][collection].update_one({"_id": number}, {"$set": values})
        there[number] |= values
        self._counts["documents written"] += 1

    def _insert(self, collection: str) -> None:
        number = self.fresh(even=False)
        if not self._model.may_write(collection, number):
            return
        new = document(number, self.version())
        self._both.mongo[DATABASE][collection].insert_one(new)
        self._model.documents[collection][number] = new
        self._counts["documents written"] += 1

    def _delete(self, collection: str) -> None:
        there = self._model.documents[collection]
        doomed = [
            n for n in there if self._model.may_write(collection, n) and self._model.may_delete(collection, n)
        ]
        if not doomed:
            return
        number = self._chance.choice(sorted(doomed))
        self._both.mongo[DATABASE][collection].delete_one({"_id": number})
        del there[number]
        self._counts["documents deleted"] += 1
