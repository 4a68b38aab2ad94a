"""Points in all the forms that applications give them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from syncd.contract.model.redis.projection import FieldSpec
from syncd.errors import ProjectionError
from syncd.plan.values.codec import from_hash, from_json, json_field

BERLIN, PARIS = [13.4, 52.5], [2.35, 48.85]
POINTS: list[Any] = [
    BERLIN,
    "13.4,52.5",
    {"type": "Point", "coordinates": BERLIN},
    {"lng": 13.4, "latitude": 52.5},
]
HIGH = [*BERLIN, 34.5]


def geojson(position: list[float]) -> dict[str, Any]:
    return {"type": "Point", "coordinates": position}


def shown(value: Any) -> Any:
    return json_field("at", FieldSpec.model_validate({"from": "at", "type": "geo"}), None)(value)


@pytest.mark.parametrize("point", POINTS)
def test_several_points_in_json(point: Any) -> None:
    """RediSearch takes an array of `lon,lat`; one point stays one."""
    assert shown(point) == "13.4,52.5"
    assert shown([point, PARIS]) == ["13.4,52.5", "2.35,48.85"]
    assert shown([geojson(HIGH)]) == ["13.4,52.5"]
    assert shown({"type": "MultiPoint", "coordinates": [BERLIN, HIGH]}) == ["13.4,52.5"] * 2
    assert shown([]) == []


@pytest.mark.parametrize(
    "spoilt", [[BERLIN, None], [BERLIN, "x"], [[BERLIN]], {"type": "MultiPoint", "coordinates": [1]}]
)
def test_one_point_that_is_none(spoilt: Any) -> None:
    """It is not left out of the others in silence."""
    with pytest.raises(ProjectionError):
        shown(spoilt)
    with pytest.raises(ProjectionError):
        from_json(spoilt, "geo")


@pytest.mark.parametrize("point", POINTS)
def test_points_of_applications(point: Any) -> None:
    """JSON of any form gives GeoJSON, and so does its text in a hash."""
    assert from_json(point, "geo") == geojson(BERLIN)
    assert from_json([point, PARIS], "geo") == [geojson(BERLIN), geojson(PARIS)]
    text = point if isinstance(point, str) else json.dumps(point)
    assert from_hash(text.encode(), "geo") == geojson(BERLIN)


def test_an_altitude_reaches_mongodb() -> None:
    """MongoDB has a place for it."""
    assert from_json(HIGH, "geo") == from_json(geojson(HIGH), "geo") == geojson(HIGH)


@pytest.mark.parametrize("text", [b"{", b"[1,2,3,4]", b"1,2,3", b"", b"null"])
def test_a_text_that_is_no_point(text: bytes) -> None:
    """It is refused, never guessed."""
    with pytest.raises(ProjectionError):
        from_hash(text, "geo")
