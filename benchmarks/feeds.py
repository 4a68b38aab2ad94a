"""Change feeds: changes a second of a backlog of one update a document, and CPU for each.

The system is stopped, all documents are changed, and it is started: the rate is that from its first entry to its last.
Checked are the number of entries and the last state of each document.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measured.check import Mismatch
from benchmarks.measured.observe import POLL_S, wait
from benchmarks.measured.resp import Resp
from benchmarks.measured.servers import Servers
from benchmarks.measured.workload import FIELDS, Shape
from benchmarks.measured.writer import insert, update_all
from benchmarks.systems.base import Script, Site, System

STREAM = "bench:changes"


class Feed(Shape):
    """The eight fields in a change feed."""

    def contract(self) -> str:
        """The contract file."""
        return (
            "apiVersion: syncd/v1\nkind: SyncContract\n"
            "metadata: {name: bench, version: 1.0.0, owner: benchmarks}\n"
            f"mongo: {self.source()}\nredis:\n  - projection: feed\n    type: stream\n"
            f'    key: "{STREAM}"\n    fields: [{", ".join(field for field in FIELDS)}]\n'
        )


class TunedFeed(Script):
    """The script of a careful engineer."""

    name = "tuned_feed"


def backlog(running: Servers, make: Callable[[Site], System], documents: int) -> tuple[float, float]:
    """Changes a second, and microseconds of the system's CPU for each. Raises Mismatch."""
    running.reset()
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder, Resp(running.redis_url) as redis:
        system = make(Site(running.mongo_uri, running.redis_url, Path(folder)))
        insert(running.mongo_uri, 0, documents)
        try:
            system.start()
            system.wait_ready()
            system.stop()
            before = int(redis.call("XLEN", STREAM))
            update_all(running.mongo_uri, documents, (2,))
            first, last = _done(redis, before, documents)
            system.start()
            start = wait(first, "the first change", 60.0, system.check_alive)
            at, cpu = int(redis.call("XLEN", STREAM)) - before, system.cpu_seconds()
            end = wait(last, "the last change", 60.0 + documents / 500, system.check_alive)
            cpu = system.cpu_seconds() - cpu
            system.stop()
        finally:
            system.kill()
        _check(redis, before, documents)
    return (documents - at) / max(POLL_S, end - start), cpu / (documents - at) * 1e6


def _done(redis: Resp, before: int, documents: int) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Whether the first change shows, and whether the last does."""
    return (
        lambda: int(redis.call("XLEN", STREAM)) > before,
        lambda: int(redis.call("XLEN", STREAM)) >= before + documents,
    )


def _check(redis: Resp, before: int, documents: int) -> None:
    entries = redis.call("XRANGE", STREAM, "-", "+")[before:]
    said = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
    right = sum(one[b"op"] == b"update" and one.get(b"v") == b"2" for one in said)
    if right != documents or len({one[b"_id"] for one in said}) != documents:
        raise Mismatch(f"{right} of {documents} entries are right")
