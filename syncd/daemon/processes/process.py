"""The parent's side of one worker process: starts it, sends requests, starts it again when it dies."""

from __future__ import annotations

import contextlib
import itertools
import queue
import signal
import threading
import time
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from syncd import telemetry
from syncd.contract.model.contract import Contract
from syncd.daemon.changes import Changes
from syncd.daemon.processes.worker import (
    APPLY,
    ASK,
    CHECK,
    HELLO,
    LINES,
    NOT_OURS,
    SPARKS,
    STOP,
    TREND,
    WorkerReport,
    work,
)
from syncd.daemon.supervisor import STOP_TIMEOUT_S
from syncd.daemon.trends import Points, Sparks
from syncd.plan.claims import Templates
from syncd.settings import Settings

ASK_TIMEOUT_S = 3.0
"""Below the timeout of a probe."""
APPLY_TIMEOUT_S = STOP_TIMEOUT_S + 10.0
START_TIMEOUT_S = 60.0
"""A worker that has sent nothing for longer is stuck."""
LONGEST_PAUSE_S = 30.0
CALM_S = 60.0
"""A worker that ran longer is started again at once."""
MOST_ASKED = 16
"""Requests to a worker that answers none: its pipe must not fill up, or the next request waits forever."""


class WorkerProcess(threading.Thread):
    """Keeps one worker running until `stop`. Thread-safe."""

    def __init__(self, number: int, settings: Settings) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.number = number
        self.owner = ""
        self.died = ""
        """How the last process ended, while no other runs in its place."""
        self.settings = settings
        self._content: tuple[list[Contract], Templates] = ([], ())
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._answers: dict[int, queue.SimpleQueue[Any]] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._halt = threading.Event()
        self._began = time.monotonic()

    @property
    def pid(self) -> int | None:
        """The id of the process that runs now."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    @property
    def is_watched(self) -> bool:
        """Whether the process would be started again when it dies, or is to stop."""
        return self.is_alive() or self._halt.is_set()

    @property
    def is_stuck(self) -> bool:
        """Whether the process has not come up in START_TIMEOUT_S."""
        silent = not self.owner and not self.died and not self._halt.is_set()
        return silent and time.monotonic() - self._began > START_TIMEOUT_S

    def run(self) -> None:
        """Start the process, read its answers until it ends, and start it again."""
        # A process inherits the mask: a signal to the whole group must not end one that has yet to ignore it. The
        # tracker comes first, for Python lifts the mask again when it starts that.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, NOT_OURS)
        pause = 0.0
        while not self._halt.wait(pause):
            exit_code = self._live()
            if self._halt.is_set():
                return
            ran = time.monotonic() - self._began
            pause = 0.0 if ran > CALM_S else min(LONGEST_PAUSE_S, max(0.5, 2 * pause))
            self.died = f"worker {self.number} ended with exit code {exit_code}; it is started again"
            telemetry.worker_died(self.number, exit_code, pause)

    def _live(self) -> int | None:
        """One process from its start to its end; returns its exit code, None where it could not be started."""
        self._began = time.monotonic()
        try:
            process = self._launch()
        except OSError:  # no memory, or too many processes: that may pass
            return None
        self._listen()
        process.join(5)
        return process.exitcode

    def _launch(self) -> SpawnProcess:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        # Not a daemon in the sense of Python, which may have no processes of its own: those that read for a snapshot.
        process = context.Process(
            target=work, args=(theirs, self.settings), name=f"syncd-worker-{self.number}", daemon=False
        )
        process.start()
        # Now the worker alone has that end: the pipe is closed when it dies.
        theirs.close()
        with self._lock:
            self._process, self._pipe, self.died = process, ours, ""
            with contextlib.suppress(OSError):  # the listener finds the same
                ours.send((APPLY, 0, self._content))
                if self._halt.is_set():  # asked before there was a pipe
                    ours.send((STOP, 0, None))
        return process

    def _listen(self) -> None:
        pipe = self._pipe
        assert pipe is not None
        with contextlib.suppress(EOFError, OSError):
            while True:
                word, number, content = pipe.recv()
                if word == HELLO:
                    self.owner = content
                elif (waiting := self._answers.pop(number, None)) is not None:
                    waiting.put(content)
        with self._lock:
            self._pipe, self.owner = None, ""
            pipe.close()
            for waiting in self._answers.values():
                waiting.put(None)
            self._answers.clear()

    def _call(self, word: str, content: Any) -> queue.SimpleQueue[Any]:
        """Send a request, and return the queue for the answer: None where the process ends before it answers."""
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        number = next(self._numbers)
        with self._lock:
            if word == APPLY:
                self._content = content
            if self._pipe is None:
                answer.put(None)
                return answer
            self._answers[number] = answer
            with contextlib.suppress(OSError):  # the listener finds the same, and answers
                self._pipe.send((word, number, content))
        return answer

    def _call_if_up(self, word: str, content: Any) -> queue.SimpleQueue[Any]:
        """The same; a process that is about to start gives no answer, and neither does one that owes many."""
        if not self.owner or len(self._answers) >= MOST_ASKED:
            answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
            answer.put(None)
            return answer
        return self._call(word, content)

    def begin_apply(
        self, contracts: list[Contract], templates: Templates
    ) -> queue.SimpleQueue[Changes | None]:
        """Run these contracts of a set with these templates, also in every process that replaces this one."""
        return self._call(APPLY, (contracts, templates))

    def begin_ask(self) -> queue.SimpleQueue[WorkerReport | None]:
        """Request a report."""
        return self._call_if_up(ASK, None)

    def begin_trend(self, contract: str, resolution: str) -> queue.SimpleQueue[Points | None]:
        """Request what a contract of the process did over the last time."""
        return self._call_if_up(TREND, (contract, resolution))

    def begin_sparks(self) -> queue.SimpleQueue[Sparks | None]:
        """The same of all its contracts, in few points."""
        return self._call_if_up(SPARKS, None)

    def begin_check(self, contract: str, repair: bool | None) -> queue.SimpleQueue[str | None]:
        """Have the process check one of its contracts."""
        return self._call(CHECK, (contract, repair))

    def begin_lines(self, contract: str) -> queue.SimpleQueue[list[dict[str, Any]] | None]:
        """Request the last lines of its log about a contract."""
        return self._call(LINES, contract)

    def begin_stop(self) -> None:
        """Have the process finish the batches under way."""
        self._halt.set()
        # In a thread, for a process that hangs may take nothing from its pipe: `end` ends it.
        threading.Thread(target=self._call, args=(STOP, None), name="stop", daemon=True).start()

    def end(self, deadline: float) -> None:
        """Wait until the process ends; kill it after `deadline`."""
        process = self._process
        if process is not None:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self.join(5)
