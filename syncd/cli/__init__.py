"""The command line. A verb is a function in a module of its own name; it imports what it needs when it runs.

Data goes to stdout; logs and errors go to stderr. Exit codes: 0 done, 1 found a difference or a failed check,
2 wrong usage, 3 cannot connect.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from syncd import __version__, tracebacks
from syncd.cli.actions import deadletters
from syncd.cli.actions.approve import approve
from syncd.cli.actions.orphans import orphans, remove
from syncd.cli.actions.pause import pause, resume
from syncd.cli.actions.reconcile import reconcile
from syncd.cli.actions.snapshot import snapshot
from syncd.cli.completion import completion
from syncd.cli.contracts.check import check
from syncd.cli.contracts.diff import diff
from syncd.cli.contracts.init import init
from syncd.cli.contracts.plan import plan
from syncd.cli.contracts.preview import preview
from syncd.cli.contracts.schema import schema
from syncd.cli.contracts.test import test
from syncd.cli.demo import demo
from syncd.cli.doctor import doctor
from syncd.cli.logs import logs
from syncd.cli.run import run
from syncd.cli.settings import settings
from syncd.cli.shared import CLOSED, DIFFERENCE, INTERRUPTED, UNREACHABLE, USAGE, shown
from syncd.cli.status import status
from syncd.errors import CapabilityError, SettingsError, StoreError, SyncdError

VERBS = (
    init,
    check,
    diff,
    plan,
    approve,
    test,
    preview,
    doctor,
    settings,
    completion,
    schema,
    run,
    status,
    logs,
    snapshot,
    reconcile,
    pause,
    resume,
    orphans,
    remove,
    demo,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"syncd {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    """Keep Redis and MongoDB in sync from YAML data contracts."""
    from syncd.settings import unknown_variables  # noqa: PLC0415 - a help text needs none of it

    if context.invoked_subcommand != run.__name__:  # the daemon has a log for that
        for name, meant in unknown_variables().items():
            hint = f"did you mean {meant}?" if meant else "docs/reference/settings.md names all"
            typer.echo(f"syncd: {name} is no setting, and is ignored; {hint}", err=True)


def in_short(function: Callable[..., Any]) -> str:
    """The first sentence of a verb's docstring: for lists, which would cut all of it off in the middle."""
    text = " ".join((inspect.getdoc(function) or "").split())
    return text.partition(". ")[0].rstrip(".") + "."


def _app_of(verbs: Iterable[Callable[..., Any]]) -> typer.Typer:
    # No option for completion: typer's own one writes into .bashrc with any argument. `syncd completion` prints it.
    made = typer.Typer(
        no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False
    )
    made.callback()(_options)
    for verb in verbs:
        made.command(verb.__name__, short_help=in_short(verb))(verb)
    return made


app = _app_of(VERBS)
for _command in deadletters.app.registered_commands:
    _command.short_help = in_short(_command.callback) if _command.callback else None
app.add_typer(deadletters.app, name="deadletters")


def _app_for(word: str) -> typer.Typer:
    """The verb alone, where it is one: to make all of them takes as long as the daemon's other work at its start."""
    wanted = [verb for verb in VERBS if verb.__name__ == word]
    return _app_of(wanted) if wanted else app


def main() -> None:
    """Run one verb, and turn errors that a person can fix into a message and an exit code."""
    tracebacks.guard()
    if sys.argv[1:2] == ["run"]:  # until its own handler is installed, there is nothing to read again
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if "_SYNCD_COMPLETE" in os.environ:  # a shell asks, see `completion`
        completion_init()
    try:
        _app_for("".join(sys.argv[1:2]))(prog_name="syncd")
    except SystemExit:
        if (
            type(sys.stdout).__name__ == "PacifyFlushWrapper"
        ):  # what click puts in place of a pipe that is closed
            os._exit(CLOSED)
        raise
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SyncdError as error:
        typer.echo(f"syncd: {shown(error)}", err=True)
        sys.exit(exit_code(error))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        typer.echo(f"syncd: {error.strerror or error}{where}; check the path, or the disk", err=True)
        sys.exit(DIFFERENCE)


def exit_code(error: SyncdError) -> int:
    """The exit code that shows a script the kind of error."""
    if isinstance(error, SettingsError):
        return USAGE
    return (
        UNREACHABLE
        if isinstance(error, StoreError) and not isinstance(error, CapabilityError)
        else DIFFERENCE
    )
