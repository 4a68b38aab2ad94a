"""`syncd deadletters`: changes that could not be applied, and what to do with them."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby, islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import (
    DIFFERENCE,
    USAGE,
    Output,
    contract_names,
    counted,
    names_and_store,
    redis_of_settings,
    store_of,
    why_not_served,
)
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.stores.redis.records.dead_letters import DeadLetter, Kind
    from syncd.stores.redis.store import RedisStore

app = typer.Typer(no_args_is_help=True, help="List, show, replay or drop changes that could not be applied.")
Contract = Annotated[str, typer.Argument(help="Name of the contract.", autocompletion=contract_names)]
Entries = Annotated[list[str] | None, typer.Argument(help="Entries, as `list` shows them.")]
Everything = Annotated[bool, typer.Option("--all", help="All of the contract's dead letters.")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="Only those of this reason, such as wrong_type.")
]
Field = Annotated[
    str | None, typer.Option("--field", help="Only those about this field; an empty one: about none.")
]
Projection = Annotated[str | None, typer.Option("--projection", help="Only those of this projection.")]
POLL_S = 0.1
MERGED_S = 0.3
"""Of a contract that goes both ways: from the merge of a key to its new dead letter."""
SHOWN = 10
"""Dead letters of a kind that `list` names; `--each` and `-o json` name all."""


def _moment(dead: DeadLetter) -> str:
    return datetime.fromtimestamp(dead.at / 1000, UTC).isoformat(timespec="seconds")


def _kind(dead: DeadLetter) -> tuple[str, str, str]:
    """Dead letters are grouped by reason and field of a projection."""
    return dead.reason, dead.field, dead.projection


def _as_dict(dead: DeadLetter) -> dict[str, Any]:
    """The same for `list` and `show`."""
    return asdict(dead) | {"field": dead.field, "change": json.loads(dead.change)}


def _line(dead: DeadLetter) -> str:
    where = dead.key or f"_id {dead.id}"
    return f"{dead.entry}  {_moment(dead)}  {dead.projection}  {where}  {dead.reason}: {dead.detail}"


@app.command("list")
def list_dead_letters(
    contract: Annotated[
        str | None,
        typer.Argument(help="Name of the contract; without it of all.", autocompletion=contract_names),
    ] = None,
    each: Annotated[
        bool, typer.Option("--each", help=f"Every dead letter, not the first {SHOWN} of a kind.")
    ] = False,
    reason: Reason = None,
    field: Field = None,
    projection: Projection = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="So many of each contract at most.")
    ] = None,
    output: Output = "text",
) -> None:
    """The dead letters by reason and field, the most frequent first. Exit code 1 when there are any."""
    from syncd.stores.redis.records.dead_letters import Kind, dead_letters

    store, names = _asked_about(contract)
    has = Kind(reason, field, projection).has
    found: list[tuple[str, DeadLetter]] = []
    cut: set[str] = set()
    for name in names:
        of_kind = filter(has, dead_letters(store, name))
        found += [(name, dead) for dead in islice(of_kind, limit)]
        if limit is not None and next(of_kind, None) is not None:
            cut.add(name)
    if output == "json":
        typer.echo(json_text([{"contract": name, **_as_dict(dead)} for name, dead in found]))
    else:
        for line in _grouped(found, cut, each=each, names_contracts=contract is None):
            typer.echo(escaped(line))
    raise typer.Exit(DIFFERENCE if found else 0)


def _asked_about(contract: str | None) -> tuple[RedisStore, list[str]]:
    from syncd.stores.redis.records.claims import read_contracts

    if contract is not None:
        return names_and_store(contract)
    store = redis_of_settings()
    return store, sorted(read_contracts(store))


def _grouped(
    found: list[tuple[str, DeadLetter]], cut: set[str], *, each: bool, names_contracts: bool
) -> Iterator[str]:
    """`cut`: contracts that have more of them than were read."""

    def kind(one: tuple[str, DeadLetter]) -> tuple[str, str, str, str]:
        return one[0], *_kind(one[1])

    kinds = [list(group) for _, group in groupby(sorted(found, key=kind), key=kind)]
    for group in sorted(kinds, key=lambda group: -len(group)):
        name, reason, field, projection = kind(group[0])
        about = f"{reason}, field {field}" if field else reason
        of_contract = f", contract {name}" if names_contracts else ""
        at_least = "at least " if name in cut else ""
        yield f"{at_least}{counted(len(group), 'dead letter')}: {about}, projection {projection}{of_contract}"
        shown = group if each else group[:SHOWN]
        yield from (f"  {_line(dead)}" for _, dead in shown)
        if len(shown) < len(group):
            yield f"  and {len(group) - len(shown)} more; `--each` names them"


@app.command()
def show(
    contract: Contract,
    entry: Annotated[str, typer.Argument(help="Entry, as `list` shows it.")],
    output: Output = "json",
) -> None:
    """Everything about one dead letter. Exit code 1 when there is none of this name."""
    from syncd.stores.redis.records.dead_letters import find_dead_letters

    found = find_dead_letters(store_of(contract), contract, [entry])
    if not found:
        typer.echo(
            f"contract {contract} has no dead letter {escaped(entry)}; `syncd deadletters list {contract}`",
            err=True,
        )
        raise typer.Exit(DIFFERENCE)
    said = {"contract": contract, **_as_dict(found[0])}
    if output == "json":
        typer.echo(json_text(said))
    else:
        said["change"] = json.dumps(said["change"], ensure_ascii=False)
        typer.echo("\n".join(escaped(f"{name}: {value}") for name, value in said.items()))


def _chosen(
    store: RedisStore, contract: str, entries: list[str] | None, everything: bool, kind: Kind
) -> list[str]:
    """By entry, by kind, or all. Ends the command where no dead letter is of the kind."""
    from syncd.stores.redis.records.dead_letters import EVERY_KIND, dead_letters

    if [bool(entries), kind != EVERY_KIND, everything].count(True) != 1:
        typer.echo("name entries, or give --reason, --field or --projection, or --all", err=True)
        raise typer.Exit(USAGE)
    found = entries or [dead.entry for dead in dead_letters(store, contract) if kind.has(dead)]
    if not found and not everything:
        typer.echo(
            f"no dead letter of contract {contract} is of this kind; `syncd deadletters list {contract}`",
            err=True,
        )
        raise typer.Exit(DIFFERENCE)
    return list(dict.fromkeys(found))


@app.command()
def replay(
    contract: Contract,
    entries: Entries = None,
    everything: Everything = False,
    reason: Reason = None,
    field: Field = None,
    projection: Projection = None,
    wait: Annotated[
        float,
        typer.Option(min=0, help="Seconds to wait for the daemon's answer, again after each part of it."),
    ] = 30.0,
    output: Output = "text",
) -> None:
    """Have the running daemon read these documents again. Exit code 1 when some still do not fit, or are not found."""
    from syncd.stores.redis.records.dead_letters import Kind, find_dead_letters, request_replay, still_parked

    store = store_of(contract)
    chosen = _chosen(store, contract, entries, everything, Kind(reason, field, projection))
    found = find_dead_letters(store, contract, chosen)
    if found:
        request_replay(store, contract, [dead.entry for dead in found])
        _wait_for_answer(store, contract, found, wait)
    failing = still_parked(store, contract, found)
    missing = len(chosen) - len(found)
    said = {"written": len(found) - failing, "still_failing": failing, "not_found": missing}
    if output == "json":
        typer.echo(json.dumps({"contract": contract, **said}, indent=2))
    else:
        typer.echo(", ".join(f"{count} {word.replace('_', ' ')}" for word, count in said.items()))
    raise typer.Exit(DIFFERENCE if failing or missing else 0)


def _wait_for_answer(store: RedisStore, contract: str, found: list[DeadLetter], wait: float) -> None:
    from syncd.stores.redis.records.dead_letters import is_merging, requested_replays
    from syncd.stores.redis.records.serving import is_held

    end = time.monotonic() + wait
    before: dict[str, str] = {}
    while (waiting := requested_replays(store, contract, 1)) or is_merging(store, contract, found):
        if waiting != before:  # the lane makes progress; thousands take longer than `wait`
            end, before = time.monotonic() + wait, waiting
        if time.monotonic() > end:
            why = (
                "is the lane running? `syncd status` shows it"
                if is_held(store, contract)
                else why_not_served(store, contract)
            )
            typer.echo(escaped(f"asked for, and not answered after {wait:g} s; {why}"), err=True)
            raise typer.Exit(DIFFERENCE)
        time.sleep(POLL_S)
    if is_merging(store, contract, found) is not None:
        time.sleep(MERGED_S)


@app.command()
def drop(
    contract: Contract,
    entries: Entries = None,
    everything: Everything = False,
    reason: Reason = None,
    field: Field = None,
    projection: Projection = None,
) -> None:
    """Remove dead letters permanently. The keys of their documents stay as they are. Exit code 1 when one is not
    found."""
    from syncd.stores.redis.records.dead_letters import Kind, drop_dead_letters

    store = store_of(contract)
    chosen = _chosen(store, contract, entries, everything, Kind(reason, field, projection))
    dropped = drop_dead_letters(store, contract, chosen) if chosen else 0
    missing = 0 if everything else len(chosen) - dropped
    typer.echo(f"dropped {dropped}" + (f", {missing} not found" if missing else ""))
    raise typer.Exit(DIFFERENCE if missing else 0)
