"""Contracts over several collections: which they are, and what their keys and names become."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.contract.several import collection_of, for_collection, matching, name_of
from tests.unit.contract.contracts import contract, load, projection, told

KEY = "user:{$db}:{_id}"
FIELDS = "{name: name, tenant: $db, kind: $collection}"


def several(collection: str = '"tenant_*.users"', key: str = KEY, more: str = "", type: str = "hash") -> str:
    return contract(projection(FIELDS, key=key, type=type) + more, mongo=f"collection: {collection}")


@pytest.mark.parametrize(
    ("collection", "found"),
    [
        ('"tenant_*.users"', {"tenant_a.users", "tenant_.users"}),
        ('"*.users"', {"tenant_a.users", "tenant_.users", "other.users"}),
        ('"tenant_a.*"', {"tenant_a.users", "tenant_a.users.old", "tenant_a.orders"}),
        ("[tenant_a.users, other.users]", {"tenant_a.users", "other.users"}),
        ('[tenant_a.orders, "o*.users"]', {"tenant_a.orders", "other.users"}),
    ],
)
def test_which_collections(tmp_path: Path, collection: str, found: set[str]) -> None:
    """`*` is any text, in the name of a database without its dot."""
    key = "user:{$db}:{$collection}:{_id}"
    (loaded,) = load(tmp_path, several(collection, key))
    there = [
        "tenant_a.users",
        "tenant_a.users.old",
        "tenant_a.orders",
        "tenant_.users",
        "other.users",
        "tenantusers.x",
    ]
    assert set(matching(loaded.contract, there)) == found


def test_each_collection_has_a_contract(tmp_path: Path) -> None:
    """With a name that says which, keys that hold the names, and fields that do."""
    (loaded,) = load(tmp_path, several(key="user:{$db}:{$collection}:{_id}"))
    for collection, key in {
        "tenant_a.users": "user:tenant_a:users:{_id}",
        "tenant_é.users": "user:tenant_é:users:{_id}",
        "tenant_a:{b}.us%rs": "user:tenant_a%3A%7Bb%7D:us%25rs:{_id}",
    }.items():
        one = for_collection(loaded.contract, collection)
        assert one is not None
        assert (one.redis[0].key, one.collection, one.patterns) == (key, collection, ())
        assert one.shown_collection == collection
        assert one.redis[0].fields is not None
        assert one.redis[0].fields["tenant"].constant == collection.split(".")[0]
        assert collection_of(loaded.contract, one.name) == collection
    assert name_of(loaded.contract, "tenant_a.users") == "movies@tenant_a.users"
    assert collection_of(loaded.contract, "movies") is None
    assert collection_of(loaded.contract, "other@tenant_a.users") is None


def test_names_of_one_collection(tmp_path: Path) -> None:
    """They stand in keys and fields of any contract to Redis."""
    (loaded,) = load(tmp_path, several("shop.users"))
    assert loaded.contract.redis[0].key == "user:shop:{_id}"
    assert loaded.contract.name == "movies"


def test_keys_that_are_syncds_own(tmp_path: Path) -> None:
    """Whatever a database is called."""
    (loaded,) = load(tmp_path, several('"*.users"', "{$db}:{_id}"))
    assert for_collection(loaded.contract, "syncd.users") is None
    assert for_collection(loaded.contract, "syncds.users") is not None
    (line,) = told(tmp_path, several("syncd.users", "{$db}:{_id}"))
    assert line == "a.yaml:11:10: keys of this database are syncd's own; choose another prefix"


INDEX = "    index:\n      name: users\n      fields: [{name: name, type: text}]\n"
REFUSED = {
    "keys without the database": (
        several(key="user:{_id}"),
        "a.yaml:11:10: the key `user:{_id}` is the same for documents of several collections; add {$db}",
    ),
    "keys without the collection": (
        several('"a*.*"'),
        "a.yaml:11:10: the key `user:{$db}:{_id}` is the same for documents of several collections; add {$collection}",
    ),
    "one index for all": (
        several(more=INDEX),
        "a.yaml:14:13: the index name `users` is the same for several collections; "
        "add {$db}: each collection has an index of its own",
    ),
    "an index name that two collections can have": (
        several('"a*.*"', key="user:{$db}:{$collection}:{_id}", more=INDEX.replace("users", '"{$db}{$collection}"')),
        "a.yaml:14:13: the index name `{$db}{$collection}` can be the same for two collections; "
        "put a `:` between {$db} and {$collection}",
    ),
    "an index with keys of others": (
        several(key="user:{_id}:{$db}", more=INDEX.replace("users", '"{$db}"')),
        "a.yaml:11:10: the index of one collection would hold keys of others, by what `user:{_id}:{$db}` begins with; "
        "write {$db}: before the first path of the document",
    ),
    "an index with keys of longer names": (
        several('"a*.*"', key="user:{$db}:{$collection}{_id}", more=INDEX.replace("users", '"{$db}:{$collection}"')),
        "a.yaml:11:10: the index of one collection would hold keys of others, by what "
        "`user:{$db}:{$collection}{_id}` begins with; "
        "write {$db}:{$collection}: before the first path of the document",
    ),
    "the way back": (
        contract(projection("{n: n}", key="user:{_id}") + "sync: {direction: redis_to_mongo, capture: outbox}\n",
                 mongo='collection: "a*.b"'),
        "a.yaml:7:21: several collections are for contracts from MongoDB to Redis; "
        "name one collection; each has a contract of its own",
    ),
    "a database of MongoDB's": (
        several("[admin.users]"),
        "a.yaml:7:22: a collection of MongoDB's own: `admin.users`; name one of an application: database.collection",
    ),
    "no dot": (
        several('"tenant_*"'),
        "a.yaml:7:21: not a database and a collection; "
        "write both with a dot between, such as tenant_*.users",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    """With its place, and what to write instead."""
    text, wanted = REFUSED[name]
    assert wanted in told(tmp_path, text)


SAME, BEHIND = "can be the same as", "can be that of a real index behind"
TURNED = {SAME: SAME, BEHIND: "can have a real index behind it with the name"}


@pytest.mark.parametrize(
    ("name", "collection", "mine", "meets"),
    [
        ("u:{$db}", "a_*.users", "u:a_1", SAME),
        ("u:{$db}", "a_*.users", "u:b_1", ""),
        ("u:{$db}", "a_*.users", "u:a:1", ""),
        ("u:{$db}", "a_*.users", "u:a_1:1", BEHIND),
        ("u:{$db}", "a_*.users", "u:a_1:1x", ""),
        ("u:{$db}", "a_*.users", "u:a_1:1:1", ""),
        ("u:{$db}", "*.users", "u:x", SAME),
        ("{$db}.{$collection}", "a*.*", "a1.b", SAME),
        ("{$db}.{$collection}", "a*.*", "a1.b:7", BEHIND),
    ],
)
def test_index_names_that_meet(tmp_path: Path, name: str, collection: str, mine: str, meets: str) -> None:
    """One of several collections, or a real index behind it, and that of another contract: only where a collection
    could have it, in whatever order the files come. In place there is no real one of another name."""
    key = "user:{$db}:{$collection}:{_id}"
    several_of = several(f'"{collection}"', key, more=INDEX.replace("users", f'"{name}"'))
    other = several("shop.other", "o:{_id}", more=INDEX.replace("users", mine)).replace("movies", "other")
    remedy = "choose another name, for a projection of a.yaml has this one"
    behind = f"b.yaml:14:13: the index name `{mine}` {meets} `{name}`; {remedy}"
    before = f"b.yaml:14:13: the index name `{name}` {TURNED.get(meets)} `{mine}`; {remedy}"
    assert told(tmp_path, several_of, other) == ([behind] if meets else [])
    assert told(tmp_path, other, several_of) == ([before] if meets else [])
    if meets == BEHIND:
        in_place = several_of.replace("    index:", "    index:\n      generations: in_place")
        assert told(tmp_path, in_place, other) == []
