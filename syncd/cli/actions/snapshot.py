"""`syncd snapshot`: copy all documents of a contract again, or some."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.shared import DIFFERENCE, contract_names, person, store_of, why_not_served
from syncd.text import escaped

if TYPE_CHECKING:
    from syncd.stores.redis.store import RedisStore

POLL_S = 0.1
HEARD_S = 3.0
"""A lane without a lease, of a contract that appends, sees a request within a second or two."""
FIRST_PAGE_S = 10.0
"""A lane that works needs no longer to say that MongoDB refuses a filter."""


def snapshot(
    contract: Annotated[str, typer.Argument(help="Name of the contract.", autocompletion=contract_names)],
    allow_removal: Annotated[
        bool, typer.Option("--allow-removal", help="Remove any number of keys, see sync.sweep_limit.")
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option(
            "--adopt",
            help="Treat keys that were there before the contract as its own, see sync.adopt and sync.sweep_limit.",
        ),
    ] = False,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="FILTER",
            help="Only documents that match a MongoDB query, such as '{\"year\": 2024}'.",
        ),
    ] = None,
) -> None:
    """Have the daemon copy all documents again and remove keys without one. Exit code 1 when no daemon serves the
    contract: the next one that does begins with the snapshot.

    With --where it copies only documents that match (Extended JSON), beside the changes, and no other key is touched.
    """
    from syncd.errors import RequestError
    from syncd.ops.actions import Actions

    if adopt and allow_removal:
        raise typer.BadParameter(
            "give --adopt first; where many keys would go, the lane pauses and says how many"
        )
    if where is not None and (adopt or allow_removal):
        raise typer.BadParameter("with --where nothing is swept; leave out --adopt and --allow-removal")
    store = store_of(contract)
    actions = Actions(store, person())
    if where is None:
        actions.snapshot(contract, "adopt" if adopt else "removal" if allow_removal else "")
        _wait_heard(store, contract)
    else:
        try:
            actions.snapshot_where(contract, where)
        except RequestError as error:
            typer.echo(escaped(str(error)), err=True)
            raise typer.Exit(DIFFERENCE) from None
        _wait_taken(store, contract)
    typer.echo(f"asked for; `syncd status` shows how far it is (contract {contract})")


def _wait_heard(store: RedisStore, contract: str) -> None:
    from syncd.stores.redis.records.requests.lane_requests import any_wants_snapshot
    from syncd.stores.redis.records.serving import is_held

    end = time.monotonic() + HEARD_S
    while not is_held(store, contract) and any_wants_snapshot(store, contract):
        _end_at(end, store, contract)


def _wait_taken(store: RedisStore, contract: str) -> None:
    """Until a lane has begun. Ends the command where MongoDB refuses the filter."""
    from syncd.stores.redis.records.layout import partitions_of
    from syncd.stores.redis.records.requests.partial_copies import partial_copy
    from syncd.stores.redis.records.serving import is_held

    began = time.monotonic()
    parts = partitions_of(store, contract)
    while waiting := [
        one for part in parts if (one := partial_copy(store, part)) is not None and not one.after
    ]:
        if why := next((one.error for one in waiting if one.error), ""):
            typer.echo(escaped(f"refused: {why}"), err=True)
            raise typer.Exit(DIFFERENCE)
        if not is_held(store, contract):
            _end_at(began + HEARD_S, store, contract)
        elif time.monotonic() > began + FIRST_PAGE_S:
            return  # a copy of all documents comes first, or the first page takes long
        time.sleep(POLL_S)


def _end_at(end: float, store: RedisStore, contract: str) -> None:
    if time.monotonic() > end:
        typer.echo(escaped(f"noted, but {why_not_served(store, contract)}"), err=True)
        raise typer.Exit(DIFFERENCE)
    time.sleep(POLL_S)
