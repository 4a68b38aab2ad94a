"""Key templates: documents -> keys, keys -> values, and the pattern under which SCAN finds the keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from syncd.contract.template import CONTROL_PREFIX, KeyTemplate
from syncd.errors import ProjectionError
from syncd.plan.key_decode import decode_key_value
from syncd.plan.key_encode import PART, encode_key_value
from syncd.plan.raw import RAW

__all__ = [
    "decode_key_value", "encode_key_value", "is_ident", "key_parser", "parse_key", "render", "scan_pattern",
]  # fmt: skip

_GLOB_SPECIAL = re.compile(r"([*?\[\]\\^])")

Render: TypeAlias = Callable[[Mapping[str, Any]], str]
Parse: TypeAlias = Callable[[bytes], dict[str, Any] | None]


def render(template: KeyTemplate) -> Render:
    """A function from documents to keys. A path walks through subdocuments only.

    It raises ProjectionError: `key_field_missing`, `key_field_type` (an array, or a path through one),
    `not_unicode`, `odd_id`, `control_key` (one of syncd's own).
    """
    return _render_guarded(template) if template.may_be_control else _render(template)


def _render_guarded(template: KeyTemplate) -> Render:
    unguarded = _render(template)

    def guarded(document: Mapping[str, Any]) -> str:
        key = unguarded(document)
        if key.startswith(CONTROL_PREFIX):
            raise ProjectionError(
                "control_key",
                f"the values for key template `{template.text}` give a key that begins with `{CONTROL_PREFIX}`, which "
                "are syncd's own",
            )
        return key

    return guarded


def _render(template: KeyTemplate) -> Render:
    if len(template.paths) == 1 and "." not in template.paths[0]:
        return _render_member(template)
    first = template.literals[0]
    values = [_value_at(path, template) for path in template.paths]
    rest = tuple(zip(values, template.literals[1:], strict=True))

    def many(document: Mapping[str, Any]) -> str:
        key = first
        for value_of, literal in rest:
            key += value_of(document) + literal
        return key

    return many


def _render_member(template: KeyTemplate) -> Render:
    """The usual: one placeholder, one member of the document."""
    path = template.paths[0]
    before, after = template.literals

    def one(document: Mapping[str, Any]) -> str:
        try:
            value = document[path]
        except KeyError:
            raise _missing(path, template) from None
        try:
            return f"{before}{PART[type(value)](value)}{after}"
        except ProjectionError as error:
            raise _in_template(path, template, error.reason, error.detail) from None

    return one


def _value_at(path: str, template: KeyTemplate) -> Render:
    parts = path.split(".")

    def encoded(document: Mapping[str, Any]) -> str:
        value: Any = document
        try:
            for part in parts:
                value = value[part]
        except (KeyError, TypeError):  # nothing but a document takes a name in brackets
            if isinstance(value, list):
                raise _in_template(path, template, "key_field_type", "leads through an array") from None
            raise _missing(path, template) from None
        try:
            text: str = PART[type(value)](value)
        except ProjectionError as error:
            raise _in_template(path, template, error.reason, error.detail) from None
        return text

    return encoded


def _missing(path: str, template: KeyTemplate) -> ProjectionError:
    return _in_template(path, template, "key_field_missing", "is missing")


def _in_template(path: str, template: KeyTemplate, reason: str, what: str) -> ProjectionError:
    return ProjectionError(reason, f"field `{path}` of key template `{template.text}` {what}")


def is_ident(text: str) -> bool:
    """Whether this is the text of an `_id`: what waits in Redis may be of another contract of that name."""
    try:
        decode_key_value(text)
    except ValueError:
        return False
    return True


def parse_key(template: KeyTemplate, key: bytes) -> dict[str, Any] | None:
    """The values in a key, by path; None for a key that `render` never gives. See `key_parser`."""
    return key_parser(template)(key)


@lru_cache(maxsize=256)
def key_parser(template: KeyTemplate) -> Parse:
    """`parse_key`, prepared for one template.

    Raises ValueError for a template in which nothing separates two placeholders: its keys can be read in more
    than one way.
    """
    if not template.separated:
        raise ValueError(f"nothing separates the values in keys of template `{template.text}`")
    pieces = map(re.escape, template.literals)
    pattern = re.compile("([^:{}]*)".join(pieces), re.DOTALL)
    paths = template.paths
    repeats = len(set(paths)) < len(paths)

    may_be_control, control = template.may_be_control, CONTROL_PREFIX.encode()

    def parse(key: bytes) -> dict[str, Any] | None:
        if may_be_control and key.startswith(control):
            return None
        try:
            match = pattern.fullmatch(key.decode())
            if match is None or (repeats and not _agree(paths, match.groups())):
                return None
            if any(text.startswith(RAW) for text in match.groups()):
                return None
            return {path: decode_key_value(text) for path, text in zip(paths, match.groups(), strict=True)}
        except ValueError:  # not UTF-8, or not the text of a value
            return None

    return parse


def _agree(paths: tuple[str, ...], texts: tuple[str, ...]) -> bool:
    """Whether a path that stands more than once in the template has one text."""
    return len(set(zip(paths, texts, strict=True))) == len(set(paths))


def scan_pattern(template: KeyTemplate) -> str:
    """The glob for SCAN's MATCH: every key of the template, and perhaps keys that `parse_key` refuses."""
    return "*".join(_GLOB_SPECIAL.sub(r"\\\1", literal) for literal in template.literals)
