"""The grammar of key templates: literal text and `{path}` placeholders, such as `{tenant}:user:{_id.nr}`.

`{{` and `}}` stand for one literal brace. The key encoder escapes `:`, `{` and `}` in every rendered value,
so a placeholder matches `[^:{}]*`. Two facts of this module rest on that: which templates can meet, and
whether a key tells its values apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from syncd.contract.values import check_path

CONTROL_PREFIX = "syncd:"
"""syncd keeps positions, leases and dead letters under it."""
_ESCAPED = ":{}"
_SEPARATOR = re.compile(r"[:{}]")
_FILLED = "1"
"""What a placeholder holds in an example."""
_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")


class TemplateError(ValueError):
    """A template that cannot be read; never leaves `syncd.contract`. `position` counts from 0."""

    def __init__(self, position: int, what: str, remedy: str) -> None:
        self.position = position
        super().__init__(f"{what} at character {position + 1}|{remedy}")


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A parsed template: `literals[0] paths[0] literals[1] ... literals[n]`."""

    text: str
    literals: tuple[str, ...]
    paths: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What every key of the template begins with."""
        return self.literals[0]

    @property
    def by_id(self) -> bool:
        """True if the key follows from `_id` alone, so that a deletion names its key."""
        return bool(self.paths) and all(path == "_id" for path in self.paths)

    @property
    def separated(self) -> bool:
        """True if no two lists of values give one key: what no value holds stands between placeholders."""
        return all(any(char in literal for char in _ESCAPED) for literal in self.literals[1:-1])

    @property
    def may_be_control(self) -> bool:
        """True if values decide whether a key begins with CONTROL_PREFIX."""
        return _may_begin(self, CONTROL_PREFIX)

    @classmethod
    def parse(cls, text: str) -> KeyTemplate:
        """Read a template. Raises TemplateError, whose text is `what at character N|remedy`."""
        literals, paths = [""], []
        for match in _PIECE.finditer(text):
            piece = match[0]
            if piece in ("{{", "}}"):
                literals[-1] += piece[0]
            elif len(piece) > 1 and piece[0] == "{":
                paths.append(_placeholder(piece[1:-1], match.start()))
                literals.append("")
            elif piece == "{":
                raise TemplateError(
                    match.start(), "a `{` that is not closed", "write {path}, or {{ for a literal brace"
                )
            elif piece == "}":
                raise TemplateError(
                    match.start(), "a `}` without its `{`", "write {path}, or }} for a literal brace"
                )
            else:
                literals[-1] += piece
        return cls(text, tuple(literals), tuple(paths))


def _placeholder(path: str, position: int) -> str:
    if path != path.strip():
        raise TemplateError(position, "a space inside the braces", "write the path alone, such as {_id}")
    try:
        return check_path(path)
    except ValueError:
        remedy = "write a path of the document between the braces, such as {_id} or {release.year}"
        raise TemplateError(position, "not a field path in braces", remedy) from None


_Segment: TypeAlias = tuple[str, ...]
"""A stretch of a template without `:`, `{` and `}`: literals, and between each two of them a placeholder."""


@lru_cache(4096)
def _may_begin(template: KeyTemplate, prefix: str) -> bool:
    """Whether a key may begin with this, which ends with its one separator."""
    cut = _segments(template)
    return cut.separators[:1] == prefix[-1] and _shared(cut.segments[0], (prefix[:-1],)) is not None


def overlaps(a: KeyTemplate, b: KeyTemplate) -> str | None:
    """A key that both templates could produce, or None. Exact, and one pass over both.

    No placeholder holds `:`, `{` or `}`. So a key of both has these characters where both templates have them, and what
    stands between two of them is a question of its own.
    """
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
