"""Field paths in documents: find, relate, and reduce to what MongoDB must send."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final


class _Missing:
    """A field that is not there, which is not the same as null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


def getter(path: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function that finds `path` in a document, or gives MISSING.

    A path walks through subdocuments. Through an array it collects from every element that is a document, as
    MongoDB's own expressions do (`cast.name` is the list of names); a number picks one element (`cast.0.name`).
    """
    parts = path.split(".")
    if len(parts) == 1:
        return lambda document: document.get(path, MISSING)
    first, rest = parts[0], tuple(parts[1:])
    return lambda document: walk(document.get(first, MISSING), rest)


def walk(value: Any, parts: tuple[str, ...]) -> Any:
    """The value below `value`, or MISSING."""
    for at, part in enumerate(parts):
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list):
            if part.isdigit():
                index = int(part)
                value = value[index] if index < len(value) else MISSING
            else:
                found = (walk(item, parts[at:]) for item in value if isinstance(item, dict))
                return [item for item in found if item is not MISSING]
        else:
            return MISSING
    return value


def prefixes(path: str) -> list[str]:
    """The paths that lead to `path`: of `a.b.c`, `a` and `a.b`."""
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def server_projection(paths: Iterable[str]) -> dict[str, int]:
    """The smallest inclusion projection that covers `paths`.

    MongoDB refuses `a` beside `a.b`, and takes no array index in a projection: a path is cut before its first number.
    """
    cut = {_cut(path) for path in paths} | {"_id"}
    return {path: 1 for path in sorted(cut) if cut.isdisjoint(prefixes(path))}


def _cut(path: str) -> str:
    parts = path.split(".")
    for at, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[:at]) or path
    return path
