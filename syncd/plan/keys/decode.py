"""The text of one part of a key, back into its value: the inverse of `syncd.plan.keys.encode`."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import bson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from syncd.errors import ProjectionError
from syncd.plan.keys.encode import FIRST_OF_TYPED, LOOKS_TYPED, NEVER_PLAIN, encode_key_value, narrowest
from syncd.plan.values.bson_values import CODEC, UUID_SUBTYPE
from syncd.plan.values.dates import check_years
from syncd.plan.values.numeric import INT64_MAX, INT64_MIN
from syncd.plan.values.raw import RAW, RawId

_ESCAPE_RUN = re.compile(r"(?:%[0-9A-F]{2})+")
DEEPEST = 180
"""Levels of a document that MongoDB stores."""
_NO_TEXT = "not the text of a key value"


def decode_key_value(text: str) -> Any:
    """The value whose text this is; of several that MongoDB holds equal, one of them.

    Raises ValueError for what is not the text of any value.
    """
    if "%" not in text:
        return _decode_plain(text)
    if text.startswith(RAW):
        return RawId.parse(text)
    value = _decode_tagged(text[2:]) if text.startswith("%~") else unescape(text)
    try:
        spelled = encode_key_value(value)
    except (ProjectionError, RecursionError, ArithmeticError) as error:
        raise ValueError(_NO_TEXT) from error
    # A value has one text: any other spelling is of a key that syncd never wrote.
    if spelled != text:
        raise ValueError(_NO_TEXT)
    return value


def _decode_plain(text: str) -> Any:
    match = LOOKS_TYPED.fullmatch(text) if text[:1] in FIRST_OF_TYPED else None
    if match is None:
        if NEVER_PLAIN.search(text):
            raise ValueError("a character that a key value never holds")
        return text
    if match["object_id"]:
        return ObjectId(text)
    if match["uuid"]:
        return Binary(bytes.fromhex(text.replace("-", "")), UUID_SUBTYPE)
    if len(text) > 20 or not INT64_MIN <= int(text) <= INT64_MAX:
        raise ValueError("an integer beyond 64 bits is never plain")
    return int(text)


def _decode_tagged(text: str) -> Any:
    tag, _, payload = text.partition("~")
    try:
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag.startswith("bin"):
            return _decode_binary(int(tag[3:]), _unbase64(payload))
        return _DECODERS[tag](payload)
    except Exception as error:  # any error of a payload: any client may have written that key
        raise ValueError(_NO_TEXT) from error


def unescape(text: str) -> str:
    """Back. Raises ValueError for what is not UTF-8."""
    return _ESCAPE_RUN.sub(lambda run: bytes.fromhex(run[0].replace("%", "")).decode(), text)


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _decode_binary(subtype: int, raw: bytes) -> bytes:
    return raw if subtype == 0 else Binary(raw, subtype)


def _decode_number(text: str) -> Any:
    return float(text) if text in ("nan", "inf", "-inf") else narrowest(Decimal(text))


def _decode_date(text: str) -> DatetimeMS:
    millis = int(text)
    if not INT64_MIN <= millis <= INT64_MAX:
        raise ValueError("beyond what a date holds")
    return DatetimeMS(millis)


def _decode_timestamp(text: str) -> Timestamp:
    seconds, _, increment = text.partition(".")
    return Timestamp(int(seconds), int(increment))


def _decode_regex(text: str) -> Regex[str]:
    pattern, _, flags = text.rpartition("~")
    return Regex(unescape(pattern), sum(_FLAG_BITS[flag] for flag in flags))


def _decode_member(text: str) -> Any:
    value = bson.decode(_unbase64(text), CODEC)[""]
    if _depth(value) > DEEPEST:
        raise ValueError("deeper than what MongoDB takes")
    return value


def check_moments(value: Any) -> None:
    """Raise `cannot_convert` where a value of a key is, or holds, a date that drivers cannot read."""
    if isinstance(value, str | int):  # nearly always
        return
    level = [value]
    while level:
        for one in level:
            if isinstance(one, DatetimeMS):
                check_years(one)
        level = [inner for one in level for inner in _parts(one)]


def _depth(value: Any) -> int:
    """Levels, without going down by itself: a payload may have any number."""
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [inner for one in level for inner in _parts(one)]
    return depth


def _parts(value: Any) -> list[Any]:
    if isinstance(value, DBRef):
        value = value.as_doc()
    if isinstance(value, Code):
        value = value.scope or {}
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


_FLAG_BITS = {flag: Regex("", flag).flags for flag in "ilmsux"}
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None, "min": MinKey(), "max": MaxKey()}
_DECODERS: dict[str, Callable[[str], Any]] = {
    "n": _decode_number,
    "date": _decode_date,
    "ts": _decode_timestamp,
    "re": _decode_regex,
    "js": lambda text: Code(unescape(text)),
    "jsw": _decode_member,
    "doc": _decode_member,
}
