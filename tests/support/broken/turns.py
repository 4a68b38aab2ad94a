"""An application that does the same thing again and again while a test breaks what is around it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.check import wait_until

PAUSE_S = 0.02


class Turns(threading.Thread):
    """Calls `turn` with 0, 1, 2, ... until the block ends."""

    def __init__(self, turn: Callable[[int], None]) -> None:
        super().__init__(daemon=True)
        self._turn, self._stop_it = turn, threading.Event()
        self.turns = 0

    def run(self) -> None:
        while not self._stop_it.wait(PAUSE_S):
            self._turn(self.turns)
            self.turns += 1

    def wait_turns(self, count: int) -> None:
        wanted = self.turns + count
        wait_until(lambda: self.turns >= wanted, 30)

    def __enter__(self) -> Turns:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop_it.set()
        self.join()
