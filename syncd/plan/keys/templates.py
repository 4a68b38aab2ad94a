"""Key templates: documents -> keys, keys -> values, and the pattern under which SCAN finds the keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from syncd.contract.model.redis.template import CONTROL_PREFIX, SEPARATOR, KeyTemplate, Placeholder, values_in
from syncd.contract.model.redis.template_overlap import may_be_control
from syncd.errors import ProjectionError
from syncd.plan.keys.decode import check_moments, decode_key_value
from syncd.plan.keys.encode import PART, encode_key_value
from syncd.plan.keys.parts import text_of, value_of

__all__ = [
    "decode_key_value", "encode_key_value", "is_ident", "key_parser", "key_reader", "parse_key", "render",
    "render_each", "scan_pattern",
]  # fmt: skip

_GLOB_SPECIAL = re.compile(r"([*?\[\]\\^])")

Render: TypeAlias = Callable[[Mapping[str, Any]], str]
Parse: TypeAlias = Callable[[bytes], dict[str, Any] | None]
Read: TypeAlias = Callable[[bytes], dict[str, Any]]


def render(template: KeyTemplate) -> Render:
    """A function from documents to keys. A path walks through subdocuments only.

    It raises ProjectionError: `key_field_missing`, `key_field_type` (an array, or a path through one),
    `not_unicode`, `odd_id`, `control_key` (one of syncd's own).
    """
    return _render_guarded(template) if may_be_control(template) else _render(template)


def _render_guarded(template: KeyTemplate) -> Render:
    unguarded = _render(template)

    def guarded(document: Mapping[str, Any]) -> str:
        key = unguarded(document)
        _refuse_control(key, template)
        return key

    return guarded


def _refuse_control(key: str, template: KeyTemplate) -> None:
    if key.startswith(CONTROL_PREFIX):
        raise ProjectionError(
            "control_key",
            f"the values for key template `{template.shown}` give a key that begins with `{CONTROL_PREFIX}`, which "
            "are syncd's own",
        )


def _render(template: KeyTemplate) -> Render:
    if len(template.paths) == 1 and "." not in template.paths[0] and template.is_plain:
        return _render_member(template)
    first = template.literals[0]
    values = [_value_at(placeholder, template) for placeholder in template.placeholders]
    rest = tuple(zip(values, template.literals[1:], strict=True))

    def many(document: Mapping[str, Any]) -> str:
        key = first
        for text_at, literal in rest:
            key += text_at(document) + literal
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


def _value_at(placeholder: Placeholder, template: KeyTemplate) -> Render:
    if placeholder.is_position:
        return lambda view: str(view.position)  # type: ignore[attr-defined]
    path, encode = placeholder.path, text_of(placeholder)
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
            return encode(value)
        except ProjectionError as error:
            raise _in_template(path, template, error.reason, error.detail) from None

    return encoded


def render_each(template: KeyTemplate) -> Callable[[Mapping[str, Any]], list[str]]:
    """A function from documents to keys: one for each element of the array where a placeholder stands for each, none
    where there is no array. It raises as `render` does."""
    at = next((at for at, one in enumerate(template.placeholders) if one.many), None)
    if at is None:
        one_key = render(template)
        return lambda document: [one_key(document)]
    each, encode = template.placeholders[at], text_of(template.placeholders[at])
    before = _render(KeyTemplate("", template.literals[: at + 1], template.placeholders[:at]))
    behind = _render(KeyTemplate("", template.literals[at + 1 :], template.placeholders[at + 1 :]))

    def keys(document: Mapping[str, Any]) -> list[str]:
        elements = _elements(document, each, template)
        if not elements:
            return []
        first, last = before(document), behind(document)
        try:
            texts = dict.fromkeys(map(encode, elements))
        except ProjectionError as error:
            raise _in_template(each.path, template, error.reason, error.detail) from None
        found = [f"{first}{text}{last}" for text in texts]
        for key in found if may_be_control(template) else ():
            _refuse_control(key, template)
        return found

    return keys


def _elements(document: Mapping[str, Any], each: Placeholder, template: KeyTemplate) -> list[Any]:
    value: Any = document
    for part in each.path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is not None and not isinstance(value, list):
        raise _in_template(each.path, template, "key_field_type", "is no array")
    return value or []


def _missing(path: str, template: KeyTemplate) -> ProjectionError:
    return _in_template(path, template, "key_field_missing", "is missing")


def _in_template(path: str, template: KeyTemplate, reason: str, what: str) -> ProjectionError:
    return ProjectionError(reason, f"field `{path}` of key template `{template.shown}` {what}")


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
    """`parse_key`, prepared for one template. Raises as `key_reader` does."""
    read = key_reader(template)

    def parse(key: bytes) -> dict[str, Any] | None:
        try:
            return read(key)
        except ProjectionError:
            return None

    return parse


@lru_cache(maxsize=256)
def key_reader(template: KeyTemplate, *, exact: bool = True, stored: bool = False) -> Read:
    """A function from keys to their values, by path. It raises ProjectionError (`foreign_key`) for a key that does not
    fit; the detail says why, without a value.

    `exact`: a key is read only if `render` gives it for these values. `stored`: and if MongoDB's drivers can read them.
    Raises ValueError for a template whose keys can be read in more than one way.
    """
    if not template.separated:
        raise ValueError(f"nothing separates the values in keys of template `{template.shown}`")
    paths = template.paths
    values = [value_of(placeholder, exact=exact) for placeholder in template.placeholders]
    repeats = len(set(paths)) < len(paths)
    guarded, control = may_be_control(template), CONTROL_PREFIX.encode()

    def read(key: bytes) -> dict[str, Any]:
        if guarded and key.startswith(control):
            raise _foreign(template, f"keys that begin with `{CONTROL_PREFIX}` are syncd's own")
        try:
            texts = values_in(template, key.decode())
        except UnicodeDecodeError:
            raise _foreign(template, "its bytes are not UTF-8") from None
        if texts is None:
            raise _foreign(template, _why_apart(template, key.decode()))
        if repeats and not _agree(paths, texts):
            raise _foreign(template, "a placeholder that stands twice has two values")
        found = {}
        for path, text, value in zip(paths, texts, values, strict=True):
            try:
                found[path] = value(text)
                if stored:
                    check_moments(found[path])
            except ProjectionError as error:
                raise _foreign(template, f"{path}: {error.detail}") from None
        return found

    return read


def _foreign(template: KeyTemplate, why: str) -> ProjectionError:
    return ProjectionError("foreign_key", f"does not fit the key template `{template.shown}`: {why}")


def _why_apart(template: KeyTemplate, key: str) -> str:
    """Of a key of another form."""
    separators = sum(literal.count(SEPARATOR) for literal in template.literals)
    if separators < key.count(SEPARATOR) and not any(one.starred for one in template.placeholders):
        return "a value would hold a `:`; write a placeholder for each part, or {path*} for the one that may hold it"
    if separators > key.count(SEPARATOR):
        return "it has fewer parts"
    if set("{}") & set(key) and not all(one.as_text for one in template.placeholders):
        return "a value would hold a brace; `key_values: text` takes it as it stands"
    return "the text between its values is another"


def _agree(paths: tuple[str, ...], texts: tuple[str, ...]) -> bool:
    """Whether a path that stands more than once in the template has one text."""
    return len(set(zip(paths, texts, strict=True))) == len(set(paths))


def scan_pattern(template: KeyTemplate) -> str:
    """The glob for SCAN's MATCH: every key of the template, and perhaps keys that `parse_key` refuses."""
    return "*".join(map(glob_literal, template.literals))


def glob_literal(text: str) -> str:
    """As it stands in a glob of Redis for itself."""
    return _GLOB_SPECIAL.sub(r"\\\1", text)
