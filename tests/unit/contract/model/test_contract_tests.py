"""Tests of contracts: what they may say, and that no lane ever sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd.contract.lint.contract_tests import all_tests
from syncd.contract.read.load import load_contract_set
from syncd.errors import ContractError
from syncd.preview.trial import run_test
from tests.unit.contract.contracts import CARD, contract, load, told

TESTS = "tests:\n"
GOOD = '  - {name: a film has a card, given: {_id: 1, title: x}, expect: {"movie:1": {title: x}}}\n'
LINE = 14
"""Of the first test."""


def told_of(directory: Path, *tests: str, mongo: str = "collection: catalog.movies") -> list[str]:
    text = contract(mongo=mongo) + TESTS + "".join(f"  - {test}\n" for test in tests)
    return [line.removeprefix("a.yaml:") for line in told(directory, text)]


@pytest.mark.parametrize(
    ("test", "column", "what"),
    [
        ("{name: a, given: {_id: 1}, expects: {}}", 32, "unknown key `expects`; did you mean `expect`?"),
        ("{name: a, given: {_id: 1}}", 5, "a test that expects nothing"),
        ("{name: a, expect: {}}", 5, "no `given`"),
        ("{name: a, given: {title: x}, expect: {}}", 15, "no document with an `_id`"),
        ("{name: a, given: [{_id: 1}, 2], expect: {}}", 33, "no document with an `_id`"),
        ("{name: a, given: {_id: 1, a: 12345678901234567890}, expect: {}}", 34, "a number that is too long"),
        ("{name: a, given: {_id: {$oid: x}}, expect: {}}", 29, "not a value of `$oid`"),
        ('{name: a, given: {_id: 1}, expect: {"film:1": {}}}', 41, "no projection has such a key"),
        ('{name: a, given: {_id: 1}, absent: ["film:1"]}', 41, "no projection has such a key"),
        ('{name: a, given: {_id: 1}, ttl: {"movie:1": soon}}', 49, "neither a duration nor a moment"),
        ("{name: a, given: {_id: 1}, now: soon, expect: {}}", 37, "not a moment"),
        ("{name: a, given: {_id: 1}, document: {}}", 32, "`document` is about keys and entries"),
        ("{name: a, given_keys: {a: {b: c}}, document: {}}", 15, "`given_keys` does not fit the direction"),
        ("{name: a, collection: a.b, given: {_id: 1}, expect: {}}", 15, "the contract has one collection"),
    ],
)
def test_a_mistake_has_line_and_column(tmp_path: Path, test: str, column: int, what: str) -> None:
    """Each is reported once, at what is wrong."""
    (line,) = told_of(tmp_path, test)
    assert line.startswith(f"{LINE}:{column}: {what}"), line


def test_names_are_unique(tmp_path: Path) -> None:
    """In a contract, and with the files beside it."""
    (line,) = told_of(tmp_path, *2 * ["{name: a, given: {_id: 1}, expect: {}}"])
    assert line.startswith(f"{LINE + 1}:6: the test name `a` again")
    (tmp_path / "a.yaml").write_text(contract() + TESTS + GOOD)
    beside = "kind: SyncContractTests\napiVersion: syncd/v1\ncontract: movies\n" + TESTS + GOOD
    (tmp_path / "a.test.yaml").write_text(beside)
    contracts = load_contract_set(tmp_path, {}).contracts
    with pytest.raises(ContractError, match=r"a.test.yaml:5:6: the test name `a film has a card` again"):
        all_tests(tmp_path, contracts, {})


def test_a_file_of_tests_is_no_contract(tmp_path: Path) -> None:
    """The daemon does not read it, so that a mistake in it stops no reload; its tests belong to their contract."""
    (contract_alone,) = load(tmp_path, contract())
    (tmp_path / "movies.test.yaml").write_text("not: [a contract")
    (again,) = load_contract_set(tmp_path, {}).contracts
    assert again.contract == contract_alone.contract
    with pytest.raises(ContractError, match=r"movies\.test\.yaml"):
        all_tests(tmp_path, [contract_alone], {})
    (tmp_path / "movies.test.yaml").write_text(
        "kind: SyncContractTests\napiVersion: syncd/v1\ncontract: films\n" + TESTS + GOOD
    )
    with pytest.raises(ContractError, match="no contract is called `films`; name one of movies"):
        all_tests(tmp_path, [contract_alone], {})


def test_what_runs_is_the_same_with_any_tests(tmp_path: Path) -> None:
    """An edit of tests alone restarts nothing and copies nothing."""
    (without,) = load(tmp_path, contract())
    (tested,) = load(tmp_path, contract() + TESTS + GOOD)
    assert tested.contract == without.contract
    assert [test.name for test in tested.tests] == ["a film has a card"]


def test_without_a_mongodb_a_filter_is_skipped(tmp_path: Path) -> None:
    """It never passes by that."""
    load(tmp_path, contract(CARD, mongo="collection: catalog.movies, filter: {a: 1}") + TESTS + GOOD)
    (one,) = all_tests(tmp_path, load_contract_set(tmp_path, {}).contracts, {})
    verdict = run_test(one, lambda plan, documents: None)
    assert (verdict.status, "--connect" in verdict.why) == ("skipped", True)


def test_a_key_that_cannot_hold_what_is_given_fails(tmp_path: Path) -> None:
    """With what it must be."""
    text = contract() + "sync: {direction: redis_to_mongo, capture: keyspace}\n" + TESTS
    load(tmp_path, text + '  - {name: a, given_keys: {"movie:1": [a, b]}, document: []}\n')
    (one,) = all_tests(tmp_path, load_contract_set(tmp_path, {}).contracts, {})
    verdict = run_test(one, lambda plan, documents: None)
    (difference,) = verdict.differences
    assert (verdict.status, difference.path) == ("failed", ("given_keys", "movie:1"))
    assert difference.what == "movie:1 cannot hold this, but a mapping of fields and values"
