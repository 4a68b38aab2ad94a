"""`syncd reconcile`: compare both sides of a contract, and have the lane repair what differs."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from syncd.cli.shared import DIFFERENCE, USAGE, Contracts, Output, contract_names, store_of
from syncd.text import escaped, escaped_all

if TYPE_CHECKING:
    from syncd.plan.base import ContractPlan
    from syncd.reconcile.kinds import AnyCheck
    from syncd.reconcile.ranges.bulk import Bulk
    from syncd.reconcile.report import ReconcileReport
    from syncd.settings import Settings
    from syncd.stores.mongo.store import MongoStore
    from syncd.stores.redis.store import RedisStore

    Make: TypeAlias = Callable[[MongoStore, RedisStore, threading.Event], AnyCheck | Bulk]

Kind: TypeAlias = Literal["full", "digest"]
Preference: TypeAlias = Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]

SHOWN = 20
"""Differences that the text names; `-o json` has more."""
_REFRESH_S = 0.2
_IN_FULL = "`--processes` and `--dask` compare in full; leave them out with `--check digest`"


def reconcile(
    contract: Annotated[str, typer.Argument(help="Name of the contract.", autocompletion=contract_names)],
    repair: Annotated[
        bool, typer.Option("--repair", help="Have the running daemon repair what differs.")
    ] = False,
    kind: Annotated[
        Kind | None, typer.Option("--check", help="How to compare; without it as the contract says.")
    ] = None,
    rate: Annotated[
        int, typer.Option("--rate", min=0, help="Documents a second at most; 0: as fast as it goes.")
    ] = 0,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait for the daemon's lane.")] = 30.0,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, max=256, help="Check ranges of documents in so many processes."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Check ranges by the workers of this Dask scheduler."),
    ] = None,
    range_documents: Annotated[
        int, typer.Option("--range", min=1, help="Documents of a range, about.")
    ] = 50_000,
    read_preference: Annotated[
        Preference | None,
        typer.Option(
            "--read-preference",
            metavar="MODE",
            help="Where documents are read, such as secondaryPreferred; without it as the contract says.",
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Show what earlier checks found, and check nothing.")
    ] = False,
    contracts: Contracts = None,
    output: Output = "text",
) -> None:
    """Compare every document with its keys, and every key with its document. Exit code 1 when they differ and
    were not repaired, or when the check could not be finished. Ctrl-C ends it in order; with `--processes` or `--dask`
    the same call goes on later with the ranges that are left."""
    from syncd.settings import Settings

    if history:
        _show_history(contract, output)
        return
    settings = Settings.from_environment(contracts=contracts)
    plan = _plan_of(contract, settings)
    if kind == "digest" and (processes or dask):
        raise typer.BadParameter(_IN_FULL)
    mode = read_preference or _preference(plan)
    if processes or dask:
        make = _bulk(plan, settings, repair, rate, wait, processes, dask, range_documents, mode)
    else:
        make = _whole(plan, settings, repair, _by_digest(kind, plan), rate, wait, mode)
    report = _run(plan, settings, make)
    if output == "json":
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        _print(escaped_all(report.as_dict()))
    raise typer.Exit(0 if report.result in ("clean", "repaired") else DIFFERENCE)


def _plan_of(name: str, settings: Settings) -> ContractPlan:
    from syncd.contract.read.load import load_contract_set
    from syncd.contract.several import OF, collection_of, for_collection
    from syncd.plan.kinds import compile_any
    from syncd.settings import contract_environment

    loaded = load_contract_set(settings.contracts, contract_environment())
    whole = next(
        (one.contract for one in loaded.contracts if one.contract.name == name.partition(OF)[0]), None
    )
    if whole is None:
        known = ", ".join(sorted(entry.contract.name for entry in loaded.contracts)) or "none"
        typer.echo(escaped(f"no contract {name} in {settings.contracts}; there are: {known}"), err=True)
        raise typer.Exit(USAGE)
    collection = collection_of(whole, name) if whole.patterns else None
    contract = for_collection(whole, collection) if collection else whole
    if contract is None or contract.patterns or contract.name != name:
        what = f"contract {whole.name} is over {whole.shown_collection}"
        remedy = (
            f"name one collection, such as {whole.name}{OF}db.users"
            if whole.patterns
            else "it has one collection"
        )
        typer.echo(escaped(f"{what}; {remedy}"), err=True)
        raise typer.Exit(USAGE)
    return compile_any(contract, settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None)


def _by_digest(kind: Kind | None, plan: ContractPlan) -> bool:
    planned = plan.contract.reconcile
    return kind == "digest" or (kind is None and planned is not None and planned.check == "digest")


def _preference(plan: ContractPlan) -> str:
    planned = plan.contract.reconcile
    return planned.read_preference if planned else "primary"


def _whole(
    plan: ContractPlan, settings: Settings, repair: bool, by_digest: bool, rate: int, wait: float, mode: str
) -> Make:
    from syncd.reconcile.check import Order
    from syncd.reconcile.kinds import new_check
    from syncd.stores.mongo.store import read_preference

    order = Order(
        repair=repair, by_digest=by_digest, chunk=settings.chunk_documents, rate=rate, wait_s=wait,
        read_preference=read_preference(mode),
    )  # fmt: skip
    return lambda mongo, redis, stop: new_check(plan, mongo, redis, order, settings.site, stop)


def _bulk(
    plan: ContractPlan,
    settings: Settings,
    repair: bool,
    rate: int,
    wait: float,
    count: int | None,
    address: str | None,
    size: int,
    mode: str,
) -> Make:
    from syncd.executors.places import dask, processes
    from syncd.plan.to_redis.compile import Plan
    from syncd.reconcile.ranges.bulk import Bulk, BulkOrder
    from syncd.settings import dask_address

    if not isinstance(plan, Plan):
        typer.echo(f"contract {plan.name} has changes from Redis, and is compared by one process", err=True)
        raise typer.Exit(USAGE)
    if count and address:
        typer.echo("--processes and --dask are two places for the same work; give one of them", err=True)
        raise typer.Exit(USAGE)
    try:
        where = partial(dask, dask_address(address)) if address else partial(processes, count or 1)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--dask") from None
    order = BulkOrder(repair, size, settings.chunk_documents, rate, wait, mode)
    return lambda mongo, redis, stop: Bulk(plan, mongo, redis, order, where, stop)


def _run(plan: ContractPlan, settings: Settings, make: Make) -> ReconcileReport:
    from syncd.reconcile.report import keep_report
    from syncd.stores.mongo.store import MongoStore, translated
    from syncd.stores.redis.store import RedisStore

    mongo = MongoStore.of(settings)
    redis = RedisStore.of(settings)
    with contextlib.closing(mongo), contextlib.closing(redis), _interruptible() as stop:
        mongo.connect()
        redis.connect()
        database, collection = plan.namespace
        with translated():
            total = mongo.client[database][collection].estimated_document_count()
        check = make(mongo, redis, stop)
        with _progress(total, lambda: check.report.documents):
            report = check.run()
        keep_report(redis, report)
        return report


@contextlib.contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C; the second one has its usual effect, and does no harm either."""
    stop = threading.Event()
    asked: list[int] = []

    def on_signal(number: int, _: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        # A handler must not wait for the lock of an event that this very thread holds.
        threading.Thread(target=stop.set, daemon=True).start()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _progress(total: int, done: Callable[[], int]) -> Iterator[None]:
    """A progress bar, where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, end = bar.add_task("", total=total), threading.Event()

        def follow() -> None:
            while not end.wait(_REFRESH_S):
                bar.update(task, completed=done(), total=max(total, done()))

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join()


def _print(said: dict[str, Any]) -> None:
    how = f"{said['keys']} keys scanned"
    if said["check"] == "digest":
        how = f"{said['compared']} of them in full"
    typer.echo(
        f"{said['contract']}: {said['documents']} documents compared in {said['seconds']:.1f} s, {how}: {_drift(said)}"
    )
    for example in said["examples"][:SHOWN]:
        fields = f" ({', '.join(example['fields'])})" if example["fields"] else ""
        typer.echo(f"  {example['kind']:8}{example['projection']}  {example['key']}{fields}")
    if (more := sum(said["drift"].values()) - len(said["examples"][:SHOWN])) > 0:
        typer.echo(f"  and {more} more")
    for line in _remarks(said):
        typer.echo(line)


def _drift(said: dict[str, Any]) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in said["drift"].items() if count)
    return found or ("no drift so far" if said["ended"] else "no drift")


def _remarks(said: dict[str, Any]) -> Iterator[str]:
    if said["repair"] and any(said["drift"].values()):
        yield f"repaired {said['repaired']}, {said['left']} left"
    if said["dead_letters"]:
        see = f"`syncd deadletters list {said['contract']}`"
        yield f"{said['dead_letters']} keys wait behind dead letters; {see}"
    if fails := said["filter_fails"]:
        more = f" and {len(fails) - SHOWN} more" if len(fails) > SHOWN else ""
        yield f"the contract's filter fails on {', '.join(fails[:SHOWN])}{more}: nothing is known of their keys"
    if said["expired"]:
        yield f"{said['expired']} keys are not there, and may have expired"
    if said["unsettled"]:
        yield f"{said['unsettled']} documents are undecided: they changed all the time, or the lane did not come up"
    if said["note"]:
        yield said["note"]
    if said["ended"]:
        yield f"not finished: {said['ended']}"


def _show_history(contract: str, output: str) -> None:
    from syncd.reconcile.report import reports

    found = reports(store_of(contract), contract)
    if output == "json":
        typer.echo(json.dumps(found, indent=2))
        return
    for said in map(escaped_all, found):
        when = datetime.fromtimestamp(said["finished"], UTC).isoformat(timespec="seconds")
        part = "" if said["partition"] == "1/1" else f" {said['partition']}"
        typer.echo(
            f"{when}{part}  {said['check']}  {said['result']}  {said['documents']} documents  {_drift(said)}"
            f"  repaired {said['repaired']}"
        )
