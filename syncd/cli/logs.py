"""`syncd logs`: the last lines of the running daemon's log about one contract."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from typing import Annotated, Any

import typer

from syncd.cli.shared import UNREACHABLE, USAGE, Output, contract_names, no_answer
from syncd.text import escaped, json_text

_FIRST = ("timestamp", "level", "event", "contract")


def logs(
    contract: Annotated[str, typer.Argument(help="Name of the contract.", autocompletion=contract_names)],
    lines: Annotated[int, typer.Option("--lines", min=1, help="So many of the last.")] = 50,
    http: Annotated[str | None, typer.Option("--http", help="Address of the daemon (SYNCD_HTTP).")] = None,
    output: Output = "text",
) -> None:
    """Show the last lines that the running daemon has logged about a contract. It keeps 200 of each, until it ends."""
    from syncd.settings import Settings

    host, port = Settings.from_environment(http=http).http_address
    name = urllib.parse.quote(contract, safe="")
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/api/v1/contracts/{name}/logs"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            found = json.load(reply)["lines"][-lines:]
    except urllib.error.HTTPError as error:
        with error:
            typer.echo(escaped(f"no contract {contract} runs in the daemon at {host}:{port}"), err=True)
        raise typer.Exit(USAGE) from None
    except (OSError, HTTPException, ValueError, KeyError) as error:
        typer.echo(no_answer(f"{host}:{port}", error), err=True)
        raise typer.Exit(UNREACHABLE) from None
    typer.echo(json_text(found) if output == "json" else "\n".join(_texts(found)))


def _texts(found: list[dict[str, Any]]) -> Iterator[str]:
    for line in found:
        more = " ".join(f"{name}={value}" for name, value in line.items() if name not in _FIRST)
        head = f"{line.get('timestamp', '')} {line.get('level', ''):7} {line.get('event', '')}"
        yield escaped(f"{head}  {more}".rstrip())
