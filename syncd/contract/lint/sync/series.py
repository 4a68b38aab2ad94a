"""Rules about time-series collections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.contract.lint.sync.append import appending
from syncd.contract.model.redis.projection import FieldSpec
from syncd.contract.model.values import DATES
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem


def series_are_appended(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Documents of a time series can be neither changed one by one nor watched."""
    for contract in contracts:
        if not contract.sound("sync") or contract.contract.mongo.timeseries is None:
            continue
        sync = contract.contract.sync
        if sync.direction != "redis_to_mongo" or sync.capture != "append":
            what = "`timeseries` is for `capture: append`"
            yield contract.problem_at_key(("mongo", "timeseries"), what, "leave it out")


def series_have_their_fields(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """MongoDB refuses every document without a date at the time field."""
    for contract in appending(contracts):
        series = contract.contract.mongo.timeseries
        if (
            series is None
            or contract.contract.sync.capture != "append"
            or not contract.sound("mongo", "timeseries")
            or not contract.sound("redis", 0, "fields")
        ):
            continue
        written = list(_written(contract))
        for name, (path, spec) in zip(contract.contract.redis[0].fields or {}, written, strict=True):
            if path == series.time_field and spec.on_error != "letter":
                what = (
                    f"`on_error: {spec.on_error}` leaves entries without a date, which a time series refuses"
                )
                yield contract.problem(
                    ("redis", 0, "fields", name, "on_error"),
                    what,
                    "leave it out: such an entry is a dead letter",
                )
        if not any(path == series.time_field and spec.type in DATES for path, spec in written):
            what = "no field of the entry goes there as a date"
            remedy = "write at: {from: at, type: date} among the fields (or epoch, epoch_ms, epoch_us)"
            yield contract.problem(("mongo", "timeseries", "time_field"), what, remedy)
        if series.meta_field and not any(path.split(".")[0] == series.meta_field for path, _ in written):
            remedy = "name one that some field goes to, or leave it out"
            yield contract.problem(
                ("mongo", "timeseries", "meta_field"), "no field of the entry goes there", remedy
            )


def _written(contract: LoadedContract) -> Iterator[tuple[str, FieldSpec]]:
    for _, projection in contract.projections():
        for name, spec in (projection.fields or {}).items():
            yield spec.from_ or name, spec


RULES = (series_are_appended, series_have_their_fields)
