"""`syncd settings`: the settings in effect, and where each comes from."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import os
from typing import Any

import typer

from syncd.cli.shared import Output
from syncd.text import escaped, json_text, without_secrets

HIDDEN = "********"


def settings(output: Output = "text") -> None:
    """Print every setting, its value and its source: the environment, a file or the default. Secrets stay hidden."""
    rows = _rows()
    if output == "json":
        typer.echo(json_text(rows))
        return
    widths = [max(len(row[column]) for row in rows) for column in ("setting", "value")]
    for row in rows:
        cells = row["setting"].ljust(widths[0]), row["value"].ljust(widths[1]), row["source"]
        typer.echo(escaped("  ".join(cells)))


def _rows() -> list[dict[str, str]]:
    from syncd.settings import Settings

    present = Settings.from_environment()
    return [
        {"setting": f"SYNCD_{name.upper()}", "value": _shown(getattr(present, name)), "source": _source(name)}
        for name in Settings.model_fields
    ]


def _source(name: str) -> str:
    variable = f"SYNCD_{name.upper()}"
    if path := os.environ.get(f"{variable}_FILE"):
        return f"file {path}"
    return "environment" if variable in os.environ else "default"


def _shown(value: Any) -> str:
    """An address without user and password; of any other secret only that there is one."""
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        said = value.get_secret_value()
        return _address(said) if "://" in said else HIDDEN
    return "" if value is None else without_secrets(str(value))


def _address(uri: str) -> str:
    """Options may hold secrets too, such as the password of a key."""
    plain = without_secrets(uri)
    head, options, _ = plain.partition("?")
    return head + (f"?{HIDDEN}" if options else "")
