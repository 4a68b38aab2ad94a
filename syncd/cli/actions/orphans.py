"""What contracts left behind, for people: `syncd orphans` and `syncd remove`."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, DONE, USAGE, Output, contract_names, counted, redis_of_settings
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.ops.leftovers import Removed
    from syncd.stores.redis.records.orphans import Orphan


def orphans(output: Output = "text") -> None:
    """List what contracts that are gone have left in Redis. Exit code 1 where there is any. Asks no daemon.

    `syncd remove` clears it, contract by contract.
    """
    from syncd.ops.leftovers import left_behind

    found = left_behind(redis_of_settings())
    if output == "json":
        typer.echo(json_text(found))
    elif not found:
        typer.echo("no contract left anything behind")
    else:
        for said in found:
            _print(said)
    raise typer.Exit(DIFFERENCE if found else DONE)


def _print(said: dict[str, Any]) -> None:
    from syncd.ops.leftovers import noun_of

    when = f"left {said['left']}" if said["left"] else f"has another direction now ({said['kind']})"
    typer.echo(f"{escaped(said['contract'])}: {when}")
    for shape in said["templates"]:
        at_least = "at least " if shape["at_least"] else ""
        count = counted(shape["keys"], noun_of(shape["type"]))
        typer.echo(f"  {escaped(shape['key'])} ({shape['type']}): {at_least}{count}")
    for name in said["indexes"]:
        typer.echo(f"  index {escaped(name)}")
    if said["outbox_entries"]:
        typer.echo(f"  {counted(said['outbox_entries'], 'change')} in its outbox did not reach MongoDB")
    if said["dead_letters"]:
        typer.echo(f"  {counted(said['dead_letters'], 'dead letter')}")


def remove(
    contract: Annotated[
        str,
        typer.Argument(
            help="Name of a contract that is no longer among the files.", autocompletion=contract_names
        ),
    ],
    keys: Annotated[bool, typer.Option("--keys", help="Also its keys and search indexes in Redis.")] = False,
    left: Annotated[
        bool,
        typer.Option(
            "--left",
            help="No daemon has it among its files any more, though none is there that has seen that.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    allow_removal: Annotated[
        bool,
        typer.Option(
            "--allow-removal",
            help="With --keys: also where Redis has lost which keys were there before the contract.",
        ),
    ] = False,
) -> None:
    """Remove what a contract left in Redis: its records and, with --keys, its keys and indexes. Nothing in MongoDB.

    Keys that another contract has by now stay, and so do those that an application writes (direction redis_to_mongo
    and both). Exit code 1 where a daemon still works on the contract.
    """
    from syncd.errors import RequestError, UnknownContractError
    from syncd.ops import leftovers

    store = redis_of_settings()
    try:
        if left:
            leftovers.say_left(store, contract, lambda said: typer.echo(escaped(said), err=True))
        found = leftovers.left_by(store, contract)
        for orphan in found:
            _print(leftovers.described(store, orphan))
        leftovers.require_known_owners(store, found if keys and not allow_removal else [])
    except RequestError as error:
        typer.echo(escaped(str(error)), err=True)
        raise typer.Exit(USAGE if isinstance(error, UnknownContractError) else DIFFERENCE) from None
    if not yes:
        _ask(contract, found, keys)
    for removed in leftovers.remove(store, found, keys=keys):
        typer.echo(_line(removed))


def _ask(contract: str, found: list[Orphan], keys: bool) -> None:
    if not sys.stdin.isatty():
        typer.echo("nothing was removed: there is no terminal to ask on; give --yes", err=True)
        raise typer.Exit(USAGE)
    what = "these keys, their indexes and all records" if keys else "all records, and leave the keys"
    of_them = contract if len(found) == 1 else f"{contract}, for {len(found)} collections"
    typer.confirm(f"remove {what} of contract {of_them}?", abort=True)


def _line(removed: Removed) -> str:
    parts = [
        counted(removed.counts["key"], "key"),
        *([counted(removed.counts["member"], "member")] if removed.counts["member"] else []),
        *(f"index {escaped(name)}" for name in removed.indexes),
        counted(removed.records, "record"),
    ]
    return f"removed {', '.join(parts)} of contract {removed.contract}"
