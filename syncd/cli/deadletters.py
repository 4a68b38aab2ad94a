"""`syncd deadletters`: changes that could not be applied, and what to do with them."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from syncd.cli.shared import DIFFERENCE, USAGE, Output, store_of
from syncd.text import escaped

if TYPE_CHECKING:
    from syncd.stores.deadletters import DeadLetter
    from syncd.stores.redis import RedisStore

app = typer.Typer(no_args_is_help=True, help="List, show, replay or drop changes that could not be applied.")
Contract = Annotated[str, typer.Argument(help="Name of the contract.")]
Entries = Annotated[list[str] | None, typer.Argument(help="Entries, as `list` shows them.")]
Everything = Annotated[bool, typer.Option("--all", help="All of the contract's dead letters.")]
POLL_S = 0.1


def _moment(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.at / 1000, UTC).isoformat(timespec="seconds")


@app.command("list")
def list_letters(contract: Contract, output: Output = "text") -> None:
    """One line a dead letter, oldest first. Exit code 1 when there are any."""
    from syncd.stores.deadletters import dead_letters

    letters = list(dead_letters(store_of(contract), contract))
    if output == "json":
        typer.echo(json.dumps([asdict(letter) for letter in letters], indent=2))
    else:
        for letter in letters:
            where = letter.key or f"_id {letter.id}"
            said = f"{letter.projection}  {where}  {letter.reason}: {letter.detail}"
            typer.echo(escaped(f"{letter.entry}  {_moment(letter)}  {said}"))
    raise typer.Exit(DIFFERENCE if letters else 0)


@app.command()
def show(contract: Contract, entry: str) -> None:
    """Everything about one dead letter, as JSON."""
    from syncd.stores.deadletters import dead_letters

    for letter in dead_letters(store_of(contract), contract):
        if letter.entry == entry:
            typer.echo(json.dumps(asdict(letter) | {"change": json.loads(letter.change)}, indent=2))
            return
    typer.echo(
        f"contract {contract} has no dead letter {escaped(entry)}; `syncd deadletters list {contract}`",
        err=True,
    )
    raise typer.Exit(DIFFERENCE)


def _chosen(store: RedisStore, contract: str, entries: list[str] | None, everything: bool) -> list[str]:
    from syncd.stores.deadletters import dead_letters

    if bool(entries) == everything:
        typer.echo("name entries, or say --all", err=True)
        raise typer.Exit(USAGE)
    return entries or [letter.entry for letter in dead_letters(store, contract)]


@app.command()
def replay(
    contract: Contract,
    entries: Entries = None,
    everything: Everything = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the daemon's answer.")] = 30.0,
) -> None:
    """Have the running daemon read these documents again. Exit code 1 when some still do not fit."""
    from syncd.stores.deadletters import count_dead_letters, request_replay, requested_replays

    store = store_of(contract)
    chosen = _chosen(store, contract, entries, everything)
    if not chosen:
        typer.echo("nothing to replay")
        return
    request_replay(store, contract, chosen)
    end = time.monotonic() + wait
    while requested_replays(store, contract, 1):
        if time.monotonic() > end:
            typer.echo("the daemon has not answered yet; is the lane running? `syncd status` tells", err=True)
            raise typer.Exit(DIFFERENCE)
        time.sleep(POLL_S)
    left = count_dead_letters(store, contract)
    typer.echo(f"replayed {len(chosen)}; {left} dead letters now")
    raise typer.Exit(DIFFERENCE if left else 0)


@app.command()
def drop(contract: Contract, entries: Entries = None, everything: Everything = False) -> None:
    """Remove dead letters for good. The keys of their documents stay as they are."""
    from syncd.stores.deadletters import drop_dead_letters

    store = store_of(contract)
    chosen = _chosen(store, contract, entries, everything)
    typer.echo(f"dropped {drop_dead_letters(store, contract, chosen) if chosen else 0}")
