"""What a contract may say of documents that are samples of time series, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, told


def series(
    key: str = "ts:{sensor}",
    more: str = "time: at\n    value: celsius",
    mongo: str = "collection: a.b, unique: [[sensor, at]]",
    type: str = "timeseries",
    sync: str = "",
) -> str:
    said = f'  - projection: t\n    type: {type}\n    key: "{key}"\n    {more}\n'
    return contract(said + sync, mongo=mongo)


FINE = {
    "a series a sensor": series(),
    "one series": series(key="all", mongo="collection: a.b, unique: [[at]]"),
    "the id in the key": series(key="ts:{_id}", mongo="collection: a.b"),
    "labels and retention": series(
        more="time: at\n    value: c\n    labels: {site: site}\n    retention: 30d"
    ),
}
WRONG = {
    "no unique index": (series(mongo="collection: a.b"), "11:10: two documents could be one sample of `ts:{sensor}`; "
                        "state the unique index that prevents it: mongo.unique: [[at, sensor]]"),
    "another unique index": (series(mongo="collection: a.b, unique: [[at, room]]"), "two documents could be one"),
    "no time": (series(more="value: celsius"), "a timeseries without `time` or `value`"),
    "no value": (series(more="time: at"), "a timeseries without `time` or `value`"),
    "fields": (series(more="time: at\n    value: c\n    fields: [a]"), "a timeseries has no `fields`"),
    "events": (series(more="time: at\n    value: c\n    events: [insert]"), "a timeseries has no `events`"),
    "a copy": (series(more="time: at\n    value: c\n    copy: true"), "a timeseries has no `copy`"),
    "a ttl": (series(more="time: at\n    value: c\n    ttl: 1d"), "a timeseries has no `ttl`"),
    "a member": (series(more="time: at\n    value: c\n    member: '{_id}'"), "a timeseries has no members"),
    "a converted value": (series(more="time: at\n    value: {from: c, type: int}"), "the value of a timeseries is a"),
    "a time of a hash": (series(more="fields: [a]\n    time: at", type="hash"), "`time` is for time series"),
    "placeholders that meet": (series(key="ts:{sensor}{room}"), "without a `:` between them"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_fits_passes(tmp_path: Path, name: str) -> None:
    """Samples that are unique per document."""
    (loaded,) = load(tmp_path, FINE[name])
    assert loaded.contract.redis[0].is_shared


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_told(tmp_path: Path, name: str) -> None:
    """With its place, and what to do."""
    text, problem = WRONG[name]
    assert any(problem in line for line in told(tmp_path, text)), told(tmp_path, text)
