"""The workers of a daemon, for all lanes of a process that copy: opened for the first lane, closed after the last."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from functools import partial
from importlib.util import find_spec

from syncd import telemetry
from syncd.errors import SettingsError
from syncd.executors.places import OpenExecutor, dask, processes
from syncd.settings import Settings
from syncd.stores.messages import described

MOST_FAILURES = 3
"""In a row, after which no work is given to workers for a while."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
START_S, CLOSE_S, TICK_S = 60.0, 5.0, 0.1


class Pool:
    """Opens an executor, and another when that breaks. Thread-safe. No lane waits for it: a lane that finds no executor
    does the work itself."""

    def __init__(self, open_executor: OpenExecutor) -> None:
        self._open = open_executor
        self._lock = threading.Lock()
        self._users = self._failures = 0
        self._pause, self._next = FIRST_PAUSE_S, 0.0
        self._keeper: _Keeper | None = None
        self._leaving: _Keeper | None = None
        """The last one that was dropped, which may take a while to close."""

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keep the executor open while a lane has work."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._let_go()

    def executor(self) -> Executor | None:
        """The executor that is open; None while there is none. The first call begins to open one."""
        with self._lock:
            if self._keeper is not None and self._keeper.error is not None:
                self._give_up(self._keeper.error)
            if self._keeper is None and self._users and time.monotonic() >= self._next:
                self._keeper = _Keeper(self._open)
                self._keeper.start()
            return self._keeper.executor if self._keeper is not None else None

    def failed(self, executor: Executor | None, why: str, *, at_once: bool) -> None:
        """Work given to this executor failed. `at_once`: other work would fail as well."""
        with self._lock:
            if self._keeper is None or self._keeper.executor is not executor:
                return  # known
            self._failures += 1
            if at_once or self._failures >= MOST_FAILURES:
                self._give_up(why)
            else:
                telemetry.snapshot_worker_failed(why, 0.0)

    def worked(self) -> None:
        """Work was done."""
        self._failures, self._pause = 0, FIRST_PAUSE_S

    def _give_up(self, why: str) -> None:
        self._let_go()
        telemetry.snapshot_worker_failed(why, self._pause)
        self._next = time.monotonic() + self._pause
        self._pause = min(LONGEST_PAUSE_S, 2 * self._pause)
        self._failures = 0

    def _let_go(self) -> None:
        if self._keeper is not None:
            self._keeper.end.set()
            self._leaving, self._keeper = self._keeper, None

    def close(self) -> None:
        """End all workers, and start none for a lane that asks later."""
        with self._lock:
            self._next = float("inf")
            self._let_go()
        if self._leaving is not None:
            self._leaving.join(CLOSE_S)


class _Keeper(threading.Thread):
    """Opens an executor and closes it: both may take a while."""

    def __init__(self, open_executor: OpenExecutor) -> None:
        super().__init__(name="snapshot-workers", daemon=True)
        self._open = open_executor
        self.executor: Executor | None = None
        self.error: str | None = None
        self.end = threading.Event()

    def run(self) -> None:
        """The whole life of an executor."""
        try:
            with self._open() as executor:
                if self._is_up(executor.submit(_nothing)):
                    self.executor = executor
                    telemetry.snapshot_workers_ready()
                    self.end.wait()
        except Exception as error:  # noqa: BLE001 - a snapshot goes on without workers, after any error
            self.error = described(error)

    def _is_up(self, first: Future[None]) -> bool:
        """Whether a first worker is there; False when the pool is closed meanwhile. Raises TimeoutError."""
        started = time.monotonic()
        while not self.end.is_set():
            try:
                first.result(TICK_S)  # a new process takes a second for its imports
                return True
            except TimeoutError:
                if time.monotonic() > started + START_S:
                    raise
        return False


def _nothing() -> None:
    """The first work, which shows that a worker is there."""


def pool_of(settings: Settings) -> Pool | None:
    """The pool of the settings; None: lanes read by themselves."""
    if settings.dask:
        if find_spec("distributed") is None:
            raise SettingsError("SYNCD_DASK is set, and Dask is not installed; pip install 'syncd[dask]'")
        return Pool(partial(dask, settings.dask))
    return Pool(partial(processes, settings.snapshot_processes)) if settings.snapshot_processes else None
