"""A worker process: runs the lanes of its share, and carries out what its parent requests over a pipe.

The parent sends `apply` with contracts, `ask`, `check`, `lines` and `trend` with the name of one, `sparks`, and `stop`;
each is answered with the number of the request. When the pipe is closed the parent is gone, and the worker ends at
once. That is no worse than a kill, and every promise holds through one.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from syncd import telemetry
from syncd.daemon.collector import spare_the_collector
from syncd.daemon.supervisor import Supervisor, compile_set
from syncd.settings import Settings

APPLY, ASK, CHECK, LINES, TREND, SPARKS, STOP, HELLO = (
    "apply", "ask", "check", "lines", "trend", "sparks", "stop", "hello",
)  # fmt: skip
ORPHANED, BROKEN = 1, 70
"""Exit codes."""
NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
"""Ctrl-C at a terminal and a service manager reach the whole group; the parent stops its workers in order."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The state of a worker."""

    alive: bool
    lanes: list[dict[str, Any]]
    metrics: str


def work(pipe: Connection, settings: Settings) -> None:
    """The whole life of a worker."""
    for number in NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    telemetry.configure_logging(settings.log_level, settings.log_format)
    worker = _Worker(pipe, settings)
    spare_the_collector()
    worker.serve()


class _Worker:
    def __init__(self, pipe: Connection, settings: Settings) -> None:
        self._pipe, self._settings = pipe, settings
        self._supervisor = Supervisor(settings)
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[str, int, Any]] = queue.SimpleQueue()

    def serve(self) -> None:
        """Answer until the parent closes the pipe."""
        threading.Thread(target=self._do, name="worker", daemon=True).start()
        self._send(HELLO, 0, self._supervisor.owner)
        try:
            while True:
                word, number, content = self._pipe.recv()
                if word == ASK:
                    self._send(ASK, number, self._report())
                elif word == CHECK:
                    self._send(CHECK, number, self._supervisor.check(*content))
                elif word == LINES:
                    self._send(LINES, number, self._supervisor.lines(content))
                elif word == TREND:
                    self._send(TREND, number, self._supervisor.trend(*content))
                elif word == SPARKS:
                    self._send(SPARKS, number, self._supervisor.sparks())
                else:
                    self._work.put((word, number, content))
        except (EOFError, OSError):
            os._exit(ORPHANED)

    def _do(self) -> None:
        """Requests that take long, in a thread of their own: the others are answered meanwhile."""
        try:
            while True:
                word, number, content = self._work.get()
                if word == APPLY:
                    contracts, templates = content
                    plans = compile_set(contracts, self._settings, templates)
                    self._send(APPLY, number, self._supervisor.exchange(plans))
                else:
                    self._supervisor.stop()
                    telemetry.flush_dead_letters()
                    self._send(STOP, number, None)
                    os._exit(0)
        except OSError:
            os._exit(ORPHANED)
        except Exception:  # noqa: BLE001 - the parent starts a new one
            telemetry.reload_failed()
            os._exit(BROKEN)

    def _report(self) -> WorkerReport:
        said = self._supervisor
        return WorkerReport(said.alive, [lane.status.as_dict() for lane in said.lanes], said.metrics())

    def _send(self, word: str, number: int, content: Any) -> None:
        with self._lock:
            self._pipe.send((word, number, content))
