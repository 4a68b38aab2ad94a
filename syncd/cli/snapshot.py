"""`syncd snapshot`: copy all documents of a contract anew."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from typing import Annotated

import typer


def snapshot(contract: Annotated[str, typer.Argument(help="Name of the contract.")]) -> None:
    """Have the daemon copy all documents anew and remove keys without one. Readers see whole keys all the time."""
    from syncd.settings import Settings
    from syncd.stores.redis import RedisStore
    from syncd.stores.requests import request_snapshot

    store = RedisStore(Settings.from_environment().redis_url.get_secret_value())
    request_snapshot(store, contract)
    typer.echo(f"asked for; `syncd status` shows how far it is (contract {contract})")
