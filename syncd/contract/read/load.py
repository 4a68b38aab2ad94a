"""A directory of contracts to checked values: all of them, or every problem of every file at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from syncd.contract.lint.rules import lint
from syncd.contract.model.contract import AsWritten, Contract, FileStamp
from syncd.contract.read.contract_tests import is_test_file
from syncd.contract.read.explain import explain
from syncd.contract.read.extended import decoded
from syncd.contract.read.files import MOST_FILES, read_file, stamp_of
from syncd.contract.read.loaded import ContractSet, LoadedContract, loaded_contract
from syncd.contract.read.mistakes import mistakes
from syncd.contract.read.salvage import salvage
from syncd.contract.read.source import Source
from syncd.contract.read.yaml import read_source
from syncd.contract.several import for_collection
from syncd.errors import ContractError, Problem

__all__ = ["ContractSet", "LoadedContract", "is_contract_file", "load_contract_set", "load_files"]

MOST_READ = 500
"""Mistakes: above it no more files are read, and nothing is made of one that has more."""
_SUFFIXES = (".yaml", ".yml")


def load_contract_set(directory: Path, env: Mapping[str, str]) -> ContractSet:
    """Load `*.yaml` and `*.yml` of a directory (not of those below it), or one file.

    `env` fills in `${VAR}`. Raises ContractError with the problems of all files.
    """
    files = _contract_files(directory)
    return load_files(
        ((str(path), read_file(path)) for path in files), env, {str(path): stamp_of(path) for path in files}
    )


def load_files(
    files: Iterable[tuple[str, bytes | Problem]],
    env: Mapping[str, str],
    stamps: Mapping[str, FileStamp | None] = MappingProxyType({}),
) -> ContractSet:
    """The same of files by name, with what each holds, or why it was not read; and who wrote it when."""
    problems: list[Problem] = []
    loaded: list[LoadedContract] = []
    for name, content in files:
        contract, found = _load_file(name, content, env, stamps.get(name))
        problems += found
        loaded += [contract] if contract else []
        if len(problems) > MOST_READ:
            raise ContractError(problems)
    problems += lint(loaded)
    if problems:
        raise ContractError(problems)
    return ContractSet(tuple(map(_with_names, loaded)))


def _with_names(loaded: LoadedContract) -> LoadedContract:
    """With the names of its one collection where they stand in keys."""
    contract = loaded.contract
    found = contract if contract.patterns else for_collection(contract, contract.collection)
    if found is None:
        remedy = "choose another prefix"
        raise ContractError(
            [loaded.problem(("redis", 0, "key"), "keys of this database are syncd's own", remedy)]
        )
    return replace(loaded, contract=found)


def is_contract_file(name: str) -> bool:
    """Whether a file of this name, in a directory of contracts, is one."""
    return name.endswith(_SUFFIXES) and not name.startswith(".") and not is_test_file(name)


def _contract_files(directory: Path) -> list[Path]:
    try:
        if not directory.is_dir() and directory.exists():
            return [directory]
        entries = sorted(directory.iterdir())
        # Kubernetes mounts a volume's files as links into a hidden directory beside them.
        files = [path for path in entries if is_contract_file(path.name) and not path.is_dir()]
    except FileNotFoundError:
        raise _nothing(
            directory, "no such directory", "name a directory of contracts, or create it"
        ) from None
    except OSError as error:
        raise _nothing(
            directory, f"cannot be read ({error.strerror})", "check the path and its permissions"
        ) from None
    if len(files) > MOST_FILES:
        what = f"{len(files)} files, and a set of contracts has at most {MOST_FILES}"
        raise _nothing(directory, what, "is it the right directory? give contracts to several daemons")
    if not files:
        remedy = "put a contract there (`syncd init db.collection` drafts one), or name another directory"
        raise _nothing(directory, "no *.yaml or *.yml file here", remedy)
    return files


def _nothing(directory: Path, what: str, remedy: str) -> ContractError:
    return ContractError([Problem(str(directory), 1, 1, what, remedy)])


def _load_file(
    name: str, content: bytes | Problem, env: Mapping[str, str], stamp: FileStamp | None
) -> tuple[LoadedContract | None, list[Problem]]:
    if isinstance(content, Problem):
        return None, [content]
    source, problems = read_source(name, content, env)
    if source is None:
        return None, problems
    source, found = decoded(source)
    problems += found
    try:
        contract = Contract.model_validate(source.value, by_alias=True, by_name=False)
    except ValidationError as error:
        if error.error_count() > MOST_READ:
            return None, [*problems, _too_many(source, error.error_count())]
        problems += explain(mistakes(error, source), source)
        return salvage(source, error), problems
    contract = contract.written_as(AsWritten(source.written("mongo", "collection") or "", source.text, stamp))
    return loaded_contract(contract, source, source.failed), problems


def _too_many(source: Source, count: int) -> Problem:
    what = f"{count} mistakes, more than are reported one by one"
    return Problem(
        source.file, 1, 1, what, "`syncd schema` gives the format to an editor; begin with a draft"
    )
