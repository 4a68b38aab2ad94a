"""BSON values as the text of a hash field, and as JSON. `docs/reference/types.md` shows every type."""

from __future__ import annotations

import base64
import datetime
import json
import math
import uuid
from typing import Any, NoReturn

import orjson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from syncd.errors import ProjectionError
from syncd.plan.values.bson_values import NoneType, Table, is_uuid, unsupported, uuid_text
from syncd.plan.values.dates import date_text
from syncd.plan.values.redisjson import is_doubtful, readable
from syncd.plan.values.vectors import stored_vector

JSON_DEPTH = 127
"""Levels of arrays and objects that RedisJSON reads; it refuses the 128th (seen with RedisJSON 2.8)."""

# orjson writes subclasses and dataclasses by itself: a Code, a subclass of str, would lose its scope that way.
_OPTIONS = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
)
_FLAGS = tuple((flag, Regex("", flag).flags) for flag in "ilmsux")
NOT_UNICODE = "holds half of a surrogate pair, which UTF-8 cannot carry"


def to_hash(value: Any) -> str | bytes:
    """The text, or the raw bytes, of one value in a hash field or a string.

    null is the empty string here; whether a field with null is left out is decided before. Raises
    ProjectionError: `unsupported_type`, `not_unicode`.
    """
    text: str | bytes = HASH[type(value)](value)
    return text


def as_bytes(value: Any) -> bytes:
    """A value of a hash or a string, as it goes to Redis, as Redis gives it back."""
    if type(value) is bytes:
        return value
    # Text that is no Unicode never gets to Redis: then it differs, and a dead letter says why.
    return (value if type(value) is str else str(value)).encode(errors="surrogatepass")


def to_json(value: Any) -> Any:
    """The value in plain types that JSON has, at every level. Raises ProjectionError: `unsupported_type`."""
    return JSON[type(value)](value)


def dump_json(value: Any, *, under: int = 0) -> bytes:
    """JSON text for RedisJSON, of values from BSON or of what `to_json` returns. Keys keep their order. Doubles have a
    text that RedisJSON reads exactly, where there is one. `under`: how many levels are above it in the key.

    Raises ProjectionError: `json_too_deep`, `not_unicode`, `number_too_large`, `unsupported_type`.
    """
    text, deepest = json_text(value), JSON_DEPTH - under
    if text.count(b"[") + text.count(b"{") > deepest and _depth(orjson.loads(text)) > deepest:
        raise ProjectionError(
            "json_too_deep", f"nested deeper than the {JSON_DEPTH} levels that RedisJSON reads"
        )
    return _for_redisjson(value) if is_doubtful(text) else text


def _for_redisjson(value: Any) -> bytes:
    """For what `json_text` takes. Objects of BSON, such as vectors, are checked when their JSON is made."""
    plain = to_json(value) if _holds_non_finite(value) else value
    return orjson.dumps(readable(plain), default=lambda inner: readable(to_json(inner)), option=_OPTIONS)


def json_text(value: Any) -> bytes:
    """As `dump_json`, for a hash field or a string, where RedisJSON's limits do not hold."""
    try:
        text = orjson.dumps(value, default=to_json, option=_OPTIONS)
        # orjson writes NaN and infinities as null, without an error.
        if b"null" in text and _holds_non_finite(value):
            text = orjson.dumps(to_json(value))
    except orjson.JSONEncodeError as error:
        _explain(value, error)
    return text


def _explain(value: Any, error: orjson.JSONEncodeError) -> NoReturn:
    if isinstance(error.__cause__, ProjectionError):
        raise error.__cause__ from None
    if "surrogates" in str(error):
        raise ProjectionError("not_unicode", NOT_UNICODE) from None
    if "64-bit" in str(error):
        raise ProjectionError("number_too_large", "an integer does not fit 64 bits") from None
    if "ecursion" in str(error):
        raise ProjectionError("json_too_deep", "nested deeper than JSON can be written") from None
    raise ProjectionError("unsupported_type", "a value cannot be written as JSON") from None


def _holds_non_finite(value: Any) -> bool:
    kind = type(value)
    if kind is list:
        try:
            # In C, so that a long vector costs little. Too large a sum only leads to the exact check below.
            if math.isfinite(sum(value)):
                return False
        except (TypeError, OverflowError):
            pass
    elif kind is not dict:
        return not math.isfinite(value) if kind is float else kind not in _FINITE
    for item in value.values() if kind is dict else value:
        inner = type(item)
        if inner is float:
            if not math.isfinite(item):
                return True
        elif inner not in _FINITE and _holds_non_finite(item):
            return True
    return False


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while containers := [item for item in level if type(item) is dict or type(item) is list]:
        depth += 1
        level = [child for item in containers for child in (item.values() if type(item) is dict else item)]
    return depth


def unicode_text(value: str) -> str:
    """The text itself. Raises ProjectionError: `not_unicode`."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ProjectionError("not_unicode", NOT_UNICODE) from None
    return value


def double_text(value: float) -> str:
    """The shortest decimal that gives the double back; `3`, not `3.0`."""
    text = repr(value)
    return text[:-2] if text.endswith(".0") else text


def _double_json(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"  # noqa: PLR0124


def _binary_hash(value: Binary) -> str | bytes:
    if is_uuid(value):
        return uuid_text(value)
    vector = stored_vector(value)
    return vector.data if vector else bytes(value)


def _binary_json(value: Binary) -> Any:
    if is_uuid(value):
        return uuid_text(value)
    vector = stored_vector(value)
    return list(map(to_json, vector.numbers())) if vector else base64_text(value)


def base64_text(value: bytes) -> str:
    """Bytes in JSON: standard base64 with padding."""
    return base64.b64encode(value).decode()


def regex_flags(value: Regex[Any]) -> str:
    """BSON's letters of the flags, in BSON's order."""
    return "".join(flag for flag, bit in _FLAGS if value.flags & bit)


def _regex_text(value: Regex[Any]) -> str:
    return unicode_text(f"/{value.pattern}/{regex_flags(value)}")


def _timestamp_text(value: Timestamp) -> str:
    return f"{value.time}:{value.inc}"


def _code_json(value: Code) -> Any:
    if value.scope is None:
        return str(value)
    from bson import json_util  # noqa: PLC0415 - slow to import, and almost never needed

    # Not by orjson: halves of surrogate pairs are reported where the whole document is written.
    return json.loads(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))


def _code_hash(value: Code) -> str | bytes:
    return unicode_text(str(value)) if value.scope is None else json_text(value)


def _dict_json(value: dict[str, Any]) -> dict[str, Any]:
    return {key: JSON[type(item)](item) for key, item in value.items()}


def _list_json(value: list[Any]) -> list[Any]:
    return [JSON[type(item)](item) for item in value]


_SAME_IN_BOTH: dict[type, Any] = {
    Decimal128: str,
    DatetimeMS: date_text,
    ObjectId: str,
    Timestamp: _timestamp_text,
    Regex: _regex_text,
    datetime.datetime: lambda value: date_text(DatetimeMS(value)),
    uuid.UUID: str,
}

JSON = Table(
    {
        **_SAME_IN_BOTH,
        str: str,
        int: int,
        Int64: int,
        float: _double_json,
        bool: bool,
        NoneType: lambda value: None,
        bytes: base64_text,
        Binary: _binary_json,
        Code: _code_json,
        MinKey: lambda value: {"$minKey": 1},
        MaxKey: lambda value: {"$maxKey": 1},
        DBRef: lambda value: _dict_json(dict(value.as_doc())),
        dict: _dict_json,
        list: _list_json,
    },
    unsupported,
)
"""`to_json` by type. A builder of field encoders looks functions up once instead of once a value."""

HASH = Table(
    {
        **_SAME_IN_BOTH,
        str: unicode_text,
        int: str,
        Int64: str,
        float: double_text,
        bool: {True: "true", False: "false"}.__getitem__,
        NoneType: lambda value: "",
        bytes: bytes,
        Binary: _binary_hash,
        Code: _code_hash,
        MinKey: lambda value: "MinKey",
        MaxKey: lambda value: "MaxKey",
        DBRef: json_text,
        dict: json_text,
        list: json_text,
    },
    unsupported,
)
"""`to_hash` by type."""

_FINITE = frozenset((*_SAME_IN_BOTH, str, int, Int64, bool, NoneType, bytes, MinKey, MaxKey))
"""Types that cannot hold a NaN; of any other one it is taken for possible."""
