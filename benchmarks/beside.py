"""Shapes beside scripts: `python -m benchmarks.beside`. A row a shape, of syncd and of a script that writes the same.

Every round measures each row once, so that what else the machine does falls on all alike. Rates are those from the
first visible write to the last, of a snapshot and of a backlog of updates; at the end of each every document is
compared. A change feed has no snapshot, and its backlog is that of `feeds.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks import feeds
from benchmarks.measured.phases import BACKLOG, Figures, Trial
from benchmarks.measured.servers import Servers, servers
from benchmarks.measured.workload import PLAIN, Shape
from benchmarks.results.medians import SCRIPT, SYNCD, Medians
from benchmarks.results.tables import table
from benchmarks.shapes import Elements, Joined, Members
from benchmarks.systems.base import Script, Site, Syncd, System, Tuned


class TunedMembers(Script):
    """`peers/tuned_members.py`."""

    name = "tuned_members"


class TunedElements(Script):
    """`peers/tuned_elements.py`."""

    name = "tuned_elements"


class TunedJoins(Script):
    """`peers/tuned_joins.py`."""

    name = "tuned_joins"


@dataclass(frozen=True)
class Row:
    """A shape, and the script that stands beside it."""

    shape: Shape
    script: type[System]


ROWS = {
    "hash": Row(PLAIN, Tuned),
    "members": Row(Members("members"), TunedMembers),
    "each": Row(Elements("each"), TunedElements),
    "joins": Row(Joined("joins"), TunedJoins),
    "feed": Row(feeds.Feed("feed"), feeds.TunedFeed),
}
"""By the name that `--rows` takes; the first is what the others are compared with."""


def measure(running: Servers, load: Executor, row: Row, system: str, documents: int) -> Figures:
    """One row of one system. Raises Mismatch, SystemFailed, TimeoutError."""

    def make(site: Site) -> System:
        return Syncd(site, [row.shape]) if system == SYNCD else row.script(site)

    if isinstance(row.shape, feeds.Feed):
        rate, cpu = feeds.backlog(running, make, documents)
        return {"backlog_per_s": rate, "backlog_cpu_us": cpu}
    running.reset()
    row.shape.prepare(running.mongo_uri)
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        made = make(Site(running.mongo_uri, running.redis_url, Path(folder)))
        return Trial(made, documents, 0.0, load, (BACKLOG,), row.shape).run()


def shown(found: dict[tuple[str, str], list[Figures]]) -> str:
    """The table: medians, and what they are of the hash and of the script."""
    medians = Medians(found, "hash")
    return table(["", *medians.heads("hash")], [[name, *medians.cells(name)] for name in medians.rows])


def main() -> None:
    """All rounds, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default=",".join(ROWS), help="some of %(default)s")
    parser.add_argument("--systems", default=f"{SYNCD},{SCRIPT}", help="some of %(default)s")
    options = parser.parse_args()
    found: dict[tuple[str, str], list[Figures]] = {}
    with servers() as running, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as load:
        for _ in range(options.rounds):
            for name in options.rows.split(","):
                for system in options.systems.split(","):
                    figures = measure(running, load, ROWS[name], system, options.documents)
                    print(name, system, figures, file=sys.stderr, flush=True)
                    found.setdefault((name, system), []).append(figures)
    print(shown(found))


if __name__ == "__main__":
    main()
