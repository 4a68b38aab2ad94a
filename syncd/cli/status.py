"""`syncd status`: the state of the running daemon."""

# ruff: noqa: PLC0415 - what a verb imports when it runs does not slow the others down
from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Annotated, Any, Literal, TypeAlias

import typer

from syncd.cli.actions.orphans import orphans as show_orphans
from syncd.cli.shared import DIFFERENCE, DONE, UNREACHABLE, USAGE, contract_names, no_answer
from syncd.text import escaped, escaped_all, shown_holder

PIPE_COLUMNS = 2000
"""A pipe has no width; values must not be cut there."""
GAP = 2
_OF_LITTLE_USE = ("position", "copied", "changes", "collection")
"""Columns that a narrow terminal leaves out, in this order."""
_NUMBERS = ("lag s", "changes", "copied", "dead letters")


Shown: TypeAlias = Annotated[
    Literal["text", "wide", "json"],
    typer.Option("-o", "--output", help="text, wide (all columns, however narrow the terminal) or json"),
]
WATCH_S = 2.0
_MOMENTS = ("since", "at")
_CLEAR = "\x1b[H\x1b[2J"


def status(
    contract: Annotated[
        str | None,
        typer.Argument(help="One contract, with all that is known of it.", autocompletion=contract_names),
    ] = None,
    http: Annotated[str | None, typer.Option("--http", help="Address of the daemon (SYNCD_HTTP).")] = None,
    output: Shown = "text",
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")] = False,
    orphans: Annotated[
        bool,
        typer.Option("--orphans", help="The old form of `syncd orphans`; the next release removes it."),
    ] = False,
) -> None:
    """Show the lanes of the running daemon. Exit code 1 when it is not ready, 3 when it does not answer."""
    from syncd.settings import Settings

    if orphans:
        show_orphans("json" if output == "json" else "text")
    host, port = Settings.from_environment(http=http).http_address
    url = f"http://[{host}]:{port}/status" if ":" in host else f"http://{host}:{port}/status"
    while True:
        try:
            said = _of_contract(_asked(url), contract)
        except ConnectionError as error:
            typer.echo(str(error), err=True)
            if not watch:
                raise typer.Exit(UNREACHABLE) from None
        else:
            if watch and sys.stdout.isatty():
                typer.echo(_CLEAR, nl=False)
            _print(said, output, in_full=contract is not None)
            if not watch:
                raise typer.Exit(DONE if said["ready"] and said["contracts"]["valid"] else DIFFERENCE)
        time.sleep(WATCH_S)


def _asked(url: str) -> dict[str, Any]:
    """Raises ConnectionError."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310 - our own scheme
            said: dict[str, Any] = json.load(reply)
        if not (isinstance(said, dict) and {"lanes", "ready", "contracts"} <= said.keys()):
            raise ValueError("something else does")
    except (OSError, HTTPException, ValueError) as error:
        raise ConnectionError(no_answer(url, error)) from None
    return said


def _of_contract(said: dict[str, Any], contract: str | None) -> dict[str, Any]:
    """The lanes of one contract, of one over several collections all of them. Ends the command where there is none."""
    if contract is None:
        return said
    lanes = [
        lane for lane in said["lanes"] if contract in (lane["contract"], lane["contract"].partition("@")[0])
    ]
    if not lanes:
        known = ", ".join(sorted({lane["contract"] for lane in said["lanes"]})) or "none"
        typer.echo(escaped(f"no contract {contract} runs in this daemon; there are: {known}"), err=True)
        raise typer.Exit(USAGE)
    return {**said, "lanes": lanes, "ready": all(lane["ready"] for lane in lanes)}


def _print(said: dict[str, Any], output: str, *, in_full: bool) -> None:
    if output == "json":
        typer.echo(json.dumps(said, indent=2))
        return
    said = escaped_all(said)
    _print_table(said, cut=output == "text" and sys.stdout.isatty())
    for lane in said["lanes"] if in_full else ():
        typer.echo("\n".join(_in_full(lane)))


def _in_full(lane: dict[str, Any]) -> Iterator[str]:
    """All that the table does not show."""
    shown = {
        "contract",
        "partition",
        "collection",
        "state",
        "lag_seconds",
        "changes",
        "dead_letters",
        "error",
        "complaint",
    }
    yield f"{_name(lane)}:"
    for name, value in lane.items():
        if name not in shown and value not in (None, [], {}, ""):
            yield from _said(name, value, "  ")


def _said(name: str, value: Any, indent: str) -> Iterator[str]:
    """One value, or a line for each of several."""
    about = f"{indent}{name.replace('_', ' ')}:"
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        yield about
        yield from (f"{indent}  {_pairs(one)}" for one in value)
    elif isinstance(value, dict):
        yield f"{about} {_pairs(value)}"
    else:
        yield f"{about} {_text(name, value)}"


def _pairs(said: dict[str, Any]) -> str:
    there = {name: value for name, value in said.items() if value not in (None, "")}
    return ", ".join(f"{name.replace('_', ' ')} {_text(name, value)}" for name, value in there.items())


def _text(name: str, value: Any) -> str:
    if name in _MOMENTS and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_table(said: dict[str, Any], *, cut: bool = False) -> None:
    width = shutil.get_terminal_size().columns if cut else PIPE_COLUMNS
    rows = [_row(lane) for lane in said["lanes"]]
    columns = _columns(rows, width)
    typer.echo("\n".join([f"syncd {said['version']}", *_lines(rows, columns)]))
    if rows and len(columns) < len(rows[0]):
        left_out = ", ".join(name for name in rows[0] if name not in columns)
        typer.echo(f"left out, the terminal is too narrow: {left_out}; -o wide has all")
    for lane in said["lanes"]:
        # A live lane that is late has no error; the table shows that a lane copies.
        if (why := lane["error"] or lane["complaint"]) and why != lane["state"]:
            typer.echo(f"{_name(lane)}: {why}")
        if (unfit := lane.get("unfit_keys")) and unfit["count"]:
            typer.echo(_unfit(lane, unfit))
    for line in _elsewhere(said["lanes"]):
        typer.echo(line)
    unknown = said.get("unknown", {})
    for name, plan in said["contracts"].get("waiting", {}).items():
        if name in unknown:
            continue
        typer.echo(f"{name}: an edit waits for approval: `syncd plan`, then `syncd approve {name} {plan}`")
    for name, why in unknown.items():
        typer.echo(f"{name}: {why}")
    for problem in said["contracts"]["problems"]:
        typer.echo(f"the last edit was refused: {problem}")


def _unfit(lane: dict[str, Any], unfit: dict[str, Any]) -> str:
    count = f"{unfit['count']} keys" if unfit["count"] > 1 else "1 key"
    return f"{_name(lane)}: {count} left out, such as {unfit['example']}: {unfit['why']}"


def _row(lane: dict[str, Any]) -> dict[str, str]:
    """The cells of a lane. A question mark stands for what is not known."""
    return {
        "contract": _name(lane),
        "collection": lane["collection"],
        "state": lane["state"],
        "lag s": _shown(lane["lag_seconds"], ".1f"),
        "changes": _shown(lane["changes"]),
        "copied": _shown(lane["snapshot"]["copied"]),
        "dead letters": _shown(lane["dead_letters"]),
        "position": _shown(lane["position"]),
    }


def _shown(value: Any, form: str = "") -> str:
    return "?" if value is None else format(value, form)


def _width(rows: list[dict[str, str]], column: str) -> int:
    return max(len(column), *(len(row[column]) for row in rows))


def _columns(rows: list[dict[str, str]], width: int) -> list[str]:
    """The columns that fit without being cut."""
    columns = list(rows[0]) if rows else []
    for name in _OF_LITTLE_USE:
        if sum(_width(rows, column) + GAP for column in columns) - GAP > width:
            columns.remove(name)
    return columns


def _lines(rows: list[dict[str, str]], columns: list[str]) -> Iterator[str]:
    for row in [{name: name for name in columns}, *rows] if rows else []:
        cells = (
            row[name].rjust(_width(rows, name)) if name in _NUMBERS else row[name].ljust(_width(rows, name))
            for name in columns
        )  # fmt: skip
        yield (" " * GAP).join(cells).rstrip()


def _name(lane: dict[str, Any]) -> str:
    return lane["contract"] if lane["partition"] == "1/1" else f"{lane['contract']} {lane['partition']}"


def _elsewhere(lanes: list[dict[str, Any]]) -> Iterator[str]:
    """The partitions that this daemon does not work on."""
    here = {(lane["contract"], lane["partition"]) for lane in lanes}
    all_parts = {(lane["contract"], part["partition"]): part for lane in lanes for part in lane["partitions"]}
    for (contract, partition), part in sorted(all_parts.items()):
        if (contract, partition) not in here:
            holder = f"held by {shown_holder(part['holder'])}" if part["holder"] else "NO DAEMON works on it"
            yield f"{contract} {partition}: {holder}, {part['phase'] or 'not begun'}, {part['position']}"
