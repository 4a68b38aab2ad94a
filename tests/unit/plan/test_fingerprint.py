"""Whether an edit of a contract copies its documents again: decided for every key that a contract may have."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

import pytest

from syncd.contract.model.contract import Contract, Sync
from syncd.plan.to_mongo.state import compile_state
from syncd.plan.to_redis.compile import compile_contract
from tests.unit.contract.keys import CARD, CONTRACT, OTHER, Key, contract_keys, put

FEED = {"projection": "feed", "type": "stream", "key": "changes", "fields": {"a": "a"}}
STRING = {"projection": "card", "type": "string", "key": "card:{_id}", "value": {"from": "a"}}
LIST = {**STRING, "type": "list"}
SERIES = {**STRING, "type": "timeseries", "key": "series:{sensor}", "time": "at"}

BOARD = {"projection": "board", "type": "zset", "key": "board:{a}", "member": "{_id}", "score": "a"}
NEAR = {"projection": "near", "type": "geo", "key": "near:{a}", "member": "{_id}", "position": "a"}
RECALL = {
    "projection": "recall", "type": "vectorset", "key": "recall:{a}", "member": "{_id}",
    "vector": {"from": "a", "dims": 2}, "attributes": {"k": "a"},
}  # fmt: skip
PLAIN = {"projection": "card", "type": "hash", "key": "card:{_id}", "fields": {"a": {"from": "a"}}}
TEST = {"name": "a", "given": {"_id": 1}, "expect": {}}
OF_SHAPES = {
    "value": STRING, "keep": LIST, "member": BOARD, "score": BOARD, "position": NEAR, "vector": RECALL,
    "quantisation": RECALL, "attributes": RECALL, "keep.entries": FEED, "keep.age": FEED, "events": FEED, "copy": FEED,
    "expire": {**BOARD, "expire": {"field": "at"}}, "keep.highest": BOARD, "keep.lowest": BOARD, "share": PLAIN,
}  # fmt: skip
"""Keys of a projection that only another one than that of the contract has."""


class Edit(NamedTuple):
    """A key gets another value."""

    copies: bool
    before: Any
    """None: it is not there."""
    after: Any
    around: Any = None
    """What holds the key, where it has to be another than that of the contract above."""


def copies(before: Any, after: Any, around: Any = None) -> Edit:
    return Edit(True, before, after, around)


def stays(before: Any, after: Any, around: Any = None) -> Edit:
    return Edit(False, before, after, around)


def of_a_field(path: str) -> dict[str, Edit]:
    """What a field, or a value, is made of shows in Redis: all of it."""
    vector = {"from": "a", "type": "vector", "dims": 2}
    return {
        f"{path}.from": copies("a", "b"),
        f"{path}.expr": copies("a", "b", {"expr": "a"}),
        f"{path}.type": copies(None, "int"),
        f"{path}.dims": copies(2, 3, vector),
        f"{path}.datatype": copies("float32", "float16", vector),
        f"{path}.round": copies(None, False, {"from": "a", "type": "date"}),
        f"{path}.on_error": copies("letter", "omit"),
        f"{path}.mask": copies(None, "redact"),
        f"{path}.null": copies(None, "keep"),
    }


TAG, TEXT, VECTOR, HNSW = (
    {"name": "a", "type": type, "attrs": attrs}
    for type, attrs in (
        ("tag", {}), ("text", {}), ("vector", {"dims": 2}), ("vector", {"dims": 2, "algorithm": "hnsw"}),
    )
)  # fmt: skip
ENTRY = "redis.*.index.fields.*"


def of_an_entry(entry: dict[str, Any], **edits: tuple[Any, Any]) -> dict[str, Edit]:
    """An index is made beside the old one, over the keys that are there."""
    return {f"{ENTRY}.attrs.{name}": stays(*edit, entry) for name, edit in edits.items()}


EDITS: dict[str, Edit] = {
    "metadata.name": stays("films", "movies"),  # it is then another contract, with a position of its own
    "metadata.version": stays("1.0.0", "1.0.1"),
    "metadata.owner": stays("us", "you"),
    "metadata.description": stays("", "films"),
    "mongo.collection": copies("shop.films", "shop.other"),
    "mongo.filter": copies(None, {"a": 1}),
    "mongo.with": copies({}, {"other": OTHER}),
    "mongo.with.*.collection": copies("shop.others", "shop.more"),
    "mongo.with.*.on": copies({"b": "_id"}, {"a": "_id"}),
    "mongo.with.*.fields": copies(["c"], ["c", "d"]),
    "mongo.unique": stays([], [["a"]]),
    # Of `capture: append`, where nothing is copied.
    "mongo.timeseries": stays(None, {"time_field": "at"}),
    "mongo.timeseries.time_field": stays("at", "when"),
    "mongo.timeseries.meta_field": stays(None, "who"),
    "mongo.timeseries.granularity": stays(None, "hours"),
    "mongo.timeseries.expire_after": stays(None, "1h"),
    "redis.*.projection": copies("card", "other"),
    "redis.*.type": copies("hash", "json"),
    "redis.*.each": copies("a", "b", CARD | {"key": "card:{_id}:{a.#}:{b.#}"}),
    "redis.*.key": copies("card:{_id}", "other:{_id}"),
    "redis.*.key_values": copies("encoded", "text"),
    "redis.*.key_types": copies({}, {"_id": "int"}, CARD | {"key_values": "text"}),
    "redis.*.ttl": copies("1h", "2h"),
    "redis.*.ttl.field": copies("until", "later"),
    "redis.*.fields": copies(["a"], "all"),
    **of_a_field("redis.*.fields.*"),
    "redis.*.fields.*.ttl": copies(None, {"field": "until"}),
    "redis.*.fields.*.ttl.field": copies("until", "later", {"field": "until"}),
    "redis.*.value": copies({"from": "a"}, {"from": "b"}),
    **of_a_field("redis.*.value"),
    "redis.*.member": copies("{_id}", "p{_id}"),
    "redis.*.score": copies("a", "b"),
    "redis.*.position": copies("a", "b"),
    "redis.*.vector": copies({"from": "a", "dims": 2}, {"from": "b", "dims": 2}),
    "redis.*.vector.from": copies("a", "b"),
    "redis.*.vector.dims": copies(2, 3),
    "redis.*.quantisation": copies("int8", "none"),
    "redis.*.attributes": copies({"k": "a"}, None),
    "redis.*.keep": copies(None, {"last": 9}),
    "redis.*.keep.first": copies(8, 9, {"first": 8}),
    "redis.*.keep.last": copies(8, 9, {"last": 8}),
    "redis.*.expire": copies({"field": "at"}, None),
    "redis.*.expire.field": copies("at", "when", {"field": "at"}),
    "redis.*.keep.highest": copies(8, 9, {"highest": 8}),
    "redis.*.keep.lowest": copies(8, 9, {"lowest": 8}),
    # Of a change feed, which has no state; a copy writes to one that asks for that.
    "redis.*.keep.entries": stays(8, 9, {"entries": 8}),
    "redis.*.keep.age": stays("1d", "2d", {"age": "1d"}),
    "redis.*.events": stays(None, ["insert"]),
    "redis.*.copy": copies(False, True),
    "redis.*.share": copies(False, True),
    "redis.*.time": copies("at", "when", SERIES),
    "redis.*.labels": copies(None, {"a": "a"}, SERIES),
    "redis.*.retention": copies(None, "1d", SERIES),
    "redis.*.index": stays(None, CARD["index"]),
    "redis.*.index.name": stays("cards", "films"),
    "redis.*.index.fields": stays([TEXT], [TEXT | {"attrs": {"weight": 2}}]),
    "redis.*.index.stopwords": stays(None, ["and"]),
    "redis.*.index.language": stays(None, "german"),
    "redis.*.index.generations": stays("alias", "in_place"),
    "redis.*.index.keep_old": stays("7d", "8d"),
    f"{ENTRY}.name": stays("a", "b"),
    f"{ENTRY}.path": stays(None, "$.a"),
    f"{ENTRY}.type": copies("text", "tag"),  # an array is one text, joined for a tag index
    f"{ENTRY}.attrs": copies({}, {"separator": ";"}, TAG),
    f"{ENTRY}.attrs.separator": copies(",", ";", TAG),
    **of_an_entry(
        TEXT, weight=(1.0, 2.0), no_stem=(False, True), withsuffixtrie=(False, True),
        phonetic_matcher=(None, "dm:en"), sortable=(False, True), unf=(False, True), no_index=(False, True),
        index_missing=(False, True), index_empty=(False, True),
    ),
    **of_an_entry(TAG, case_sensitive=(False, True)),
    **of_an_entry(
        VECTOR, dims=(2, 3), algorithm=("flat", "hnsw"), distance_metric=("cosine", "l2"),
        datatype=("float32", "float16"), initial_cap=(None, 9), block_size=(None, 9),
    ),
    **of_an_entry(HNSW, m=(None, 9), ef_construction=(None, 9), ef_runtime=(None, 9), epsilon=(None, 0.1)),
    # Which way data goes makes another kind of plan; from Redis to MongoDB the rest of `sync` has a test below.
    "sync.direction": stays("mongo_to_redis", "both"),
    "sync.capture": stays(None, "outbox"),
    "sync.on_delete": copies("delete", "ignore"),
    "sync.on_expire": stays("ignore", "delete"),
    "sync.on_conflict": stays(None, "newest"),
    "sync.authority": stays(None, {}),
    "sync.authority.mongo": stays([], ["a"]),
    "sync.authority.redis": stays([], ["a"]),
    "sync.conflicts": stays(None, "shop.conflicts"),
    "sync.outbox_max": stays(None, 9),
    "sync.on_drop": stays("purge", "keep"),
    "sync.adopt": stays(False, True),
    "sync.sweep_limit": stays(20, 30),
    "sync.apply": stays("on_edit", "planned"),
    "sync.dead_letters": stays({}, {"keep": 9}),
    "sync.dead_letters.keep": stays(10, 9),
    "sync.dead_letters.when_full": stays("pause", "drop_oldest"),
    "sync.on_unresumable_position": stays("resnapshot", "fail"),
    "slo": stays(None, {"freshness": "5s"}),
    "slo.freshness": stays("5s", "6s"),
    "reconcile": stays(None, {"every": "1h"}),
    "reconcile.schedule": stays(None, "*/5 * * * *", {}),
    "reconcile.every": stays("1h", "2h"),
    "reconcile.jitter": stays(None, "1m"),
    "reconcile.check": copies("full", "digest"),  # the digests of what was copied before are not known
    "reconcile.mode": stays("report", "repair"),
    "reconcile.max_documents_per_second": stays(10, 9),
    "reconcile.quiet_hours": stays([], ["06:00-09:30"]),
    "reconcile.read_preference": stays("primary", "nearest"),
    "consumers": stays([], [{"team": "web", "reads": {"card": ["a"]}}]),
    "consumers.*.team": stays("web", "shop"),
    "consumers.*.reads": stays({"card": ["a"]}, {"card": "all"}),
    # No lane ever sees tests; see also test_contract_tests.py.
    "tests": stays([], [TEST]),
    "tests.*.name": stays("a", "b", TEST),
    "tests.*.given": stays({"_id": 1}, {"_id": 2}, TEST),
    "tests.*.before": stays(None, {"_id": 2}, TEST),
    "tests.*.given_keys": stays({"k": "v"}, {"k": "w"}, {"name": "a", "document": []}),
    "tests.*.given_entries": stays({"1-0": {}}, {"1-1": {}}, {"name": "a", "document": []}),
    "tests.*.collection": stays(None, "shop.films", TEST),
    "tests.*.now": stays(None, "2024-01-31T00:00:00Z", TEST),
    "tests.*.expect": stays({}, {"card:1": {"a": "b"}}, TEST),
    "tests.*.absent": stays([], ["card:1"], TEST),
    "tests.*.ttl": stays({}, {"card:1": "1h"}, TEST),
    "tests.*.document": stays([], {"a": 1}, {"name": "a", "given_keys": {"k": "v"}}),
    "tests.*.dead_letter": stays([], "cannot_convert", TEST),
    "tests.*.filtered": stays(False, True, TEST),
    "tests.*.partial": stays(False, True, TEST),
}  # fmt: skip
OF_ONE_VALUE = {"apiVersion", "kind", "metadata", "mongo", "redis", "sync"}
"""Keys that hold nothing but keys of their own, or the same in every contract."""


def test_it_is_decided_for_every_key() -> None:
    """A key that is new has its line above, for Redis to show what the contract says, and no copy for nothing."""
    assert {".".join(key) for key in contract_keys()} == EDITS.keys() | OF_ONE_VALUE


def edited(key: Key, edit: Edit, value: Any) -> Contract:
    return Contract.model_validate(said_with(key, edit, value), by_alias=True, by_name=False)


def said_with(key: Key, edit: Edit, value: Any) -> dict[str, Any]:
    """The contract with this value at the key, as YAML has it."""
    said = deepcopy(CONTRACT)
    if key[:2] == ("redis", "*") and (
        shape := OF_SHAPES.get(".".join(key[2:])) or OF_SHAPES.get("".join(key[2:3]))
    ):
        put(said, ("redis", "*"), deepcopy(shape))
    if edit.around is not None:
        above = key[: -2 if "attrs" in key[:-1] else -1]
        put(said, above, deepcopy(edit.around))
    if value is not None:
        put(said, key, value)
    elif len(key) > 1 or key[0] in said:
        holder = said
        for part in key[:-1]:
            holder = holder[0 if isinstance(holder, list) else next(iter(holder)) if part == "*" else part]
        holder.pop(key[-1], None)
    return said


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_copies_again_or_does_not(name: str) -> None:
    """As it is decided above."""
    key, edit = tuple(name.split(".")), EDITS[name]
    before, after = (edited(key, edit, value) for value in (edit.before, edit.after))
    assert before != after, "the edit changes nothing"
    same = compile_contract(before).fingerprint == compile_contract(after).fingerprint
    assert same is not edit.copies


OF_THE_COPY = {
    "direction": "both", "capture": "keyspace", "on_delete": "ignore", "on_expire": "delete", "on_conflict": "newest",
    "authority": {"mongo": ["a"]}, "conflicts": "shop.conflicts", "outbox_max": 9, "on_drop": "keep",
    "on_unresumable_position": "fail",
}  # fmt: skip
OF_NO_COPY = {"apply": "planned", "adopt": True, "sweep_limit": 30, "dead_letters": {"keep": 9}}


def test_it_is_decided_for_contracts_from_redis_too() -> None:
    """Whether all keys are read again, or compared, after an edit of `sync`."""
    assert Sync.model_fields.keys() == OF_THE_COPY.keys() | OF_NO_COPY.keys()


@pytest.mark.parametrize("name", [*OF_THE_COPY, *OF_NO_COPY])
def test_an_edit_of_sync_reads_keys_again_or_does_not(name: str) -> None:
    """As it is decided above."""
    sync = {"direction": "redis_to_mongo", "capture": "outbox"}
    said = {**CONTRACT, "redis": [STRING], "mongo": {"collection": "shop.films"}, "sync": sync}
    value = (OF_THE_COPY | OF_NO_COPY)[name]
    plans = [
        compile_state(Contract.model_validate(one, by_alias=True, by_name=False))
        for one in (said, {**said, "sync": {**sync, name: value}})
    ]
    assert (plans[0].fingerprint != plans[1].fingerprint) is (name in OF_THE_COPY)
