"""Explains mistakes to a person who edits a contract: what is wrong, where, and how to fix it.

Values are shown as the file has them, so that what came from the environment stays there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from typing import TypeAlias

from syncd.contract.read.mistakes import Mistake
from syncd.contract.read.source import Path, Place, Source
from syncd.errors import Problem

Words: TypeAlias = tuple[str, str]

_LONGEST = 60
"""Characters of a value that a message shows."""

_NAMED_KEY = re.compile(r"`(\w+)[`:]")


def explain(found: Sequence[Mistake], source: Source) -> Iterator[Problem]:
    """One problem for each mistake."""
    for mistake in found:
        yield Problem(source.file, *_place(mistake, source), *_words(mistake, source))


def _place(mistake: Mistake, source: Source) -> Place:
    if mistake.kind == "extra_forbidden":
        return source.locate_key(*mistake.path)
    if mistake.kind == "missing":
        return source.locate(*mistake.path[:-1])
    if mistake.kind == "value_error":
        # A refusal of a whole mapping names keys: the first that is there is nearest to the mistake.
        for key in _NAMED_KEY.findall(str(mistake.context["error"]).partition("|")[0]):
            if (*mistake.path, key) in source.keys:
                return source.locate_key(*mistake.path, key)
    return source.locate(*mistake.path)


def _words(mistake: Mistake, source: Source) -> Words:
    if mistake.kind in _WORDS:
        return _WORDS[mistake.kind](mistake, source)
    if mistake.kind.endswith(("_type", "_parsing", "_from_float", "_parsing_size")):
        return _wrong_kind(mistake, source)
    return f"{mistake.subject}: {mistake.message}", f"expected: {mistake.place.remedy}"


def _shown(source: Source, path: Path) -> str:
    """The value as written, or what sort of thing it is."""
    text = source.written(*path)
    if text is None:
        return source.sort_of(*path)
    if not text:
        return "nothing"
    return f"`{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}`"


def _unknown_key(mistake: Mistake, _: Source) -> Words:
    hint = f"did you mean `{mistake.meant}`? " if mistake.meant else ""
    return f"unknown key `{mistake.name}`", f"{hint}known keys are {', '.join(mistake.place.keys)}"


def _missing_key(mistake: Mistake, _: Source) -> Words:
    return f"missing key `{mistake.name}` in {mistake.around}", f"add it: {mistake.place.remedy}"


def _not_allowed(mistake: Mistake, source: Source) -> Words:
    choices = mistake.place.choices
    hint = get_close_matches(source.written(*mistake.path) or "", choices, 1)
    if mistake.path == ("apiVersion",):
        remedy = f"write {choices[0]}, the version that this syncd reads"
    elif len(choices) < 3:
        remedy = f"write {' or '.join(choices)}"
    else:
        remedy = (f"did you mean `{hint[0]}`? " if hint else "") + f"allowed are {', '.join(choices)}"
    return f"{mistake.subject} cannot be {_shown(source, mistake.path)}", remedy


def _refused(mistake: Mistake, source: Source) -> Words:
    what, _, remedy = str(mistake.context["error"]).partition("|")
    return (f"{what}: {_shown(source, mistake.path)}" if source.written(*mistake.path) else what), remedy


def _wrong_kind(mistake: Mistake, source: Source) -> Words:
    text, wanted = source.written(*mistake.path), mistake.place.wanted
    shown = _shown(source, mistake.path)
    if wanted == "text" and text:
        return f"{mistake.subject} must be text, and {shown} is not", f'put it in quotes: "{text}"'
    return f"{mistake.subject} must be {wanted}, not {shown}", mistake.place.how


def _mismatch(mistake: Mistake, source: Source) -> Words:
    what = f"{_shown(source, mistake.path)} cannot be a `{mistake.name}`"
    return what, f"expected: {mistake.place.remedy}"


def _empty(mistake: Mistake, _: Source) -> Words:
    return f"{mistake.subject} is empty", f"expected: {mistake.place.remedy}"


def _too_long(mistake: Mistake, _: Source) -> Words:
    limit = mistake.context["max_length"]
    return f"{mistake.subject} is too long", f"write at most {limit} character{'s' if limit > 1 else ''}"


def _too_many(mistake: Mistake, _: Source) -> Words:
    limit, actual = mistake.context["max_length"], mistake.context["actual_length"]
    return (
        f"{mistake.subject} has {actual} entries",
        f"write at most {limit}; the rest belongs into other contracts",
    )


def _out_of_range(mistake: Mistake, source: Source) -> Words:
    bounds = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    bound = " ".join(f"{bounds[key]} {value:g}" for key, value in mistake.context.items() if key in bounds)
    return f"{mistake.subject} cannot be {_shown(source, mistake.path)}", f"write a number {bound}"


_WORDS: dict[str, Callable[[Mistake, Source], Words]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "literal_error": _not_allowed,
    "value_error": _refused,
    "string_pattern_mismatch": _mismatch,
    "string_too_short": _empty,
    "too_short": _empty,
    "string_too_long": _too_long,
    "too_long": _too_many,
    "greater_than": _out_of_range,
    "greater_than_equal": _out_of_range,
    "less_than": _out_of_range,
    "less_than_equal": _out_of_range,
}
