"""Settings of the garbage collector for a process that runs lanes."""

from __future__ import annotations

import gc

NEW_OBJECTS = 200_000
"""Well above what a lane holds: three replies of 2,000 changes, each some six containers."""


def spare_the_collector() -> None:
    """Search for cycles seldom: decoded documents have none, and searching through them took half of all CPU.

    A lane collects by itself what a run leaves behind (see `Lane.run`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)
