"""Processes that write both sides of a two-way contract at random, and what must have become of it.

Every document has a field that only MongoDB's writers change, one that only Redis's do, and two that both change. So
what was acknowledged last in the first two has to be there in the end, on both sides, and can be in no conflict.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from tests.support.daemon import ROOT
from tests.support.scale import SCALE
from tests.support.scene import Document, Flow
from tests.support.servers.shared import connect

WRITERS = 1 if SCALE == 1 else 2
"""Of each side."""
PAUSE_S = 0.1
DOOMED = 10
"""Of so many documents one is deleted now and then, by both sides."""


@dataclass(frozen=True)
class Job:
    """What a writer needs to know; it goes to another process."""

    side: str
    number: int
    count: int
    url: str
    namespace: tuple[str, str]
    prefix: str
    outbox: str
    rate: float
    seed: int


@dataclass
class Load:
    """What the writers have had acknowledged last, by document."""

    writes: int = 0
    mongo: dict[int, str] = field(default_factory=dict)
    redis: dict[int, str] = field(default_factory=dict)


def film(number: int) -> Document:
    return {"_id": number, "n": 0, "a": "m0", "in": {"b": "r0"}, "c": "x0"}


def is_doomed(number: int) -> bool:
    return number % DOOMED == 0


@contextmanager
def writing(flow: Flow, count: int, mongo_uri: str, redis_url: str, rate: float, seed: int) -> Iterator[Load]:
    """Two processes a side write at `rate` a second each while the block runs; the load is known at its end."""
    load = Load()
    outbox = flow.names.control("outbox") if flow.sync["capture"] == "outbox" else ""
    place = (flow.collection.database.name, flow.collection.name)
    running = []
    for side, url in (("mongo", mongo_uri), ("redis", redis_url)):
        for number in range(WRITERS):
            job = Job(side, number, count, url, place, flow.key(""), outbox, rate, seed)
            command = [sys.executable, "-m", __name__, json.dumps(asdict(job))]
            running.append((side, subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)))
    for _, process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    try:
        yield load
    finally:
        for _, process in running:
            process.terminate()
        for side, process in running:
            said, _ = process.communicate(timeout=60)
            done = json.loads(said)
            (load.mongo if side == "mongo" else load.redis).update(
                {int(n): value for n, value in done["last"].items()}
            )
            load.writes += done["writes"]


def _write(job: Job) -> None:
    """Until SIGTERM; then what was acknowledged goes to stdout."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    chance = random.Random(f"{job.seed}/{job.side}/{job.number}")
    writer: Any = _MongoWriter(job) if job.side == "mongo" else _RedisWriter(job)
    done: dict[int, str] = {}
    writes = 0
    print("ready", flush=True)
    while not stop.is_set():
        number = chance.randrange(job.count // WRITERS) * WRITERS + job.number
        writes += 1
        _surely(writer, number, writes, chance.random(), done)
        time.sleep(chance.expovariate(job.rate))
    print(json.dumps({"last": done, "writes": writes}))


def _surely(writer: Any, number: int, version: int, what: float, done: dict[int, str]) -> None:
    """Until it is acknowledged: the same again does no harm."""
    while True:
        try:
            if is_doomed(number) and what < 0.2:
                writer.delete(number)
            elif what < 0.6:
                writer.own(number, f"{version}")
                done[number] = f"{version}"
            else:
                writer.shared(number, version, str(what)[:4])
            return
        except (PyMongoError, RedisError, OSError):
            time.sleep(PAUSE_S)


class _MongoWriter:
    def __init__(self, job: Job) -> None:
        database, name = job.namespace
        client: MongoClient[Document] = MongoClient(job.url, w="majority", serverSelectionTimeoutMS=3000)
        self._collection = client[database][name]

    def own(self, number: int, value: str) -> None:
        self._set(number, {"a": value})

    def shared(self, number: int, n: int, c: str) -> None:
        self._set(number, {"n": n, "c": f"m{c}"})

    def delete(self, number: int) -> None:
        self._collection.delete_one({"_id": number})

    def _set(self, number: int, fields: dict[str, Any]) -> None:
        self._collection.update_one({"_id": number}, {"$set": fields}, upsert=is_doomed(number))


class _RedisWriter:
    def __init__(self, job: Job) -> None:
        self._job, self._redis = job, connect(job.url)

    def own(self, number: int, value: str) -> None:
        self._do(number, "HSET", "b", value)

    def shared(self, number: int, n: int, c: str) -> None:
        self._do(number, "HSET", "n", n, "c", f"r{c}")

    def delete(self, number: int) -> None:
        self._do(number, "DEL")

    def _do(self, number: int, name: str, *args: Any) -> None:
        key = f"{self._job.prefix}{number}"
        pipe = self._redis.pipeline(transaction=True)
        pipe.execute_command(name, key, *args)
        if self._job.outbox:
            pipe.xadd(self._job.outbox, {"key": key, "op": "del"} if name == "DEL" else {"key": key})
        pipe.execute()


if __name__ == "__main__":
    _write(Job(**json.loads(sys.argv[1])))
