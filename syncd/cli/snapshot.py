"""`syncd snapshot`: copy all documents of a contract anew."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from typing import Annotated

import typer

from syncd.cli.shared import store_of


def snapshot(contract: Annotated[str, typer.Argument(help="Name of the contract.")]) -> None:
    """Have the daemon copy all documents anew and remove keys without one. Readers see whole keys all the time."""
    from syncd.stores.requests import request_snapshot

    request_snapshot(store_of(contract), contract)
    typer.echo(f"asked for; `syncd status` shows how far it is (contract {contract})")
