"""How the interpreter's memory is looked after in a process that runs lanes."""

from __future__ import annotations

import gc

NEW_OBJECTS = 200_000
"""Well above what a lane holds: three replies of 2,000 changes, each some six containers."""


def spare_the_collector() -> None:
    """Look for cycles seldom: what is decoded has none, and searching through it took half of all CPU.

    Lanes collect by themselves what a run leaves behind (see `Lane.run`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)
