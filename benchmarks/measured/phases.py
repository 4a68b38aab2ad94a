"""One system through all phases of one round. Every phase ends with a check of all documents.

start-up -> snapshot -> backlog of updates -> sustained load -> latency -> backlog of inserts

The system is stopped and started where a phase needs it. What a system does not claim to do
(`System.snapshots`, `System.resumes`) is left out, and the harness fills Redis for it. So are phases that were not
asked for.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from benchmarks.measured.check import wait_until_right
from benchmarks.measured.latency import places, probe
from benchmarks.measured.limits import write_hashes
from benchmarks.measured.nodes import Nodes, connected
from benchmarks.measured.observe import POLL_S, Sentinels, wait
from benchmarks.measured.resp import Resp
from benchmarks.measured.workload import MARKERS, PLAIN, Shape, markers
from benchmarks.measured.writer import Span, insert, update_all
from benchmarks.systems.base import System

Figures = dict[str, float]

BACKLOG, SUSTAINED, LATENCY, INSERTS = "backlog", "sustained", "latency", "inserts"
PHASES = (BACKLOG, SUSTAINED, LATENCY, INSERTS)
"""What may be left out, in order. Start-up and snapshot always run, for they make what the others start from."""


@dataclass(frozen=True, slots=True)
class Caught:
    """When a stretch of work became visible, and what it cost."""

    first: float
    last: float
    cpu_seconds: float


@dataclass
class Trial:
    """One system, one round, on an empty collection and an empty Redis."""

    system: System
    documents: int
    latency_s: float
    load: Executor
    """One process that writes to MongoDB: writing and watching do not share an interpreter."""
    phases: Sequence[str] = PHASES
    shape: Shape = PLAIN
    figures: Figures = field(default_factory=dict)

    def run(self) -> Figures:
        """All phases. Raises `Mismatch`, `SystemFailed` or `TimeoutError` where the system failed."""
        try:
            self._phases()
        finally:
            self.system.kill()
        return self.figures

    def _phases(self) -> None:
        system = self.system
        if system.snapshots:
            self.start_up()
            self.snapshot()
        else:
            self.filled()
        if BACKLOG in self.phases and system.resumes:
            self.backlog()
        if SUSTAINED in self.phases:
            self.sustained()
        if LATENCY in self.phases:
            self.latency()
        if INSERTS in self.phases and system.resumes:
            self.inserts()
        system.stop()
        self.figures["peak_rss_mb"] = system.peak_bytes / 1e6

    def start_up(self) -> None:
        """From nothing to ready on an empty collection: what every figure `from start` contains."""
        start = time.monotonic()
        self.system.start()
        self.figures["start_up_s"] = self.system.wait_ready() - start
        self.system.stop()
        with connected(self.system.site.redis_url) as redis:
            redis.call("FLUSHALL")

    def filled(self) -> None:
        """For a system without a snapshot: the harness writes what is there, then starts it."""
        site = self.system.site
        self._write(insert, 0, self.documents)
        write_hashes(site.redis_url, self.documents)
        start = time.monotonic()
        self.system.start()
        self.figures["start_up_s"] = self.system.wait_ready() - start

    def snapshot(self) -> None:
        """An empty Redis until all documents are there. Watched: 32 spread evenly, and the key count."""
        self._write(insert, 0, self.documents)
        visible = [number for number in range(self.documents) if self.shape.visible(number, 1)]
        spread = [visible[index * (len(visible) - 1) // 31] for index in range(32)]
        keys = self.shape.keys(len(visible))
        with connected(self.system.site.redis_url) as redis:
            watched = Sentinels(redis, spread, 1, self.shape)
            start = time.monotonic()
            self.system.start()
            caught = self._catch(
                watched.any,
                lambda: redis.call("DBSIZE") >= keys and watched.all(),
                self.documents,
            )
        self._rates("snapshot", start, caught, len(visible))
        self.system.wait_ready()
        self.system.stop()

    def backlog(self) -> None:
        """Every document updated twice while the system is down."""
        self._write(update_all, self.documents, (2, 3))
        self._recover(
            "backlog", (range(MARKERS), 2, 3), (markers(0, self.documents), 3, 3), 2 * self.documents
        )

    def inserts(self) -> None:
        """As many documents again, inserted while the system is down."""
        self.system.stop()
        self._write(insert, self.documents, self.documents)
        fresh = range(self.documents, self.documents + MARKERS)
        self._recover(
            "inserts", (fresh, 1, 1), (markers(self.documents, self.documents), 1, 1), self.documents
        )

    def sustained(self) -> None:
        """Every document updated twice, as fast as mongod takes it, while the system runs."""
        changes = 2 * self.documents
        with connected(self.system.site.redis_url) as redis:
            first = Sentinels(redis, range(MARKERS), 4)
            last = Sentinels(redis, markers(0, self.documents), 5)
            self._running()
            writing = self.load.submit(update_all, self.system.site.mongo_uri, self.documents, (4, 5))
            caught = self._catch(first.any, last.all, changes)
        written = writing.result()
        self.figures |= {
            "sustained_writer_per_s": changes / written.seconds,
            "sustained_per_s": changes / (caught.last - written.start),
            "sustained_behind_s": max(0.0, caught.last - written.end),
            "sustained_cpu_us": caught.cpu_seconds / changes * 1e6,
        }

    def latency(self) -> None:
        """A steady trickle of updates, and how long each takes to show."""
        site = self.system.site
        self._running()
        targets = places(self.documents, self.latency_s)
        milliseconds = self.load.submit(probe, site.mongo_uri, site.redis_url, targets, 6).result()
        centiles = statistics.quantiles(milliseconds, n=100, method="inclusive")
        self.figures |= {"latency_p50_ms": centiles[49], "latency_p99_ms": centiles[98]}
        self.figures["latency_max_ms"] = max(milliseconds)
        wait_until_right(site.mongo_uri, site.redis_url)
        if self.system.usage is not None:
            self.figures["end_rss_mb"] = self.system.usage.last_bytes / 1e6

    def _recover(
        self, phase: str, first: tuple[range, int, int], last: tuple[range, int, int], changes: int
    ) -> None:
        """Start the system on a backlog, and watch its first and its last documents."""
        with connected(self.system.site.redis_url) as redis:
            head, tail = self._sentinels(redis, *first), self._sentinels(redis, *last)
            start = time.monotonic()
            self.system.start()
            caught = self._catch(head.any, tail.all, changes)
        self._rates(phase, start, caught, changes)

    def _sentinels(self, redis: Resp | Nodes, numbers: range, version: int, final: int) -> Sentinels:
        """Those that show a version and are still there at the final one."""
        lasting = [number for number in numbers if self.shape.visible(number, final)]
        return Sentinels(redis, lasting, version, self.shape)

    def _running(self) -> None:
        if not self.system.running:
            self.system.start()
        self.system.wait_ready()

    def _catch(self, first: Callable[[], bool], last: Callable[[], bool], changes: int) -> Caught:
        """Wait for the first and the last visible write, then check everything.

        Where the last write was seen before everything was right, the later time counts.
        """
        site, system = self.system.site, self.system
        seen_first = wait(first, "the first change is visible", 60.0, system.check_alive)
        cpu = system.cpu_seconds()
        seen_last = wait(last, "the last change is visible", 60.0 + changes / 500, system.check_alive)
        cpu = system.cpu_seconds() - cpu
        late = wait_until_right(site.mongo_uri, site.redis_url, self.shape)
        return Caught(seen_first, late or seen_last, cpu)

    def _rates(self, phase: str, start: float, caught: Caught, changes: int) -> None:
        self.figures |= {
            f"{phase}_per_s": changes / max(POLL_S, caught.last - caught.first),
            f"{phase}_from_start_per_s": changes / (caught.last - start),
            f"{phase}_first_visible_s": caught.first - start,
            f"{phase}_cpu_us": caught.cpu_seconds / changes * 1e6,
        }
        if self.system.usage is not None:
            self.figures[f"{phase}_rss_mb"] = self.system.usage.peak_bytes / 1e6

    def _write(self, what: Callable[..., Span], *arguments: object) -> None:
        """Write to MongoDB in the load process, and wait for it."""
        self.load.submit(what, self.system.site.mongo_uri, *arguments, self.shape).result()
