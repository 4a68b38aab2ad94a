"""Rules about names and keys, within a contract and between contracts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.contract.contracts import CARD, contract, load, projection, told


def keyed(key: str, unique: str = "") -> str:
    return contract(projection("all", key=key), mongo=f"collection: a.b{unique and f', unique: {unique}'}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (keyed("movie:{_id"), "11:17: key template: a `{` that is not closed at character 7; "
                              "write {path}, or {{ for a literal brace"),
        (keyed("movie:{a..b}"), "11:17: key template: not a field path in braces at character 7; "
                                "write a path of the document between the braces, such as {_id} or {release.year}"),
        (keyed("movies"), "11:10: the key `movies` has no placeholder; add one that differs per document: {_id}"),
        (keyed("movie:{{_id}}"), "11:10: the key `movie:{{_id}}` has no placeholder; "
                                 "add one that differs per document: {_id}"),
        (keyed("movie:{slug}"), "11:10: the key `movie:{slug}` is not unique per document; "
                                "add {_id}, or state the unique index that covers it: mongo.unique: [[slug]]"),
        (keyed("{b}:{a}", "[[a, c]]"), "11:10: the key `{b}:{a}` is not unique per document; "
                                       "add {_id}, or state the unique index that covers it: mongo.unique: [[a, b]]"),
        (keyed("movie:{_id.nr}"), "11:10: the key `movie:{_id.nr}` is not unique per document; "
                                  "add {_id}, or state the unique index that covers it: mongo.unique: [[_id.nr]]"),
        (keyed("m:{_id}-{a}"), "11:10: two placeholders of `m:{_id}-{a}` without a `:` between them, "
                               "so that two documents can meet; put a `:` between the placeholders"),
        (keyed("syncd:{_id}"), "11:10: keys that begin with `syncd:` belong to syncd itself; choose another prefix"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_kept_is_told(tmp_path: Path, text: str, problem: str) -> None:
    """One problem for one mistake."""
    assert told(tmp_path, text) == [f"a.yaml:{problem}"]


@pytest.mark.parametrize(
    ("collection", "what"),
    [
        ("admin.users", "a collection of MongoDB's own"),
        ("local.oplog.rs", "a collection of MongoDB's own"),
        ("config.chunks", "a collection of MongoDB's own"),
        ("Config.chunks", "a collection of MongoDB's own"),
        ("shop.system.views", "a collection of MongoDB's own"),
        ("shop.a.system.b", "a collection of MongoDB's own"),
    ],
)
def test_a_collection_is_one_of_an_application(tmp_path: Path, collection: str, what: str) -> None:
    """What is MongoDB's own is no source, target or place for conflicts, by a variable either."""
    for text in (
        contract(mongo=f"collection: '{collection}'"),
        contract(mongo="collection: '${NAME}'"),
        contract() + f"sync: {{conflicts: '{collection}'}}\n",
    ):
        assert any(what in problem for problem in told(tmp_path, text, env={"NAME": collection}))


@pytest.mark.parametrize(
    "collection", ["shop.items", "shop.systems", "administration.users", "shop.a.system"]
)
def test_other_names_are_free(tmp_path: Path, collection: str) -> None:
    """Only those are MongoDB's own."""
    assert load(tmp_path, contract(mongo=f"collection: {collection}"))


@pytest.mark.parametrize(
    ("key", "unique"),
    [
        ("movie:{_id}", ""),
        ("{tenant}:user:{_id}", ""),
        ("{tenant}:user:{slug}", "[[slug]]"),
        ("{tenant}:user:{slug}", "[[x], [slug, tenant]]"),
        ("syncdata:{_id}", ""),
        ("{{{_id}}}:card", ""),
    ],
)
def test_a_key_is_unique_by_id_or_by_a_unique_index(tmp_path: Path, key: str, unique: str) -> None:
    """An index over some of the key's fields is enough."""
    assert load(tmp_path, keyed(key, unique))


def test_two_contracts_on_one_key_are_told_with_both_files_and_a_key(tmp_path: Path) -> None:
    """They would delete each other's work."""
    other = contract(projection("all", key="{tenant}:{_id}"), name="users")
    assert told(tmp_path, contract(), other) == [
        "b.yaml:11:10: two contracts own the same keys: `{tenant}:{_id}` and `movie:{_id}` of a.yaml:11:10, "
        "such as `movie:1`; give one of them another prefix"
    ]


def test_two_projections_of_a_contract_on_one_key_are_told(tmp_path: Path) -> None:
    """Also when their types differ: a key has one type."""
    text = contract(CARD + projection("all", type="json").replace("card", "other"))
    assert told(tmp_path, text) == [
        "a.yaml:15:10: two projections own the same keys: `movie:{_id}` and `movie:{_id}` of a.yaml:11:10, "
        "such as `movie:1`; give one of them another prefix"
    ]


def test_a_key_with_many_owners_is_told_once_for_each_after_the_first(tmp_path: Path) -> None:
    """With one of the owners before it, and how many more there are."""
    assert [
        line.split(";")[0] for line in told(tmp_path, contract(), contract(name="b"), contract(name="c"))
    ] == [
        f"{file}.yaml:11:10: two contracts own the same keys: `movie:{{_id}}` and `movie:{{_id}}` of a.yaml:11:10, "
        f"such as `movie:1`{more}"
        for file, more in (("b", ""), ("c", " (and 1 more)"))
    ]


def test_a_contract_name_is_unique_among_files(tmp_path: Path) -> None:
    """Positions and metrics go by it."""
    other = contract(CARD.replace("movie:", "film:"))
    assert told(tmp_path, contract(), other) == [
        "b.yaml:4:9: the contract name `movies` again; choose another name, for a.yaml has this one"
    ]


def test_a_projection_name_is_unique_in_its_contract(tmp_path: Path) -> None:
    """Another contract may use it."""
    assert told(tmp_path, contract(CARD + CARD.replace("movie:", "film:"))) == [
        "a.yaml:13:17: the projection name `card` again; choose another name in this contract"
    ]
    assert load(tmp_path, contract(), contract(CARD.replace("movie:", "film:"), name="films"))


def test_a_key_is_not_judged_by_a_projection_that_was_refused(tmp_path: Path) -> None:
    """What follows from a mistake is not a second one."""
    wrong = contract("  - 5\n" + CARD + CARD.replace("card", "x").replace('"movie:{_id}"', "[1]"))
    assert [line.split(";")[0] for line in told(tmp_path, wrong)] == [
        "a.yaml:9:5: an entry of `redis` must be a mapping, not `5`",
        "a.yaml:16:10: `key` must be text, not a list",
    ]
