"""One value of a key, as a contract says how such values stand there: to its text, and back.

By default that is `encode_key_value` and `decode_key_value`, which keep every type. With `key_values: text` a
value is its own text, a string; with `key_types` the text is that of a hash field of this type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from syncd.contract.model.redis.template import SEPARATOR, Placeholder
from syncd.contract.model.values import KeyType
from syncd.errors import ProjectionError
from syncd.plan.keys.decode import decode_key_value, unescape
from syncd.plan.keys.encode import PART, encode_key_value, escape
from syncd.plan.to_mongo.reverse import from_hash
from syncd.plan.values.codec import to_hash
from syncd.plan.values.convert import convert
from syncd.plan.values.raw import RAW

ToText: TypeAlias = Callable[[Any], str]
ToValue: TypeAlias = Callable[[str], Any]
_SEPARATOR = escape(SEPARATOR)
_IN_TEXT = "holds a `:`, which separates the values of a key; write {path*} for the one that may"


def text_of(placeholder: Placeholder) -> ToText:
    """A function from values to what stands in the key. It raises ProjectionError: `key_field_type` for a value that
    would not come back as it is, `not_unicode`."""
    if not placeholder.as_text and placeholder.type is None:
        return _starred(_part) if placeholder.starred else _part
    plain = _text if placeholder.type is None else _typed(placeholder.type)
    if placeholder.as_text:
        return plain if placeholder.starred else _without_separator(plain)

    def escaped(value: Any) -> str:
        return escape(plain(value))

    return _starred(escaped) if placeholder.starred else escaped


def value_of(placeholder: Placeholder, *, exact: bool = True) -> ToValue:
    """A function back. It raises ProjectionError where the text is that of no value; `exact` also where another text is
    that of the same value, so that two keys never mean one."""
    if not placeholder.as_text and placeholder.type is None:
        return _decoded(placeholder.starred)
    field_type = placeholder.type or "string"

    def value(text: str) -> Any:
        raw = text if placeholder.as_text else _unescaped(text, starred=placeholder.starred)
        found = from_hash(raw.encode(), field_type)
        if exact and placeholder.type is not None and _typed(placeholder.type)(found) != raw:
            raise ProjectionError("cannot_convert", f"not the usual text of the type {placeholder.type}")
        return found

    return value


def _part(value: Any) -> str:
    text: str = PART[type(value)](value)
    return text


def _text(value: Any) -> str:
    if type(value) is not str:
        what = "is no string, and `key_values: text` takes nothing else; say what it is in `key_types`"
        raise ProjectionError("key_field_type", what)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ProjectionError("not_unicode", "is no valid Unicode") from None
    return value


def _typed(field_type: KeyType) -> ToText:
    if field_type == "string":
        return _text

    def text(value: Any) -> str:
        try:
            # Of values that MongoDB holds equal one stands for all: 1.00 is 1.
            ident = encode_key_value(value)
            said = str(to_hash(convert(decode_key_value(ident), field_type)))
            same = encode_key_value(from_hash(said.encode(), field_type)) == ident
        except ProjectionError as error:
            raise ProjectionError(
                "key_field_type", f"has no text of the type {field_type}: {error.detail}"
            ) from None
        if not same:
            what = f"would come back as another value: `key_types` says {field_type}"
            raise ProjectionError("key_field_type", what)
        return said

    return text


def _without_separator(plain: ToText) -> ToText:
    def text(value: Any) -> str:
        said = plain(value)
        if SEPARATOR in said:
            raise ProjectionError("key_field_type", _IN_TEXT)
        return said

    return text


def _starred(encode: ToText) -> ToText:
    return lambda value: encode(value).replace(_SEPARATOR, SEPARATOR)


def _decoded(starred: bool) -> ToValue:
    def value(text: str) -> Any:
        try:
            if text.startswith(RAW):
                raise ValueError("not the text of a key value")
            return decode_key_value(_packed(text) if starred else text)
        except ValueError as error:
            raise ProjectionError(
                "cannot_convert", f"{error}; `key_values: text` takes it as it stands"
            ) from None

    return value


def _packed(text: str) -> str:
    if _SEPARATOR in text:
        raise ValueError("a `:` is written as it is where a placeholder may hold it")
    return text.replace(SEPARATOR, _SEPARATOR)


def _unescaped(text: str, *, starred: bool) -> str:
    try:
        raw = unescape(_packed(text) if starred else text)
    except ValueError:
        raw = ""
    if (escape(raw).replace(_SEPARATOR, SEPARATOR) if starred else escape(raw)) != text:
        what = "holds what is written as %XX in a key; `key_values: text` takes it as it stands"
        raise ProjectionError("cannot_convert", what)
    return raw
