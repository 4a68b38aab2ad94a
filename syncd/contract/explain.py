"""What pydantic found, in the words of one who edits a contract: what is wrong, where, how to put it right.

A mistake is told once: what follows from another mistake is left out. Values are shown as the file has them,
so that what came from the environment stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from syncd.contract.shape import Shape, shape_at
from syncd.contract.source import Path, Source
from syncd.errors import Problem

_LONGEST = 60
"""Characters of a value that a message shows."""

_TAG_KINDS = {"union_tag_invalid": "literal_error", "union_tag_not_found": "missing"}
"""The `type` of an index field decides what else is read, so pydantic reports it in its own way."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error of the model. `path` leads to it in the file; `shape` is what the model says there."""

    kind: str
    path: Path
    shape: Shape
    context: dict[str, Any]
    message: str

    @property
    def name(self) -> str:
        """The key it is about; a list's entries go by the name of the list."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "the contract")

    @property
    def meant(self) -> str | None:
        """For an unknown key: the known one that it resembles."""
        return next(iter(get_close_matches(self.name, self.shape.keys, 1)), None)


def mistakes(error: ValidationError, source: Source) -> list[Mistake]:
    """The errors that stand on their own."""
    found = [
        _mistake(details["type"], details["loc"], details, source)
        for details in error.errors(include_url=False)
    ]
    misspelt = {(*m.path[:-1], m.meant) for m in found if m.kind == "extra_forbidden"}
    return [
        mistake
        for mistake in found
        if not (mistake.kind == "missing" and mistake.path in misspelt)
        # An item that failed is not counted, so a list of one then seems empty.
        and not (mistake.kind == "too_short" and any(_inside(other.path, mistake.path) for other in found))
        and not any(_related(mistake.path, failed) for failed in source.failed)
    ]


def explain(found: Sequence[Mistake], source: Source) -> Iterator[Problem]:
    """One problem for each mistake."""
    for mistake in found:
        place = source.locate(*mistake.path)
        if mistake.kind == "extra_forbidden":
            place = source.locate_key(*mistake.path)
        elif mistake.kind == "missing":
            place = source.locate(*mistake.path[:-1])
        yield Problem(source.file, *place, *_words(mistake, source))


def _mistake(kind: str, loc: Path, details: Any, source: Source) -> Mistake:
    path = document_path(loc, source.value)
    shape = shape_at(loc[:-1] if kind == "extra_forbidden" else loc)
    if kind in _TAG_KINDS:
        kind, path = _TAG_KINDS[kind], (*path, "type")
        shape = Shape(shape.annotation, f"one of {', '.join(shape.choices)}")
    return Mistake(kind, path, shape, details.get("ctx", {}), details["msg"])


def document_path(loc: Path, value: Any) -> Path:
    """Where the file has it: without the labels of unions, and with `from` only where that is written."""
    path = tuple(part for depth, part in enumerate(loc) if not _is_label(loc[:depth]))
    if path[-1:] == ("from",) and not isinstance(value_at(value, path[:-1]), dict):
        return path[:-1]
    return path


def _is_label(before: Path) -> bool:
    """True if pydantic goes on with the name of a form: that of a `ttl`, or the type of an index field."""
    if before[:1] != ("redis",):
        return False
    return before[2:] == ("ttl",) or (before[2:4] == ("index", "fields") and len(before) == 5)


def value_at(value: Any, path: Path) -> Any:
    """What is at `path`, or None where there is nothing."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            return None
    return value


def _inside(path: Path, outer: Path) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _related(a: Path, b: Path) -> bool:
    return a == b or _inside(a, b) or _inside(b, a)


def _words(mistake: Mistake, source: Source) -> tuple[str, str]:
    if mistake.kind in _WORDS:
        return _WORDS[mistake.kind](mistake, source)
    if mistake.kind.endswith(("_type", "_parsing", "_from_float", "_parsing_size")):
        return _wrong_kind(mistake, source)
    return f"`{mistake.name}`: {mistake.message}", mistake.shape.remedy


def _shown(source: Source, path: Path) -> str:
    """The value as written, or what sort of thing it is."""
    text = source.written(*path)
    if text is None:
        return "a mapping" if isinstance(value_at(source.value, path), dict) else "a list"
    if not text:
        return "nothing"
    return f"`{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}`"


def _unknown_key(mistake: Mistake, _: Source) -> tuple[str, str]:
    hint = f"did you mean `{mistake.meant}`? " if mistake.meant else ""
    return f"unknown key `{mistake.name}`", f"{hint}known keys are {', '.join(mistake.shape.keys)}"


def _missing_key(mistake: Mistake, _: Source) -> tuple[str, str]:
    around = next((part for part in reversed(mistake.path[:-1]) if isinstance(part, str)), None)
    return f"missing key `{mistake.name}`" + (
        f" in `{around}`" if around else ""
    ), f"add it: {mistake.shape.remedy}"


def _not_allowed(mistake: Mistake, source: Source) -> tuple[str, str]:
    choices = mistake.shape.choices
    hint = next(iter(get_close_matches(str(value_at(source.value, mistake.path)), choices, 1)), None)
    if mistake.path == ("apiVersion",):
        remedy = f"write {choices[0]}, the version that this syncd reads"
    elif hint:
        remedy = f"did you mean `{hint}`? allowed are {', '.join(choices)}"
    else:
        remedy = f"write {' or '.join(choices)}" if len(choices) < 3 else f"write one of {', '.join(choices)}"
    return f"`{mistake.name}` cannot be {_shown(source, mistake.path)}", remedy


def _refused(mistake: Mistake, source: Source) -> tuple[str, str]:
    what, _, remedy = str(mistake.context["error"]).partition("|")
    return (f"{what}: {_shown(source, mistake.path)}" if source.written(*mistake.path) else what), remedy


def _wrong_kind(mistake: Mistake, source: Source) -> tuple[str, str]:
    wanted, remedy = mistake.shape.wanted, mistake.shape.how
    shown = _shown(source, mistake.path)
    if wanted == "text" and source.written(*mistake.path):
        return (
            f"`{mistake.name}` must be text, and {shown} is not",
            f'put it in quotes: "{source.written(*mistake.path)}"',
        )
    return f"`{mistake.name}` must be {wanted}, not {shown}", remedy


def _mismatch(mistake: Mistake, source: Source) -> tuple[str, str]:
    return f"{_shown(source, mistake.path)} cannot be a `{mistake.name}`", mistake.shape.remedy


def _empty(mistake: Mistake, _: Source) -> tuple[str, str]:
    return f"`{mistake.name}` is empty", mistake.shape.remedy


def _too_long(mistake: Mistake, _: Source) -> tuple[str, str]:
    limit = mistake.context["max_length"]
    return f"`{mistake.name}` is too long", f"write at most {limit} character{'s' if limit > 1 else ''}"


def _out_of_range(mistake: Mistake, source: Source) -> tuple[str, str]:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    bounds = " ".join(f"{words[key]} {value:g}" for key, value in mistake.context.items() if key in words)
    return f"`{mistake.name}` cannot be {_shown(source, mistake.path)}", f"write a number {bounds}"


_WORDS: dict[str, Callable[[Mistake, Source], tuple[str, str]]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "literal_error": _not_allowed,
    "value_error": _refused,
    "string_pattern_mismatch": _mismatch,
    "string_too_short": _empty,
    "too_short": _empty,
    "string_too_long": _too_long,
    "greater_than": _out_of_range,
    "greater_than_equal": _out_of_range,
    "less_than": _out_of_range,
    "less_than_equal": _out_of_range,
}
