"""`python -m benchmarks`: every system on the same servers, in one run, round by round.

The report goes to stdout, progress to stderr. Exit code 0 when every phase of every system ended with the
right data, 1 when one did not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path

from benchmarks.check import Mismatch
from benchmarks.limits import measure
from benchmarks.observe import Foreign
from benchmarks.phases import Trial
from benchmarks.report import LIMITS, Figures, Results, markdown
from benchmarks.resp import ReplyError
from benchmarks.servers import Servers, busy_share, machine, servers
from benchmarks.systems import SYSTEMS, Site, SystemFailed

FEWEST_DOCUMENTS = 10_000
"""Below, one batch holds everything, and there is no time between the first and the last write."""
QUIET = 0.05
"""Share of the cores that may be busy before a run without a word about it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, print the report, write the results."""
    options = _parse(arguments)
    busy = busy_share()
    if busy > QUIET:
        _say(f"{busy:.0%} of this machine is busy with other work: expect lower figures")
    spawn = multiprocessing.get_context("spawn")  # a forked child would inherit sockets and threads
    with servers() as running, ProcessPoolExecutor(1, mp_context=spawn) as load:
        results = Results(
            options={"documents": options.documents, "rounds": options.rounds, "systems": options.systems},
            machine=machine(running, busy),
        )
        for number in range(options.rounds):
            for name in _rotated(options.systems, number):
                if name not in results.failures:
                    _say(f"round {number + 1} of {options.rounds}: {name}")
                    _run(name, running, load, options, results)
    print(markdown(results))
    if options.out:
        options.out.write_text(json.dumps(results.document(), indent=2) + "\n")
    return _verdict(results)


def _run(name: str, running: Servers, load: Executor, options: argparse.Namespace, results: Results) -> None:
    """One system, one round. A failure is said at once, and this system runs no more."""
    try:
        running.reset()
        foreign = Foreign()
        figures = _measure(name, running, load, options)
        figures["other_load"] = foreign.share()
    except (Mismatch, SystemFailed, TimeoutError, ReplyError) as error:
        results.failures[name] = f"{type(error).__name__}: {error}"
        _say(f"FAILED: {name}: {results.failures[name]}")
    else:
        results.rounds.setdefault(name, []).append(figures)
        _say(", ".join(f"{key}={value:,.2f}" for key, value in figures.items()))


def _measure(name: str, running: Servers, load: Executor, options: argparse.Namespace) -> Figures:
    if name == LIMITS:
        return load.submit(measure, running.mongo_uri, running.redis_url, options.documents).result()
    with tempfile.TemporaryDirectory(prefix="syncd-benchmark-") as folder:
        system = SYSTEMS[name](Site(running.mongo_uri, running.redis_url, Path(folder)))
        return Trial(system, options.documents, options.latency_seconds, load).run()


def _verdict(results: Results) -> int:
    for name, reason in results.failures.items():
        _say(f"FAILED: {name}: {reason}")
    return 1 if results.failures else 0


def _rotated(systems: list[str], by: int) -> list[str]:
    """Every round begins with another system, so that none always runs first."""
    at = by % len(systems)
    return systems[at:] + systems[:at]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = [*SYSTEMS, LIMITS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, help="at least 10,000 (default 100,000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--systems", default="naive,tuned,limits,syncd", help=f"some of {','.join(known)}")
    parser.add_argument("--latency-seconds", type=float, default=10.0, help="length of the latency phase")
    parser.add_argument("--out", type=Path, help="write all figures of all rounds to this JSON file")
    options = parser.parse_args(arguments)
    options.systems = options.systems.split(",")
    if unknown := [name for name in options.systems if name not in known]:
        parser.error(f"no such system: {', '.join(unknown)}; there are {', '.join(known)}")
    if options.documents < FEWEST_DOCUMENTS or options.rounds < 1 or options.latency_seconds <= 0:
        parser.error(f"--documents from {FEWEST_DOCUMENTS:,}, --rounds from 1, --latency-seconds above 0")
    return options


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
