"""Where the ranges of a check are worked on: processes of this machine, or a Dask cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context, parent_process

from syncd.errors import FatalError, SettingsError

CONNECT_S = 10
"""To find the scheduler, and a first worker."""


@contextlib.contextmanager
def processes(count: int) -> Iterator[Executor]:
    """So many processes of this machine."""
    executor = ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _begin() -> None:
    """In a new process: Ctrl-C on a terminal reaches it too, but its parent decides; and it ends when that does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # nobody waits for what it does, which only reads


@contextlib.contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, as they come and go. A range of one that dies goes to another."""
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError("Dask is not installed; pip install 'syncd[dask]'") from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="syncd-reconcile")
    except (OSError, ValueError) as error:
        raise FatalError("dask", f"no scheduler at {address}: {error}; is it up?") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_S)
        except TimeoutError:
            raise FatalError("dask", f"the scheduler at {address} has no worker; start one") from None
        # Not pure: the same range looked at again is another look.
        with client.get_executor(pure=False) as executor:
            yield executor
