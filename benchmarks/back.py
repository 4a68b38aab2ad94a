"""The way from Redis to MongoDB: streams that are appended, beside `insert_many` alone and beside a product of others.

A backlog waits, the system is started, and the rate is that from the first document to the last. The limit inserts the
same documents, in batches as large, from memory, and does nothing else.
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

from pymongo import MongoClient

from benchmarks import entries
from benchmarks.check import Mismatch
from benchmarks.entries import Events
from benchmarks.latency import GRACE_S, PER_SECOND, PROBE_S
from benchmarks.observe import POLL_S, wait
from benchmarks.resp import Resp
from benchmarks.servers import Servers
from benchmarks.systems import Site, Syncd, System
from benchmarks.workload import DATABASE, Document

Figures = dict[str, float]

BATCH = 4_000
"""Documents of one insert; twice or half as many change a few per cent."""
SERIES_OPTIONS = {"timeField": "at", "metaField": "by"}


def syncd(events: Events) -> Callable[[Site], System]:
    """syncd with the contract."""
    return lambda site: Syncd(site, [events])


def limit(mongo_uri: str, documents: int, timeseries: bool) -> float:
    """Documents a second that `insert_many` alone gets in. To be run in a process of its own."""
    made = [entries.document(number) for number in range(documents)]
    with _client(mongo_uri) as client:
        client.drop_database(DATABASE)
        if timeseries:
            client[DATABASE].create_collection("alone", timeseries=SERIES_OPTIONS)
        start = time.monotonic()
        for at in range(0, documents, BATCH):
            client[DATABASE]["alone"].insert_many(made[at : at + BATCH], ordered=False)
        seconds = time.monotonic() - start
        client.drop_database(DATABASE)
    return documents / seconds


def caught_up(
    running: Servers, load: Executor, make: Callable[[Site], System], documents: int, latency_s: float
) -> Figures:
    """One system on a backlog of so many entries, checked document by document; then single entries."""
    running.reset()
    load.submit(entries.add, running.redis_url, range(documents)).result()
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        system = make(Site(running.mongo_uri, running.redis_url, Path(folder)))
        try:
            figures = _backlog(running, load, system, documents)
            if latency_s:
                figures |= _latency(running, load, documents, latency_s)
            system.stop()
        finally:
            system.kill()
    return {**figures, "rss_mb": system.peak_bytes / 1e6}


def _backlog(running: Servers, load: Executor, system: System, documents: int) -> Figures:
    with _client(running.mongo_uri) as client, Resp(running.redis_url) as redis:
        collection = client[DATABASE]["events"]

        def done() -> int:
            # Of a time series only the group says it at once; both come to the same within a batch.
            for group in redis.call("XINFO", "GROUPS", entries.STREAM):
                said = dict(zip(group[::2], group[1::2], strict=True))
                if said[b"name"] == b"events":
                    return int(said[b"entries-read"] or 0) - int(said[b"pending"])
            return int(collection.estimated_document_count())

        system.start()
        start = wait(lambda: done() > 0, "the first document is there", 60.0, system.check_alive)
        before, cpu = done(), system.cpu_seconds()
        patience = 60.0 + documents / 500
        end = wait(lambda: done() >= documents, "the last document is there", patience, system.check_alive)
        cpu = system.cpu_seconds() - cpu
    if said := load.submit(_check, running.mongo_uri, documents).result():
        raise Mismatch(said)
    count = documents - before
    return {"per_s": count / max(POLL_S, end - start), "cpu_us": cpu / count * 1e6}


def _check(mongo_uri: str, documents: int) -> str:
    with _client(mongo_uri) as client:
        return entries.wrong(client[DATABASE]["events"].find(batch_size=BATCH), documents)


def _latency(running: Servers, load: Executor, first: int, seconds: float) -> Figures:
    found = load.submit(
        probe, running.mongo_uri, running.redis_url, first, round(PER_SECOND * seconds)
    ).result()
    centiles = statistics.quantiles(found, n=100, method="inclusive")
    return {"latency_p50_ms": centiles[49], "latency_p99_ms": centiles[98]}


def probe(mongo_uri: str, redis_url: str, first: int, count: int) -> list[float]:
    """Milliseconds from Redis's acknowledgement of an entry until its document is seen, 200 entries a second."""
    added: list[float] = []
    writer = threading.Thread(target=_add_slowly, args=(redis_url, range(first, first + count), added))
    writer.start()
    seen: dict[int, float] = {}
    deadline = time.monotonic() + count / PER_SECOND * 3 + GRACE_S
    with _client(mongo_uri) as client:
        collection, waiting, taken = client[DATABASE]["events"], {}, 0
        while len(seen) < count:
            new = range(taken, len(added))
            taken += len(new)
            waiting |= {f"{entries.STREAM}/{entries.entry_id(first + at)}": at for at in new}
            if waiting:
                shown = [one["_id"] for one in collection.find({"_id": {"$in": list(waiting)}}, {"_id": 1})]
                now = time.monotonic()
                seen |= {waiting.pop(ident): now for ident in shown}
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count - len(seen)} of {count} entries never showed")
            time.sleep(PROBE_S)
    writer.join()
    return [max(0.0, (seen[at] - added[at]) * 1_000) for at in range(count)]


def _add_slowly(redis_url: str, numbers: range, added: list[float]) -> None:
    with Resp(redis_url) as redis:
        due = time.monotonic()
        for number in numbers:
            time.sleep(max(0.0, due - time.monotonic()))
            redis.send(entries.packed(number))
            redis.replies(1)
            added.append(time.monotonic())
            due += 1 / PER_SECOND


def _client(mongo_uri: str) -> MongoClient[Document]:
    return MongoClient(mongo_uri, tz_aware=True, tzinfo=datetime.UTC)
