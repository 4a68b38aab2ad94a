"""Rules about contracts that make a document of each sample of a time series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from syncd.contract.lint.keys import Keys, cannot_be_taken_apart, keys_of
from syncd.contract.lint.sync.append import path_can_be_set
from syncd.contract.lint.sync.state import meet, parts_can_be_fields
from syncd.contract.model.redis.template import TemplateError, source_template_of
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import Problem

_TOO_OLD = "of a sample that is gone Redis does not say whether it was deleted or is too old for its series"


def _captured(contracts: Sequence[LoadedContract]) -> Iterator[Keys]:
    for keys in keys_of(contracts):
        contract, sync = keys.contract, keys.contract.contract.sync
        is_sound = contract.sound("redis", keys.at) and contract.sound("sync")
        if keys.projection.time is not None and is_sound and sync.direction == "redis_to_mongo":
            yield keys


def samples_are_followed(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """By keyspace events."""
    for keys in _captured(contracts):
        contract, sync = keys.contract, keys.contract.contract.sync
        if sync.capture == "outbox":
            what = f"`capture: {sync.capture}` of a timeseries"
            remedy = "write capture: keyspace, or append a stream that has an entry for each sample"
            yield contract.problem(("sync", "capture"), what, remedy)
        if keys.projection.retention is not None:
            what = "`retention` of a timeseries that the application writes"
            yield contract.problem_at_key(("redis", keys.at, "retention"), what, "leave it out")


def documents_of_samples_stay(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Retention would remove them otherwise."""
    for keys in _captured(contracts):
        sync = keys.contract.contract.sync
        if sync.on_delete != "ignore" and sync.capture != "append":
            what = f"`on_delete: {sync.on_delete}`, but {_TOO_OLD}"
            yield keys.contract.problem(("sync", "on_delete"), what, "write on_delete: ignore")
        if sync.on_expire != "ignore" and sync.capture == "keyspace":
            what = f"`on_expire: {sync.on_expire}` of a timeseries, whose documents stay"
            yield keys.contract.problem(("sync", "on_expire"), what, "leave it out")


def samples_have_names(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Key and moment together say which document it is, and each part of it has a path of its own."""
    for of_series in _captured(contracts):
        try:
            keys = replace(of_series, template=source_template_of(of_series.projection))
        except TemplateError:
            continue
        if any(one.starred for one in keys.template.placeholders):
            what = (
                f"a starred placeholder in {keys.shown}, whose values could hold the colon before the moment"
            )
            yield keys.problem(what, "leave out the star, and write a placeholder for each part")
        elif any(one.many for one in keys.template.placeholders):
            yield keys.problem(f"an array in {keys.shown}", "write paths without `[]`")
        elif "_id" in keys.template.paths:
            what = f"{{_id}} in {keys.shown}, whose samples are a document each"
            yield keys.problem(what, "give it another name; the `_id` is the key, a colon and the moment")
        elif of_series.projection.time in of_series.template.paths:
            what = f"`{of_series.projection.time}` is in the key {keys.shown}, and the moment of a sample as well"
            yield keys.contract.problem(("redis", keys.at, "time"), what, "give each a path of its own")
        elif not keys.template.separated:
            yield cannot_be_taken_apart(keys)
        else:
            yield from parts_can_be_fields(keys)
            yield from _labels_can_be_fields(keys)


def _labels_can_be_fields(keys: Keys) -> Iterator[Problem]:
    value, labels = keys.projection.value, keys.projection.labels or {}
    before = [value.from_] if value is not None and value.from_ else []
    for name, path in labels.items():
        place: Path = ("redis", keys.at, "labels", name)
        yield from path_can_be_set(keys.contract, place, path)
        if any(meet(path, other) for other in before):
            what = "its path is that of the value or of another label, or inside it"
            yield keys.contract.problem(place, what, "give each a path of its own")
        before.append(path)


RULES = (samples_are_followed, documents_of_samples_stay, samples_have_names)
