"""A server that gets a part of the time only, as on a machine that is far too busy."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

TURN_S = 0.1


@contextmanager
def slowed(pid: int, share: float) -> Iterator[None]:
    """This process runs for a part of each tenth of a second."""
    stop = threading.Event()

    def turn() -> None:
        while not stop.wait(TURN_S * share):
            os.kill(pid, signal.SIGSTOP)
            stop.wait(TURN_S * (1 - share))
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        os.kill(pid, signal.SIGCONT)
