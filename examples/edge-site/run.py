"""A centre and two sites, of which one is cut off for a while: `python examples/edge-site/run.py`.

Starts its own servers: a MongoDB at the centre, and at each site a Redis with its daemon. All three are written while
the link of one site is cut. Exit code 0 when at the end both sides of every contract are equal, document by document.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time

from compare import differences
from edges import MACHINES, NAMES, Centre, Document, Site
from pymongo import MongoClient
from pymongo.database import Database

from syncd.embedded import ReplicaSet

PATIENCE_S = 90.0
PAUSE_S = 0.05


def main() -> None:
    """Copy, work, cut, work on, restore, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=20_000, help="documents of the catalogue")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the link is cut")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        mongo = stack.enter_context(ReplicaSet())
        database = stack.enter_context(MongoClient[Document](mongo.uri))["example_edge"]
        centre = Centre(database, given.products)
        sites = [Site(name, mongo, stack) for name in NAMES]
        hill = sites[1]
        for site in sites:
            site.daemon.wait_ready()
            say(
                f"{site.name} has its part of {given.products} products and {MACHINES} machines: {over(site)}"
            )
        turn = work(centre, sites, 0, 1.0)
        hill.link.cut()
        say("the link of hill is cut; all three go on")
        turn = work(centre, sites, turn, given.seconds / 2)
        say(f"  hill: {hill.waiting()}")
        hill.restart()
        say("  its daemon is killed, and started again while the link is cut")
        turn = work(centre, sites, turn, given.seconds / 2)
        say(f"  hill: {hill.waiting()}")
        check(hill.daemon.running, "the daemon of hill runs and waits")
        over(hill)
        hill.link.restore()
        say("the link of hill is back")
        wait_until_equal(database, sites)
        say(f"  it took {over(hill)}")
        check(all(site.stop() == 0 for site in sites), "both daemons ended by themselves")
    say(f"all equal: {turn} rounds of work at the centre and at both sites")


def work(centre: Centre, sites: list[Site], turn: int, seconds: float) -> int:
    """All three write for so long. Returns the number of rounds so far."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        turn += 1
        centre.work(turn)
        for site in sites:
            site.work(turn)
        time.sleep(PAUSE_S)
    return turn


def wait_until_equal(database: Database[Document], sites: list[Site]) -> None:
    """Wait until everything is equal, and say what there is."""
    end = time.monotonic() + PATIENCE_S
    while (found := differences(database, sites)) and time.monotonic() < end:
        time.sleep(0.2)
    counts = {name: database[name].estimated_document_count() for name in ("orders", "readings")}
    check(
        not found,
        f"{counts['orders']} orders and {counts['readings']} readings are at the centre {found or ''}",
    )
    for site in sites:
        site.daemon.wait_ready()
    check(not differences(database, sites), "products, machines, orders and readings are equal at both sites")


def over(site: Site) -> str:
    """What went over the link since the last call."""
    count, site.link.bytes_to_server, site.link.bytes_to_client = site.link.bytes, 0, 0
    return f"{count / 1000:,.0f} kB over the link"


def check(truth: bool, what: str) -> None:
    """Say what holds, or end with exit code 1."""
    if not truth:
        sys.exit(f"not as it should be: {what}")
    say(f"  ok: {what}")


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
