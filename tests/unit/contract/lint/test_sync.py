"""Which keys of `sync` a contract may have, by the way that it goes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from syncd.contract.model.contract import Sync
from tests.unit.contract.contracts import contract, projection, told

FIELDS = "{title: title}"
STREAM = projection(FIELDS, type="stream", key="films:in")
WAYS = {
    "to Redis": (projection(FIELDS), "direction: mongo_to_redis"),
    "append": (STREAM, "direction: redis_to_mongo, capture: append"),
    "outbox": (projection(FIELDS), "direction: redis_to_mongo, capture: outbox"),
    "keyspace": (projection(FIELDS), "direction: redis_to_mongo, capture: keyspace"),
    "both, outbox": (projection(FIELDS), "direction: both, capture: outbox, on_conflict: newest"),
    "both, keyspace": (projection(FIELDS), "direction: both, capture: keyspace, on_conflict: newest"),
}
BOTH = {"both, outbox", "both, keyspace"}
TO_REDIS = {"to Redis", *BOTH}
MEANT: dict[str, tuple[str, set[str]]] = {
    "on_delete": ("ignore", WAYS.keys() - {"append"}),
    "on_expire": ("delete", {"outbox", "keyspace", "both, keyspace"}),
    "on_conflict": ("mongo_wins", BOTH),
    "authority": ("{mongo: [title]}", BOTH),
    "conflicts": ("audit.of_films", BOTH),
    "outbox_max": ("1000", {"outbox", "both, outbox"}),
    "apply": ("planned", set(WAYS)),
    "on_drop": ("keep", TO_REDIS),
    "adopt": ("true", TO_REDIS),
    "sweep_limit": ("50", TO_REDIS),
    "dead_letters": ("{keep: 10}", set(WAYS)),
    "on_unresumable_position": ("fail", TO_REDIS),
}
"""Of each key a value, and the ways on which it means something."""


def test_every_key_has_its_ways() -> None:
    """nothing_silent: a new key cannot be forgotten here, and so not on the ways on which nothing reads it."""
    assert MEANT.keys() == Sync.model_fields.keys() - {"direction", "capture"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("key", MEANT)
def test_a_key_that_means_nothing_is_refused(key: str, way: str, tmp_path: Path) -> None:
    """nothing_silent: what a contract says is followed, or refused with its place."""
    (value, ways), (shape, sync) = MEANT[key], WAYS[way]
    said = f"sync: {{{sync.replace('on_conflict: newest', '') if key == 'on_conflict' else sync}, {key}: {value}}}\n"
    found = [line for line in told(tmp_path, contract(shape + said.replace(", ,", ","))) if f"`{key}" in line]
    assert bool(found) == (way not in ways), (said, found)
    assert all(line.startswith("a.yaml:13:") for line in found)


@pytest.mark.parametrize("way", sorted(TO_REDIS))
def test_a_drop_that_could_remove_nothing(way: str, tmp_path: Path) -> None:
    """nothing_silent: under `on_delete: ignore` keys stay, so nobody writes that a drop of the collection removes them;
    what is not written is no mistake."""
    shape, sync = WAYS[way]
    said = shape + f"sync: {{{sync}, on_delete: ignore, on_drop: purge}}\n"
    (line,) = told(tmp_path, contract(said))
    assert re.match(
        r"a.yaml:13:\d+: `on_drop: purge` beside `on_delete: ignore`, .*; write keep or pause", line
    )
    for fine in (", on_drop: keep", ", on_drop: pause", ""):
        assert told(tmp_path, contract(said.replace(", on_drop: purge", fine))) == []
