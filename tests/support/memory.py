"""How much memory a process takes while something happens."""

from __future__ import annotations

import threading

import psutil

MB = 1_000_000
EVERY_S = 0.05


class Memory(threading.Thread):
    """Measures the memory of a process until the block ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._done = threading.Event()
        self.seen: list[float] = []

    def run(self) -> None:
        while True:
            self.seen.append(self._process.memory_info().rss / MB)
            if self._done.wait(EVERY_S):
                return

    @property
    def most(self) -> float:
        """Megabytes."""
        return max(self.seen)

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.join()
