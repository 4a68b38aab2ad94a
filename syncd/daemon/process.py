"""One worker process as its parent sees it: started, asked, started again when it dies."""

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
from syncd.daemon.supervisor import STOP_TIMEOUT_S, Changes
from syncd.daemon.worker import APPLY, ASK, CHECK, HELLO, NOT_OURS, STOP, Report, work
from syncd.plan.claims import Templates
from syncd.settings import Settings

ASK_TIMEOUT_S = 3.0
"""Below the time that a probe gives us."""
APPLY_TIMEOUT_S = STOP_TIMEOUT_S + 10.0
START_TIMEOUT_S = 60.0
"""Above this a worker that has not said a word is stuck."""
LONGEST_PAUSE_S = 30.0
CALM_S = 60.0
"""A worker that ran longer is started again at once."""
MOST_ASKED = 16
"""Questions to a worker that answers none: its pipe must not fill up, or who asks next waits for ever."""


class WorkerProcess(threading.Thread):
    """Keeps one worker running until `stop`. Thread-safe."""

    def __init__(self, number: int, settings: Settings) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.number = number
        self.owner = ""
        self.died = ""
        """How the last one ended, while no other runs in its place."""
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
        """Of the process that runs now."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    @property
    def is_watched(self) -> bool:
        """Whether it would be started again, or is not to be."""
        return self.is_alive() or self._halt.is_set()

    @property
    def is_stuck(self) -> bool:
        """Whether it has not come up, though it had the time."""
        silent = not self.owner and not self.died and not self._halt.is_set()
        return silent and time.monotonic() - self._began > START_TIMEOUT_S

    def run(self) -> None:
        """Start it, listen until it ends, and start it again."""
        # A process inherits the mask: what the whole group gets must not end one that has yet to ignore it. The tracker
        # comes first, for Python lifts the mask again when it starts that.
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
        # Now the worker alone has that end: the pipe ends when it does.
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
        """Send, and return where the answer comes: None where it ends before it answers."""
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

    def begin_apply(
        self, contracts: list[Contract], templates: Templates
    ) -> queue.SimpleQueue[Changes | None]:
        """Run these contracts of a set with these templates, also in every process that follows this one."""
        return self._call(APPLY, (contracts, templates))

    def begin_ask(self) -> queue.SimpleQueue[Report | None]:
        """Ask how it is. One that is about to start has no answer, nor has one that owes many."""
        if not self.owner or len(self._answers) >= MOST_ASKED:
            answer: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
            answer.put(None)
            return answer
        return self._call(ASK, None)

    def begin_check(self, contract: str, repair: bool | None) -> queue.SimpleQueue[str | None]:
        """Have it compare one of its contracts."""
        return self._call(CHECK, (contract, repair))

    def begin_stop(self) -> None:
        """Have it finish what is under way."""
        self._halt.set()
        # Nobody waits for one that hangs, and takes nothing more: `end` ends it.
        threading.Thread(target=self._call, args=(STOP, None), name="stop", daemon=True).start()

    def end(self, deadline: float) -> None:
        """Wait for it to end, and end it then."""
        process = self._process
        if process is not None:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self.join(5)
