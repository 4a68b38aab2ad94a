"""The way back: what an application wrote into a hash field or a JSON member -> BSON of the declared type.

`from_hash(to_hash(convert(v, t)), t)` is `v` again if `v` was of that type. Vectors come back rounded to the
element type of the index, and values inside `json` as JSON has them.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import orjson

from syncd.contract.model.values import DATES, FieldType, VectorType
from syncd.errors import ProjectionError
from syncd.plan.values.bson_values import Function
from syncd.plan.values.convert import convert
from syncd.plan.values.geo import point_of_text, points_of_json
from syncd.plan.values.moments import moment_in_redis
from syncd.plan.values.numeric import INT64_MAX, INT64_MIN, refuse
from syncd.plan.values.vectors import vector_from_bytes, vector_list


def from_hash(
    text: bytes, field_type: FieldType, datatype: VectorType = "float32", *, exact: bool = False
) -> Any:
    """The value of a hash field, in the type that MongoDB is to hold.

    `datatype` is the element type of a vector. `geo` gives a GeoJSON point, `epoch`, `epoch_ms` and `epoch_us` give
    dates, `uuid` a binary of subtype 4. `exact` refuses a moment that is finer than a millisecond.

    Raises ProjectionError: `cannot_convert`, `not_unicode`, `number_too_large`, `vector_element`, `vector_length`.
    """
    if field_type == "binary":
        return text
    if field_type == "vector":
        return vector_from_bytes(text, datatype)
    try:
        return _of_text(text.decode(), field_type, exact=exact)
    except UnicodeDecodeError:
        raise ProjectionError("not_unicode", "the field's bytes are not UTF-8") from None


def from_json(value: Any, field_type: FieldType, *, exact: bool = False) -> Any:
    """The same for a member of a JSON document, as parsed. null stays null.

    Raises ProjectionError: `cannot_convert`, `vector_element`.
    """
    if value is None:
        return None
    if field_type == "vector":
        return vector_list(value, len(value)) if type(value) is list else refuse(value, "vector")
    if type(value) is str:
        return _of_base64(value) if field_type == "binary" else _of_text(value, field_type, exact=exact)
    if field_type == "json":
        return value  # syncd writes a text here, an application writes what it means
    if field_type in DATES and type(value) in (int, float):
        return moment_in_redis(value, field_type, exact=exact)
    if field_type == "geo":
        return points_of_json(value)
    if field_type in ("int", "long", "double", "decimal", "bool"):
        return convert(value, field_type)
    return refuse(value, field_type, "JSON holds it as text")


def _of_text(text: str, field_type: FieldType, *, exact: bool) -> Any:
    if field_type in DATES:
        return moment_in_redis(text, field_type, exact=exact)
    return _SPECIAL[field_type](text) if field_type in _SPECIAL else convert(text, field_type)


def _of_json(text: str) -> Any:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        refuse(text, "json", "the text cannot be parsed")
    if _MANY_DIGITS.search(text) and not all(map(_fits, _INTEGERS.finditer(text))):
        raise ProjectionError("number_too_large", "an integer does not fit 64 bits")
    return found


# orjson makes a double of an integer that does not fit 64 bits, without an error.
_MANY_DIGITS = re.compile(r"[0-9]{19}")
_INTEGERS = re.compile(r'"(?:[^"\\]|\\.)*"|[0-9]+[.eE][-+0-9.eE]*|(?P<integer>-?[0-9]+)')


def _fits(match: re.Match[str]) -> bool:
    return match["integer"] is None or INT64_MIN <= int(match["integer"]) <= INT64_MAX


def _of_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        refuse(text, "binary", "the text is not base64")


_SPECIAL: dict[FieldType, Function] = {
    "json": _of_json,
    "geo": point_of_text,
}
"""Types whose text means something else coming back than `convert` makes of a text in a document."""
