"""A Redis Cluster beside one server: `python -m benchmarks.cluster`. A row a number of nodes, of syncd and of a script.

Every round measures each row once. Beside the rates, which the cores of the machine limit (the nodes share them),
stands what documents cost the servers: how many there are to a second of their time in functions (`INFO commandstats`;
by the clock, so that nodes that wait for a core count as busy), and to a second of their CPU (`INFO cpu`; with what the
check of all documents reads).
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from benchmarks.measured.nodes import Nodes, connected
from benchmarks.measured.phases import BACKLOG, Figures, Trial
from benchmarks.measured.resp import Resp
from benchmarks.measured.servers import Servers, servers
from benchmarks.results.medians import SCRIPT, SYNCD, Medians
from benchmarks.results.tables import number, table
from benchmarks.systems.base import Script, Site, Syncd, System, Tuned
from syncd.embedded.cluster import RedisCluster

STANDALONE = 0
"""The row of one server that is no cluster."""
_CALL = re.compile(rb"cmdstat_fcall:calls=(\d+),usec=(\d+)")
_CPU = re.compile(rb"used_cpu_(?:sys|user):([\d.]+)")


class TunedCluster(Script):
    """`peers/tuned_cluster.py`."""

    name = "tuned_cluster"


@contextmanager
def beside(running: Servers, nodes: int) -> Iterator[Servers]:
    """The same mongod beside a cluster of so many masters."""
    if nodes == STANDALONE:
        yield running
        return
    with RedisCluster(nodes) as cluster:
        yield replace(running, redis_url=cluster.url)


def measure(running: Servers, load: Executor, nodes: int, system: str, documents: int) -> Figures:
    """One row of one system. Raises Mismatch, SystemFailed, TimeoutError."""
    running.reset()
    script = Tuned if nodes == STANDALONE else TunedCluster
    made: type[System] = Syncd if system == SYNCD else script
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        site = Site(running.mongo_uri, running.redis_url, Path(folder))
        with connected(running.redis_url) as redis:
            for node in redis.nodes:
                node.call("CONFIG", "RESETSTAT")
            before = _cpu_s(redis)
            figures = Trial(made(site), documents, 0.0, load, (BACKLOG,)).run()
            if system == SYNCD:
                said = [_CALL.search(node.call("INFO", "commandstats")) for node in redis.nodes]
                microseconds = sum(int(one[2]) for one in said if one)
                written = 3 * documents  # a copy, and two updates of each
                figures["calls_per_s"] = written / microseconds * 1e6
                figures["servers_per_s"] = written / (_cpu_s(redis) - before)
    return figures


def _cpu_s(redis: Resp | Nodes) -> float:
    """CPU seconds of all servers until now."""
    return sum(float(one) for node in redis.nodes for one in _CPU.findall(node.call("INFO", "cpu")))


def shown(found: dict[tuple[int, str], list[Figures]]) -> str:
    """The table: medians, and what they are of one server's and of the script's."""
    medians = Medians(found, STANDALONE)
    lines = [
        [
            str(nodes) if nodes else "one server",
            *medians.cells(nodes),
            number(medians.of(nodes, SYNCD, "calls_per_s"), ",.0f"),
            medians.of_first(nodes, "calls_per_s"),
            number(medians.of(nodes, SYNCD, "servers_per_s"), ",.0f"),
            medians.of_first(nodes, "servers_per_s"),
        ]
        for nodes in medians.rows
    ]
    return table(
        ["nodes", *medians.heads("one server"), "in a call/s", "of one server", "of CPU/s", "of one server"],
        lines,
    )


def main() -> None:
    """All rounds, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", default="1,3,6", help="numbers of masters (default %(default)s)")
    options = parser.parse_args()
    found: dict[tuple[int, str], list[Figures]] = {}
    with servers() as one, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as load:
        for _ in range(options.rounds):
            for nodes in (STANDALONE, *map(int, options.nodes.split(","))):
                with beside(one, nodes) as running:
                    for system in (SYNCD, SCRIPT):
                        figures = measure(running, load, nodes, system, options.documents)
                        print(nodes, system, figures, file=sys.stderr, flush=True)
                        found.setdefault((nodes, system), []).append(figures)
    print(shown(found))


if __name__ == "__main__":
    main()
