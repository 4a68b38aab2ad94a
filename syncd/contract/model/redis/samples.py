"""What a projection says whose documents are samples of time series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from syncd.contract.model.redis.redis_types import TYPE_RULES

if TYPE_CHECKING:
    from syncd.contract.model.redis.projection import Projection

OF_SAMPLES = ("time", "labels", "retention")
"""Keys of the contract that belong to a time series, beside `value`."""
OF_OTHERS = ("each", "fields", "keep", "ttl", "index", "member", "events", "copy_", "expire")


def check_sample(projection: Projection) -> None:
    """That all of a sample is there, and nothing else. Raises ValueError."""
    kind, said = projection.type, projection.model_fields_set
    if TYPE_RULES[kind].content != "sample":
        for key in said.intersection(OF_SAMPLES):
            raise ValueError(f"`{key}` is for time series|write type: timeseries, or leave it out")
        return
    if projection.time is None or projection.value is None:
        raise ValueError(f"a {kind} without `time` or `value`|say where both are: time: at, value: celsius")
    for key in OF_OTHERS:
        if key in said and getattr(projection, key):
            raise ValueError(
                f"a {kind} has no `{key.rstrip('_')}`|leave it out; `retention` says how long samples stay"
            )
    if projection.value.model_fields_set != {"from_"}:
        raise ValueError(f"the value of a {kind} is a number|write its path, such as value: celsius")
