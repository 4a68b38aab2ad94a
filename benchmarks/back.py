"""The way from Redis to MongoDB, beside what pymongo alone gets in and beside a product of others.

A backlog waits, the system is started, and the rate is that from the first document to the last. Of keys that no client
notes, the changes are made while the system runs. The limit writes the same documents in batches as large, from memory,
and does nothing else: `insert_many`, or `bulk_write` of upserts.
"""

from __future__ import annotations

import datetime
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from pymongo import MongoClient, UpdateOne

from benchmarks.measured.check import Mismatch
from benchmarks.measured.latency import GRACE_S, PER_SECOND, PROBE_S
from benchmarks.measured.observe import POLL_S, wait
from benchmarks.measured.resp import Resp
from benchmarks.measured.servers import Servers
from benchmarks.measured.ways import STREAM, Way
from benchmarks.measured.workload import DATABASE, Document
from benchmarks.systems.base import Site, Syncd, System, SystemFailed

Figures = dict[str, float]

INSERTS, UPSERTS = 4_000, 1_000
"""Of one call; twice or half as many change a few per cent."""
SERIES_OPTIONS = {"timeField": "at", "metaField": "by"}


def limit(mongo_uri: str, documents: int, way: Way) -> float:
    """Documents a second that pymongo alone gets in. To be run in a process of its own."""
    made = [way.document(number) for number in range(documents)]
    with _client(mongo_uri) as client:
        client.drop_database(DATABASE)
        if way.timeseries:
            client[DATABASE].create_collection("alone", timeseries=SERIES_OPTIONS)
        alone = client[DATABASE]["alone"]
        start = time.monotonic()
        if way.is_stream:
            for at in range(0, documents, INSERTS):
                alone.insert_many(made[at : at + INSERTS], ordered=False)
        else:
            for at in range(0, documents, UPSERTS):
                alone.bulk_write([_upsert(one) for one in made[at : at + UPSERTS]], ordered=False)
        seconds = time.monotonic() - start
        client.drop_database(DATABASE)
    return documents / seconds


def _upsert(document: Document) -> UpdateOne:
    ident = document.pop("_id")
    return UpdateOne({"_id": ident}, {"$set": document}, upsert=True)


def caught_up(
    running: Servers,
    load: Executor,
    make: Callable[[Site], System] | None,
    way: Way,
    documents: int,
    latency_s: float,
) -> Figures:
    """One system (syncd, where none is given) and so many changes, checked document by document; then single ones."""
    running.reset()
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        site = Site(running.mongo_uri, running.redis_url, Path(folder))
        system = make(site) if make else Syncd(site, [way])
        try:
            figures = _all(running, load, system, way, documents)
            if latency_s:
                figures |= _latency(running, load, way, documents, latency_s)
            system.stop()
        except TimeoutError as error:
            raise SystemFailed(f"{error}\n{system.log_tail()}") from error
        finally:
            system.kill()
    return {**figures, "rss_mb": system.peak_bytes / 1e6}


def _all(running: Servers, load: Executor, system: System, way: Way, documents: int) -> Figures:
    change = way.change_all, running.redis_url, range(documents)
    with _client(running.mongo_uri) as client, Resp(running.redis_url) as redis:
        collection = client[DATABASE]["events"]

        def done() -> int:
            return _acknowledged(redis) if way.timeseries else int(collection.estimated_document_count())

        if way.capture == "keyspace":
            system.start()
            system.wait_ready()
            changing = load.submit(*change)
        else:
            changing = load.submit(*change)
            changing.result()
            system.start()
        start = wait(lambda: done() > 0, "the first document is there", 60.0, system.check_alive)
        before, cpu = done(), system.cpu_seconds()
        patience = 60.0 + documents / 500
        end = wait(lambda: done() >= documents, "the last document is there", patience, system.check_alive)
        cpu = system.cpu_seconds() - cpu
        changing.result()
    if wrong := load.submit(_check, running.mongo_uri, way, documents).result():
        raise Mismatch(wrong)
    count = documents - before
    return {"per_s": count / max(POLL_S, end - start), "cpu_us": cpu / count * 1e6}


def _acknowledged(redis: Resp) -> int:
    """Of a time series the group says at once how far it is; MongoDB would count."""
    for group in redis.call("XINFO", "GROUPS", STREAM):
        said: dict[bytes, Any] = dict(zip(group[::2], group[1::2], strict=True))
        return int(said[b"entries-read"] or 0) - int(said[b"pending"])
    return 0


def _check(mongo_uri: str, way: Way, documents: int) -> str:
    with _client(mongo_uri) as client:
        return way.wrong(client[DATABASE]["events"].find(batch_size=INSERTS), documents)


def _latency(running: Servers, load: Executor, way: Way, first: int, seconds: float) -> Figures:
    numbers = range(first, first + round(PER_SECOND * seconds))
    found = load.submit(probe, running.mongo_uri, running.redis_url, way, numbers).result()
    centiles = statistics.quantiles(found, n=100, method="inclusive")
    return {"latency_p50_ms": centiles[49], "latency_p99_ms": centiles[98]}


def probe(mongo_uri: str, redis_url: str, way: Way, numbers: range) -> list[float]:
    """Milliseconds from Redis's acknowledgement of a change until its document is seen, 200 changes a second."""
    made: list[float] = []
    writer = threading.Thread(target=_change_slowly, args=(redis_url, way, numbers, made))
    writer.start()
    seen: dict[int, float] = {}
    waiting: dict[Any, int] = {}
    deadline = time.monotonic() + len(numbers) / PER_SECOND * 3 + GRACE_S
    with _client(mongo_uri) as client:
        collection, taken = client[DATABASE]["events"], 0
        while len(seen) < len(numbers):
            new = range(taken, len(made))
            taken += len(new)
            waiting |= {way.ident(numbers[at]): at for at in new}
            if waiting:
                shown = [one["_id"] for one in collection.find({"_id": {"$in": list(waiting)}}, {"_id": 1})]
                now = time.monotonic()
                seen |= {waiting.pop(ident): now for ident in shown}
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(numbers) - len(seen)} of {len(numbers)} changes never showed")
            time.sleep(PROBE_S)
    writer.join()
    return [max(0.0, (seen[at] - made[at]) * 1_000) for at in range(len(numbers))]


def _change_slowly(redis_url: str, way: Way, numbers: range, made: list[float]) -> None:
    with Resp(redis_url) as redis:
        due = time.monotonic()
        for number in numbers:
            time.sleep(max(0.0, due - time.monotonic()))
            commands = way.change(number)
            redis.send(b"".join(commands))
            redis.replies(len(commands))
            made.append(time.monotonic())
            due += 1 / PER_SECOND


def _client(mongo_uri: str) -> MongoClient[Document]:
    return MongoClient(mongo_uri, tz_aware=True, tzinfo=datetime.UTC)
