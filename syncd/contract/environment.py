"""`${VAR}` and `${VAR:-default}` inside the values of a contract; `$${` is a literal `${`.

What a variable holds may be a secret: nothing here, and no message built on it, repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_BODY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Misuse:
    """What is wrong at an offset (from 0) of the text as written."""

    offset: int
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """A text with its variables filled in; `alone` if it was one variable and nothing else."""

    text: str
    alone: bool
    misuses: tuple[Misuse, ...]


def expand(text: str, env: Mapping[str, str]) -> Expansion:
    """Fill in the variables. As in a shell, a default also stands in for an empty variable."""
    misuses: list[Misuse] = []

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        outcome = _lookup(match, env)
        if isinstance(outcome, Misuse):
            misuses.append(outcome)
            return ""
        return outcome

    expanded = _REFERENCE.sub(replace, text)
    whole = _REFERENCE.fullmatch(text)
    return Expansion(expanded, whole is not None and whole[1] is not None, tuple(misuses))


def _lookup(match: re.Match[str], env: Mapping[str, str]) -> str | Misuse:
    at = match.start()
    if match[1] is None:
        return Misuse(
            at, "a `${` that is not closed", "write ${VAR} or ${VAR:-default}, or $${ for the characters ${"
        )
    body = _BODY.fullmatch(match[1])
    if body is None:
        remedy = "write ${VAR} or ${VAR:-default} with letters, digits and _, or $${ for the characters ${"
        return Misuse(at, "not the name of a variable in `${...}`", remedy)
    name, default = body[1], body[2]
    value = env.get(name, "")
    if default is not None:
        value = value or default
    elif name not in env:
        remedy = f"set {name} in the environment, or give a default: ${{{name}:-...}}"
        return Misuse(at, f"the variable `{name}` is not set", remedy)
    # Bytes that are not UTF-8 arrive from the operating system as surrogates, and fail far from here.
    if any("\ud800" <= char <= "\udfff" for char in value):
        return Misuse(at, f"the variable `{name}` does not hold UTF-8 text", f"set {name} to UTF-8 text")
    return value
