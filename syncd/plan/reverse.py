"""The way back: what an application wrote into a hash field or a JSON member -> BSON of the declared type.

`from_hash(to_hash(convert(v, t)), t)` is `v` again if `v` was of that type. Vectors come back rounded to the
element type of the index, and values inside `json` as JSON has them.
"""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal
from typing import Any

import orjson
from bson.datetime_ms import DatetimeMS

from syncd.contract.values import FieldType, VectorType
from syncd.errors import ProjectionError
from syncd.plan.bson_values import Function
from syncd.plan.convert import convert
from syncd.plan.geo import point_of_text
from syncd.plan.numeric import INT64_MAX, INT64_MIN, refuse
from syncd.plan.vectors import vector_from_bytes, vector_list


def from_hash(text: bytes, field_type: FieldType, datatype: VectorType = "float32") -> Any:
    """The value of a hash field, in the type that MongoDB is to hold.

    `datatype` is the element type of a vector. `geo` gives a GeoJSON point, `epoch` and `epoch_ms` give
    dates, `uuid` a binary of subtype 4.

    Raises ProjectionError: `cannot_convert`, `not_unicode`, `vector_length`.
    """
    if field_type == "binary":
        return text
    if field_type == "vector":
        return vector_from_bytes(text, datatype)
    try:
        return _of_text(text.decode(), field_type)
    except UnicodeDecodeError:
        raise ProjectionError("not_unicode", "the field's bytes are not UTF-8") from None


def from_json(value: Any, field_type: FieldType) -> Any:
    """The same for a member of a JSON document, as parsed. null stays null.

    Raises ProjectionError: `cannot_convert`, `vector_element`.
    """
    if value is None:
        return None
    if field_type == "vector":
        return vector_list(value, len(value)) if type(value) is list else refuse(value, "vector")
    if type(value) is str:
        return _of_base64(value) if field_type == "binary" else _of_text(value, field_type)
    if field_type == "json":
        return value  # syncd writes a text here, an application writes what it means
    if field_type == "epoch" and type(value) in (int, float):
        return _of_seconds(repr(value))
    if field_type in ("int", "long", "double", "decimal", "bool", "epoch_ms"):
        return convert(value, "date" if field_type == "epoch_ms" else field_type)
    return refuse(value, field_type, "JSON holds it as text")


def _of_text(text: str, field_type: FieldType) -> Any:
    return _SPECIAL[field_type](text) if field_type in _SPECIAL else convert(text, field_type)


def _of_seconds(text: str) -> DatetimeMS:
    number = convert(text, "decimal").to_decimal()
    millis = number.scaleb(3) if number.is_finite() else Decimal("0.5")
    if not INT64_MIN <= millis <= INT64_MAX or millis != millis.to_integral_value():
        refuse(text, "epoch", "it is no whole number of milliseconds")
    return DatetimeMS(int(millis))


def _of_millis(text: str) -> DatetimeMS:
    return DatetimeMS(convert(text, "int"))


def _of_json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        refuse(text, "json", "the text cannot be parsed")


def _of_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        refuse(text, "binary", "the text is not base64")


_SPECIAL: dict[FieldType, Function] = {
    "epoch": _of_seconds,
    "epoch_ms": _of_millis,
    "json": _of_json,
    "geo": point_of_text,
}
"""Types whose text means something else coming back than `convert` makes of a text in a document."""
