"""What every compiled contract has. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from syncd.contract.model.contract import Contract
from syncd.plan.misfits import Misfits


@dataclass(frozen=True, kw_only=True)
class ContractPlan:
    """One contract, ready to run."""

    contract: Contract
    fingerprint: str
    """Changes with everything that changes what is written."""
    misfits: Misfits = field(default_factory=Misfits, compare=False)
    """Counts of values that did not fit, of fields with `on_error`."""
    templates: tuple[tuple[str, str], ...] = ()
    """Name of the contract and key template, of all contracts of the daemon's set: a template that one of them gives up
    may belong to another. No part of this contract."""

    @property
    def name(self) -> str:
        """Name of the contract."""
        return self.contract.name

    @property
    def keep_dead_letters(self) -> int:
        """How many dead letters the contract keeps, as the functions in Redis take it: below 0 where the oldest go."""
        said = self.contract.sync.dead_letters
        return said.keep if said.when_full == "pause" else -said.keep

    @property
    def namespace(self) -> tuple[str, str]:
        """Database and collection."""
        database, _, collection = self.contract.collection.partition(".")
        return database, collection

    @property
    def freshness_s(self) -> float | None:
        """How far the target may be behind, where the contract says so."""
        slo = self.contract.slo
        return slo.freshness / 1000 if slo else None
