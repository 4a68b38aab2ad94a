"""What fits a contract that appends, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told

SYNC = "sync: {direction: redis_to_mongo, capture: append}\n"
FIELDS = "{model: model, latency: {from: usage.latency, type: double}}"


def stream(
    fields: str = FIELDS,
    *,
    type: str = "stream",
    key: str = "events:in",
    sync: str = SYNC,
    more: str = "",
    name: str = "events",
    mongo: str = "collection: telemetry.events",
) -> str:
    return contract(projection(fields, type=type, key=key) + more + sync, name=name, mongo=mongo)


def test_a_stream_passes(tmp_path: Path) -> None:
    """Also beside another contract on the same stream with another collection."""
    other = stream(name="copies", mongo="collection: telemetry.copies")
    first, second = load(tmp_path, stream(), other)
    assert first.contract.sync.capture == "append"
    assert second.contract.redis[0].type == "stream"


WRONG = {
    "a check": (
        stream(sync=SYNC + "reconcile: {every: 1h}\n"),
        "a.yaml:14:1: `reconcile` is for documents that have a key; leave it out",
    ),
    "no capture": (
        stream(sync="sync: {direction: redis_to_mongo}\n"),
        "a.yaml:13:19: `direction: redis_to_mongo` without a `capture`; write capture: outbox, keyspace or append",
    ),
    "capture without the direction": (
        contract(projection("{a: a}") + "sync: {capture: append}\n"),
        "a.yaml:13:8: `capture` is for `direction: redis_to_mongo` and `both`; leave it out, or turn the direction",
    ),
    "a capture that is not built": (
        stream(sync="sync: {direction: redis_to_mongo, capture: poll}\n"),
        "a.yaml:13:44: `capture` cannot be `poll`; allowed are append, outbox, keyspace",
    ),
    "a hash this way": (
        stream(type="hash", key="events:{_id}"),
        "a.yaml:10:11: `type: hash` cannot be appended from; write type: stream, or capture: outbox or keyspace",
    ),
    "a placeholder": (
        stream(key="events:{_id}"),
        "a.yaml:11:10: a placeholder in the key of a stream, `events:{_id}`; name the one key that the stream has",
    ),
    "a time to live": (
        stream(more="    ttl: 30d\n"),
        "a.yaml:13:5: a stream has no `ttl`; leave it out",
    ),
    "the events of a feed": (
        stream(more="    events: [insert]\n"),
        "a.yaml:13:5: `events` is for change feeds, whose entries syncd writes; leave it out, or turn the direction",
    ),
    "the copy of a feed": (
        stream(more="    copy: true\n"),
        "a.yaml:13:5: `copy` is for change feeds, whose entries syncd writes; leave it out, or turn the direction",
    ),
    "the name of the database": (
        stream("{tenant: $db}"),
        "a.yaml:12:22: `$db` is for contracts from MongoDB to Redis: no document has such a field; "
        "name a path of the document",
    ),
    "an index": (
        stream(more="    index: {name: i, fields: [{name: model, type: text}]}\n"),
        "a.yaml:13:5: an `index` over keys that go from Redis to MongoDB; leave it out",
    ),
    "all fields": (
        stream("all"),
        "a.yaml:12:13: `fields: all` from Redis to MongoDB, where fields need a path and a type; name the fields",
    ),
    "a filter": (
        stream(mongo="collection: telemetry.events, filter: {a: 1}"),
        "a.yaml:7:39: `filter` is for documents that are read; leave it out",
    ),
    "what a deletion means": (
        stream(sync="sync: {direction: redis_to_mongo, capture: append, on_delete: ignore}\n"),
        "a.yaml:13:52: `on_delete` is for documents that have a key; leave it out",
    ),
    "a mask": (
        stream("{a: {from: a, mask: redact}}"),
        "a.yaml:12:33: `mask` has no way back into a document; leave it out",
    ),
    "an expression": (
        stream("{a: {expr: a}}"),
        "a.yaml:12:24: `expr` has no way back into a document; leave it out",
    ),
    "the _id": (
        stream("{a: _id}"),
        "a.yaml:12:17: `_id` is made from the stream and the entry; name another path",
    ),
    "an element of an array": (
        stream("{a: b.0}"),
        "a.yaml:12:17: a number in a path names an element of an array, which is not there yet; "
        "write names joined by dots, such as address.zip",
    ),
    "one path inside another": (
        stream("{a: b, c: b.d}"),
        "a.yaml:12:23: its path is that of another field, or inside it; give each field a path of its own (see `a`)",
    ),
    "syncd's own keys": (
        stream(key="syncd:x"),
        "a.yaml:11:10: keys that begin with `syncd:` belong to syncd itself; choose another prefix",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(case: str, tmp_path: Path) -> None:
    """Once, with its place and a remedy."""
    text, expected = WRONG[case]
    assert told(tmp_path, text) == [expected]


def test_two_streams_in_a_contract(tmp_path: Path) -> None:
    """Each needs a lag and a position of its own."""
    second = projection(FIELDS, type="stream", key="events:out").replace("card", "second")
    expected = "a.yaml:13:17: more than one projection in a contract from Redis to MongoDB; write a contract for each"
    assert told(tmp_path, contract(projection(FIELDS, type="stream", key="events:in") + second + SYNC)) == [
        expected
    ]


def test_two_contracts_of_one_stream_and_one_collection(tmp_path: Path) -> None:
    """They would fight for each `_id`."""
    found = told(tmp_path, stream(), stream(name="again"))
    assert found == [
        f"b.yaml:11:10: the same stream into the same collection as {tmp_path}/a.yaml; "
        "keep one, or name another collection".replace(f"{tmp_path}/", "")
    ]


def test_a_stream_among_the_keys_of_another_contract(tmp_path: Path) -> None:
    """syncd would write, and sweep, what it reads."""
    inbound = contract(projection("{a: a}", key="events:{_id}"))
    found = told(tmp_path, inbound, stream(key="events:7"))
    assert len(found) == 1
    assert "two contracts own the same keys" in found[0]
