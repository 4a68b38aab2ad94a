"""Checks of a scene's contracts, and differences of every kind to plant for them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest
from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from syncd.contract.read.load import load_contract_set
from syncd.plan.kinds import compile_any
from syncd.reconcile.check import Order
from syncd.reconcile.kinds import new_check
from syncd.reconcile.report import ReconcileReport
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.cluster.nodes import ClusterStore, is_cluster
from syncd.stores.redis.store import RedisStore
from tests.support.cli import ROOT
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

FIELDS = {"a": "a", "b": "b.deep", "title": "title"}
FAR = datetime(2100, 1, 1, tzinfo=UTC)
EVERY_KIND = (
    projection(FIELDS),
    projection(FIELDS, name="doc", type="json", ttl={"field": "until"}),
    projection(FIELDS, name="slug", key="{slug}"),
)
"""Hash and JSON, with a TTL and without, and keys that move."""

STEPS = 10
"""Changes that are sent at once."""
Drift: TypeAlias = set[tuple[str, str, str]]
"""Projection, key, kind."""


def state(number: int, version: int = 0) -> dict[str, Any]:
    return {
        "_id": number, "a": version, "b": {"deep": version}, "title": f"film {number}",
        "slug": f"s{number}v{version}", "until": FAR,
    }  # fmt: skip


def add_every_kind(scene: Scene, count: int, short: str = "film") -> Flow:
    films = [state(number) for number in range(count)]
    return scene.add(short, *EVERY_KIND, unique=[["slug"]], documents=films)


def plan_of(scene: Scene, flow: Flow) -> Any:
    found = load_contract_set(scene.contracts.path, {}).contracts
    return compile_any(next(e.contract for e in found if e.contract.name == flow.contract), None)


def check(
    scene: Scene,
    flow: Flow,
    mongo_uri: str,
    redis_url: str,
    *,
    stop: threading.Event | None = None,
    may_go_on: Callable[[], str] = lambda: "",
    **order: Any,
) -> ReconcileReport:
    """One whole check, in this process."""
    mongo, redis = MongoStore(mongo_uri), (ClusterStore if is_cluster(redis_url) else RedisStore)(redis_url)
    try:
        asked, stop = Order(**order), stop or threading.Event()
        return new_check(plan_of(scene, flow), mongo, redis, asked, "", stop, may_go_on).run()
    finally:
        mongo.close()
        redis.close()


def between_reads(
    monkeypatch: pytest.MonkeyPatch,
    reader: type,
    name: str,
    before: Callable[[int], object],
    after: Callable[[int], object],
) -> None:
    """Something happens in the middle of each look of a check: behind its read of documents, and behind that of keys,
    which is this method. Both get the number of the read, from 1."""
    read, looks = getattr(reader, name), itertools.count(1)

    def slow(self: Any, keys: Any) -> Any:
        number = next(looks)
        before(number)
        found = read(self, keys)
        after(number)
        return found

    monkeypatch.setattr(reader, name, slow)
    for module in ("confirmation", "two_sided.check"):
        monkeypatch.setattr(f"syncd.reconcile.{module}.PAUSES_S", (0.0, 0.0, 0.0))


def drift_of(report: ReconcileReport) -> Drift:
    found = [(mark.projection, mark.key, mark.kind) for mark in report.examples]
    assert len(set(found)) == len(found) == report.found
    return set(found)


def plant(flow: Flow, numbers: Sequence[int]) -> Drift:
    """A difference of another kind at each document in turn; what a check has to say of it."""
    ways = (_missing, _field, _further, _less, _json, _gone_ttl, _new_ttl, _extra, _moved, _unowned, _orphan)
    planted: Drift = set()
    for at, number in enumerate(numbers):
        planted.add(ways[at % len(ways)](flow, number))
    return planted


def _missing(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.delete(flow.key(n))
    return "card", flow.key(n), "missing"


def _field(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.hset(flow.key(n), "title", "another")
    return "card", flow.key(n), "content"


def _further(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.hset(flow.key(n), "more", "1")
    return "card", flow.key(n), "content"


def _less(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.hdel(flow.key(n), "b")
    return "card", flow.key(n), "content"


def _json(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.execute_command("JSON.SET", flow.key(n, "doc"), "$.a", "true")
    return "doc", flow.key(n, "doc"), "content"


def _gone_ttl(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.persist(flow.key(n, "doc"))
    return "doc", flow.key(n, "doc"), "ttl"


def _new_ttl(flow: Flow, n: int) -> tuple[str, str, str]:
    flow.redis.expire(flow.key(n), 10_000)
    return "card", flow.key(n), "ttl"


def _extra(flow: Flow, n: int) -> tuple[str, str, str]:
    key = flow.key(1_000_000 + n)
    flow.redis.hset(key, "title", "of no document")
    return "card", key, "extra"


def _moved(flow: Flow, n: int) -> tuple[str, str, str]:
    key = flow.key(f"s{n}v0", "slug")
    flow.redis.delete(key)
    return "slug", key, "missing"


def _unowned(flow: Flow, n: int) -> tuple[str, str, str]:
    key = flow.key(f"stray{n}", "slug")
    flow.redis.hset(key, "title", "of no document")
    return "slug", key, "extra"


def _orphan(flow: Flow, n: int) -> tuple[str, str, str]:
    """A key of a document that is gone, by the map."""
    key, template = flow.key(f"orphan{n}", "slug"), flow.key("{slug}", "slug")
    flow.redis.hset(key, "title", "of no document")
    flow.redis.hset(flow.names.control(f"keys:slug:{template}"), str(2_000_000 + n), key)
    flow.redis.hset(flow.names.control(f"owners:slug:{template}"), key, f"{'0' * 16} {2_000_000 + n}")
    return "slug", key, "extra"


class Load:
    """What `changing` did."""

    def __init__(self) -> None:
        self.writes = 0
        self.seconds = 0.0
        self.error: BaseException | None = None


@contextmanager
def changing(flow: Flow, numbers: Sequence[int], per_second: float) -> Iterator[Load]:
    """Changes of every kind to these documents: versions that count up, titles that go back and forth, keys that
    move."""
    stop, load, chance = threading.Event(), Load(), random.Random(7)
    versions = itertools.count(1)

    def step() -> list[Any]:
        n, version, way = chance.choice(numbers), next(versions), chance.randrange(8)
        which = {"_id": n}
        if way < 3:
            return [UpdateOne(which, {"$set": {"a": version, "b.deep": version}})]
        if way < 5:  # what was read before is there again
            return [UpdateOne(which, {"$set": {"title": title}}) for title in ("to", f"film {n}")]
        if way == 5:
            return [UpdateOne(which, {"$set": {"slug": f"s{n}v{version}"}})]
        if way == 6:
            return [ReplaceOne(which, state(n, version), upsert=True)]
        return [DeleteOne(which), InsertOne(state(n, version))]

    def write() -> None:
        begun = time.monotonic()
        try:
            while not stop.is_set():
                writes = [write for _ in range(STEPS) for write in step()]
                flow.collection.bulk_write(writes)
                load.writes += len(writes)
                load.seconds = time.monotonic() - begun
                stop.wait(max(0.0, load.writes / per_second - load.seconds))
        except BaseException as error:
            load.error = error

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield load
    finally:
        stop.set()
        thread.join()
    assert load.error is None, load.error


@contextmanager
def running(contract: str, *words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """`syncd reconcile` as a process that the test ends, or that ends by itself."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SYNCD_")}
    command = [sys.executable, "-m", "syncd", "reconcile", contract, *words]
    process = subprocess.Popen(
        command, env={**inherited, "PYTHONPATH": str(ROOT), **env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
