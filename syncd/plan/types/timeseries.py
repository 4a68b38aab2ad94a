"""Time series (RedisTimeSeries). A document is a sample of one, which it shares with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from syncd.contract.model.redis.projection import Projection
from syncd.errors import ProjectionError
from syncd.plan.paths import MISSING, getter
from syncd.plan.types.base import DataType, Names, Need
from syncd.plan.types.members.base import MemberForm, Memberships, ReadValues, Values, of_one_path
from syncd.plan.types.members.captured_samples import CapturedSamples
from syncd.plan.values.scores import score_of
from syncd.plan.values.texts import as_bytes, to_hash

_SIGNS = frozenset(b"(),")
"""With which TS.MRANGE lists labels."""


class Samples(MemberForm):
    """Samples, each with a value. The member is the moment, in epoch milliseconds."""

    kind = "timeseries"
    has_strays = False
    no_key = "the key does not exist"
    scan = None

    def reader(self, projection: Projection) -> ReadValues:
        """Value, retention in milliseconds, and names and texts of labels."""
        assert projection.value is not None and projection.value.from_ is not None
        retention = str(projection.retention or 0)
        value = of_one_path("value", projection.value.from_, lambda said: (repr(score_of(said)), retention))
        labels = {name: getter(path) for name, path in (projection.labels or {}).items()}

        def read(document: Mapping[str, Any]) -> Values | None:
            values = value(document)
            if values is None:
                return None
            said = ((name, _label(name, find(document))) for name, find in labels.items())
            return (*values, *(part for name, text in said if text for part in (name, text)))

        return read

    def paths(self, projection: Projection) -> set[str]:
        """The value and the labels; the moment is read beside them."""
        assert projection.value is not None and projection.value.from_ is not None
        assert projection.time is not None
        return {projection.value.from_, projection.time, *(projection.labels or {}).values()}

    def operation(
        self, map_of: str, ident: str, stale: str, memberships: Memberships, time: str
    ) -> Sequence[Any]:
        """Code, map, _id, its name where it is stale, time of the state, samples, value, retention, number of labels,
        name, text, ..."""
        value, retention, *labels = memberships.values
        head = "ta", map_of, ident, stale, time, memberships.packed
        return *head, value, retention, len(labels), *labels

    def ask(self, key: str, member: str | bytes) -> list[tuple[str | bytes, ...]]:
        """The sample, and the newest one."""
        return [("TS.RANGE", key, member, member), ("TS.GET", key)]

    def is_there(self, found: Any) -> bool:
        """Whether there is a sample at this moment."""
        return bool(found[0])

    def is_past(self, member: str, values: Values, found: Any) -> bool:
        """It is older than the series keeps samples."""
        newest, retention = found[1], int(values[1])
        return bool(newest and retention and int(newest[0]) - int(member) > retention)

    def _member_shown(self, values: Values) -> Any:
        value, _, *labels = values
        return {"value": float(value), **dict(zip(labels[::2], labels[1::2], strict=True))}

    def flaws(self, values: Values, found: Any) -> Names:
        """The value, as a double."""
        return () if float(found[0][0][1]) == float(values[0]) else ("value",)


def _label(name: str, value: Any) -> str | bytes:
    """Its text; empty where there is none. Raises ProjectionError for one that TS.CREATE does not read."""
    text = "" if value is MISSING or value is None else to_hash(value)
    if not _SIGNS.isdisjoint(as_bytes(text)):
        raise ProjectionError("cannot_convert", f"label `{name}`: a label holds no comma and no parenthesis")
    return text


TIME_SERIES = DataType(
    name="timeseries",
    redis="TSDB-TYPE",
    sample=("TS.ADD", "1", "1"),
    member=Samples(),
    each_member=CapturedSamples(),
    need=Need("timeseries", "TS.ADD", "time series", "use Redis 8, or Redis Stack"),
)
