"""Projections that pass from one contract to another: their keys stay, and readers find them where they were. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from syncd.contract.diff.change import Change
from syncd.contract.diff.compare import compare_projections
from syncd.contract.diff.verdict import Verdict
from syncd.contract.model.redis.projection import Projection
from syncd.contract.read.loaded import LoadedContract

Pair: TypeAlias = tuple[LoadedContract | None, LoadedContract | None]
"""One contract before and now."""
_Shape: TypeAlias = tuple[str, str]
"""Key and type, by which readers know a projection."""


class Move(NamedTuple):
    """One projection that passes."""

    giver: LoadedContract
    taker: LoadedContract
    before: int
    """Where it stood among the projections of `giver`."""
    after: int

    @property
    def old(self) -> Projection:
        """As the giver had it."""
        return self.giver.contract.redis[self.before]

    @property
    def new(self) -> Projection:
        """As the taker has it."""
        return self.taker.contract.redis[self.after]

    @property
    def changes(self) -> list[Change]:
        """What readers of its keys notice."""
        return compare_projections(self.giver, self.taker, self.before, self.after)


def moves_of(pairs: Sequence[Pair]) -> list[Move]:
    """What one contract of a set gives up, and another one has from then on."""
    gained: dict[_Shape, tuple[LoadedContract, int]] = {}
    for old, new in pairs:
        if new is not None:
            gained |= {shape: (new, at) for shape, at in _only_in(new, old)}
    return [
        Move(old, gained[shape][0], at, gained[shape][1])
        for old, new in pairs
        if old is not None
        for shape, at in _only_in(old, new)
        if shape in gained
    ]


def _only_in(one: LoadedContract, other: LoadedContract | None) -> Iterator[tuple[_Shape, int]]:
    present = set() if other is None else {(shape.key, shape.type) for shape in other.contract.redis}
    for at, shape in enumerate(one.contract.redis):
        if (shape.key, shape.type) not in present:
            yield (shape.key, shape.type), at


def with_moves(pair: Pair, changes: Sequence[Change], moves: Sequence[Move]) -> list[Change]:
    """The changes of one contract, where nothing is called gone or new that only passes."""
    given = [move for move in moves if move.giver is pair[0]]
    taken = [move for move in moves if move.taker is pair[1]]
    found = [_said(change, pair, given, taken) for change in changes]
    found += [change for move in taken for change in move.changes]
    return sorted(found, key=lambda change: -change.verdict)


def _said(change: Change, pair: Pair, given: list[Move], taken: list[Move]) -> Change:
    if not change.key and pair[1] is None and given:
        return _gone(change, given)
    if not change.key and pair[0] is None and taken:
        return _come(change, taken)
    for move in given:
        if change.key == f"redis.{move.old.projection}" and pair[1] is not None:
            what = f"projection `{change.projection}` is in contract {move.taker.contract.name} now"
            return replace(
                change, verdict=Verdict.PATCH, what=what, why="its keys stay, and that contract writes them"
            )
    for move in taken:
        if change.key == f"redis.{move.new.projection}" and pair[0] is not None:
            what = f"projection `{change.projection}` was in contract {move.giver.contract.name}"
            return replace(
                change, verdict=Verdict.PATCH, what=what, why="its keys are there already, and stay"
            )
    return change


def _gone(change: Change, given: list[Move]) -> Change:
    """Of a contract that is no more."""
    takers = _contracts(move.taker for move in given)
    if len(given) == len(given[0].giver.contract.redis):
        return replace(change, verdict=Verdict.PATCH, why=f"its keys stay, and {takers} from then on")
    some = ", ".join(f"`{move.old.key}`" for move in given)
    why = f"the keys {some} stay, and {takers} from then on; nothing changes its other keys any more"
    return replace(change, why=why)


def _come(change: Change, taken: list[Move]) -> Change:
    """Of a contract that was not there."""
    givers = " and ".join(sorted({f"contract {move.giver.contract.name}" for move in taken}))
    if len(taken) == len(taken[0].taker.contract.redis):
        return replace(change, verdict=Verdict.PATCH, why=f"its keys are there already, from {givers}")
    some = ", ".join(f"`{move.new.key}`" for move in taken)
    return replace(change, why=f"the keys {some} are there already, from {givers}; its other keys are new")


def _contracts(found: Iterator[LoadedContract]) -> str:
    """Who writes them."""
    names = sorted({one.contract.name for one in found})
    return (
        f"contract {names[0]} writes them"
        if len(names) == 1
        else f"contracts {' and '.join(names)} write them"
    )
