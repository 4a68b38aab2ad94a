"""The grammar of key templates: literal text and `{path}` placeholders, such as `{tenant}:user:{_id.nr}`.

`{{` and `}}` stand for one literal brace, and `{tags[]}` for each element of an array. A placeholder holds no `:`, so
that a key can be taken apart in one way only; one of a template may be starred, `{path*}`, and does. The key encoder
escapes `{` and `}` as well, unless values stand in keys as they are (`key_values: text`). Whether the values of a key
are unambiguous depends on that, and which templates overlap (`template_overlap`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast, get_args
from urllib.parse import quote, unquote

from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.values import COLLECTION, DATABASE, KeyType, KeyValues, check_path

SEPARATOR = ":"
CONTROL_PREFIX = "syncd:"
"""syncd keeps positions, leases and dead letters under it."""
ESCAPED = ":{}"
"""What the key encoder escapes in values."""
EACH = "[]"
"""Behind a path: each element of the array there."""
_POSITION = ".#"
"""How the path of a placeholder ends that is the position of an element, not a value of it."""
_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+")
_WORDS = re.compile(r" (text)?(?::([A-Za-z0-9_]+))?(\[\])? (.*)", re.DOTALL)
"""How a record writes what a contract says of a placeholder beside its template. No template of a contract has a space
there."""


_SHARED = re.compile(r"\{=([^{}]*)\}$")
"""How a record ends of a template for some fields of its keys. No path begins with `=`."""


class TemplateError(ValueError):
    """A template that cannot be read; never leaves `syncd.contract`. `position` counts from 0."""

    def __init__(self, position: int, what: str, remedy: str) -> None:
        self.position = position
        super().__init__(f"{what} at character {position + 1}|{remedy}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One value of a key."""

    path: str
    starred: bool = False
    """Whether it may hold the separator."""
    as_text: bool = False
    """Whether the value stands in the key as it is, without escapes."""
    type: KeyType | None = None
    """What the text means, where the contract says so."""
    element: bool = False
    """Whether it belongs to an element of the array that the contract names in `each`, not to the document."""
    many: bool = False
    """Whether it stands for each value of an array: a document is then a member of a key for each."""

    @property
    def is_position(self) -> bool:
        """Whether it is the number of the element in its array."""
        return self.element and self.path.endswith(_POSITION)

    @property
    def shown(self) -> str:
        """As contracts write it."""
        return f"{{{self.path}{EACH if self.many else ''}{'*' if self.starred else ''}}}"

    @property
    def recorded(self) -> str:
        """With all that the contract says of it."""
        words = ("text" if self.as_text else "") + (f":{self.type}" if self.type else "")
        words += "[]" if self.element else ""
        return f"{{ {words} {self.shown[1:]}" if words else self.shown

    @property
    def never_holds(self) -> str:
        """Characters."""
        return ("" if self.starred else SEPARATOR) + ("" if self.as_text else "{}")


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """A parsed template: `literals[0] placeholders[0] literals[1] ... literals[n]`."""

    text: str
    """The text in records in Redis: with all that the contract says of its placeholders."""
    literals: tuple[str, ...]
    placeholders: tuple[Placeholder, ...]
    fields: tuple[str, ...] = ()
    """Of a hash that several projections share: the fields that this one has. Empty: all of the key."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the placeholders."""
        return tuple(one.path for one in self.placeholders)

    @property
    def prefix(self) -> str:
        """What every key of the template begins with."""
        return self.literals[0]

    @property
    def shown(self) -> str:
        """As contracts write it."""
        return _written(self.literals, [one.shown for one in self.placeholders])

    @property
    def by_id(self) -> bool:
        """True if the key follows from `_id` alone, so that a deletion names its key."""
        return bool(self.paths) and all(path == "_id" for path in self.paths)

    @property
    def each(self) -> bool:
        """True if a document has a key for each element of an array."""
        return any(one.element for one in self.placeholders)

    @property
    def is_plain(self) -> bool:
        """Whether every value stands in keys as the encoder writes it, without `key_values` or `key_types`."""
        return all(one == Placeholder(one.path) for one in self.placeholders)

    @property
    def separated(self) -> bool:
        """True if no two lists of values give one key: what no value holds stands between placeholders."""
        between = ESCAPED if not any(one.starred or one.as_text for one in self.placeholders) else SEPARATOR
        is_one_open = sum(one.starred for one in self.placeholders) <= 1
        return is_one_open and all(
            any(char in literal for char in between) for literal in self.literals[1:-1]
        )

    def having(self, values: KeyValues, types: Mapping[str, KeyType], each: str | None = None) -> KeyTemplate:
        """The template with what a contract says of its placeholders beside it."""
        placeholders = tuple(
            Placeholder(
                one.path,
                one.starred,
                values == "text",
                types.get(one.path),
                is_below(one.path, each),
                one.many,
            )
            for one in self.placeholders
        )
        text = _written(self.literals, [one.recorded for one in placeholders])
        return KeyTemplate(text, self.literals, placeholders)

    def sharing(self, fields: Iterable[str]) -> KeyTemplate:
        """The template for some fields of its keys alone."""
        names = tuple(sorted(fields))
        said = ",".join(quote(name, safe="") for name in names)
        return KeyTemplate(f"{self.text}{{={said}}}", self.literals, self.placeholders, names)

    def fits(self, key: bytes) -> bool:
        """Whether a key has the form of the template, with any values."""
        return _form(self).fullmatch(key.decode(errors="surrogateescape")) is not None

    @classmethod
    def parse(cls, text: str) -> KeyTemplate:
        """Read a template. Raises TemplateError, whose text is `what at character N|remedy`."""
        return cls(text, *_read(text, _placeholder))

    @classmethod
    def recorded(cls, text: str) -> KeyTemplate:
        """Read the `text` of a template."""
        shared = _SHARED.search(text)
        fields = tuple(map(unquote, shared[1].split(","))) if shared else ()
        return cls(text, *_read(text[: shared.start()] if shared else text, _recorded), fields)


def is_below(path: str, each: str | None) -> bool:
    """Whether a path leads to the elements of the array at `each`, or into them."""
    return each is not None and (path == each or path.startswith(f"{each}."))


@lru_cache(maxsize=4096)
def _read(
    text: str, read_placeholder: Callable[[str, int], Placeholder]
) -> tuple[tuple[str, ...], tuple[Placeholder, ...]]:
    literals, placeholders = [""], []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in ("{{", "}}"):
            literals[-1] += piece[0]
        elif len(piece) > 1 and piece[0] == "{":
            placeholders.append(read_placeholder(piece[1:-1], match.start()))
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
    return tuple(literals), tuple(placeholders)


def _written(literals: tuple[str, ...], placeholders: list[str]) -> str:
    doubled = [literal.replace("{", "{{").replace("}", "}}") for literal in literals]
    return doubled[0] + "".join(
        placeholder + literal for placeholder, literal in zip(placeholders, doubled[1:], strict=True)
    )


def _placeholder(inside: str, position: int) -> Placeholder:
    whole = inside.removesuffix("*")
    path = whole.removesuffix(EACH)
    if path != path.strip():
        raise TemplateError(position, "a space inside the braces", "write the path alone, such as {_id}")
    try:
        if path not in (DATABASE, COLLECTION) or path != inside:
            check_path(path)
        return Placeholder(path, starred=whole != inside, many=path != whole)
    except ValueError:
        remedy = "write a path of the document between the braces, such as {_id} or {release.year}"
        raise TemplateError(position, "not a field path in braces", remedy) from None


def _recorded(inside: str, position: int) -> Placeholder:
    words = _WORDS.fullmatch(inside)
    if words is None:
        return _placeholder(inside, position)
    said, path = words[2], _placeholder(words[4], position)
    known = cast("KeyType", said) if said in get_args(KeyType) else None
    return Placeholder(path.path, path.starred, words[1] is not None, known, words[3] is not None, path.many)


@lru_cache(maxsize=1024)
def _form(template: KeyTemplate) -> re.Pattern[str]:
    """As a regular expression: a group a placeholder."""
    groups = [
        f"([^{re.escape(one.never_holds)}]*)" if one.never_holds else "(.*)" for one in template.placeholders
    ]
    literals = [re.escape(literal) for literal in template.literals]
    rest = "".join(group + literal for group, literal in zip(groups, literals[1:], strict=True))
    return re.compile(literals[0] + rest, re.DOTALL)


def values_in(template: KeyTemplate, key: str) -> tuple[str, ...] | None:
    """The texts of the placeholders of a key; None for one of another form."""
    match = _form(template).fullmatch(key)
    return None if match is None else match.groups()


def template_of(projection: Projection) -> KeyTemplate:
    """The template of a projection, with all that it says of keys. Raises TemplateError."""
    each = None if projection.each_member else projection.each
    template = KeyTemplate.parse(projection.key).having(projection.key_values, projection.key_types, each)
    return template.sharing(projection.fields or {}) if projection.share else template


def unique_paths(projection: Projection) -> set[str]:
    """The paths that say which key, member or sample a document is. Raises TemplateError."""
    paths = {*template_of(projection).paths, *([projection.time] if projection.time else [])}
    return paths if projection.member is None else {*paths, *member_template_of(projection).paths}


def source_template_of(projection: Projection) -> KeyTemplate:
    """The template of what becomes a document: of a key, or of a key, a colon and a member of it, or the moment of a
    sample."""
    types = projection.key_types
    if projection.time is not None:
        member, types = f"{{{projection.time}}}", {**types, projection.time: "epoch_ms"}
    elif projection.each_member:
        member = projection.member or ""
    else:
        return template_of(projection)
    template = KeyTemplate.parse(f"{projection.key}{SEPARATOR}{member}")
    return template.having(projection.key_values, types)


def member_template_of(projection: Projection) -> KeyTemplate:
    """The same of its `member`."""
    template = KeyTemplate.parse(projection.member or "")
    return template.having(projection.key_values, projection.key_types)
