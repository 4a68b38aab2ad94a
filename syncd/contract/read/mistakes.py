"""The errors of pydantic as places in the file. A mistake counts once, without what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from syncd.contract.model.contract import Contract
from syncd.contract.model.place import Place, place_at
from syncd.contract.read.source import Path, Source

_TAG_KINDS = {"union_tag_invalid": "literal_error", "union_tag_not_found": "missing"}
"""The `type` of an index field decides what else is read, so pydantic reports it in its own way."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One error of the model. `path` leads to it in the file; `place` is what the model says there."""

    kind: str
    path: Path
    place: Place
    context: dict[str, Any]
    message: str

    @property
    def name(self) -> str:
        """The key it is about; a list's entries go by the name of the list."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")

    @property
    def subject(self) -> str:
        """What it is about, as a sentence begins."""
        return _subject(self.path)

    @property
    def around(self) -> str:
        """What holds it."""
        return _subject(self.path[:-1])

    @property
    def meant(self) -> str | None:
        """For an unknown key: the known one that it resembles."""
        return next(iter(get_close_matches(self.name, self.place.keys, 1)), None)


def own_errors(error: ValidationError) -> list[ErrorDetails]:
    """The errors without an echo: an entry that failed is not counted, so its list may seem too short."""
    found = error.errors(include_url=False)
    return [
        one
        for one in found
        if one["type"] != "too_short" or not any(_inside(other["loc"], one["loc"]) for other in found)
    ]


def mistakes(error: ValidationError, source: Source, model: type[BaseModel] = Contract) -> list[Mistake]:
    """The errors that stand on their own."""
    found = [_mistake(details, source, model) for details in own_errors(error)]
    misspelt = {(*mistake.path[:-1], mistake.meant) for mistake in found if mistake.kind == "extra_forbidden"}
    return [
        mistake
        for mistake in found
        if not (mistake.kind == "missing" and mistake.path in misspelt)
        and not any(_related(mistake.path, failed) for failed in source.failed)
    ]


def document_path(loc: Path, value: Any) -> Path:
    """Where the file has it: without the labels of unions, and with `from` only where that is written."""
    path = tuple(part for depth, part in enumerate(loc) if not _is_label(loc[:depth]))
    if path[-1:] == ("from",) and not isinstance(value_at(value, path[:-1]), dict):
        return path[:-1]
    return path


def value_at(value: Any, path: Path) -> Any:
    """What is at `path`, or None where there is nothing."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _subject(path: Path) -> str:
    if not path:
        return "the contract"
    name = next(part for part in reversed(path) if isinstance(part, str))
    return f"`{name}`" if path[-1] == name else f"an entry of `{name}`"


def _mistake(details: ErrorDetails, source: Source, model: type[BaseModel]) -> Mistake:
    kind, loc = details["type"], details["loc"]
    path = document_path(loc, source.value)
    place = place_at(loc[:-1] if kind == "extra_forbidden" else loc, model)
    if kind in _TAG_KINDS:
        kind, path = _TAG_KINDS[kind], (*path, "type")
        place = Place(place.annotation, f"one of {', '.join(place.choices)}")
    return Mistake(kind, path, place, details.get("ctx", {}), details["msg"])


def _is_label(before: Path) -> bool:
    """True if pydantic goes on with the name of a form: that of a `ttl`, or the type of an index field."""
    if before[:1] != ("redis",):
        return before == ("mongo", "collection")
    return before[2:] == ("ttl",) or (before[2:4] == ("index", "fields") and len(before) == 5)


def _inside(path: Path, outer: Path) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _related(a: Path, b: Path) -> bool:
    return a == b or _inside(a, b) or _inside(b, a)
