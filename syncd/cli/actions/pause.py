"""`syncd pause` and `syncd resume`: a contract on which no daemon works for a while."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.shared import DIFFERENCE, contract_names, names_and_store, person
from syncd.text import escaped

if TYPE_CHECKING:
    from syncd.stores.redis.store import RedisStore

POLL_S = 0.1
HEARD_S = 2.5
"""A lane without a lease, of a contract that appends, sees it within a second or two."""
STOPS_S = 20.0
"""A lane ends what it has begun; a slow store may make that long."""
TAKEN_S = 6.0
"""A lane checks every two seconds whether it may go on."""

Contract = Annotated[str, typer.Argument(help="Name of the contract.", autocompletion=contract_names)]


def pause(
    contract: Contract,
    why: Annotated[str, typer.Option("--why", help="A word for others, shown in the status.")] = "",
) -> None:
    """Have every daemon stop working on a contract, until `syncd resume`. Its position and its keys stay as they are.

    It is not ready meanwhile. A restart changes nothing. Exit code 1 where a daemon has not stopped yet.
    """
    from syncd.ops.actions import Actions

    store, names = names_and_store(contract)
    before = _holders(store, names)
    Actions(store, person()).pause(contract, why)
    end = time.monotonic() + (STOPS_S if before else HEARD_S)
    while before and (left := _holders(store, names)):
        if time.monotonic() > end:
            who = ", ".join(sorted(set(left)))
            typer.echo(escaped(f"noted, but {who} has not stopped yet; `syncd status` shows it"), err=True)
            raise typer.Exit(DIFFERENCE)
        time.sleep(POLL_S)
    if not before:
        time.sleep(HEARD_S)
    typer.echo(escaped(f"paused; `syncd resume {contract}` goes on where it stands"))


def resume(contract: Contract) -> None:
    """Let daemons work on a contract again that was paused. Exit code 1 where it is not paused, or none does."""
    from syncd.errors import RequestError
    from syncd.ops.actions import Actions
    from syncd.stores.redis.records.serving import is_held

    store, names = names_and_store(contract)
    try:
        Actions(store, person()).resume(contract)
    except RequestError as error:
        typer.echo(escaped(str(error)), err=True)
        raise typer.Exit(DIFFERENCE) from None
    end = time.monotonic() + TAKEN_S
    while not all(is_held(store, name) for name in names):
        if time.monotonic() > end:
            typer.echo(
                f"resumed; no daemon has taken contract {contract} up yet: `syncd status` shows why", err=True
            )
            raise typer.Exit(DIFFERENCE)
        time.sleep(POLL_S)
    typer.echo(escaped(f"resumed; `syncd status` shows how far it is (contract {contract})"))


def _holders(store: RedisStore, names: list[str]) -> list[str]:
    from syncd.stores.redis.records.serving import holders_of

    return [holder for name in names for holder in holders_of(store, name)]
