"""Change feeds: `python -m benchmarks.feeds`. Changes a second of a backlog of one update a document, and CPU for each.

The system is stopped, all documents are changed, and it is started: the rate is that from its first entry to its last.
Beside syncd's feed stand a careful script that writes one, and syncd's hash of the same documents. Checked are the
number of entries and the last state of each document.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.check import Mismatch
from benchmarks.observe import POLL_S, wait
from benchmarks.resp import Resp
from benchmarks.servers import Servers, servers
from benchmarks.systems import Script, Site, Syncd, System
from benchmarks.workload import FIELDS, PLAIN, Shape
from benchmarks.writer import insert, update_all

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


MAKE: dict[str, Callable[[Site], System]] = {
    "syncd, feed": lambda site: Syncd(site, [Feed("feed")]),
    "careful script, feed": TunedFeed,
    "syncd, hash": Syncd,
}


def backlog(running: Servers, name: str, documents: int) -> tuple[float, float]:
    """Changes a second, and microseconds of the system's CPU for each. Raises Mismatch."""
    running.reset()
    feeds = name != "syncd, hash"
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder, Resp(running.redis_url) as redis:
        system = MAKE[name](Site(running.mongo_uri, running.redis_url, Path(folder)))
        insert(running.mongo_uri, 0, documents)
        try:
            system.start()
            system.wait_ready()
            system.stop()
            before = int(redis.call("XLEN", STREAM))
            update_all(running.mongo_uri, documents, (2,))
            first, last = _done(redis, feeds, before, documents)
            system.start()
            start = wait(first, "the first change", 60.0, system.check_alive)
            at, cpu = int(redis.call("XLEN", STREAM)) - before if feeds else 0, system.cpu_seconds()
            end = wait(last, "the last change", 60.0 + documents / 500, system.check_alive)
            cpu = system.cpu_seconds() - cpu
            system.stop()
        finally:
            system.kill()
        if feeds:
            _check(redis, before, documents)
    return (documents - at) / max(POLL_S, end - start), cpu / (documents - at) * 1e6


def _done(
    redis: Resp, feeds: bool, before: int, documents: int
) -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Whether the first change shows, and whether the last does."""
    if feeds:
        return (
            lambda: int(redis.call("XLEN", STREAM)) > before,
            lambda: int(redis.call("XLEN", STREAM)) >= before + documents,
        )
    return (
        lambda: redis.call(*PLAIN.version(0)) == b"2",
        lambda: redis.call(*PLAIN.version(documents - 1)) == b"2",
    )


def _check(redis: Resp, before: int, documents: int) -> None:
    entries = redis.call("XRANGE", STREAM, "-", "+")[before:]
    said = [dict(zip(fields[::2], fields[1::2], strict=True)) for _, fields in entries]
    right = sum(one[b"op"] == b"update" and one.get(b"v") == b"2" for one in said)
    if right != documents or len({one[b"_id"] for one in said}) != documents:
        raise Mismatch(f"{right} of {documents} entries are right")


def main() -> None:
    """Print a row a system: the median of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in MAKE}
    with servers() as running:
        for _ in range(options.rounds):
            for name, found in rates.items():
                found.append(backlog(running, name, options.documents))
                time.sleep(1.0)
    for name, found in rates.items():
        rate, cpu = (statistics.median(figures) for figures in zip(*found, strict=True))
        print(f"{name:24} {rate:10,.0f} changes/s {cpu:8.1f} us of CPU each")


if __name__ == "__main__":
    main()
