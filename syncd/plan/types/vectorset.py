"""Vector sets, whose members have a vector and, for VSIM's FILTER, attributes. Documents are their members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from syncd.contract.model.redis.projection import Projection
from syncd.errors import ProjectionError
from syncd.plan.paths import MISSING, getter
from syncd.plan.types.base import DataType, Names, Need
from syncd.plan.types.members.base import MemberForm, ReadValues, Values, of_one_path
from syncd.plan.values.bson_values import in_field
from syncd.plan.values.texts import json_text
from syncd.plan.values.vectors import vector_from_bytes, vector_packer

_OPTIONS = {"int8": "Q8", "binary": "BIN", "none": "NOQUANT"}
_TOLERANCE = {"Q8": 1 / 100, "NOQUANT": 1 / 10_000}
"""Of the largest component: what a vector may lose in the set. In one of bits only signs are left."""


class VectorMembers(MemberForm):
    """Members with a vector and attributes."""

    kind = "vectorset"
    scan = None

    def reader(self, projection: Projection) -> ReadValues:
        """Quantisation, vector as bytes, and attributes as JSON, empty where there are none."""
        vector, option = projection.vector, _OPTIONS[projection.quantisation]
        assert vector is not None
        pack = vector_packer(vector.dims)
        whole = of_one_path("vector", vector.from_, lambda value: (option, pack(value)))
        attributes = {name: getter(path) for name, path in (projection.attributes or {}).items()}

        def read(document: Mapping[str, Any]) -> Values | None:
            values = whole(document)
            if values is None:
                return None
            found = {name: find(document) for name, find in attributes.items()}
            there = {name: value for name, value in found.items() if value is not MISSING}
            try:
                return (*values, json_text(there) if there else "")
            except ProjectionError as error:
                raise in_field("attributes", error) from None

        return read

    def paths(self, projection: Projection) -> set[str]:
        """The vector and the attributes."""
        vector = {projection.vector.from_} if projection.vector else set()
        return vector | set((projection.attributes or {}).values())

    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """Its vector, as the set holds it, and its attributes."""
        return [("VEMB", key, member), ("VGETATTR", key, member)]

    def _member_shown(self, values: Values) -> Any:
        _, vector, attributes = values
        shown: dict[str, Any] = {"vector": vector_from_bytes(vector)} if isinstance(vector, bytes) else {}
        return {**shown, "attributes": orjson.loads(attributes)} if attributes else shown

    def flaws(self, values: Values, found: Any) -> Names:
        """The vector as exactly as the set holds it; attributes as text."""
        vector, attributes = found
        option, wanted, text = (one.encode() if isinstance(one, str) else one for one in values)
        is_near = _is_near([float(one) for one in vector], vector_from_bytes(wanted), option.decode())
        flawed = {"vector": not is_near, "attributes": (attributes or b"") != text}
        return tuple(name for name, is_flawed in flawed.items() if is_flawed)


def _is_near(there: list[float], wanted: list[float], option: str) -> bool:
    if len(there) != len(wanted):
        return False
    if option not in _TOLERANCE:
        return all((one > 0) == (other > 0) for one, other in zip(there, wanted, strict=True))
    most = max(map(abs, wanted)) * _TOLERANCE[option]
    return all(abs(one - other) <= most for one, other in zip(there, wanted, strict=True))


VECTOR_SET = DataType(
    name="vectorset",
    redis="vectorset",
    sample=("VADD", "VALUES", "1", "1", "1"),
    member=VectorMembers(),
    need=Need(
        "vectorset", "VADD", "vector sets", "use Redis 8 or later, or `type: hash` with a search index"
    ),
)
