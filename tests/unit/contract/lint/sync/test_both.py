"""What fits a contract that goes both ways, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import contract, load, projection, told

RULE = "on_conflict: merge_fields"


def both(
    sync: str = f"capture: outbox, {RULE}",
    *,
    fields: str = "{plan: plan, n: {from: n, type: int}}",
    type: str = "hash",
    more: str = "",
    direction: str = "both",
    collection: str = "a.b",
) -> str:
    shape = projection(fields, type=type, key="session:{_id}") + more
    return contract(
        shape + f"sync: {{direction: {direction}, {sync}}}\n",
        name="sessions",
        mongo=f"collection: {collection}",
    )


def test_what_fits_passes(tmp_path: Path) -> None:
    """Hashes and JSON documents, an authority, another place for records, `on_drop`."""
    (loaded,) = load(
        tmp_path, both(f"capture: keyspace, {RULE}, conflicts: audit.of_us, on_drop: keep", type="json")
    )
    assert loaded.contract.is_two_way
    load(
        tmp_path,
        both(f"capture: outbox, {RULE}, on_delete: ignore, authority: {{mongo: [plan], redis: [n]}}"),
    )


WRONG = {
    "no rule": (
        both("capture: outbox"),
        "a.yaml:13:19: `direction: both` without `on_conflict`; "
        "write on_conflict: merge_fields, mongo_wins, redis_wins or newest",
    ),
    "no capture": (
        both(RULE),
        "a.yaml:13:19: `direction: both` without a `capture`; write capture: outbox or keyspace",
    ),
    "a rule one way": (
        both(f"capture: outbox, {RULE}", direction="redis_to_mongo"),
        "a.yaml:13:52: `on_conflict` is for `direction: both`; leave it out",
    ),
    "a tombstone": (
        both(f"capture: outbox, {RULE}, on_delete: tombstone"),
        "a.yaml:13:80: a tombstone would be a document without its key; write delete or ignore",
    ),
    "a time to live": (
        both(more="    ttl: 1d\n"),
        "a.yaml:13:5: a `ttl` of keys that both sides write; leave it out; EXPIRE is the application's",
    ),
    "an expression": (
        both(fields="{plan: {expr: 'a'}}"),
        "a.yaml:12:27: `expr` has no way back into a document; leave it out",
    ),
    "a field that expires": (
        both(fields="{plan: {from: plan, ttl: {field: until}}}"),
        "a.yaml:12:38: `ttl` has no way back into a document; leave it out",
    ),
    "records among the documents": (
        both(f"capture: outbox, {RULE}, conflicts: a.b"),
        "a.yaml:13:80: `conflicts` is a collection of a contract, whose documents the records of conflicts would "
        "become; name another collection",
    ),
    "records among the documents, where nothing is said": (
        both(collection="a.syncd_conflicts"),
        "a.yaml:13:7: `conflicts`, which is a.syncd_conflicts where nothing is said, is a collection of a contract, "
        "whose documents the records of conflicts would become; name another collection",
    ),
    "a name in JSON with a backslash": (
        both(fields="{'a\\b': plan}", type="json"),
        "a.yaml:12:14: no path of RedisJSON leads to a member with such a name; "
        "leave out the backslash, one of the two kinds of quotes, or the blank at the beginning",
    ),
    "a name in JSON with a blank first": (
        both(fields="{' b': plan}", type="json"),
        "a.yaml:12:14: no path of RedisJSON leads to a member with such a name; "
        "leave out the backslash, one of the two kinds of quotes, or the blank at the beginning",
    ),
    "an unknown field": (
        both(f"capture: outbox, {RULE}, authority: {{mongo: [plant]}}"),
        "a.yaml:13:89: `authority` names a field that the contract has not; write the name that it has in Redis",
    ),
    "both have a say": (
        both(f"capture: outbox, {RULE}, authority: {{mongo: [plan], redis: [plan]}}"),
        "a.yaml:13:104: both sides have authority over it; give it to one of them",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit(tmp_path: Path, name: str) -> None:
    """Each mistake is told with its place."""
    text, problem = WRONG[name]
    assert problem in told(tmp_path, text)
