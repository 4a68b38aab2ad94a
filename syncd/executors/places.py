"""Where parts of large work are done: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeAlias

from syncd.errors import FatalError, SettingsError
from syncd.text import host_of

OpenExecutor: TypeAlias = Callable[[], contextlib.AbstractContextManager[Executor]]
"""Called again when an executor broke."""

CONNECT_S = 10
"""To find the scheduler, and a first worker."""


@contextlib.contextmanager
def processes(count: int) -> Iterator[Executor]:
    """`count` processes of this machine. They are killed at the end, or when this process dies."""
    context = get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(count, context, initializer=_begin, initargs=(theirs,))
    try:
        yield executor
    finally:
        ours.close()
        for process in list((executor._processes or {}).values()):  # kill_workers() from Python 3.14 on
            process.kill()  # also one that hangs: to wait for it would take forever
        executor.shutdown(cancel_futures=True)
        theirs.close()


def _begin(pipe: Connection) -> None:
    """In a new process: ignore the signals that a terminal or a service manager sends to all; the parent decides."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(pipe,), name="parent", daemon=True).start()


def _end_with(pipe: Connection) -> None:
    """End this process when the pipe is closed; nothing is sent through it."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    os._exit(1)  # its work is only reading


@contextlib.contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, as they come and go. Work of one that dies goes to another."""
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError("Dask is not installed; pip install 'syncd[dask]'") from None
    shown = host_of(address)
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="syncd")
    except Exception:  # noqa: BLE001 - Dask has many kinds, and they quote the address
        raise FatalError("dask", f"no answer from a scheduler at {shown}; is it up?") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            raise FatalError("dask", f"the scheduler at {shown} has no worker; start one") from None
        # Not pure: the same call may have another result later.
        executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            with contextlib.suppress(Exception):  # of a client that lost its scheduler
                executor.shutdown(wait=False)  # a worker that hangs would block forever
