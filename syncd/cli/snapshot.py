"""`syncd snapshot`: copy all documents of a contract again."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import time
from typing import Annotated

import typer

from syncd.cli.shared import DIFFERENCE, store_of

POLL_S = 0.1
HEARD_S = 3.0
"""A lane without a lease, of a contract that appends, sees a request within a second or two."""


def snapshot(
    contract: Annotated[str, typer.Argument(help="Name of the contract.")],
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
) -> None:
    """Have the daemon copy all documents again and remove keys without one. Exit code 1 when no daemon serves the
    contract: the next one that does begins with the snapshot."""
    from syncd.stores.redis.records.position import ADOPT, PURGE, SWEEP
    from syncd.stores.redis.records.requests import any_wants_snapshot, request_snapshot
    from syncd.stores.redis.records.serving import is_held

    if adopt and allow_removal:
        raise typer.BadParameter(
            "give --adopt first; where many keys would go, the lane pauses and says how many"
        )
    store = store_of(contract)
    request_snapshot(store, contract, ADOPT if adopt else PURGE if allow_removal else SWEEP)
    end = time.monotonic() + HEARD_S
    while not is_held(store, contract) and any_wants_snapshot(store, contract):
        if time.monotonic() > end:
            what = f"noted, but no daemon serves contract {contract}"
            typer.echo(f"{what}; the next one that does begins with it: start `syncd run`", err=True)
            raise typer.Exit(DIFFERENCE)
        time.sleep(POLL_S)
    typer.echo(f"asked for; `syncd status` shows how far it is (contract {contract})")
