"""Points. RediSearch reads `lon,lat`; MongoDB holds GeoJSON, a pair, or a document with two names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from syncd.plan.bson_values import Table
from syncd.plan.numeric import DOUBLE, refuse, refuser
from syncd.plan.texts import double_text

LON_MAX = 180.0
LAT_MAX = 85.05112878
"""RediSearch 2.10 leaves a document with a point beyond these out of its index, and tells no one."""

_LON = ("lon", "lng", "longitude")
_LAT = ("lat", "latitude")
_PAIR = re.compile(r"\s*([^\s,]+)\s*,\s*([^\s,]+)\s*")


def _point(value: Any, pair: Sequence[Any]) -> str:
    if len(pair) != 2:
        refuse(value, "geo", "a position is two numbers")
    if any(type(number) is bool for number in pair):
        refuse(value, "geo", "a bool is no coordinate")
    lon, lat = (DOUBLE[type(number)](number) for number in pair)
    # Written so that NaN fails as well.
    if not (abs(lon) <= LON_MAX and abs(lat) <= LAT_MAX):
        refuse(value, "geo", f"longitude goes to {LON_MAX:g} and latitude to {LAT_MAX} degrees")
    return f"{double_text(lon)},{double_text(lat)}"


def _from_text(value: str) -> str:
    match = _PAIR.fullmatch(value)
    return _point(value, match.groups()) if match else refuse(value, "geo", "the text is not `lon,lat`")


def _from_document(value: Mapping[str, Any]) -> str:
    if "coordinates" in value:
        pair = value["coordinates"]
        if value.get("type") != "Point" or type(pair) is not list:
            refuse(value, "geo", "of GeoJSON, only a Point is a position")
        return _point(value, pair)
    lon = [value[name] for name in _LON if name in value]
    lat = [value[name] for name in _LAT if name in value]
    if len(lon) != 1 or len(lat) != 1:
        refuse(value, "geo", "it has no single longitude and latitude")
    return _point(value, (*lon, *lat))


GEO = Table({str: _from_text, dict: _from_document, list: lambda value: _point(value, value)}, refuser("geo"))
"""Any form of a point -> `lon,lat`, degrees as shortest decimals. Other members of a document are ignored."""


def point_of_text(value: str) -> dict[str, Any]:
    """`lon,lat` -> a GeoJSON point. Raises ProjectionError: `cannot_convert`."""
    lon, lat = _from_text(value).split(",")
    return {"type": "Point", "coordinates": [float(lon), float(lat)]}
