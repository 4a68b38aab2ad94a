"""What runs leave behind is collected once for all that end together."""

from __future__ import annotations

import gc
import threading
import weakref

from syncd.lanes.garbage import Garbage
from tests.support.check import wait_until


class Run:
    """Points at itself."""

    def __init__(self) -> None:
        self.own = self


def collections() -> int:
    """Whole ones, which only `collect` begins while the collector is off."""
    return int(gc.get_stats()[-1]["collections"])


def test_many_runs_cost_few_collections() -> None:
    """The first run is collected at once, those that end right behind it together, a moment later."""
    garbage, left = Garbage(0.3), []
    gc.collect()
    gc.freeze()  # what other tests left would make each collection slow
    gc.disable()
    try:
        before = collections()
        for _ in range(50):
            left.append(weakref.ref(Run()))
            garbage.left()
        wait_until(lambda: not any(one() for one in left), 5)
        assert collections() - before < 10  # two, and what other threads of this process collect meanwhile
    finally:
        gc.enable()
        gc.unfreeze()
    wait_until(lambda: not any(isinstance(one, threading.Timer) for one in threading.enumerate()), 5)
