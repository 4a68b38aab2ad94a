"""The command line. A verb is a function in a module of its own name; it imports what it needs when it runs.

Data goes to stdout; logs and errors go to stderr. Exit codes: 0 done, 1 found a difference or a failed check,
2 wrong usage, 3 cannot connect.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from syncd import __version__, tracebacks
from syncd.cli import deadletters
from syncd.cli.check import check
from syncd.cli.demo import demo
from syncd.cli.doctor import doctor
from syncd.cli.init import init
from syncd.cli.orphans import remove
from syncd.cli.reconcile import reconcile
from syncd.cli.run import run
from syncd.cli.schema import schema
from syncd.cli.shared import DIFFERENCE, UNREACHABLE, USAGE, told
from syncd.cli.snapshot import snapshot
from syncd.cli.status import status
from syncd.errors import CapabilityError, SettingsError, StoreError, SyncdError

VERBS = (init, check, doctor, schema, run, status, snapshot, reconcile, remove, demo)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"syncd {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    """Keep Redis and MongoDB in step from YAML data contracts."""


for _verb in VERBS:
    app.command(_verb.__name__)(_verb)
app.add_typer(deadletters.app, name="deadletters")


def main() -> None:
    """Run one verb, and turn the errors of syncd into a message and an exit code."""
    tracebacks.guard()
    try:
        app(prog_name="syncd")
    except SyncdError as error:
        typer.echo(f"syncd: {told(error)}", err=True)
        sys.exit(exit_code(error))


def exit_code(error: SyncdError) -> int:
    """The exit code that tells a script what sort of error it was."""
    if isinstance(error, SettingsError):
        return USAGE
    return (
        UNREACHABLE
        if isinstance(error, StoreError) and not isinstance(error, CapabilityError)
        else DIFFERENCE
    )
