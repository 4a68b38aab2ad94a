"""`cli.md`: from the declarations of the verbs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from generator.text import code, head, table
from syncd.cli import app

_CLI_INTRO = """\
Data goes to stdout; logs and errors go to stderr. [Settings](settings.md) come from the environment.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | found a difference, a check failed, or a server lacks what a contract needs |
| 2 | wrong usage, or a setting that cannot be used |
| 3 | cannot connect, or a server refused |

Ctrl-C gives 130, and an output whose reader has ended 141, as with other programs.

"""


def cli_page() -> str:
    """Every verb with its options."""
    text = head("Command line", "`syncd/cli/`") + _CLI_INTRO
    text += "## syncd\n\n" + _options(app.registered_callback.callback if app.registered_callback else None)
    for name, function in verbs(app):
        text += f"\n## syncd {name}\n\n{inspect.getdoc(function)}\n\n{_options(function)}"
    return text


def verbs(group: typer.Typer, before: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Names and functions, those of nested groups too."""
    for command in group.registered_commands:
        if command.callback is not None:
            yield before + (command.name or command.callback.__name__), command.callback
    for nested in group.registered_groups:
        if nested.typer_instance is not None:
            yield from verbs(nested.typer_instance, f"{before}{nested.name} ")


def _options(function: Callable[..., Any] | None) -> str:
    parameters = inspect.signature(function, eval_str=True).parameters.values() if function else ()
    rows = [_option_row(one) for one in parameters if one.annotation is not typer.Context]
    return table(("argument or option", "value", "default", "description"), rows) if rows else "No options.\n"


def _option_row(parameter: inspect.Parameter) -> tuple[str, ...]:
    """One argument or option. What carries no Annotated is an argument without words of its own."""
    kind, *notes = get_args(parameter.annotation) if _is_annotated(parameter) else (parameter.annotation,)
    info = next((note for note in notes if isinstance(note, typer.models.ParameterInfo)), None)
    if isinstance(info, typer.models.OptionInfo):
        # Inside Annotated the first name arrives in the place of the default.
        first = [info.default] if isinstance(info.default, str) else []
        name = ", ".join([*first, *(info.param_decls or ())] or [f"--{parameter.name.replace('_', '-')}"])
    else:
        name = ((info.metavar if info else None) or parameter.name).upper()
    default = parameter.default
    shown = "required" if default is parameter.empty else "" if default in (None, False) else code(default)
    said = (info.help or "").rstrip(".") + "." if info and info.help else ""
    said += f" From {code(info.envvar)}." if info and info.envvar else ""
    return code(name), _value_of(kind) + (_bounds(info) if info else ""), shown, said


def _is_annotated(parameter: inspect.Parameter) -> bool:
    return get_origin(parameter.annotation) is Annotated


def _value_of(kind: Any) -> str:
    if _is_optional(kind):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if kind is bool:
        return ""
    if get_origin(kind) is Literal:
        return ", ".join(map(code, get_args(kind)))
    if get_origin(kind) is list:
        return f"{_value_of(get_args(kind)[0])}, any number"
    return {str: "text", int: "integer", float: "number", Path: "path"}.get(kind, str(kind))


def _bounds(info: typer.models.ParameterInfo) -> str:
    low, high = info.min, info.max
    return (f", from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


def _is_optional(kind: Any) -> bool:
    return type(None) in get_args(kind)
