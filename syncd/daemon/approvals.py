"""Holds back edits that no person has approved yet, of contracts with `sync: {apply: planned}`.

Until then the contract runs as Redis keeps it from when a daemon last took it up, also after a restart. Whether a
contract asks for that is said by the file that runs and by the new one: no edit takes that away by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from syncd import telemetry
from syncd.contract.model.contract import Contract
from syncd.contract.read.load import load_files
from syncd.contract.read.loaded import ContractSet, LoadedContract
from syncd.errors import ContractError, StoreError
from syncd.stores.redis.records.lease import new_owner
from syncd.stores.redis.records.requests.approvals import (
    approved_plan,
    note_waiting,
    plan_id,
    texts_as_taken_up,
)
from syncd.stores.redis.store import RedisStore

PLANNED = "planned"


@dataclass(slots=True)
class Allowed:
    """What may run now of a set of files."""

    contracts: ContractSet
    waiting: dict[str, str] = field(default_factory=dict)
    """Contracts whose edit waits, with the plan that has to be approved."""
    unknown: dict[str, str] = field(default_factory=dict)
    """Contracts of which nothing may run, and why."""
    asks_again: bool = False
    """Redis did not answer, and an edit waits until it does."""

    @property
    def texts(self) -> list[str]:
        """What runs, to be compared."""
        return [one.source.text for one in self.contracts.contracts]


class Approvals:
    """Of one daemon."""

    def __init__(self, store: Callable[[], RedisStore], env: Mapping[str, str]) -> None:
        self._store, self._env = store, env
        self._runs: dict[str, str] = {}
        """The file of each contract that this daemon runs, or was about to."""
        self._daemon = new_owner()
        self._told: set[str] = set()
        """Contracts of which the log says that an edit waits."""

    def allow(self, wanted: ContractSet) -> Allowed:
        """What of these files may run. Raises ContractError where files that run and files that are new do not go
        together: then all of them wait."""
        found = Allowed(wanted)
        try:
            present = texts_as_taken_up(
                self._store().renewed(), [loaded.contract for loaded in wanted.contracts]
            )
            held = {one.contract.name: self._held_back(one, present, found) for one in wanted.contracts}
            if found.waiting or self._told:
                note_waiting(self._store(), self._daemon, found.waiting, self._told - found.waiting.keys())
        except StoreError as error:
            found = Allowed(wanted)
            held = {
                one.contract.name: self._without_redis(one, found, str(error)) for one in wanted.contracts
            }
            found.asks_again = any(held.values())
        if found.unknown or any(held.values()):
            found.contracts = self._together(wanted, held, found.unknown)
        for name in found.waiting.keys() - self._told:
            telemetry.edit_waits(name, found.waiting[name])
        self._told = set(found.waiting)
        self._runs = {one.contract.name: one.source.text for one in found.contracts.contracts}
        return found

    def _held_back(self, loaded: LoadedContract, present: Mapping[str, str], found: Allowed) -> str:
        """The file that runs on in place of this one; empty where this one may run, or none."""
        name, text, is_planned = loaded.contract.name, loaded.source.text, _is_planned(loaded.contract)
        runs = present.get(name) or self._runs.get(name, "")
        if runs == text or not (is_planned or PLANNED in runs):
            return ""
        before = self._read(name, runs) if runs else None
        if not is_planned and not (before and _is_planned(before.contract)):
            return ""
        is_same = before is not None and before.contract == loaded.contract
        if is_same or approved_plan(self._store(), name) == plan_id(text):
            return ""
        found.waiting[name] = plan_id(text)
        if before is None:
            why = (
                "an edit waits for approval, and what ran before cannot be read"
                if runs
                else "its first version waits for approval"
            )
            found.unknown[name] = f"{why}: `syncd plan`, then `syncd approve {name} {plan_id(text)}`"
        return runs if before is not None else ""

    def _without_redis(self, loaded: LoadedContract, found: Allowed, why: str) -> str:
        """The same where Redis does not answer: as it was until now. Without it no lane can work anyway."""
        name, text = loaded.contract.name, loaded.source.text
        runs = self._runs.get(name, "" if _is_planned(loaded.contract) else text)
        if not runs:
            found.unknown[name] = f"whether its edit is approved is not known: {why}"
        return "" if runs == text else runs

    def _read(self, name: str, text: str) -> LoadedContract | None:
        try:
            (found,) = load_files([(f"{name}, as it runs", text.encode())], self._env).contracts
        except ContractError:
            return None
        return found

    def _together(
        self, wanted: ContractSet, held: Mapping[str, str], unknown: Mapping[str, str]
    ) -> ContractSet:
        """One set of both, which passes every check, or raises ContractError."""
        files: list[tuple[str, bytes]] = []
        for loaded in wanted.contracts:
            name = loaded.contract.name
            if held.get(name):
                files.append((f"{name}, as it runs", held[name].encode()))
            elif name not in unknown:
                files.append((loaded.file, loaded.source.text.encode()))
        return load_files(files, self._env)


def _is_planned(contract: Contract) -> bool:
    return contract.sync.apply == PLANNED
