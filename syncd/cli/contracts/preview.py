"""`syncd preview`: what a document becomes in Redis, or a key in MongoDB."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, DONE, Contracts, Output, counted
from syncd.text import escaped, json_text

if TYPE_CHECKING:
    from syncd.preview.outcome import Outcome


def preview(
    contract: Annotated[
        str,
        typer.Argument(
            help="Name of the contract; of one over several collections, name@database.collection."
        ),
    ],
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="ID",
            help="`_id` of a document, as it stands in keys or as Extended JSON. From Redis to MongoDB a key, or the "
            "id of an entry.",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=1, max=1000, help="So many documents, keys or entries that are there."),
    ] = None,
    document: Annotated[
        Path | None,
        typer.Option(
            "--document",
            metavar="FILE",
            help="A file with a document, or a list of them, as Extended JSON or YAML; - is stdin.",
        ),
    ] = None,
    contracts: Contracts = None,
    output: Output = "text",
) -> None:
    """Show what a document becomes: keys, values, times to live, members, entries and dead letters, by the code of the
    lane. It only reads, takes no lease and needs no daemon.

    Values are shown, because who runs it can read the collection as well; masked fields show as Redis would hold them.
    Exit code 1 for a dead letter, or where nothing of that name is there.
    """
    from syncd.preview.asked import find_contract, outcomes_of
    from syncd.preview.shown import as_dict, as_lines
    from syncd.settings import Settings

    if [source, sample, document].count(None) != 2:
        raise typer.BadParameter("give one of ID, --sample and --document")
    settings = Settings.from_environment(contracts=contracts)
    said = find_contract(settings, contract)
    given = None if document is None else _read(document)
    outcomes = list(outcomes_of(settings, said, source=source, sample=sample, given=given))
    shown = [as_dict(said, one) for one in outcomes]
    if output == "json":
        typer.echo(json_text({"contract": said.name, "outcomes": shown}))
    else:
        for one in shown:
            typer.echo("\n".join(map(escaped, as_lines(one))))
        if len(outcomes) != 1:
            typer.echo(_summary(outcomes) if outcomes else "nothing is there")
    raise typer.Exit(DIFFERENCE if not outcomes or any(one.is_wrong for one in outcomes) else DONE)


def _read(path: Path) -> list[Any]:
    from syncd.preview.given import documents_in_text

    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        return documents_in_text(text)
    except ValueError as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--document") from None


def _summary(outcomes: Iterable[Outcome]) -> str:
    outcomes = list(outcomes)
    dead = Counter(f"{one.projection}: {one.reason}" for outcome in outcomes for one in outcome.dead_letters)
    parts = [counted(len(outcomes), "preview"), *(f"{count} x {what}" for what, count in dead.most_common())]
    return ", ".join(parts)
