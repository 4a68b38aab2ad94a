"""What fits a contract whose keys go to MongoDB, and what does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from syncd.contract.model.redis.redis_types import TYPE_RULES, TypeRules
from tests.unit.contract.contracts import contract, load, projection, told

SYNC = "sync: {direction: redis_to_mongo, capture: outbox}\n"


def state(
    fields: str = "{user: user.id, n: {from: n, type: int}}",
    *,
    type: str = "hash",
    key: str = "session:{_id}",
    sync: str = SYNC,
    more: str = "",
    name: str = "sessions",
    mongo: str = "collection: shop.sessions",
) -> str:
    return contract(projection(fields, type=type, key=key) + more + sync, name=name, mongo=mongo)


def value(type: str, said: str = "{from: items, type: int}", *, more: str = "") -> str:
    shape = f'  - projection: card\n    type: {type}\n    key: "cart:{{_id}}"\n    value: {said}\n'
    return contract(shape + more + SYNC)


KEYS = {
    "a field twice": (
        "session:{user}:{nr}",
        "",
        "the path of {user} in `session:{user}:{nr}` is that of",
    ),
    "a type of nothing": (
        "session:{nr}",
        "{at: epoch}",
        "no placeholder of `session:{nr}` has this path",
    ),
    "a type that is none": ("session:{nr}", "{nr: geo}", "allowed are string, int, long"),
    "a place of syncd's": ("session:{_syncd}", "", "`_syncd` is where syncd keeps its position"),
    "a number in a path": ("session:{a.0}", "", "a number in a path names an element of an array"),
    "a part inside another": (
        "session:{a}:{a.b}",
        "",
        "the path of {a.b} in `session:{a}:{a.b}` is that of",
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_what_keys_cannot_be(name: str, tmp_path: Path) -> None:
    """Every value of a key has a field of its own, and a type is about one of them."""
    key, types, wanted = KEYS[name]
    more = f"    key_types: {types}\n" if types else ""
    (problem, *_) = told(tmp_path, state(key=key, more=more))
    assert wanted in problem


def test_keys_as_applications_write_them(tmp_path: Path) -> None:
    """Parts with types, one that holds the separator, a key that is the `_id` as a whole or in its last part."""
    more = "    key_values: text\n    key_types: {at: epoch}\n"
    (loaded,) = load(tmp_path, state(key="support:{session*}:{at}:{nonce}", more=more))
    assert loaded.contract.redis[0].key_types == {"at": "epoch"}
    load(tmp_path, state(key="chat:{_id*}", more="    key_values: text\n"))


def test_what_fits_passes(tmp_path: Path) -> None:
    """Every type, tombstones, the moment of expiry, a bound of the outbox."""
    sync = "sync: {direction: redis_to_mongo, capture: outbox, on_delete: tombstone, outbox_max: 1000}\n"
    load(tmp_path, state(sync=sync, more="    ttl: {field: expires_at}\n"))
    for type in ("string", "set", "zset", "list"):
        load(tmp_path, value(type))
    keyspace = "sync: {direction: redis_to_mongo, capture: keyspace, on_expire: delete}\n"
    (loaded,) = load(tmp_path, state(type="json", sync=keyspace))
    assert loaded.contract.captures_state


def test_a_type_that_is_only_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract cannot take a type the way that it does not go."""
    written = replace(TYPE_RULES["hash"], captured=False)
    monkeypatch.setitem(cast("dict[str, TypeRules]", TYPE_RULES), "hash", written)
    assert "a.yaml:10:11: `type: hash` only goes from MongoDB to Redis" in told(tmp_path, state())[0]


WRONG = {
    "a stream": (
        state(type="stream", key="events"),
        "a.yaml:10:11: `type: stream` is for contracts that append, or for change feeds; "
        "write capture: append with direction: redis_to_mongo, or another type",
    ),
    "a part of a list": (
        value("list", more="    keep: {last: 3}\n"),
        "a.yaml:13:5: `keep` of keys that go from Redis to MongoDB; leave it out",
    ),
    "elements with fields": (
        state(type="set"),
        "a.yaml:9:5: a set has elements, which are one `value`; "
        "write value: {from: path, type: string}, and no `fields`",
    ),
    "a key with more than the _id": (
        state(key="{shop}:session:{_id}"),
        "a.yaml:11:10: {_id} is not all of `{shop}:session:{_id}`, so that two keys could have one `_id`; "
        "give that part another name; without {_id} the `_id` is the whole key",
    ),
    "parts that nothing separates": (
        state(key="session:{user}-{nr}"),
        "a.yaml:11:10: two placeholders of `session:{user}-{nr}` without a `:` between them, so that two documents can "
        "meet; put a `:` between the placeholders",
    ),
    "two parts that may hold the separator": (
        state(key="session:{user*}:{nr*}"),
        "a.yaml:11:10: two placeholders of `session:{user*}:{nr*}` that may hold a `:`, so that two documents can "
        "meet; star one of them at most",
    ),
    "a part of the _id": (
        state(key="session:{_id.user}:{nr}"),
        "a.yaml:11:10: `_id` is made from the key; name another path",
    ),
    "a time to live": (
        state(more="    ttl: 30d\n"),
        "a.yaml:13:10: a `ttl` of keys that the application writes; "
        "write ttl: {field: expires_at} to keep the moment in the document, or leave it out",
    ),
    "a moment on the path of a field": (
        state(more="    ttl: {field: user}\n"),
        "a.yaml:13:18: its path is that of a field, or inside it; name a path of its own",
    ),
    "a deletion by expiry that is not noted": (
        state(sync="sync: {direction: redis_to_mongo, capture: outbox, on_expire: delete}\n"),
        "a.yaml:13:63: an outbox has no entry for a key that expires; "
        "write ttl: {field: expires_at}, and give the collection a TTL index on it",
    ),
    "a bound without an outbox": (
        state(sync="sync: {direction: redis_to_mongo, capture: keyspace, outbox_max: 9}\n"),
        "a.yaml:13:54: `outbox_max` is for `capture: outbox`; leave it out",
    ),
    "a tombstone in Redis": (
        contract(projection("{a: a}") + "sync: {on_delete: tombstone}\n"),
        "a.yaml:13:19: a tombstone is for documents that go from Redis to MongoDB; write delete or ignore",
    ),
    "an expiry from MongoDB": (
        contract(projection("{a: a}") + "sync: {on_expire: delete}\n"),
        "a.yaml:13:8: `on_expire` is for `capture: keyspace`; leave it out",
    ),
    "an index": (
        state("{a: a}", more="    index: {name: i, fields: [{name: a, type: text}]}\n"),
        "a.yaml:13:5: an `index` over keys that go from Redis to MongoDB; leave it out",
    ),
    "all fields": (
        state("all", type="json"),
        "a.yaml:12:13: `fields: all` from Redis to MongoDB, where fields need a path and a type; name the fields",
    ),
    "a mask": (
        value("set", "{from: a, mask: redact}"),
        "a.yaml:12:28: `mask` has no way back into a document; leave it out",
    ),
    "the _id": (state("{a: _id}"), "a.yaml:12:17: `_id` is made from the key; name another path"),
    "syncd's own place": (
        state("{a: _syncd.pos}"),
        "a.yaml:12:17: `_syncd` is where syncd keeps its position; name another path",
    ),
    "one path inside another": (
        state("{a: b, c: b.d}"),
        "a.yaml:12:23: its path is that of another field, or inside it; give each field a path of its own (see `a`)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    """Once, with its place and a remedy."""
    text, expected = WRONG[case]
    assert told(tmp_path, text) == [expected]


def test_two_contracts_of_one_collection(tmp_path: Path) -> None:
    """Each document has one position."""
    found = told(tmp_path, state(), state(name="again", key="cart:{_id}"))
    assert found == [
        "b.yaml:7:21: the same collection as a.yaml, which also writes keys to it; name another collection"
    ]


def test_a_copy_on_keys_that_are_captured(tmp_path: Path) -> None:
    """no_echo: what one contract writes to Redis, another one must not take for the application's."""
    keyspace = state(sync="sync: {direction: redis_to_mongo, capture: keyspace}\n")
    (found,) = told(tmp_path, keyspace, contract(projection("{a: a}", key="session:{_id}")))
    assert found.startswith("b.yaml:11:10: two contracts own the same keys")
