"""`syncd init`: the draft of a contract, from a sample of a collection."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from syncd.cli.shared import DIFFERENCE, Output
from syncd.text import json_text

if TYPE_CHECKING:
    from syncd.contract.draft.seen_paths import CollectionSurvey

_WAIT_S = 5.0
_LONGEST_QUERY_MS = 60_000


def init(
    collection: Annotated[str, typer.Argument(metavar="DB.COLLECTION", help="Where the documents are.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the contract.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, max=10_000, help="Documents to read.")] = 200,
    out: Annotated[Path | None, typer.Option("--out", help="A new file; otherwise stdout.")] = None,
    output: Output = "text",
) -> None:
    """Draft a contract from a sample of a collection (SYNCD_MONGO_URI): paths and types, never values."""
    from syncd.contract.draft.draft import contract_name, draft

    name = name or contract_name(collection.partition(".")[2])
    _check(collection, name)
    if out is not None and out.exists():
        raise typer.BadParameter(f"{out} exists; name another file, or remove it first", param_hint="--out")
    documents = _survey(collection, sample)
    if not documents.total:
        typer.echo(f"no documents in {collection}; check the name, or insert some first", err=True)
        raise typer.Exit(DIFFERENCE)
    text = draft(name, collection, documents)
    if out is not None:
        _write(out, text)
    if output == "json":
        about = {"name": name, "collection": collection, "documents": documents.total}
        typer.echo(json_text({**about, "file": out and str(out), "contract": text}))
    elif out is None:
        typer.echo(text, nl=False)


def _check(collection: str, name: str) -> None:
    from pydantic import ValidationError

    from syncd.contract.model.contract import Metadata, Mongo

    try:
        Mongo(collection=collection)
    except ValidationError:
        shown = collection if len(collection) < 100 else f"{collection[:40]}..."
        remedy = "write database.collection, of 63 and 255 bytes at most"
        raise typer.BadParameter(f"{shown} is no collection; {remedy}") from None
    try:
        Metadata(name=name, version="0.1.0", owner="-")
    except ValidationError:
        remedy = "write lower-case letters, digits and hyphens"
        raise typer.BadParameter(f"{name} is no name; {remedy}", param_hint="--name") from None


def _survey(collection: str, sample: int) -> CollectionSurvey:
    from syncd.contract.draft.seen_paths import survey
    from syncd.settings import Settings
    from syncd.stores.mongo.reads.replies import RAW_CODEC, document_in
    from syncd.stores.mongo.store import MongoStore, translated

    database, _, in_database = collection.partition(".")
    store = MongoStore.of(Settings.from_environment(), server_selection_timeout_s=_WAIT_S)
    try:
        with translated():
            documents: Any = (
                store.client[database]
                .get_collection(in_database, RAW_CODEC)
                .aggregate([{"$sample": {"size": sample}}], maxTimeMS=_LONGEST_QUERY_MS)
            )
            return survey(map(document_in, documents))
    finally:
        store.close()


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(exist_ok=True)
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise typer.BadParameter(f"{out} cannot be written ({error.strerror})", param_hint="--out") from None
    typer.echo(f"wrote {out}; read it, then run: syncd check --contracts {out}", err=True)
