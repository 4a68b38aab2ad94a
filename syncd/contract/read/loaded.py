"""A checked contract together with the file it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from syncd.contract.model.contract import Contract
from syncd.contract.model.contract_tests import ContractTest
from syncd.contract.model.redis.projection import Projection
from syncd.contract.read.source import Path, Place, Source
from syncd.errors import Problem


@dataclass(frozen=True, slots=True)
class LoadedContract:
    """One contract and where it stands. `stand_ins` is empty outside the checks (see `salvage.py`)."""

    contract: Contract
    source: Source
    stand_ins: frozenset[Path] = frozenset()
    tests: tuple[ContractTest, ...] = ()
    """Those that stand in it. `contract` is without them: what runs is the same with any."""

    @property
    def file(self) -> str:
        """The file, as it was given."""
        return self.source.file

    def locate(self, *path: str | int) -> Place:
        """Line and column of the value at `path`, such as ("redis", 0, "key"), or of what is around it."""
        return self.source.locate(*path)

    def written(self, *path: str | int) -> str:
        """A scalar as the file has it: a variable's name in place of its value, which may be a secret."""
        return self.source.written(*path) or ""

    def sound(self, *path: str | int) -> bool:
        """False if this value, or one around it, only stands in for one with a mistake of its own."""
        return not any(path[:length] in self.stand_ins for length in range(1, len(path) + 1))

    def projections(self) -> Iterator[tuple[int, Projection]]:
        """The projections that are fit to be checked, with their places in the list."""
        for index, projection in enumerate(self.contract.redis):
            if self.sound("redis", index):
                yield index, projection

    def problem(self, path: Path, what: str, remedy: str, *, offset: int | None = None) -> Problem:
        """A problem at a value; `offset` counts characters inside it."""
        # In a text with variables the offset counts characters that the file does not have.
        if offset is None or self.source.has_variable(*path):
            place = self.source.locate(*path)
        else:
            place = self.source.locate_inside(offset, *path)
        return Problem(self.file, *place, what, remedy)

    def problem_at_key(self, path: Path, what: str, remedy: str) -> Problem:
        """A problem of a key rather than of its value."""
        return Problem(self.file, *self.source.locate_key(*path), what, remedy)


def loaded_contract(contract: Contract, source: Source, stand_ins: frozenset[Path]) -> LoadedContract:
    """The contract apart from its tests."""
    without = contract.model_copy(update={"tests": ()})
    return LoadedContract(without, source, stand_ins, contract.tests)


@dataclass(frozen=True, slots=True)
class ContractSet:
    """All contracts of one directory, in order of their files; they passed every check, also together."""

    contracts: tuple[LoadedContract, ...]
