"""A Dask cluster whose workers can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.check import wait_until
from tests.support.cli import ROOT

if TYPE_CHECKING:
    from distributed import LocalCluster


class Cluster:
    """A scheduler in this process; each worker is a process of its own."""

    def __init__(self, local: LocalCluster) -> None:
        self._local = local
        self.address: str = local.scheduler_address

    def wait_for(self, workers: int) -> None:
        wait_until(lambda: len(self._local.scheduler.workers) == workers, 40)


@contextmanager
def dask_cluster() -> Iterator[Cluster]:
    """Without workers."""
    from distributed import LocalCluster  # takes a second, which a run without such tests does not spend

    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=None) as local:
        yield Cluster(local)


@contextmanager
def dask_worker(cluster: Cluster, **env: str) -> Iterator[subprocess.Popen[str]]:
    """One, of one thread, without a nanny that would start it again."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", cluster.address, "--no-nanny", "--nthreads", "1",
               "--no-dashboard", "--host", "127.0.0.1"]  # fmt: skip
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT), **env}, text=True, stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
