"""`python -m tests.simulation --seeds 1000`: runs seeds, and prints how to repeat one that fails."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from itertools import chain

from tests.simulation.standins import import_syncd

HASH_SEED = "0"
"""The order of sets is part of a schedule."""
COLLECT_EVERY = 50
WAYS = {
    "both": "contracts that go both ways",
    "each": "contracts with a key for each element of an array",
    "members": "contracts whose documents share keys",
    "joins": "contracts whose documents show others",
    "shared": "contracts with hashes that an application shares",
}


def main() -> int:
    """The exit code."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        environment = {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        os.execve(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]], environment)
    parser = argparse.ArgumentParser(prog="make simulate")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--also", default="", help="these too, with commas between them")
    for way, what in WAYS.items():
        parser.add_argument(f"--{way}", dest="way", action="store_const", const=way, default="", help=what)
    parser.add_argument("--seed", type=int, help="one alone, with all that happens in it")
    parser.add_argument("--most-failures", type=int, default=10, help="end after so many")
    parser.add_argument("--verbose", action="store_true", help="a line a seed")
    parser.add_argument(
        "--guards", action="store_true", help="take out each guard, and run the seed that finds it"
    )
    parser.add_argument(
        "--search", action="store_true", help="with --guards: look for such a seed among --seeds"
    )
    parser.add_argument("--only", default="", help="guards whose name has this")
    options = parser.parse_args()
    import_syncd()
    gc.freeze()
    gc.disable()  # what it closes would be closed at another moment in each run
    from tests.simulation.run import run

    if options.guards:
        return _guards(options)
    if options.seed is not None:
        result = run(options.seed, options.way, traced=True)
        print(*result.trace, sep="\n")
        print(result.what or "every promise held")
        return int(bool(result.promise))
    way = f"--{options.way} " if options.way else ""
    began, failures, steps, done = time.process_time(), 0, 0, 0
    also = map(int, filter(None, options.also.split(",")))
    for seed in chain(also, range(options.first, options.first + options.seeds)):
        result = run(seed, options.way)
        if options.verbose:
            print(f"seed {seed}: {result.steps} steps {result.what}")
        steps, done = steps + result.steps, done + 1
        if result.promise:
            failures += 1
            print(f'seed {seed}: {result.what}\n  make simulate ARGS="{way}--seed {seed}"', flush=True)
            if failures == options.most_failures:
                break
        if done % COLLECT_EVERY == 0:
            gc.collect()
        if done % 5000 == 0:
            print(f"{done} seeds", flush=True)
    spent = time.process_time() - began
    print(
        f"{done} seeds, {failures} failures, {steps} steps, {spent:.1f} s of CPU, "
        f"{done * 60 / spent:.0f} seeds a minute of it"
    )
    return int(bool(failures))


def _guards(options: argparse.Namespace) -> int:
    from tests.simulation.both.guards import BOTH_GUARDS
    from tests.simulation.guards.joins import JOIN_GUARDS
    from tests.simulation.guards.keys import GUARDS
    from tests.simulation.guards.members import MEMBER_GUARDS
    from tests.simulation.run import run

    missed = 0
    for guard in GUARDS + MEMBER_GUARDS + JOIN_GUARDS + BOTH_GUARDS:
        if options.only not in guard.name:
            continue
        found = ""
        with guard.taken_out():
            library = guard.library()
            more = range(options.first, options.first + options.seeds) if options.search else []
            for seed in [guard.seed, *more]:
                result = run(seed, guard.way, library=library)
                if result.promise == guard.promise:
                    found = f"seed {seed}, {result.promise} | {result.what[:160]}"
                    break
        missed += not found
        print(f"{guard.name}: {found or 'not found'}", flush=True)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
