"""What Redis knows of all contracts of all daemons: which there are, who works on each, how far it is, and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from syncd.contract.model.contract import Contract
from syncd.errors import SettingsError, StoreError
from syncd.ops.console.servers import KEEP_S, Servers
from syncd.ops.planning.running import as_taken_up
from syncd.settings import contract_environment
from syncd.stores.redis.records.claims import read_contracts
from syncd.stores.redis.records.layout import survey_all
from syncd.stores.together import Together

MOST_FILES = 2_000
"""Contracts of other daemons whose files are kept as read."""


class Surveyed(NamedTuple):
    """What Redis knows of contracts."""

    parts: Mapping[str, list[dict[str, Any]]]
    left: Mapping[str, float]


class Peers:
    """Thread-safe. Where Redis does not answer, nothing is known."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._surveyed: Together[Surveyed] = Together(KEEP_S)
        self._files: dict[str, tuple[str, Contract | None]] = {}

    def parts(self, own: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The partitions of each contract on this Redis, and of `own`; empty where Redis does not answer."""
        return self._surveyed.ask(lambda: self._survey(own)).parts

    def left(self, own: Sequence[str]) -> list[dict[str, Any]]:
        """The contracts that left, with the epoch seconds at which that was seen, the latest first."""
        found = self._surveyed.ask(lambda: self._survey(own)).left
        names = sorted(found.keys() - {*own}, key=lambda name: -found[name])
        return [{"name": name, "at": found[name]} for name in names]

    def _survey(self, own: Sequence[str]) -> Surveyed:
        store = self._servers.redis
        try:
            present = read_contracts(store)
            left = {name: float(said["left"]) for name, said in present.items() if "left" in said}
            names = present.keys() - left.keys() | set(own)
            return Surveyed(survey_all(store, sorted(names)), left)
        except StoreError:
            return Surveyed({}, {})

    def contract(self, name: str, epoch: str) -> Contract | None:
        """The contract that another daemon has; None where its file cannot be read here. `epoch`: of its lease, which
        another file comes with."""
        known = self._files.get(name)
        if known is not None and known[0] == epoch:
            return known[1]
        try:
            _, contract, _ = as_taken_up(self._servers.redis, name, contract_environment())
        except (StoreError, SettingsError):
            return None
        if len(self._files) >= MOST_FILES:
            self._files.clear()
        self._files[name] = epoch, contract
        return contract
