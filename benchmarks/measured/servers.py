"""The two servers that every system shares, and the machine they run on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]
from pymongo import MongoClient

from benchmarks.measured.nodes import connected
from benchmarks.measured.resp import Resp
from benchmarks.measured.workload import COLLECTION, DATABASE, Document
from syncd.embedded import RedisServer, ReplicaSet

MONGO_CACHE_GB = 1.0
OPLOG_MB = 4_096


@dataclass(frozen=True, slots=True)
class Servers:
    """One mongod (a replica set of one) and one redis-server without persistence and modules."""

    mongo_uri: str
    redis_url: str
    mongo_pid: int

    def reset(self) -> None:
        """Drop every database of a round before, make an empty collection, empty Redis."""
        with MongoClient[Document](self.mongo_uri) as client:
            for name in client.list_database_names():
                if name not in {"admin", "config", "local"}:
                    client.drop_database(name)
            client[DATABASE].create_collection(COLLECTION)
        with connected(self.redis_url) as redis:
            redis.call("FLUSHALL")

    def versions(self) -> dict[str, str]:
        """Of both servers."""
        with MongoClient[Document](self.mongo_uri) as client, Resp(self.redis_url) as redis:
            info = redis.call("INFO", "server").decode().split("redis_version:")[1]
            return {"mongod": client.server_info()["version"], "redis-server": info.split()[0]}


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both, and end them in any case."""
    with (
        ReplicaSet(cache_gb=MONGO_CACHE_GB, oplog_mb=OPLOG_MB) as mongo,
        RedisServer(modules=False) as redis,
    ):
        yield Servers(mongo.uri, redis.url, mongo.members[0].pid)


@contextmanager
def with_modules(running: Servers) -> Iterator[Servers]:
    """The same mongod beside another redis-server, one with RedisJSON and RediSearch."""
    with RedisServer() as redis:
        yield replace(running, redis_url=redis.url)


def busy_share(seconds: float = 1.0) -> float:
    """What share of all cores is busy now; call it while nothing of the benchmark runs."""
    return float(psutil.cpu_percent(seconds)) / 100


def machine(running: Servers, busy: float) -> dict[str, str]:
    """What a reader needs to compare the figures with others."""
    packages = {name: importlib.metadata.version(name) for name in ("pymongo", "redis", "hiredis")}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": f"{len(os.sched_getaffinity(0))} cores, {_cpu_model()}",
        "busy before the run": f"{busy:.0%}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        **running.versions(),
        **packages,
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
