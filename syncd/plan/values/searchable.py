"""What RediSearch 2.10 takes of a field. Over one value that it does not take, it leaves out the whole document."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from syncd.contract.model.redis.indexes import IndexField, TagField, separator_of
from syncd.contract.model.redis.redis_types import IndexForm
from syncd.errors import ProjectionError
from syncd.plan.misfits import Note
from syncd.plan.values.geo import check_point
from syncd.plan.values.texts import HASH, to_json

Takes: TypeAlias = Callable[[Any], bool]

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)


def takes_text(entries: Sequence[IndexField]) -> Takes:
    """Whether all these entries of an index take a value as text."""
    checks = [check for entry in entries if (check := _OF_TEXT.get(entry.type))]
    return lambda text: all(check(text) for check in checks)


def takes_json(entries: Sequence[IndexField]) -> Takes:
    """Whether all these entries of an index take a value of JSON."""
    checks = [check for entry in entries if (check := _OF_JSON.get(entry.type))]
    return lambda value: all(_each(check, to_json(value)) for check in checks)


def _each(check: Takes, value: Any) -> bool:
    """RediSearch takes true for a label, and does not among others."""
    if not isinstance(value, list):
        return value is None or check(value)
    return all(one is None or (check(one) and type(one) is not bool) for one in value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_numeric_text(text: Any) -> bool:
    if isinstance(text, int):
        return True
    if not isinstance(text, str):
        return False
    if not _NUMBER.fullmatch(text):
        return _INFINITY.fullmatch(text) is not None
    number, digits = float(text), re.split("[eE]", text)[0]
    # Too large, or too small, for a double.
    return math.isfinite(number) and (number != 0 or not digits.strip("+-0."))


def _is_point(text: Any) -> bool:
    try:
        check_point(text)
    except ProjectionError:
        return False
    return True


_OF_TEXT: dict[str, Takes] = {"numeric": _is_numeric_text, "geo": _is_point}
_OF_JSON: dict[str, Takes] = {
    "numeric": _is_number,
    "geo": _is_point,
    "text": lambda value: isinstance(value, str),
    "tag": lambda value: isinstance(value, str | bool),
}


def label_separator(form: IndexForm | None, entries: Sequence[IndexField]) -> str | None:
    """By what an array is joined, so that a tag index finds each of its elements. JSON has arrays."""
    tags = [entry for entry in entries if isinstance(entry, TagField)]
    return separator_of(tags[0], form) if form is not None and form.is_text and tags else None


def joiner(separator: str, note: Note) -> Callable[[list[Any]], str | bytes]:
    """Makes labels of an array. One that holds the separator is cut there by RediSearch, which is noted."""

    def join(value: list[Any]) -> str | bytes:
        labels = [HASH[type(one)](one) for one in value if one is not None]
        if all(type(label) is str for label in labels):
            if any(separator in label for label in labels):
                note("split")
            return separator.join(labels)
        raw, cut = [label.encode() if type(label) is str else label for label in labels], separator.encode()
        if any(cut in label for label in raw):
            note("split")
        return cut.join(raw)

    return join
