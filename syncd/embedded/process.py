"""One child process: a server that is started, watched, frozen, killed and started again on the same data."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from syncd.errors import PlatformError

POLL = 0.025  # seconds between two checks of a process
STOP_TIMEOUT = 20.0  # seconds a server may take to end by itself
LOG_TAIL_BYTES = 64_000
LOG_TAIL_LINES = 15
LOG_LINE_LENGTH = 400

# Runs before the server, in the child: die with the parent (PR_SET_PDEATHSIG = 1), even with one that was
# killed between fork and prctl. A wrapper and not `preexec_fn`, which may deadlock in a parent with threads.
WRAPPER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


class Child(Protocol):
    """The interface of a process that was started; `subprocess.Popen` has it."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int) -> None: ...


Popen = Callable[
    [list[str], Path, "Mapping[str, str] | None"], Child
]  # command, log, what to add to the environment


class ChildProcess:
    """Starts `command` and waits until `answers()` is true.

    `answers` is called again and again from the thread that called `start`; it returns False, and
    does not raise, while the server is not there yet. Output is appended to `log`; lines that contain
    `log_noise` are left out of error messages. `env` is added to the environment. `popen` starts the process,
    in a thread that stays; by default `subprocess` does. A child never outlives this process. Not for use from
    two threads at once.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        answers: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        log_noise: str | None = None,
        popen: Popen | None = None,
    ) -> None:
        self.command = [str(part) for part in command]
        self.name = Path(self.command[0]).name
        self.log = log
        self._answers = answers
        self._env = env
        self._timeout = timeout
        self._log_noise = log_noise
        self._popen = popen or _popen
        self._child: Child | None = None

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None before the first start and while it runs; negative: the signal that ended it."""
        return None if self._child is None else self._child.poll()

    def start(self) -> None:
        """Starts and waits until the server answers; a server that does not come up is killed again."""
        self.launch()
        try:
            self.wait_ready()
        except BaseException:  # also KeyboardInterrupt: nothing may be left behind
            self.kill()
            raise

    def launch(self) -> None:
        """Starts without waiting."""
        if self.alive:
            raise PlatformError(
                f"{self.name} runs already (pid {self.pid}): stop it before it is started again"
            )
        self._child = _spawn(lambda: self._popen(self.command, self.log, self._env))

    def wait_ready(self, timeout: float | None = None) -> None:
        patience = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + patience
        while not self._answers():
            if not self.alive:
                raise PlatformError(f"{self.name} ended with exit code {self.exit_code}; {self.log_tail()}")
            if time.monotonic() > deadline:
                raise PlatformError(f"{self.name} does not answer after {patience:.0f} s; {self.log_tail()}")
            time.sleep(POLL)

    def stop(self, timeout: float = STOP_TIMEOUT) -> int | None:
        """SIGTERM, and SIGKILL after `timeout` seconds; returns the exit code. Harmless when stopped."""
        if self.alive:
            self.signal(signal.SIGTERM)
            self.resume()  # a frozen process would not see SIGTERM
            try:
                self._running().wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.exit_code

    def kill(self) -> None:
        """kill -9, and waits until it is gone; harmless when it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def pause(self) -> None:
        """SIGSTOP: keeps its sockets open and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def restart(self) -> None:
        """Ends it (gracefully, if it still runs) and starts it again with the same command."""
        self.stop()
        self.start()

    def signal(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    def log_tail(self) -> str:
        """The end of the log, for an error message."""
        try:
            text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except FileNotFoundError:
            text = ""
        lines = [line for line in text.splitlines() if not (self._log_noise and self._log_noise in line)]
        shown = "\n".join(line[:LOG_LINE_LENGTH] for line in lines[-LOG_TAIL_LINES:])
        return f"the end of {self.log}:\n{shown or '(empty)'}"

    def _running(self) -> Child:
        if self._child is None:
            raise PlatformError(f"{self.name} was not started")
        return self._child

    def __enter__(self) -> Self:
        if not self.alive:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _popen(command: list[str], log: Path, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    wrapper = [sys.executable, "-I", "-S", "-c", WRAPPER, str(os.getpid())]
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - no shell, and the caller names the program
            [*wrapper, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,  # Ctrl-C at the terminal is for us; we then stop servers in order
        )


_Start = Callable[[], Child]


class _Spawner(threading.Thread):
    """The one thread that starts children, as long as this process lives.

    PR_SET_PDEATHSIG fires when the *thread* that forked ends, not the process: a child started from a
    short-lived worker thread would be killed with that thread.
    """

    def __init__(self) -> None:
        super().__init__(name="syncd-spawner", daemon=True)
        self._work: queue.SimpleQueue[tuple[_Start, Future[Child]]] = queue.SimpleQueue()

    def submit(self, start: _Start) -> Future[Child]:
        result: Future[Child] = Future()
        self._work.put((start, result))
        return result

    def run(self) -> None:
        while True:
            start, result = self._work.get()
            try:
                result.set_result(start())
            except BaseException as error:  # noqa: BLE001 - what waits for the child gets every error
                result.set_exception(error)


_spawner: _Spawner | None = None
_spawner_lock = threading.Lock()


def _spawn(start: _Start) -> Child:
    global _spawner  # noqa: PLW0603 - one a process is the point
    with _spawner_lock:
        if _spawner is None or not _spawner.is_alive():  # not alive: we are a fork of the process that had it
            _spawner = _Spawner()
            _spawner.start()
    return _spawner.submit(start).result()
