"""`syncd schema`: the format of a contract, for editors."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import json

import typer

from syncd.cli.shared import Output


def schema(output: Output = "json") -> None:
    """Print the JSON Schema of a contract, for editors. It is JSON in either form."""
    from syncd.contract.model.schema import contract_schema

    typer.echo(json.dumps(contract_schema(), indent=None if output == "json" else 2, ensure_ascii=False))
