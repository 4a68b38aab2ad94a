"""`${VAR}` and `${VAR:-default}` inside the values of a contract; `$${` is a literal `${`.

What a variable holds may be a secret: nothing here, and no message built on it, repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from syncd.settings import VARIABLE_PREFIX, Variables

LONGEST = 65_536
"""Characters of a value with its variables filled in. A variable may be long, and be named thousands of times."""
_MOST_MISUSES = 20
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
    parts: list[str] = []
    misuses: list[Misuse] = []
    references = 0
    at = size = 0
    for start, end in _references(text):
        found = "${" if text.startswith("$${", start) else _lookup(text[start:end], start, env)
        if isinstance(found, Misuse):
            misuses.append(found)
            found = ""
        parts += [text[at:start], found]
        size += start - at + len(found)
        references += 1
        at = end
        if size > LONGEST or len(misuses) >= _MOST_MISUSES:
            break
    if size > LONGEST:
        what = f"more than {LONGEST} characters with its variables filled in"
        misuses.append(Misuse(0, what, "write a shorter value, or fewer variables"))
    parts.append(text[at:])
    alone = references == 1 and at == len(text) and not parts[0] and not text.startswith("$${")
    return Expansion("".join(parts), alone, tuple(misuses))


def _references(text: str) -> Iterator[tuple[int, int]]:
    """Where each `${...}` or `$${` begins and ends; one that is not closed is the last. One pass, however many."""
    at = 0
    while (found := text.find("${", at)) >= 0:
        if found > at and text[found - 1] == "$":
            at = found + 2
            yield found - 1, at
            continue
        close = text.find("}", found)
        at = close + 1 if close >= 0 else len(text)
        yield found, at


def _lookup(reference: str, at: int, env: Mapping[str, str]) -> str | Misuse:
    if not reference.endswith("}"):
        return Misuse(
            at, "a `${` that is not closed", "write ${VAR} or ${VAR:-default}, or $${ for the characters ${"
        )
    body = _BODY.fullmatch(reference, 2, len(reference) - 1)
    if body is None:
        remedy = "write ${VAR} or ${VAR:-default} with letters, digits and _, or $${ for the characters ${"
        return Misuse(at, "not the name of a variable in `${...}`", remedy)
    name, default = body[1], body[2]
    if isinstance(env, Variables) and not env.may_read(name):
        remedy = _remedy_for_forbidden(name)
        return Misuse(at, f"a contract may not read the variable `{name}`", remedy)
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


def _remedy_for_forbidden(name: str) -> str:
    if name.startswith("SYNCD_"):
        return (
            f"it is a setting of syncd and may be a secret; use a variable of your own, {VARIABLE_PREFIX}NAME"
        )
    return (
        f"call it {VARIABLE_PREFIX}{name}, or, where it is no secret, add {name} to SYNCD_CONTRACT_VARIABLES"
    )
