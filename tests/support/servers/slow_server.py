"""A server that gets a part of the time only, as on a machine that is far too busy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.check import meanwhile

TURN_S = 0.1


@contextmanager
def slowed(pid: int, share: float) -> Iterator[None]:
    """This process runs for a part of each tenth of a second."""

    def stand_still() -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(TURN_S * (1 - share))
        os.kill(pid, signal.SIGCONT)

    with meanwhile(stand_still, TURN_S * share):
        yield
