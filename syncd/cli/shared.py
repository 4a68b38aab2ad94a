"""What all verbs share: exit codes, the `-o` option, and the Redis that holds the contracts' state."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from syncd.text import escaped

if TYPE_CHECKING:
    from syncd.errors import SyncdError
    from syncd.stores.redis.store import RedisStore

DONE = 0
DIFFERENCE = 1
"""Found a difference, or a check failed."""
USAGE = 2
UNREACHABLE = 3
"""Cannot connect."""
INTERRUPTED = 130
"""Ctrl-C: the code of a program that the signal ended."""
COMPLETES_S = 0.5
"""A shell waits no longer."""
CLOSED = 141
"""The reader of the output has gone: the code of a program that SIGPIPE ended."""

Output: TypeAlias = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json")]


Contracts: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--contracts", metavar="PATH", help="Directory of contracts, or one file (SYNCD_CONTRACTS)."
    ),
]
OldContracts: TypeAlias = Annotated[
    Path | None,
    typer.Argument(metavar="PATH", help="The old form of `--contracts`; the next release removes it."),
]


def contract_names(incomplete: str) -> list[str]:
    """For a shell: contracts of the directory, and of a Redis that answers at once."""
    import contextlib
    import re

    from syncd.contract.read.load import is_contract_file
    from syncd.settings import Settings
    from syncd.stores.redis.records.claims import read_contracts
    from syncd.stores.redis.store import RedisStore

    names: set[str] = set()
    with contextlib.suppress(Exception):  # a shell shows no error
        settings = Settings.from_environment()
        for path in settings.contracts.iterdir() if settings.contracts.is_dir() else [settings.contracts]:
            if is_contract_file(path.name):
                found = re.search(
                    r"metadata[^A-Za-z]+.*?\bname\W+([\w.-]+)", path.read_text(encoding="utf-8"), re.DOTALL
                )
                names |= {found[1]} if found else set()
        names |= set(read_contracts(RedisStore.of(settings).with_timeout(COMPLETES_S)))
    return sorted(name for name in names if name.startswith(incomplete))


def one_path(contracts: Path | None, old: Path | None) -> Path | None:
    """The path of `--contracts`, or of the argument that it replaces."""
    if contracts is not None and old is not None:
        raise typer.BadParameter("both a path and `--contracts`; write `--contracts` alone")
    return contracts or old


def coloured(text: str, colour: str) -> str:
    """The text in a colour, where a person reads it on a terminal, and has not forbidden that (NO_COLOR)."""
    if not colour or not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return typer.style(text, fg=colour)


def counted(number: int, noun: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shown(error: SyncdError) -> str:
    """The text of an error for a terminal: one line, or one line per problem of contracts."""
    from syncd.errors import ContractError

    return str(error) if isinstance(error, ContractError) else escaped(str(error))


def store_of(contract: str) -> RedisStore:
    """The Redis of the settings. Ends with exit code 2 where the contract has never run on it."""
    store, names = names_and_store(contract)
    if names != [contract]:
        what = (
            f"contract {contract} is over {counted(len(names), 'collection')}: name one, such as {min(names)}"
        )
        typer.echo(f"{escaped(what)}; `syncd status` lists the names", err=True)
        raise typer.Exit(USAGE)
    return store


def redis_of_settings() -> RedisStore:
    """The Redis that holds the contracts' state."""
    from syncd.settings import Settings
    from syncd.stores.redis.store import RedisStore

    return RedisStore.of(Settings.from_environment())


def names_and_store(contract: str) -> tuple[RedisStore, list[str]]:
    """The Redis of the settings, and under which names the contract has run on it: under one for each collection, where
    it is over several. Ends with exit code 2 where there is none."""
    from syncd.errors import UnknownContractError
    from syncd.stores.redis.records.layout import names_of

    store = redis_of_settings()
    try:
        return store, names_of(store, contract)
    except UnknownContractError as error:
        typer.echo(escaped(str(error)), err=True)
        raise typer.Exit(USAGE) from None


def no_answer(where: str, error: Exception) -> str:
    """Why a daemon gave no answer over HTTP, and what to do."""
    why = getattr(error, "reason", None) or error
    remedy = (
        "its process stands, or its machine has too much to do: look there"
        if isinstance(why, TimeoutError)
        else "start `syncd run`, or set SYNCD_HTTP"
    )
    return f"no daemon answers at {where} ({why}); {remedy}"


def person() -> str:
    """Who gives the command, for records that others read."""
    import getpass
    import socket

    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def why_not_served(store: RedisStore, contract: str) -> str:
    """Why what was asked for has to wait: a person has paused the contract, or no daemon works on it."""
    from syncd.stores.redis.records.requests.pauses import pause_of

    if (found := pause_of(store, contract)) is not None:
        return f"contract {contract} is {found}"
    return f"no daemon serves contract {contract}; the next one that does begins with it: start `syncd run`"
