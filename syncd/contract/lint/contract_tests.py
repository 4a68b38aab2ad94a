"""Rules about tests of contracts: each can be run, and is about something that the contract says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import bson
from bson.errors import BSONError

from syncd.contract.lint.keys import Keys, keys_of
from syncd.contract.model.contract import Contract
from syncd.contract.model.contract_tests import GIVEN
from syncd.contract.read.contract_tests import LoadedTest, tests_beside, tests_of
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.source import Path
from syncd.contract.several import matching
from syncd.errors import ContractError, Problem

_OF_DOCUMENTS = ("given", "before")


def problems_of(tests: Iterable[LoadedTest]) -> Iterator[Problem]:
    """What is wrong with tests, those of contracts and those of files beside them."""
    names: dict[tuple[str, str], LoadedTest] = {}
    keys: dict[int, list[Keys]] = {}
    for one in tests:
        contract = one.contract
        first = names.setdefault((contract.contract.name, one.test.name), one)
        if first is not one:
            line, _ = first.source.locate(*first.path, "name")
            what = f"the test name `{one.test.name}` again"
            yield one.problem(("name",), what, f"choose another, for {first.source.file}:{line} has this one")
        if id(contract) not in keys:
            keys[id(contract)] = list(keys_of([contract]))
        if contract.sound("sync", "direction") and contract.sound("sync", "capture"):
            yield from _of_the_direction(one)
        yield from _of_documents(one)
        yield from _of_the_collection(one)
        if len(keys[id(contract)]) == len(contract.contract.redis):
            yield from _of_keys(one, keys[id(contract)])


def _of_the_direction(one: LoadedTest) -> Iterator[Problem]:
    wanted = _given(one.contract.contract)
    named = next(name for name in GIVEN if name in one.test.model_fields_set)
    if named not in wanted:
        what = f"`{named}` does not fit the direction of contract {one.contract.contract.name}"
        yield one.problem((named,), what, f"write {' or '.join(wanted)}")


def _given(contract: Contract) -> tuple[str, ...]:
    if contract.is_two_way:
        return "given", "given_keys"
    if contract.captures_state:
        return ("given_keys",)
    return ("given",) if contract.sync.direction == "mongo_to_redis" else ("given_entries",)


def _of_documents(one: LoadedTest) -> Iterator[Problem]:
    """A list is of documents, each with an `_id`."""
    for name in _OF_DOCUMENTS:
        said = getattr(one.test, name)
        listed = said if isinstance(said, list) else [said]
        for at, document in enumerate(listed if said is not None else ()):
            path = (name, at) if isinstance(said, list) else (name,)
            if not isinstance(document, dict) or "_id" not in document:
                yield one.problem(path, "no document with an `_id`", "write {_id: 1, title: Solaris}")
            elif not _is_bson(document):
                remedy = "use integers of at most 64 bits, and names without NUL"
                yield one.problem(path, "MongoDB cannot hold this document", remedy)


def _is_bson(document: Any) -> bool:
    try:
        bson.encode(document)
    except (BSONError, OverflowError):
        return False
    return True


def _of_the_collection(one: LoadedTest) -> Iterator[Problem]:
    contract, named = one.contract.contract, one.test.collection
    if not one.contract.sound("mongo", "collection") or "given" not in one.test.model_fields_set:
        return
    if contract.patterns and named is None:
        what = f"contract {contract.name} is over several collections"
        yield one.problem(("name",), what, "say which one the documents are in: collection: database.name")
    elif not contract.patterns and named is not None:
        yield one.problem(("collection",), "the contract has one collection", "leave it out")
    elif named is not None and not matching(contract, [named]):
        what = f"no collection of contract {contract.name}"
        yield one.problem(("collection",), what, f"name one of {contract.collection}")


def _of_keys(one: LoadedTest, keys: Sequence[Keys]) -> Iterator[Problem]:
    """A key that no projection can have would be absent for ever."""
    named: list[tuple[Path, str]] = [(("expect", key), key) for key in one.test.expect or ()]
    named += [(("ttl", key), key) for key in one.test.ttl]
    named += [(("absent", at), key) for at, key in enumerate(one.test.absent)]
    for path, key in named:
        if not any(known.template.fits(key.encode()) for known in keys):
            templates = ", ".join(known.shown for known in keys)
            yield one.problem(path, "no projection has such a key", f"the key templates are {templates}")


def all_tests(
    path: FilePath, contracts: Sequence[LoadedContract], env: Mapping[str, str]
) -> list[LoadedTest]:
    """Of contracts that pass their checks, and of the files beside them. Raises ContractError."""
    beside, problems = tests_beside(path, contracts, env)
    tests = [*tests_of(contracts), *beside]
    if problems := [*problems, *problems_of(tests)]:
        raise ContractError(problems)
    return tests


def tests_can_be_run(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Those that stand in contracts; `syncd check` and `syncd test` also read the files beside them."""
    return problems_of(tests_of([one for one in contracts if one.sound("tests")]))


RULES = (tests_can_be_run,)
