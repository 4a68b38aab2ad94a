"""Tests of contracts, out of the contracts themselves and out of files beside them (`NAME.test.yaml`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from syncd.contract.model.contract_tests import ContractTest
from syncd.contract.model.values import Model, Name
from syncd.contract.read.explain import explain
from syncd.contract.read.extended import decoded
from syncd.contract.read.files import read_file
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.read.mistakes import mistakes
from syncd.contract.read.source import Path as Steps
from syncd.contract.read.source import Source
from syncd.contract.read.yaml import read_source
from syncd.errors import Problem

SUFFIXES = (".test.yaml", ".test.yml")


def is_test_file(name: str) -> bool:
    """Whether a file of this name holds tests of a contract, and no contract."""
    return name.endswith(SUFFIXES)


class ContractTests(Model):
    """A file of tests beside a contract."""

    api_version: Literal["syncd/v1"] = Field(alias="apiVersion", description="Version of the format.")
    kind: Literal["SyncContractTests"] = Field(description="Always SyncContractTests.")
    contract: Name = Field(description="Name of the contract.")
    tests: tuple[ContractTest, ...] = Field(min_length=1, description="As `tests` in a contract.")


@dataclass(frozen=True, slots=True)
class LoadedTest:
    """A test, its contract, and where it stands."""

    contract: LoadedContract
    test: ContractTest
    source: Source
    path: Steps

    def problem(self, path: Steps, what: str, remedy: str) -> Problem:
        """A problem at a key of the test."""
        return Problem(self.source.file, *self.source.locate_key(*self.path, *path), what, remedy)


def tests_of(contracts: Sequence[LoadedContract]) -> Iterator[LoadedTest]:
    """Those that stand in the contracts."""
    for loaded in contracts:
        for at, test in enumerate(loaded.tests):
            yield LoadedTest(loaded, test, loaded.source, ("tests", at))


def tests_beside(
    directory: Path, contracts: Sequence[LoadedContract], env: Mapping[str, str]
) -> tuple[list[LoadedTest], list[Problem]]:
    """Those of the files beside the contracts, and what is wrong with these."""
    by_name = {one.contract.name: one for one in contracts}
    found: list[LoadedTest] = []
    problems: list[Problem] = []
    folder = directory if directory.is_dir() else directory.parent
    paths = sorted(path for path in folder.iterdir() if is_test_file(path.name) and path.name[0] != ".")
    for path in paths:
        said, wrong = _read(path, env)
        problems += wrong
        if said is None:
            continue
        source, tests = said
        contract = by_name.get(tests.contract)
        if contract is not None:
            found += [LoadedTest(contract, one, source, ("tests", at)) for at, one in enumerate(tests.tests)]
        elif directory.is_dir():
            what = f"no contract is called `{tests.contract}`"
            remedy = f"name one of {', '.join(sorted(by_name))}"
            problems.append(Problem(source.file, *source.locate("contract"), what, remedy))
    return found, problems


def _read(path: Path, env: Mapping[str, str]) -> tuple[tuple[Source, ContractTests] | None, list[Problem]]:
    content = read_file(path)
    if isinstance(content, Problem):
        return None, [content]
    source, problems = read_source(str(path), content, env)
    if source is None:
        return None, problems
    source, found = decoded(source)
    problems += found
    try:
        tests = ContractTests.model_validate(source.value, by_alias=True, by_name=False)
    except ValidationError as error:
        return None, [*problems, *explain(mistakes(error, source, ContractTests), source)]
    return (None if problems else (source, tests)), problems
