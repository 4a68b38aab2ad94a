"""What an edit means for those who read the keys: decided for every key that a contract may have."""

from __future__ import annotations

import json
from typing import Any

import pytest

from syncd.contract.diff.rules import RULES
from syncd.contract.diff.sets import ContractDiff, diff
from syncd.contract.diff.verdict import Verdict
from syncd.contract.model.contract import Contract
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.yaml import read_source
from tests.support.contracts import said
from tests.unit.contract.keys import contract_keys
from tests.unit.plan.test_fingerprint import EDITS, OF_ONE_VALUE, said_with

MAJOR, MINOR, PATCH, SAME = Verdict.MAJOR, Verdict.MINOR, Verdict.PATCH, Verdict.SAME
ENTRY = "redis.*.index.fields.*"


def of_a_field(path: str) -> dict[str, Verdict]:
    return {
        f"{path}.{name}": MAJOR for name in ("type", "dims", "datatype", "round", "on_error", "mask", "null")
    } | {
        # Nothing says of which type the value was and is.
        f"{path}.from": MAJOR,
        f"{path}.expr": MAJOR,
    }


VERDICTS: dict[str, Verdict] = {
    "metadata.name": PATCH,
    "metadata.version": SAME,
    "metadata.owner": PATCH,
    "metadata.description": PATCH,
    "mongo.collection": MAJOR,
    "mongo.filter": MAJOR,
    "mongo.with": MINOR,
    "mongo.with.*.collection": MAJOR,
    "mongo.with.*.on": MAJOR,
    "mongo.with.*.fields": MINOR,
    "mongo.unique": PATCH,
    "mongo.timeseries": MAJOR,
    "mongo.timeseries.time_field": MAJOR,
    "mongo.timeseries.meta_field": MAJOR,
    "mongo.timeseries.granularity": PATCH,
    "mongo.timeseries.expire_after": MAJOR,
    "redis.*.projection": PATCH,
    "redis.*.type": MAJOR,
    "redis.*.each": MAJOR,
    "redis.*.key": MAJOR,
    "redis.*.key_values": MAJOR,
    "redis.*.key_types": MAJOR,
    "redis.*.share": MINOR,
    "redis.*.ttl": MINOR,
    "redis.*.ttl.field": MAJOR,
    "redis.*.fields": MINOR,
    **of_a_field("redis.*.fields.*"),
    "redis.*.fields.*.ttl": MAJOR,
    "redis.*.fields.*.ttl.field": MAJOR,
    "redis.*.value": MAJOR,
    **of_a_field("redis.*.value"),
    "redis.*.member": MAJOR,
    "redis.*.score": MINOR,
    "redis.*.expire": MINOR,
    "redis.*.expire.field": MAJOR,
    "redis.*.position": MINOR,
    "redis.*.vector": MAJOR,
    "redis.*.vector.from": MAJOR,
    "redis.*.vector.dims": MAJOR,
    "redis.*.quantisation": MINOR,
    "redis.*.attributes": MAJOR,
    "redis.*.keep": MAJOR,
    "redis.*.keep.first": MINOR,
    "redis.*.keep.last": MINOR,
    "redis.*.keep.highest": MINOR,
    "redis.*.keep.lowest": MINOR,
    "redis.*.keep.entries": MINOR,
    "redis.*.keep.age": MINOR,
    "redis.*.events": MAJOR,
    "redis.*.copy": MINOR,
    "redis.*.time": MINOR,
    "redis.*.labels": MINOR,
    "redis.*.retention": MAJOR,
    "redis.*.index": MINOR,
    "redis.*.index.name": MAJOR,
    "redis.*.index.fields": MINOR,
    "redis.*.index.stopwords": MINOR,
    "redis.*.index.language": MINOR,
    "redis.*.index.generations": MINOR,
    "redis.*.index.keep_old": PATCH,
    f"{ENTRY}.name": MAJOR,
    f"{ENTRY}.path": MAJOR,
    f"{ENTRY}.type": MAJOR,
    f"{ENTRY}.attrs": MAJOR,
    f"{ENTRY}.attrs.weight": MINOR,
    f"{ENTRY}.attrs.no_stem": MINOR,
    f"{ENTRY}.attrs.withsuffixtrie": PATCH,
    f"{ENTRY}.attrs.phonetic_matcher": MINOR,
    f"{ENTRY}.attrs.sortable": MINOR,
    f"{ENTRY}.attrs.unf": MINOR,
    f"{ENTRY}.attrs.no_index": MAJOR,
    f"{ENTRY}.attrs.index_missing": MINOR,
    f"{ENTRY}.attrs.index_empty": MINOR,
    f"{ENTRY}.attrs.separator": MAJOR,
    f"{ENTRY}.attrs.case_sensitive": MAJOR,
    f"{ENTRY}.attrs.dims": MAJOR,
    f"{ENTRY}.attrs.algorithm": MINOR,
    f"{ENTRY}.attrs.distance_metric": MAJOR,
    f"{ENTRY}.attrs.datatype": MAJOR,
    f"{ENTRY}.attrs.initial_cap": PATCH,
    f"{ENTRY}.attrs.block_size": PATCH,
    f"{ENTRY}.attrs.m": PATCH,
    f"{ENTRY}.attrs.ef_construction": PATCH,
    f"{ENTRY}.attrs.ef_runtime": PATCH,
    f"{ENTRY}.attrs.epsilon": PATCH,
    "sync.direction": MINOR,
    "sync.capture": MAJOR,
    "sync.on_delete": MAJOR,
    "sync.on_expire": MAJOR,
    "sync.on_conflict": MINOR,
    "sync.authority": PATCH,
    "sync.authority.mongo": MAJOR,
    "sync.authority.redis": MINOR,
    "sync.conflicts": PATCH,
    "sync.outbox_max": PATCH,
    "sync.on_drop": PATCH,
    "sync.adopt": PATCH,
    "sync.sweep_limit": PATCH,
    "sync.apply": PATCH,
    "sync.dead_letters": PATCH,
    "sync.dead_letters.keep": PATCH,
    "sync.dead_letters.when_full": PATCH,
    "sync.on_unresumable_position": PATCH,
    "slo": MINOR,
    "slo.freshness": MAJOR,
    "reconcile": PATCH,
    "reconcile.schedule": PATCH,
    "reconcile.every": PATCH,
    "reconcile.jitter": PATCH,
    "reconcile.check": PATCH,
    "reconcile.mode": PATCH,
    "reconcile.max_documents_per_second": PATCH,
    "reconcile.quiet_hours": PATCH,
    "reconcile.read_preference": PATCH,
    "consumers": PATCH,
    "consumers.*.team": PATCH,
    "consumers.*.reads": PATCH,
}
"""Of the edits in `test_fingerprint.py`."""


def loaded(value: dict[str, Any]) -> LoadedContract:
    """As from a file, but for the rules between keys."""
    source, problems = read_source("a.yaml", json.dumps(value, indent=1).encode(), {})
    assert source is not None and not problems
    return LoadedContract(Contract.model_validate(value, by_alias=True, by_name=False), source)


def test_it_is_decided_for_every_key() -> None:
    """A key that is new has a rule, and its line above. Tests of a contract stand apart from it, and are no edit."""
    keys = {".".join(key) for key in contract_keys() if key[0] != "tests"}
    assert keys == set(RULES)
    assert keys == VERDICTS.keys() | OF_ONE_VALUE


@pytest.mark.parametrize("name", VERDICTS)
def test_an_edit_has_its_verdict(name: str) -> None:
    """As it is decided above."""
    edit = EDITS[name]
    old, new = (loaded(said_with(tuple(name.split(".")), edit, value)) for value in (edit.before, edit.after))
    assert diff(old, new).verdict is VERDICTS[name]


HASH = {"projection": "card", "type": "hash", "key": "card:{_id}"}


def edit_of(before: dict[str, Any], after: dict[str, Any], **more: Any) -> ContractDiff:
    """Of one projection."""
    return diff(loaded(said(HASH | before, **more)), loaded(said(HASH | after, **more)))


def told(found: ContractDiff) -> list[str]:
    return [f"{change.verdict} {str(change).partition(': ')[2]}" for change in found.changes]


OF_FIELDS = {
    "a field that goes": (["a", "b"], ["a"], ["major card: field `b` is gone: readers do not find it any more"]),
    "a field that comes": (["a"], ["a", "b"], ["minor card: field `b` is new: readers may use it"]),
    "a field with another name": (
        {"a": "a", "b": "b.c"}, {"a": "a", "d": "b.c"},
        ["major card: field `b` is called `d` now: readers do not find it any more"],
    ),
    "another type": (
        {"a": {"from": "a", "type": "int"}}, {"a": {"from": "a", "type": "string"}},
        ["major card, field `a`: `type` was `int` and is `string`: readers get another type"],
    ),
    "another source of a known type": (
        {"a": {"from": "a", "type": "int"}}, {"a": {"from": "b", "type": "int"}},
        ["minor card, field `a`: `from` was `a` and is `b`: the value comes from another place, of the same type"],
    ),
    "an expression in the place of a path": (
        {"a": {"from": "a", "type": "int"}}, {"a": {"expr": "b", "type": "int"}},
        ["minor card, field `a`: `expr` is new: `b`: the value comes from another place, of the same type"],
    ),
    "a mask": (
        {"a": {"from": "a", "mask": "last4"}}, {"a": "a"},
        ["major card, field `a`: `mask` is gone, and was `last4`: readers get the value itself, which was masked"],
    ),
    "all in the place of some": (
        {"a": "b"}, "all",
        ['major card: `fields` was `{ "a": "b" }` and is `all`: fields that had a name of their own are called as in '
         "the document"],
    ),
    "some in the place of all": (
        "all", ["a"], ['major card: `fields` was `all` and is `[ "a" ]`: only the fields that are named are left'],
    ),
    "the order alone": ({"a": "a", "b": "b"}, {"b": "b", "a": "a"}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_FIELDS)
def test_a_difference_is_said_in_words(name: str) -> None:
    """With what it was, what it is, and what follows."""
    before, after, expected = OF_FIELDS[name]
    assert told(edit_of({"fields": before}, {"fields": after})) == expected


OF_VALUES: dict[str, tuple[dict[str, Any], dict[str, Any], Verdict]] = {
    "keys that stay longer": ({"ttl": "1h"}, {"ttl": "2h"}, MINOR),
    "keys that go sooner": ({"ttl": "2h"}, {"ttl": "1h"}, MAJOR),
    "keys that expire": ({}, {"ttl": "1h"}, MAJOR),
    "keys that do not expire any more": ({"ttl": "1h"}, {}, MINOR),
    "keys that expire at a date": ({"ttl": "1h"}, {"ttl": {"field": "a"}}, MAJOR),
    "a default that is written out": ({}, {"key_values": "encoded"}, SAME),
    "an index": ({}, {"index": {"name": "i", "fields": [{"name": "a", "type": "text"}]}}, MINOR),
    "no index": ({"index": {"name": "i", "fields": [{"name": "a", "type": "text"}]}}, {}, MAJOR),
}


@pytest.mark.parametrize("name", OF_VALUES)
def test_less_breaks_readers_and_more_does_not(name: str) -> None:
    """A verdict depends on the direction of an edit."""
    before, after, verdict = OF_VALUES[name]
    assert edit_of({"fields": ["a"]} | before, {"fields": ["a"]} | after).verdict is verdict


def test_a_list_that_holds_less_breaks_readers() -> None:
    """And so does one that begins to be cut."""
    list_ = {"projection": "card", "type": "list", "key": "card:{_id}", "value": "a"}
    of = {n: loaded(said(list_ | ({"keep": {"last": n}} if n else {}))) for n in (0, 8, 9)}
    assert [diff(of[a], of[b]).verdict for a, b in ((9, 8), (8, 9), (0, 9), (9, 0))] == [
        MAJOR,
        MINOR,
        MAJOR,
        MINOR,
    ]


def test_a_value_of_the_environment_is_not_shown() -> None:
    """A difference shows what the files say."""
    texts = [
        json.dumps(said(HASH | {"fields": ["a"], "key": key})).encode()
        for key in ("card:${SYNCD_VAR_A}:{_id}", "tile:${SYNCD_VAR_A}:{_id}")
    ]
    sources = [read_source("a.yaml", text, {"SYNCD_VAR_A": "hidden"})[0] for text in texts]
    both = [
        LoadedContract(Contract.model_validate(one.value, by_alias=True, by_name=False), one)
        for one in sources
        if one
    ]
    (change,) = diff(*both).changes
    assert "`card:${SYNCD_VAR_A}:{_id}` and is `tile:${SYNCD_VAR_A}:{_id}`" in change.what


def test_a_change_is_at_its_place() -> None:
    """In the new file; what is gone is where it was."""
    found = edit_of({"fields": {"a": "a", "b": "b"}}, {"fields": {"a": {"from": "a", "type": "int"}}})
    lines = {change.key: change.line for change in found.changes}
    assert lines == {"redis.card.fields.a.type": 20, "redis.card.fields.b": 19}
