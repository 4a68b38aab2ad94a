"""Starts `syncd` as a fork of a process that has imported it already.

A run of all tests starts syncd about a thousand times, and three quarters of the CPU of a start are imports. The
process that comes out of it is one like any other: own pid, session, signals, environment and log. What is left out is
the start of Python, the imports, and at the end the freeing of modules; examples and demo are tested with these.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import linecache
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tests.support.check import PATIENCE_S

ROOT = Path(__file__).parents[2]
LONGEST_REQUEST = 200_000  # bytes: arguments and environment
SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
# What `syncd run` has imported by the time that it is ready, and no more: memory is measured.
IMPORTS = (
    "syncd.cli",
    "syncd.daemon.collector",
    "syncd.daemon.reload",
    "syncd.daemon.supervisor",
    "syncd.daemon.processes.workers",
    "syncd.ops.http",
    "syncd.ops.connections",
    "syncd.ops.checks.settings",
    "syncd.ops.console.routes",
    "typer._adapters",
    "anyio.lowlevel",
    "anyio._backends._asyncio",
    "anyio._core._synchronization",
    "importlib.resources.readers",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.lifespan.off",
    "uvicorn.loops.asyncio",
)
# PyMongo notes where a client was made, with the text of each line, and so reads these files at every start.
READ = ("typer.main", "typer.core", "typer._click.core", "syncd.cli", "syncd.cli.run", "syncd.ops.checks.settings",
        "syncd.stores.mongo.store", "pymongo.settings_shared", "pymongo.synchronous.mongo_client")  # fmt: skip


AT_ONCE_S = 0.1
"""Another thread that asks how a process does waits so long for one that waits for its end."""


class Forked:
    """Has the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._lock = threading.Lock()
        self._status = status  # where the zygote writes the exit code
        self._code: int | None = None

    def poll(self) -> int | None:
        self._await(0)
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        self._await(timeout)
        if self._code is None:
            raise subprocess.TimeoutExpired(f"syncd (pid {self.pid})", timeout or 0)
        return self._code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended, and the zygote has not told so yet
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _await(self, timeout: float | None) -> None:
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            with self._lock:
                if self._code is not None:
                    return
                if select.select([self._status], [], [], min(max(left, 0), AT_ONCE_S))[0]:
                    self._code = int(os.read(self._status, 100) or -signal.SIGKILL)
                    os.close(self._status)
            if left <= 0:
                return


class Zygote:
    """The process that is forked. One for each process that runs tests."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        ours.settimeout(PATIENCE_S)
        self._lock = threading.Lock()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdout: BinaryIO,
        stderr: BinaryIO,
    ) -> Forked:
        """`syncd` with these arguments and exactly this environment."""
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd)}
        status, its_end = os.pipe()
        try:
            with self._lock:
                given = [stdout.fileno(), stderr.fileno(), its_end]
                socket.send_fds(self._socket, [json.dumps(request).encode()], given)
                answer = self._socket.recv(100).decode()
        except OSError as error:
            self.process.kill()  # whatever it answers later is not for the next request
            raise RuntimeError(f"the zygote does not answer: {error}") from error
        finally:
            os.close(its_end)
        if not answer.isdigit():
            raise RuntimeError(f"no process was started: {answer or f'exit code {self.process.wait()}'}")
        return Forked(int(answer), status)

    def stop(self) -> None:
        self._socket.close()
        self.process.wait()


_zygotes: list[Zygote] = []
_one_at_a_time = threading.Lock()


def zygote() -> Zygote:
    """The one that is there, or another where it has ended."""
    with _one_at_a_time:
        if not _zygotes or _zygotes[-1].process.poll() is not None:
            _zygotes.append(Zygote())
        return _zygotes[-1]


def processes() -> list[int]:
    """The pid of the one that is forked, where it was started."""
    return [one.process.pid for one in _zygotes]


def stop() -> None:
    for one in _zygotes:
        one.stop()
    _zygotes.clear()


def _serve(server: socket.socket) -> None:
    """Returns in each child, as the process that was asked for."""
    children: dict[int, int] = {}
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([server, woken], [], [])
        if woken in ready:
            os.read(woken, 1000)
            _tell_ended(children)
        if server in ready:
            message, (out, err, status), _, _ = _receive(server)
            try:
                pid = os.fork()
            except OSError as error:  # there is no memory for it just now
                for end in (out, err, status):
                    os.close(end)
                server.send(str(error).encode())
                continue
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (server.detach(), woken, wake, status, *children.values()):
                    os.close(end)
                _become(json.loads(message), out, err)
                return
            children[pid] = status
            os.close(out)
            os.close(err)
            server.send(str(pid).encode())


def _receive(server: socket.socket) -> Any:
    received = socket.recv_fds(server, LONGEST_REQUEST, 3)
    if not received[0]:
        os._exit(0)  # the process that asked for processes has ended
    return received


def _tell_ended(children: dict[int, int]) -> None:
    while children:
        pid, state = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        status = children.pop(pid)
        with suppress(BrokenPipeError):  # the caller has ended
            os.write(status, str(os.waitstatus_to_exitcode(state)).encode())
        os.close(status)


def _become(request: dict[str, Any], out: int, err: int) -> None:
    os.setsid()
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.argv[1:] = request["arguments"]


def _leave(code: int) -> None:
    """As Python ends, but for freeing every module: that would copy all memory that is still shared with the zygote."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads that are no daemons
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for _name in IMPORTS:
        importlib.import_module(_name)
    for _name in READ:
        linecache.getlines(importlib.import_module(_name).__file__ or "")
    sys.modules["syncd.stores.redis.connect.url"].driver_info()
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    try:
        sys.modules["syncd.cli"].main()
    except SystemExit as _end:
        if not isinstance(_end.code, int | None):
            raise
        _leave(_end.code or 0)
