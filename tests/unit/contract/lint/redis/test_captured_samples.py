"""What a contract may say that makes a document of each sample of a time series, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, told


def series(
    key: str = "ts:{sensor}",
    more: str = "time: at, value: celsius",
    mongo: str = "collection: a.b",
    sync: str = "direction: redis_to_mongo, capture: keyspace, on_delete: ignore",
) -> str:
    said = f'  - {{projection: t, type: timeseries, key: "{key}", {more}}}\nsync: {{{sync}}}\n'
    return contract(said, mongo=mongo)


FINE = {
    "a series a sensor": series(),
    "one series": series(key="all"),
    "labels": series(more="time: at, value: celsius, labels: {site: where.site, room: where.room}"),
    "keys as they stand": series(key="ts:{sensor}:{room}", more="time: at, value: c, key_values: text"),
}
ALONE = "`on_delete: delete`, but of a sample that is gone Redis does not say whether it was deleted or is too old for"
WRONG = {
    "no word on deletions": (series(sync="direction: redis_to_mongo, capture: keyspace"), ALONE),
    "deletions": (series(sync="direction: redis_to_mongo, capture: keyspace, on_delete: delete"), f"10:65: {ALONE}"),
    "expiry": (series(sync="direction: redis_to_mongo, capture: keyspace, on_delete: ignore, on_expire: delete"),
               "10:84: `on_expire: delete` of a timeseries, whose documents stay; leave it out"),
    "an outbox": (series(sync="direction: redis_to_mongo, capture: outbox, on_delete: ignore"),
                  "10:44: `capture: outbox` of a timeseries; write capture: keyspace, or append a stream"),
    "appending": (series(sync="direction: redis_to_mongo, capture: append"), "cannot be appended from"),
    "both ways": (series(sync="direction: both, capture: keyspace, on_conflict: newest, on_delete: ignore"),
                  "9:27: `type: timeseries` of this form cannot be merged"),
    "retention": (series(more="time: at, value: c, retention: 1d"), "`retention` of a timeseries that the application"),
    "a star": (series(key="ts:{sensor*}"), "whose values could hold the colon before the moment; leave out the star"),
    "an id": (series(key="ts:{_id}"), "{_id} in `ts:{_id}`, whose samples are a document each; give it another name"),
    "an array": (series(key="ts:{tags[]}"), "an array in `ts:{tags[]}`; write paths without `[]`"),
    "placeholders that meet": (series(key="ts:{sensor}{room}"), "without a `:` between them"),
    "a path twice": (series(more="time: sensor, value: c"), "9:65: `sensor` is in the key `ts:{sensor}`, and the"),
    "time and value": (series(more="time: at, value: at"), "the path of {at}"),
    "a label of the key": (series(more="time: at, value: c, labels: {sensor: sensor}"), "the path of {sensor}"),
    "labels that meet": (series(more="time: at, value: c, labels: {a: c.d}"), "9:91: its path is that of the value"),
    "syncd's own": (series(more="time: at, value: c, labels: {a: _syncd.a}"), "`_syncd` is where syncd keeps"),
    "a time series of MongoDB": (series(mongo="collection: a.b, timeseries: {time_field: at}"),
                                 "`timeseries` is for `capture: append`"),
    "a type of the moment": (series(more="time: at, value: c, key_types: {at: int}"),
                             "no placeholder of `ts:{sensor}` has this path"),
    "a filter": (series(mongo="collection: a.b, filter: {a: 1}"), "`filter` is for documents that are read"),
    "a unique index": (series(mongo="collection: a.b, unique: [[sensor, at]]"), "`unique` is for keys of documents"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_fits_passes(tmp_path: Path, name: str) -> None:
    """Without a unique index: the moment is in the `_id`."""
    (loaded,) = load(tmp_path, FINE[name])
    assert loaded.contract.captures_state


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_told(tmp_path: Path, name: str) -> None:
    """With its place, and what to do; one mistake is one problem."""
    text, problem = WRONG[name]
    problems = told(tmp_path, text)
    assert [line for line in problems if problem not in line] == []
    assert problems
