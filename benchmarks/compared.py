"""How fast `syncd reconcile` compares a collection, by digests and in full, beside MongoDB's own hashing."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import Executor

from pymongo import MongoClient

from benchmarks.many import serving
from benchmarks.measured.observe import Usage
from benchmarks.measured.servers import Servers
from benchmarks.measured.workload import COLLECTION, DATABASE, FIELDS, Document, Shape
from benchmarks.measured.writer import insert
from benchmarks.systems.base import Syncd, SystemFailed

Figures = dict[str, float]
BUCKETS = 4096


class Compared(Shape):
    """The plain hash, compared by digests."""

    def contract(self) -> str:
        """With the word."""
        return f"{super().contract()}reconcile: {{check: digest}}\n"


def compared(running: Servers, load: Executor, documents: int) -> Figures:
    """Documents a second, and peak memory of the command in MB."""
    shape = Compared()
    load.submit(insert, running.mongo_uri, 0, documents, shape).result()
    with serving(running, [shape]) as system:
        found = {"hashing_per_s": documents / _hashing(running)}
        for kind in ("digest", "full"):
            seconds, memory = _reconcile(system, kind, documents)
            found |= {f"{kind}_per_s": documents / seconds, f"{kind}_rss_mb": memory}
    return found


def _hashing(running: Servers) -> float:
    """Seconds for MongoDB alone: a hash of all fields of each document, added up in buckets."""
    hashed = {"$toHashedIndexKey": {name: f"${name}" for name in FIELDS}}
    bucket = {"$mod": [{"$toHashedIndexKey": "$_id"}, BUCKETS]}
    stages = [{"$group": {"_id": bucket, "n": {"$sum": 1}, "sum": {"$sum": {"$mod": [hashed, 2**40]}}}}]
    with MongoClient[Document](running.mongo_uri) as client:
        started = time.monotonic()
        list(client[DATABASE][COLLECTION].aggregate(stages))
        return time.monotonic() - started


def _reconcile(system: Syncd, kind: str, documents: int) -> tuple[float, float]:
    process = subprocess.Popen(
        [*system.words("reconcile"), "bench", "--check", kind, "-o", "json"],
        env=system.whole_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    usage = Usage(process.pid)
    said, _ = process.communicate()
    usage.stop()
    report = json.loads(said or "{}")
    wanted = {"check": kind, "result": "clean", "documents": documents}
    if {name: report.get(name) for name in wanted} != wanted:
        raise SystemFailed(f"a check that should be {wanted}: {report}")
    return report["seconds"], usage.peak_bytes / 1e6
