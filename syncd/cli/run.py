"""`syncd run`: the daemon."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import contextlib
import queue
import signal
import threading
from collections.abc import Callable
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.shared import Contracts

if TYPE_CHECKING:
    from syncd.daemon.approvals import Approvals
    from syncd.daemon.supervisor import Runner
    from syncd.ops.console.routes import Console
    from syncd.ops.http import HttpServer
    from syncd.settings import Settings
    from syncd.stores.redis.store import RedisStore

Http = Annotated[str | None, typer.Option("--http", help="Address of probes and metrics (SYNCD_HTTP).")]
Partition = Annotated[
    str | None,
    typer.Option("--partition", help="2/4: the second of four parts of every contract (SYNCD_PARTITION)."),
]
WorkerCount = Annotated[
    int | None, typer.Option("--workers", help="Processes that share the contracts (SYNCD_WORKERS).")
]
Split = Annotated[
    bool | None, typer.Option("--split", help="Each worker takes a part of every contract (SYNCD_SPLIT).")
]
SnapshotProcesses = Annotated[
    int | None,
    typer.Option(
        "--snapshot-processes", help="Processes that read for snapshots (SYNCD_SNAPSHOT_PROCESSES)."
    ),
]
Dask = Annotated[
    str | None,
    typer.Option("--dask", metavar="ADDRESS", help="A Dask cluster that reads for snapshots (SYNCD_DASK)."),
]


APPROVALS_S = 2.0
"""How long a start waits for a Redis that does not answer, to know which edits are approved."""


def run(
    contracts: Contracts = None,
    http: Http = None,
    partition: Partition = None,
    workers: WorkerCount = None,
    split: Split = None,
    snapshot_processes: SnapshotProcesses = None,
    dask: Dask = None,
) -> None:
    """Run the daemon until SIGTERM, SIGINT or SIGQUIT. Batches under way are finished and committed first, which
    takes a moment, or some seconds where a server does not answer. SIGHUP reads the contracts again."""
    from syncd import telemetry
    from syncd.contract.read.load import load_contract_set
    from syncd.daemon.collector import spare_the_collector
    from syncd.daemon.discovery import Discovery
    from syncd.daemon.processes.workers import Workers
    from syncd.daemon.reload import Reloader, stamp
    from syncd.daemon.supervisor import Supervisor
    from syncd.ops.checks.settings import check_uris
    from syncd.ops.console.routes import Console
    from syncd.settings import Settings, contract_environment
    from syncd.stores.redis.store import RedisStore

    settings = Settings.from_environment(
        contracts=contracts, http=http, partition=partition, workers=workers, split=split,
        snapshot_processes=snapshot_processes, dask=dask,
    )  # fmt: skip
    _prepare(settings)
    stop = threading.Event()
    asked = _asked_by_signals()
    check_uris(settings)
    seen = stamp(settings.contracts)
    loaded = load_contract_set(settings.contracts, contract_environment())
    runner: Runner = Workers(settings) if settings.workers > 1 else Supervisor(settings)
    discovery = Discovery(settings, lambda: runner.as_dict()["lanes"])
    console = Console(runner, settings)
    try:
        store = cache(lambda: RedisStore.of(settings))
        reloader = Reloader(
            settings.contracts, runner, discovery, stop, seen, _approvals(store), settings.discover_every
        )
        plans = reloader.take(loaded)
        server = _server(runner, settings, lambda: store().renewed(), console)
        server.start()
        spare_the_collector()
        reloader.begin()
        host = settings.http_address[0]
        telemetry.daemon_started(http=f"http://{host}:{server.port}", contracts=[plan.name for plan in plans])
        while (name := _next(asked)) == signal.SIGHUP.name:
            reloader.reload()
        telemetry.daemon_stopping(name)
        stop.set()
        reloader.join(5)
    finally:
        runner.stop()
        discovery.close()
        console.close()
    server.stop()
    telemetry.daemon_stopped()


def _prepare(settings: Settings) -> None:
    """What this process needs before it does anything."""
    from syncd import telemetry
    from syncd.ops.connections import raise_descriptors

    telemetry.configure_logging(settings.log_level, settings.log_format)
    raise_descriptors()
    _warn_of_unknown_variables()


def _warn_of_unknown_variables() -> None:
    from syncd import telemetry
    from syncd.settings import unknown_variables

    for name, meant in unknown_variables().items():
        telemetry.setting_unknown(name, meant)


def _approvals(store: Callable[[], RedisStore]) -> Approvals:
    """Which edits may be taken up."""
    from syncd.daemon.approvals import Approvals
    from syncd.settings import contract_environment

    return Approvals(cache(lambda: store().with_timeout(APPROVALS_S)), contract_environment())


def _server(
    runner: Runner, settings: Settings, store: Callable[[], RedisStore], console: Console
) -> HttpServer:
    """What answers over HTTP."""
    from syncd.ops.http import HttpServer, application

    app = application(runner, store, settings.token_text, settings.http_hosts.split(","), console.routes)
    return HttpServer(app, settings.http_address)


def _asked_by_signals() -> queue.SimpleQueue[str]:
    """A queue that gets the name of each signal from now on."""
    # A handler runs between any two steps of this thread. In the middle of `Event.wait` it would wait forever for the
    # lock that `Event.set` needs; `put` of this queue needs none.
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_signal(number: int, _: FrameType | None) -> None:
        asked.put(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, on_signal)
    return asked


def _next(asked: queue.SimpleQueue[str]) -> str:
    """The next signal. One that comes right before the wait does not interrupt it, so the wait is short."""
    while True:
        with contextlib.suppress(queue.Empty):
            return asked.get(timeout=1.0)
