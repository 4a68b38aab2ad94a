"""`syncd completion`: what a shell needs to complete verbs, options and names of contracts."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

from typing import Annotated, Literal

import typer


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Of which shell.")],
) -> None:
    """Print a script for a shell that completes verbs, options and names of contracts.

    For bash: `source <(syncd completion bash)`, also as a line of ~/.bashrc. It writes into no file by itself.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(get_completion_script(prog_name="syncd", complete_var="_SYNCD_COMPLETE", shell=shell))
