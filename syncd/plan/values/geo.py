"""Points. RediSearch reads `lon,lat`; MongoDB holds GeoJSON, a pair, or a document with two names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from syncd.plan.values.bson_values import Table
from syncd.plan.values.numeric import DOUBLE, refuse, refuser
from syncd.plan.values.texts import double_text

LON_MAX = 180.0
LAT_MAX = 85.05112878
"""RediSearch 2.10 leaves a document with a point beyond these out of its index, without an error."""

_LON = ("lon", "lng", "longitude")
_LAT = ("lat", "latitude")
_PAIR = re.compile(r"\s*([^\s,]+)\s*,\s*([^\s,]+)\s*")


def _position(value: Any, position: Sequence[Any]) -> list[float]:
    """Longitude, latitude and, where there is one, altitude."""
    if len(position) not in (2, 3):
        refuse(value, "geo", "a position is two numbers, or three with an altitude")
    if any(type(number) is bool for number in position):
        refuse(value, "geo", "a bool is no coordinate")
    numbers = [DOUBLE[type(number)](number) for number in position]
    # Written so that NaN fails as well.
    if not (abs(numbers[0]) <= LON_MAX and abs(numbers[1]) <= LAT_MAX):
        refuse(value, "geo", f"longitude goes to {LON_MAX:g} and latitude to {LAT_MAX} degrees")
    if not all(map(math.isfinite, numbers)):
        refuse(value, "geo", "an altitude is finite")
    return numbers


def _of_text(value: str) -> list[float]:
    match = _PAIR.fullmatch(value)
    return _position(value, match.groups()) if match else refuse(value, "geo", "the text is not `lon,lat`")


def _of_document(value: Mapping[str, Any]) -> list[float]:
    if "coordinates" in value:
        position = value["coordinates"]
        if value.get("type") != "Point" or type(position) is not list:
            refuse(value, "geo", "of GeoJSON, only a Point is a position")
        return _position(value, position)
    lon = [value[name] for name in _LON if name in value]
    lat = [value[name] for name in _LAT if name in value]
    if len(lon) != 1 or len(lat) != 1:
        refuse(value, "geo", "it has no single longitude and latitude")
    return _position(value, (*lon, *lat))


def _of_list(value: list[Any]) -> list[float]:
    if _holds_points(value):
        refuse(value, "geo", "several points, which only JSON can hold")
    return _position(value, value)


def _holds_points(value: list[Any]) -> bool:
    """Whether these are points, and not the numbers of one."""
    return not value or any(
        isinstance(one, list | dict) or (type(one) is str and "," in one) for one in value
    )


_ONE = Table({str: _of_text, dict: _of_document, list: _of_list}, refuser("geo"))


def _shown(position: list[float]) -> str:
    return f"{double_text(position[0])},{double_text(position[1])}"


def _one_or_more(value: Any, make: Callable[[list[float]], Any]) -> Any:
    """What `make` says of a point, or of each of several: an array of them, or a MultiPoint."""
    if type(value) is dict and value.get("type") == "MultiPoint" and type(value.get("coordinates")) is list:
        return [make(_position(value, one if type(one) is list else ())) for one in value["coordinates"]]
    if type(value) is list and _holds_points(value):
        return [make(_ONE[type(one)](one)) for one in value]
    return make(_ONE[type(value)](value))


GEO = Table({kind: lambda value: _shown(_ONE[type(value)](value)) for kind in _ONE}, refuser("geo"))
"""Any form of a point -> `lon,lat`, degrees as shortest decimals. Altitude and other members are left out."""

GEO_JSON = Table({kind: lambda value: _one_or_more(value, _shown) for kind in _ONE}, refuser("geo"))
"""The same for JSON, where RediSearch takes several: an array of them."""


def check_point(value: Any) -> None:
    """Raise ProjectionError where this is no text `lon,lat`."""
    _of_text(value) if type(value) is str else refuse(value, "geo")


def _geojson(position: list[float]) -> dict[str, Any]:
    return {"type": "Point", "coordinates": position}


def point_of_text(value: str) -> Any:
    """A hash field: `lon,lat`, or JSON as `points_of_json` takes it -> GeoJSON. Raises ProjectionError."""
    if value[:1] not in ("{", "["):
        return _geojson(_of_text(value))
    try:
        return points_of_json(orjson.loads(value))
    except orjson.JSONDecodeError:
        refuse(value, "geo", "the text cannot be parsed")


def points_of_json(value: Any) -> Any:
    """Any form of a point -> a GeoJSON point with its altitude; of several an array of them. Raises ProjectionError."""
    return _one_or_more(value, _geojson)
