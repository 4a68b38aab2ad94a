"""What every verb shares: exit codes, the `-o` option, and the Redis that holds the contracts' state."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from syncd.text import escaped

if TYPE_CHECKING:
    from syncd.errors import SyncdError
    from syncd.stores.redis import RedisStore

DONE = 0
DIFFERENCE = 1
"""Found a difference, or a check failed."""
USAGE = 2
UNREACHABLE = 3
"""Cannot connect."""

Output: TypeAlias = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json")]


def told(error: SyncdError) -> str:
    """An error on a terminal: a line, or one a problem of contracts."""
    from syncd.errors import ContractError

    return str(error) if isinstance(error, ContractError) else escaped(str(error))


def store_of(contract: str) -> RedisStore:
    """The Redis of the settings. Ends with exit code 2 where the contract has never run on it."""
    from syncd.settings import Settings
    from syncd.stores.layout import is_known
    from syncd.stores.redis import RedisStore

    store = RedisStore(Settings.from_environment().redis_url.get_secret_value())
    if not is_known(store, contract):
        typer.echo(
            f"no contract {escaped(contract)} has run on this Redis; `syncd status` lists the names", err=True
        )
        raise typer.Exit(USAGE)
    return store
