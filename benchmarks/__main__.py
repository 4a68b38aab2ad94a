"""`python -m benchmarks`: every system on the same servers, in one run, round by round.

The report goes to stdout, progress to stderr. Exit code 0 when every phase of every system ended with the
right data, 1 when one did not, 2 for wrong usage. A target that is missed, and a product of others that cannot be
installed or ends with wrong data, are reported and change nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from benchmarks.measured.servers import busy_share, machine, servers
from benchmarks.options import Options, parse
from benchmarks.results.publish import publish
from benchmarks.results.report import Results, markdown
from benchmarks.run import Run, say

QUIET = 0.05
"""Share of the cores that may be busy before a run without a warning about it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for, print the report, write the results."""
    options = parse(arguments)
    if options.publish:
        for written in publish(json.loads(options.publish.read_text())):
            say(f"written: {written}")
        return 0
    results = _measure(options)
    print(markdown(results))
    if options.out:
        options.out.write_text(json.dumps(results.document(), indent=2) + "\n")
    for name, reason in results.failures.items():
        say(f"FAILED: {name}: {reason}")
    return 1 if results.failures else 0


def _measure(options: Options) -> Results:
    busy = busy_share()
    if busy > QUIET:
        say(f"{busy:.0%} of this machine is busy with other work: expect lower figures")
    spawn = multiprocessing.get_context("spawn")  # a forked child would inherit sockets and threads
    with servers() as running, ProcessPoolExecutor(1, mp_context=spawn) as load:
        results = Results(options=options.document(), machine=machine(running, busy))
        Run(options, running, load, results).all()
        return results


if __name__ == "__main__":
    sys.exit(main())
