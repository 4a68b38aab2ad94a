"""Two versions of a set of contracts: which are new, gone or changed, what that breaks, and what versions say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from syncd.contract.diff.change import Change
from syncd.contract.diff.compare import compare
from syncd.contract.diff.moves import Move, Pair, moves_of, with_moves
from syncd.contract.diff.verdict import Verdict, next_version, says
from syncd.contract.model.consumers import Consumer
from syncd.contract.model.contract import Contract
from syncd.contract.read.loaded import LoadedContract

_VERSION = "metadata.version"


@dataclass(frozen=True, slots=True)
class ContractDiff:
    """One contract of both sets, or of one of them."""

    old: LoadedContract | None
    new: LoadedContract | None
    changes: tuple[Change, ...]

    @property
    def name(self) -> str:
        """As it is called now."""
        return _either(self).contract.name

    @property
    def verdict(self) -> Verdict:
        """What the changes are together. A new version alone is no change."""
        return max((one.verdict for one in self.changes if one.key != _VERSION), default=Verdict.SAME)

    @property
    def versions(self) -> tuple[str | None, str | None]:
        """Before and now; None where there is no contract."""
        old, new = (None if one is None else one.contract.metadata.version for one in (self.old, self.new))
        return old, new

    @property
    def wanted(self) -> str | None:
        """The lowest version that says as much as the verdict; None where the version does, or there is none to say
        it."""
        old, new = self.versions
        if old is None or new is None or says(old, new) >= self.verdict:
            return None
        return next_version(old, self.verdict)

    @property
    def breaks(self) -> tuple[str, ...]:
        """Teams that read what the changes take away."""
        return tuple(sorted({team for change in self.changes for team in change.breaks}))

    @property
    def is_announced(self) -> bool:
        """Whether versions say what readers have to expect. A contract that goes can only be announced to those who
        read it."""
        return self.wanted is None and not (self.new is None and self.breaks)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        old, new = self.versions
        return {
            "contract": self.name, "verdict": str(self.verdict), "old_version": old, "new_version": new,
            "wanted_version": self.wanted, "breaks": list(self.breaks),
            "changes": [change.as_dict() for change in self.changes],
        }  # fmt: skip


def diff_sets(old: Sequence[LoadedContract], new: Sequence[LoadedContract]) -> list[ContractDiff]:
    """Every contract that either set has, by name."""
    before = {one.contract.name: one for one in old}
    after = {one.contract.name: one for one in new}
    lost = [one for name, one in before.items() if name not in after]
    pairs: list[Pair] = []
    for name, loaded in after.items():
        known = before.get(name) or next(
            (one for one in lost if _is_same(one.contract, loaded.contract)), None
        )
        if known in lost:
            lost.remove(known)
        pairs.append((known, loaded))
    pairs += [(one, None) for one in lost]
    moves = moves_of(pairs)
    return sorted((diff(before, now, moves) for before, now in pairs), key=lambda one: one.name)


def diff(old: LoadedContract | None, new: LoadedContract | None, moves: Sequence[Move] = ()) -> ContractDiff:
    """One contract, or one that is new or gone."""
    if old is None or new is None:
        found = ContractDiff(old, new, ())
        loaded = _either(found)
        what, why = ("the contract is new", "its keys are new")
        if new is None:
            what, why = "the contract is gone", "its keys stay as they are, and nothing changes them any more"
        verdict = Verdict.MAJOR if new is None else Verdict.MINOR
        place = loaded.locate("metadata", "name")
        changes = [Change(verdict, "", what, why, loaded.file, *place)]
    else:
        changes = compare(old, new)
    changes = with_moves((old, new), changes, moves)
    consumers = _consumers(old, new, *(move.giver for move in moves if move.taker is new))
    return ContractDiff(old, new, tuple(replace(one, breaks=_broken(one, consumers)) for one in changes))


def _is_same(old: Contract, new: Contract) -> bool:
    """Whether it is the same contract under another name: of one collection, with a key template in common."""
    keys = {projection.key for projection in old.redis}
    return old.mongo.collection == new.mongo.collection and any(one.key in keys for one in new.redis)


def _consumers(
    old: LoadedContract | None, new: LoadedContract | None, *givers: LoadedContract
) -> list[Consumer]:
    """What each team reads: as the new version says it, where that names the team."""
    known: dict[str, Consumer] = {}
    for loaded in (*givers, old, new):
        known |= {} if loaded is None else {one.team: one for one in loaded.contract.consumers}
    return list(known.values())


def _broken(change: Change, consumers: Sequence[Consumer]) -> tuple[str, ...]:
    if change.verdict is not Verdict.MAJOR:
        return ()
    return tuple(one.team for one in consumers if _reads(one, change))


def _reads(consumer: Consumer, change: Change) -> bool:
    return change.projection is None or consumer.reads_of(change.projection, change.name)


def _either(found: ContractDiff) -> LoadedContract:
    loaded = found.new or found.old
    assert loaded is not None, "there is one at least"
    return loaded
