"""The grammar of key templates: literal text and `{path}` placeholders, such as `{tenant}:user:{_id.nr}`.

`{{` and `}}` stand for one literal brace. The key encoder escapes `:`, `{` and `}` in every rendered value,
so a placeholder matches `[^:{}]*`. Two facts of this module rest on that: which templates can meet, and
whether a key tells its values apart.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from syncd.contract.values import check_path

_ESCAPED = ":{}"
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


class _Step(NamedTuple):
    """One position of a pattern: a literal character, or a class of them when `literal` is None."""

    literal: str | None = None
    repeats: bool = False

    def meets(self, other: _Step) -> str | None:
        """A character that both accept."""
        if self.literal is None and other.literal is None:
            return "1"
        char = self.literal if self.literal is not None else other.literal
        return char if char is not None and self.accepts(char) and other.accepts(char) else None

    def accepts(self, char: str) -> bool:
        return char == self.literal if self.literal is not None else char not in _ESCAPED


_Pattern: TypeAlias = list[_Step]


def overlaps(a: KeyTemplate, b: KeyTemplate) -> str | None:
    """A key that both templates could produce, or None. Exact: searches the product of two small automata."""
    # The first search finds the example that reads better; only the second one decides.
    return _common_key(_pattern(a, least=1), _pattern(b, least=1)) or _common_key(_pattern(a), _pattern(b))


def _pattern(template: KeyTemplate, least: int = 0) -> _Pattern:
    steps = list(map(_Step, template.literals[0]))
    for literal in template.literals[1:]:
        steps += [_Step()] * least + [_Step(repeats=True)] + list(map(_Step, literal))
    return steps


def _common_key(a: _Pattern, b: _Pattern) -> str | None:
    seen = {(0, 0)}
    queue = deque([(0, 0, "")])
    while queue:
        i, j, key = queue.popleft()
        if i == len(a) and j == len(b):
            return key
        for next_i, next_j, char in _moves(a, i, b, j):
            if (next_i, next_j) not in seen:
                seen.add((next_i, next_j))
                queue.append((next_i, next_j, key + char))
    return None


def _moves(a: _Pattern, i: int, b: _Pattern, j: int) -> Iterator[tuple[int, int, str]]:
    if i < len(a) and a[i].repeats:
        yield i + 1, j, ""
    if j < len(b) and b[j].repeats:
        yield i, j + 1, ""
    if i < len(a) and j < len(b) and (char := a[i].meets(b[j])) is not None:
        yield i + (not a[i].repeats), j + (not b[j].repeats), char
