"""What contracts left behind, for people: `syncd status --orphans` and `syncd remove`."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, DONE, USAGE
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.plan.to_redis.change import Retired
    from syncd.stores.redis.records.orphans import Orphan
    from syncd.stores.redis.store import RedisStore

_LONGEST_S = 10.0
"""Per template: a person waits."""


def show_orphans(output: str) -> int:
    """Print what contracts left behind. Returns the exit code: 1 where there is anything."""
    from syncd.settings import Settings
    from syncd.stores.redis.records.orphans import find_orphans
    from syncd.stores.redis.store import RedisStore

    store = RedisStore.of(Settings.from_environment())
    found = [_described(store, orphan) for orphan in find_orphans(store)]
    if output == "json":
        typer.echo(json_text(found))
    elif not found:
        typer.echo("no contract left anything behind")
    else:
        for said in found:
            _print(said)
    return DIFFERENCE if found else DONE


def _described(store: RedisStore, orphan: Orphan) -> dict[str, Any]:
    left = None if orphan.left is None else datetime.fromtimestamp(orphan.left, UTC).isoformat()
    return {
        "contract": orphan.contract,
        "left": left,
        "kind": orphan.kind,
        "templates": [_template(store, orphan, shape) for shape in orphan.shapes],
        "outbox_entries": orphan.outbox,
        "dead_letters": orphan.dead_letters,
    }


def _template(store: RedisStore, orphan: Orphan, shape: Retired) -> dict[str, Any]:
    from syncd.stores.redis.records.orphans import count_keys

    keys, are_all = count_keys(store, orphan, shape, _LONGEST_S)
    return {
        "projection": shape.name,
        "key": shape.template.shown,
        "type": shape.type,
        "keys": keys,
        "at_least": not are_all,
    }


def _noun(kind: str) -> str:
    """What the keys of a type are counted by."""
    from syncd.plan.types import SHARED

    return "member" if kind.endswith(SHARED) else "key"


def _print(said: dict[str, Any]) -> None:
    when = f"left {said['left']}" if said["left"] else f"has another direction now ({said['kind']})"
    typer.echo(f"{escaped(said['contract'])}: {when}")
    for shape in said["templates"]:
        at_least = "at least " if shape["at_least"] else ""
        count = _number(shape["keys"], _noun(shape["type"]))
        typer.echo(f"  {escaped(shape['key'])} ({shape['type']}): {at_least}{count}")
    if said["outbox_entries"]:
        typer.echo(f"  {_number(said['outbox_entries'], 'change')} in its outbox did not reach MongoDB")
    if said["dead_letters"]:
        typer.echo(f"  {_number(said['dead_letters'], 'dead letter')}")


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def remove(
    contract: Annotated[str, typer.Argument(help="Name of a contract that is no longer among the files.")],
    keys: Annotated[bool, typer.Option("--keys", help="Also its keys and search indexes in Redis.")] = False,
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
    store, orphans = _left_by(contract)
    for orphan in orphans:
        _print(_described(store, orphan))
    _refuse_blindly(store, orphans if keys and not allow_removal else [])
    if not yes:
        _ask(contract, orphans, keys)
    for orphan in orphans:
        _remove(store, orphan, keys)


def _left_by(contract: str) -> tuple[RedisStore, list[Orphan]]:
    """What a contract left, of one over several collections for each. Ends the command where that is nothing."""
    from syncd.cli.shared import names_and_store
    from syncd.stores.redis.records.orphans import find_orphan

    store, names = names_and_store(contract)
    orphans = [orphan for name in names if (orphan := find_orphan(store, name)).has_left or orphan.shapes]
    if not orphans:
        typer.echo(
            f"contract {contract} has not left: a daemon had it among its files when it was last seen; "
            "remove its file there, and wait some seconds",
            err=True,
        )
        raise typer.Exit(DIFFERENCE)
    return store, orphans


def _refuse_blindly(store: RedisStore, orphans: list[Orphan]) -> None:
    from syncd.errors import FOREIGN_LOST
    from syncd.stores.redis.records.foreign_keys import has_lost_foreign

    for orphan in orphans:
        if has_lost_foreign(store, orphan.contract):
            what = f"{FOREIGN_LOST} ({orphan.contract})" if len(orphans) > 1 else FOREIGN_LOST
            typer.echo(f"{what}; nothing was removed: say --allow-removal, or leave out --keys", err=True)
            raise typer.Exit(DIFFERENCE)


def _ask(contract: str, orphans: list[Orphan], keys: bool) -> None:
    if not sys.stdin.isatty():
        typer.echo("nothing was removed: there is no terminal to ask on; give --yes", err=True)
        raise typer.Exit(USAGE)
    what = "these keys, their indexes and all records" if keys else "all records, and leave the keys"
    of_them = contract if len(orphans) == 1 else f"{contract}, for {len(orphans)} collections"
    typer.confirm(f"remove {what} of contract {of_them}?", abort=True)


def _remove(store: RedisStore, orphan: Orphan, keys: bool) -> None:
    from syncd.stores.redis.records.orphans import forget_turned, remove_indexes, remove_keys, remove_records

    store.connect()
    removed: dict[str, int] = {"key": 0, "member": 0}
    indexes: list[str] = []
    if keys:
        for shape in orphan.shapes:
            removed[_noun(shape.type)] += remove_keys(store, orphan, shape)
        indexes = remove_indexes(store, orphan.contract) if orphan.has_left else []
    records = remove_records(store, orphan.contract) if orphan.has_left else 0
    if keys and not orphan.has_left:
        forget_turned(store, orphan.contract)
    parts = [
        _number(removed["key"], "key"),
        *([_number(removed["member"], "member")] if removed["member"] else []),
        *(f"index {escaped(name)}" for name in indexes),
        _number(records, "record"),
    ]
    typer.echo(f"removed {', '.join(parts)} of contract {orphan.contract}")
