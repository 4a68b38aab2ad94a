"""When changes become visible in Redis, and what a process costs. Light: two cores carry everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil  # type: ignore[import-untyped,unused-ignore]

from benchmarks.measured.nodes import Nodes
from benchmarks.measured.resp import Resp
from benchmarks.measured.workload import PLAIN, Shape

POLL_S = 0.004
SAMPLE_S = 0.1


class Sentinels:
    """A few documents watched for a version. One round trip of at most 32 reads every 4 ms."""

    def __init__(
        self, redis: Resp | Nodes, numbers: Iterable[int], version: int, shape: Shape = PLAIN
    ) -> None:
        self._redis = redis
        self._reads = [shape.version(number) for number in numbers]
        self._version = version

    def visible(self) -> int:
        """How many of them show the version, or a later one."""
        return sum(int(shown or 0) >= self._version for shown in self._redis.call_many(self._reads))

    def any(self) -> bool:
        """Whether one of them shows it."""
        return self.visible() > 0

    def all(self) -> bool:
        """Whether all of them show it."""
        return self.visible() == len(self._reads)


def wait(
    condition: Callable[[], bool],
    what: str,
    timeout_s: float,
    alive: Callable[[], None],
    poll_s: float = POLL_S,
) -> float:
    """The monotonic time at which the condition was first seen to hold.

    `alive` is called before every pause, and raises when waiting is in vain.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        alive()
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(poll_s)
    return time.monotonic()


class Usage:
    """Resident memory and CPU time of a process with its children, sampled by a thread until `stop`."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._family = [self._root]
        self._stop = threading.Event()
        self.peak_bytes = 0
        self.last_bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling."""
        self._stop.set()
        self._thread.join()

    def cpu_seconds(self) -> float:
        """User and system time so far: the process, its ended children, its living children."""
        seconds = 0.0
        for process in self._family:
            with suppress(psutil.NoSuchProcess):
                seconds += cpu_seconds(process)
        return seconds

    def _run(self) -> None:
        samples = 0
        while not self._stop.wait(SAMPLE_S):
            try:
                if samples % 10 == 0:
                    self._family = [self._root, *self._root.children(recursive=True)]
                samples += 1
                self._sample()
            except psutil.NoSuchProcess:
                continue

    def _sample(self) -> None:
        resident = sum(process.memory_info().rss for process in self._family)
        if resident:
            self.last_bytes = resident
            self.peak_bytes = max(self.peak_bytes, resident)


class Foreign:
    """How much of the machine others used: figures of a round with much of it are worth little."""

    def __init__(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """The share of all cores, since this object was made, that nothing of the benchmark used."""
        total, busy, own = (after - before for after, before in zip(self._now(), self._start, strict=True))
        return max(0.0, busy - own) / total if total else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        """Seconds of all cores together: of any kind, busy, and busy for this process and its descendants."""
        times = psutil.cpu_times()
        total = sum(times) - times.guest - times.guest_nice  # both are part of `user` and `nice`
        return total, total - times.idle - times.iowait, _own_seconds()


def _own_seconds() -> float:
    this = psutil.Process()
    seconds = 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            seconds += cpu_seconds(process)
    return seconds


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process and of its ended children."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
