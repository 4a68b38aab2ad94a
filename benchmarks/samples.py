"""Samples of Redis time series as documents: `python -m benchmarks.samples`, of syncd and of a script.

A backlog waits in its series when the system is started, which reads all of it; then as many are added while it runs,
each series in its order. Rates are those from the first document to the last. At the end every document is compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

from pymongo import MongoClient

from benchmarks.measured.check import Mismatch
from benchmarks.measured.observe import POLL_S, wait
from benchmarks.measured.phases import Figures
from benchmarks.measured.resp import Resp, pack
from benchmarks.measured.servers import Servers, busy_share, servers
from benchmarks.measured.workload import COLLECTION, DATABASE, Document, Shape
from benchmarks.results.medians import SCRIPT, SYNCD, Medians
from benchmarks.results.tables import number, table
from benchmarks.systems.base import Script, Site, Syncd, System
from tests.support.servers.timeseries import series_server

SERIES = 100
STEP_MS = 1_000
FIRST_MS = 1_767_225_600_000
PIPELINE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
BACKLOG, LIVE = "backlog", "live"


class Samples(Shape):
    """Series of one sensor each."""

    def contract(self) -> str:
        """The contract file."""
        return f"""\
apiVersion: syncd/v1
kind: SyncContract
metadata: {{name: bench, version: 1.0.0, owner: benchmarks}}
mongo: {{collection: {DATABASE}.{COLLECTION}}}
redis:
  - projection: samples
    type: timeseries
    key: "bench:{{sensor}}"
    time: at
    value: celsius
    labels: {{site: site}}
sync: {{direction: redis_to_mongo, capture: keyspace, on_delete: ignore}}
"""


class TunedSamples(Script):
    """`peers/tuned_samples.py`."""

    name = "tuned_samples"


def add(redis_url: str, numbers: range) -> None:
    """One after another to each series, as fast as it goes."""
    with Resp(redis_url) as redis:
        for start in range(0, len(numbers), PIPELINE):
            some = numbers[start : start + PIPELINE]
            redis.send(b"".join(pack(_command(one)) for one in some))
            redis.replies(len(some))


def _command(one: int) -> tuple[str, ...]:
    sensor, at = _place(one)
    value = str(one % 4_096 / 8)
    return ("TS.ADD", f"bench:{sensor}", str(at), value, "LABELS", "site", f"site-{one % SERIES % 7}")


def _place(one: int) -> tuple[str, int]:
    return f"s{one % SERIES}", FIRST_MS + one // SERIES * STEP_MS


def document(one: int) -> Document:
    """What a sample must become."""
    sensor, at = _place(one)
    return {
        "_id": f"bench:{sensor}:{at}", "sensor": sensor, "celsius": one % 4_096 / 8,
        "at": _EPOCH + timedelta(milliseconds=at), "site": f"site-{one % SERIES % 7}",
    }  # fmt: skip


def measure(
    running: Servers, load: Executor, make: Callable[[Site], System], count: int
) -> dict[str, Figures]:
    """Of both phases of one system the rate, and microseconds of its CPU a sample. Raises Mismatch, SystemFailed."""
    running.reset()
    load.submit(add, running.redis_url, range(count)).result()
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        system = make(Site(running.mongo_uri, running.redis_url, Path(folder)))
        try:
            system.start()
            figures = {BACKLOG: _passed(running, system, 0, count)}
            system.wait_ready()
            adding = load.submit(add, running.redis_url, range(count, 2 * count))
            figures[LIVE] = _passed(running, system, count, 2 * count)
            adding.result()
            system.stop()
        finally:
            system.kill()
    if wrong := load.submit(check, running.mongo_uri, 2 * count).result():
        raise Mismatch(wrong)
    return figures


def _passed(running: Servers, system: System, first: int, last: int) -> Figures:
    with MongoClient[Document](running.mongo_uri) as client:
        collection = client[DATABASE][COLLECTION]
        there = collection.estimated_document_count
        start = wait(lambda: there() > first, "the first document is there", 60.0, system.check_alive)
        before, cpu = there(), system.cpu_seconds()
        patience = 60.0 + (last - first) / 500
        end = wait(lambda: there() >= last, "the last document is there", patience, system.check_alive)
        cpu = system.cpu_seconds() - cpu
    done = last - before
    return {"per_s": done / max(POLL_S, end - start), "cpu_us": cpu / done * 1e6}


def check(mongo_uri: str, count: int) -> str:
    """What differs from the documents that there must be; empty when nothing does."""
    with MongoClient[Document](mongo_uri, tz_aware=True, tzinfo=UTC) as client:
        found = {one["_id"]: one for one in client[DATABASE][COLLECTION].find({}, {"_syncd": 0})}
    wanted = (document(one) for one in range(count))
    wrong = next((one for one in wanted if found.pop(one["_id"], None) != one), None)
    return f"{wrong} differs" if wrong else f"{len(found)} more" if found else ""


def shown(found: dict[tuple[str, str], list[Figures]]) -> str:
    """The table: medians."""
    medians = Medians(found, BACKLOG)
    lines = []
    for phase in medians.rows:
        rates = [medians.of(phase, system, "per_s") for system in (SYNCD, SCRIPT)]
        part = rates[0] / rates[1] if rates[0] and rates[1] else None
        cpu = [medians.of(phase, system, "cpu_us") for system in (SYNCD, SCRIPT)]
        cells = [number(rates[0], ",.0f"), number(rates[1], ",.0f"), number(part, ".2f")]
        lines.append([phase, *cells, *(number(one, ".1f") for one in cpu)])
    return table(["", "samples/s", "script's", "of script", "CPU us", "script's"], lines)


def main() -> None:
    """All rounds, the systems in turns, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samples", description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = Samples("samples")
    makers: dict[str, Callable[[Site], System]] = {
        SYNCD: lambda site: Syncd(site, [shape]),
        SCRIPT: TunedSamples,
    }
    found: dict[tuple[str, str], list[Figures]] = {}
    print(f"{busy_share():.0%} of this machine is busy with other work", file=sys.stderr)
    with (
        servers() as mongo,
        series_server() as redis,
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as load,
    ):
        running = replace(mongo, redis_url=redis.url)
        for _ in range(options.rounds):
            for name, make in makers.items():
                figures = measure(running, load, make, options.samples)
                print(name, figures, file=sys.stderr, flush=True)
                for phase, one in figures.items():
                    found.setdefault((phase, name), []).append(one)
    print(shown(found))


if __name__ == "__main__":
    main()
