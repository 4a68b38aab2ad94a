"""Geo sets: sorted sets whose scores are positions, which GEOSEARCH reads. Documents are their members."""

from __future__ import annotations

from typing import Any

from syncd.contract.model.redis.projection import Projection
from syncd.plan.to_redis.fields import Field
from syncd.plan.types.base import DataType, Names
from syncd.plan.types.members.base import MemberForm, ReadValues, Values, of_one_path, patchable
from syncd.plan.values.geo import GEO

_STEP = 1e-5
"""Degrees: more than what Redis loses of a position, which it holds in 52 bits."""


class GeoMembers(MemberForm):
    """Members with a position."""

    kind = "geo"
    scan = "ZSCAN"

    def reader(self, projection: Projection) -> ReadValues:
        """Longitude and latitude."""
        assert projection.position is not None
        return of_one_path("position", projection.position, _lon_lat)

    def fields(self, projection: Projection) -> list[Field] | None:
        """The position."""
        return patchable("position", projection.position, _lon_lat) if projection.position else None

    def paths(self, projection: Projection) -> set[str]:
        """The position."""
        return {projection.position} if projection.position else set()

    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """Where it is."""
        return [("GEOPOS", key, member)]

    def _member_shown(self, values: Values) -> Any:
        return [float(one) for one in values]

    def flaws(self, values: Values, found: Any) -> Names:
        """By the position, as exactly as Redis holds it."""
        (at,) = found[0]
        wanted = values
        near = all(abs(float(one) - float(other)) < _STEP for one, other in zip(at, wanted, strict=True))
        return () if near else ("position",)


def _lon_lat(value: Any) -> Values:
    return tuple(GEO[type(value)](value).split(","))


GEO_SET = DataType(name="geo", redis="zset", sample=("GEOADD", "1", "1", "1"), member=GeoMembers())
