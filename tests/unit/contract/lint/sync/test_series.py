"""What a contract over a time series has to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told
from tests.unit.contract.lint.sync.test_append import stream

FIELDS = "{at: {from: at, type: date}, model: {from: by.model}}"


def series(said: str, fields: str = FIELDS) -> str:
    return stream(fields, mongo=f"collection: telemetry.events, timeseries: {said}")


def test_a_series_passes(tmp_path: Path) -> None:
    """The meta field may be the outer name of several paths."""
    (found,) = load(
        tmp_path, series("{time_field: at, meta_field: by, granularity: hours, expire_after: 30d}")
    )
    said = found.contract.mongo.timeseries
    assert said is not None
    assert (said.time_field, said.meta_field, said.expire_after) == ("at", "by", 2_592_000_000)


WRONG = {
    "no such field": (
        series("{time_field: when}"),
        "no field of the entry goes there as a date; write at: {from: at",
    ),
    "no date": (series("{time_field: at}", "{at: at}"), "no field of the entry goes there as a date"),
    "no date now and then": (
        series("{time_field: at}", "{moment: {from: at, type: date, on_error: omit}}"),
        "`on_error: omit` leaves entries without a date, which a time series refuses; leave it out",
    ),
    "no such meta": (
        series("{time_field: at, meta_field: device}"),
        "no field of the entry goes there; name one",
    ),
    "the same twice": (series("{time_field: at, meta_field: at}"), "`meta_field` is the time field"),
    "a path": (series("{time_field: a.b}"), "write one name, without dots"),
    "the other way": (
        contract(projection("{a: a}"), mongo="collection: a.b, timeseries: {time_field: at}"),
        "`timeseries` is for `capture: append`; leave it out",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    """Once, and with a remedy."""
    text, expected = WRONG[case]
    (found,) = told(tmp_path, text)
    assert expected in found
