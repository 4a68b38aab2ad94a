"""Which key templates overlap: whether a key could be of both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from syncd.contract.model.redis.template import CONTROL_PREFIX, ESCAPED, KeyTemplate, Placeholder

_SEPARATOR = re.compile(r"[:{}]")
_FILLED = "1"  # what a placeholder holds in an example

_Segment: TypeAlias = tuple[str, ...]
"""A stretch of a template without `:`, `{` and `}`: literals, and between each two of them a placeholder."""


@lru_cache(4096)
def may_be_control(template: KeyTemplate) -> bool:
    """Whether values decide if a key begins with CONTROL_PREFIX."""
    control = KeyTemplate.parse(f"{CONTROL_PREFIX}{{any*}}").having("text", {})
    return overlaps(template, control) is not None


def overlaps(a: KeyTemplate, b: KeyTemplate) -> str | None:
    """A key that both templates could produce, or None. Exact; nearly always one pass over both. Where a key is shared,
    one in which both have a field."""
    if a.fields and b.fields and not {*a.fields} & {*b.fields}:
        return None
    if not all(one.never_holds == ESCAPED for one in (*a.placeholders, *b.placeholders)):
        one, other = _characters(a), _characters(b)
        return _walk(_filled(one), _filled(other)) or _walk(one, other)
    return _meeting(a, b)


def _meeting(a: KeyTemplate, b: KeyTemplate) -> str | None:
    """For templates whose placeholders hold no `:`, `{` or `}`: a key of both has these characters where both templates
    have them, and each part between two of them is compared by itself."""
    one, other = _segments(a), _segments(b)
    if one.separators != other.separators:
        return None
    keys = [""]
    for separator, x, y in zip(("", *one.separators), one.segments, other.segments, strict=True):
        shared = _shared(x, y)
        if shared is None:
            return None
        keys += [separator, shared]
    return "".join(keys)


_Character: TypeAlias = str | Placeholder
"""A character, or any number of characters that a placeholder holds."""


def _characters(template: KeyTemplate) -> tuple[_Character, ...]:
    found: list[_Character] = [*template.literals[0]]
    for placeholder, literal in zip(template.placeholders, template.literals[1:], strict=True):
        found += [placeholder, *literal]
    return tuple(found)


def _filled(characters: tuple[_Character, ...]) -> tuple[_Character, ...]:
    """With something in every placeholder: an example that reads better."""
    return tuple(
        one
        for character in characters
        for one in ((character,) if isinstance(character, str) else (_FILLED, character))
    )


def _walk(a: tuple[_Character, ...], b: tuple[_Character, ...]) -> str | None:
    """A text of both, or None. Each pair of places is visited once."""
    seen = {(0, 0)}
    todo = [(0, 0, "")]
    while todo:
        i, j, text = todo.pop()
        if (i, j) == (len(a), len(b)):
            return text
        for step in _steps(a[i : i + 1], b[j : j + 1]):
            place = i + step.a, j + step.b
            if place not in seen:
                seen.add(place)
                todo.append((*place, text + step.text))
    return None


class _Step(NamedTuple):
    """Steps forward in both templates, and the character that both have there."""

    a: int
    b: int
    text: str


def _steps(a: tuple[_Character, ...], b: tuple[_Character, ...]) -> Iterator[_Step]:
    one, other = a[0] if a else None, b[0] if b else None
    if isinstance(one, Placeholder):
        yield _Step(1, 0, "")
        if isinstance(other, str) and other not in one.never_holds:
            yield _Step(0, 1, other)
    if isinstance(other, Placeholder):
        yield _Step(0, 1, "")
        if isinstance(one, str) and one not in other.never_holds:
            yield _Step(1, 0, one)
    if isinstance(one, str) and one == other:
        yield _Step(1, 1, one)


class _Cut(NamedTuple):
    """A template at its `:`, `{` and `}`: always one segment more than there are separators."""

    separators: str
    segments: list[_Segment]


@lru_cache(4096)
def _segments(template: KeyTemplate) -> _Cut:
    separators: list[str] = []
    segments: list[list[str]] = [[]]
    for literal in template.literals:
        first, *rest = _SEPARATOR.split(literal)
        segments[-1].append(first)
        separators += _SEPARATOR.findall(literal)
        segments += [[piece] for piece in rest]
    return _Cut("".join(separators), [tuple(segment) for segment in segments])


def _shared(a: _Segment, b: _Segment) -> str | None:
    """A text that fits both segments; one without empty placeholders reads better."""
    if len(a) == 1 or len(b) == 1:
        plain, other = (a, b) if len(a) == 1 else (b, a)
        return plain[0] if _fits(plain[0], other) else None
    heads, tails = sorted((a[0], b[0]), key=len), sorted((a[-1], b[-1]), key=len)
    if not (heads[1].startswith(heads[0]) and tails[1].endswith(tails[0])):
        return None
    # Both have placeholders, and what stands between them may stand inside one of the other's.
    middles = sorted((a[1:-1], b[1:-1]))
    short = sorted(
        {heads[1] + tails[1], _FILLED.join(a), _FILLED.join(b)}, key=lambda text: (len(text), text)
    )
    reads_well = (text for text in short if _fits(text, a, 1) and _fits(text, b, 1))
    return next(reads_well, _FILLED.join((heads[1], *middles[0], *middles[1], tails[1])))


def _fits(text: str, segment: _Segment, least: int = 0) -> bool:
    """Whether a text is made by a segment whose placeholders have `least` characters or more."""
    if len(segment) == 1:
        return text == segment[0]
    at, end = len(segment[0]), len(text) - len(segment[-1])
    if not (text.startswith(segment[0]) and text.endswith(segment[-1])):
        return False
    for literal in segment[1:-1]:
        found = text.find(literal, at + least)
        if found < 0:
            return False
        at = found + len(literal)
    return at + least <= end
