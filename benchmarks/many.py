"""syncd with many contracts: what they cost while nothing happens, and whether a busy one delays the quiet ones."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped,unused-ignore]

from benchmarks.measured.check import wait_until_right
from benchmarks.measured.latency import PER_SECOND, Place, probe
from benchmarks.measured.observe import cpu_seconds
from benchmarks.measured.servers import Servers
from benchmarks.measured.workload import PLAIN, Shape
from benchmarks.measured.writer import churn, insert
from benchmarks.systems.base import Site, Syncd

Figures = dict[str, float]

COLLECTIONS = 20
IDLE_CONTRACTS = 50
IDLE_DOCUMENTS = 100
"""In each collection."""
IDLE_S = 20.0
"""How long CPU is counted, with syncd and without."""
REST_S = 3.0
"""Between being ready and counting, for what a start leaves to do."""
AHEAD_S = 1.0
"""The hot collection is written for so long before the first read of a quiet one, and after the last."""
PATIENCE_S = 60.0


def idle(running: Servers, load: Executor) -> Figures:
    """CPU of syncd and of mongod, in cores, while 50 contracts on 20 collections have nothing to do."""
    running.reset()
    shapes = [
        Shape("idle", f"quiet{number % COLLECTIONS:02d}", f"idle{number:02d}")
        for number in range(IDLE_CONTRACTS)
    ]
    for shape in shapes[:COLLECTIONS]:
        load.submit(insert, running.mongo_uri, 0, IDLE_DOCUMENTS, shape).result()
    mongod = psutil.Process(running.mongo_pid)
    time.sleep(REST_S)
    before = cpu_seconds(mongod)
    time.sleep(IDLE_S)
    alone = (cpu_seconds(mongod) - before) / IDLE_S
    with serving(running, shapes) as system:
        time.sleep(REST_S)
        own, other = system.cpu_seconds(), cpu_seconds(mongod)
        time.sleep(IDLE_S)
        own, other = system.cpu_seconds() - own, cpu_seconds(mongod) - other
        for shape in shapes:
            wait_until_right(running.mongo_uri, running.redis_url, shape)
    return {
        "idle_cores": own / IDLE_S,
        "idle_mongod_cores": other / IDLE_S,
        "idle_mongod_cores_without": alone,
        "idle_rss_mb": system.peak_bytes / 1e6,
    }


def hot(running: Servers, load: Executor, documents: int, seconds: float) -> Figures:
    """Latency of 20 quiet contracts: by themselves, beside a hot one, and beside the same writing without its contract.

    The quiet ones get 200 updates a second together, each in its own collection; the hot collection is written as fast
    as mongod takes it. The third figure says what of the delay is MongoDB's and the machine's.
    """
    running.reset()
    quiet = [Shape("quiet", f"quiet{number:02d}", f"quiet{number:02d}") for number in range(COLLECTIONS)]
    each = max(1, round(PER_SECOND * seconds / COLLECTIONS))
    for shape, count in [(PLAIN, documents), *((shape, each) for shape in quiet)]:
        load.submit(insert, running.mongo_uri, 0, count, shape).result()
    places = [Place(number, shape) for number in range(each) for shape in quiet]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as writer:
        span = each * COLLECTIONS / PER_SECOND + 2 * AHEAD_S

        def beside(version: int) -> tuple[list[float], float]:
            writing = writer.submit(churn, running.mongo_uri, documents, version * 1_000, span)
            time.sleep(AHEAD_S)
            found = load.submit(probe, running.mongo_uri, running.redis_url, places, version).result()
            return found, writing.result() / span

        with serving(running, [PLAIN, *quiet]) as system:
            alone = load.submit(probe, running.mongo_uri, running.redis_url, places, 2).result()
            busy, per_second = beside(3)
            for shape in (PLAIN, *quiet):
                wait_until_right(running.mongo_uri, running.redis_url, shape, PATIENCE_S)
        with serving(running, quiet):
            unserved, _ = beside(4)
    return {
        **_centiles("quiet", alone),
        **_centiles("beside_hot", busy),
        **_centiles("beside_writing", unserved),
        "hot_writer_per_s": per_second,
        "hot_rss_mb": system.peak_bytes / 1e6,
    }


@contextmanager
def serving(running: Servers, shapes: Sequence[Shape]) -> Iterator[Syncd]:
    """syncd with these contracts, ready; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        system = Syncd(Site(running.mongo_uri, running.redis_url, Path(folder)), shapes)
        try:
            system.start()
            system.wait_ready()
            yield system
            system.stop()
        finally:
            system.kill()


def _centiles(name: str, milliseconds: list[float]) -> Figures:
    centiles = statistics.quantiles(milliseconds, n=100, method="inclusive")
    return {f"{name}_p50_ms": centiles[49], f"{name}_p99_ms": centiles[98]}
