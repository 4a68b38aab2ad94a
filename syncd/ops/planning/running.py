"""What runs now, as Redis keeps it: each contract as it was taken up, how far it is, and what it has. Only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from syncd.contract.model.contract import Contract
from syncd.contract.read.load import load_files
from syncd.contract.read.loaded import LoadedContract
from syncd.contract.several import OF, collection_of, for_collection
from syncd.errors import ContractError
from syncd.plan.claims import APPEND
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import ControlKeys, Fields, Position, read_fields
from syncd.stores.redis.records.positions import load_position
from syncd.stores.redis.store import RedisStore, translated


@dataclass(frozen=True, slots=True)
class Running:
    """One contract."""

    name: str
    loaded: LoadedContract | None
    """As it was taken up; None where that is not known, and `why_not` says why."""
    contract: Contract | None
    """The same; of a contract over several collections the one for its collection."""
    why_not: str = ""
    positions: list[Position] = field(default_factory=list)
    """Of each partition."""
    kind: str = ""
    """Which way it went, see plan/claims; empty where it never ran."""
    state: tuple[str, str] = ("", "")
    """Of one whose keys go to MongoDB: under which form all were written, and of which keys."""

    loses_matches: bool = False
    """Whether a change feed needs a copy to know which documents match its filter, see `lost_feeds`."""

    @property
    def has_run(self) -> bool:
        """Whether a daemon ever took it up."""
        return bool(self.kind)

    @property
    def owned(self) -> list[list[str]]:
        """All that it may have written."""
        return [entry for position in self.positions for entry in position.owned]


def read_running(store: RedisStore, name: str, env: Mapping[str, str]) -> Running:
    """What Redis knows of a contract. `env` fills in the variables of its file."""
    loaded, contract, why_not = as_taken_up(store, name, env)
    parts = partitions_of(store, name)
    names = Fields.KIND, Fields.FINGERPRINT, Fields.SYNCED, Fields.ACKNOWLEDGED
    kind, fingerprint, synced, is_read = read_fields(store, parts[0], *names)
    kind = kind or (APPEND if is_read else "")  # without a lease
    positions = [load_position(store, part) for part in parts] if kind in ("mongo", "both", "") else []
    return Running(name, loaded, contract, why_not, positions, kind, (fingerprint, synced))


def _of_collection(contract: Contract, name: str) -> Contract | None:
    if not contract.patterns:
        return contract
    collection = collection_of(contract, name)
    return None if collection is None else for_collection(contract, collection)


def as_taken_up(
    store: RedisStore, name: str, env: Mapping[str, str]
) -> tuple[LoadedContract | None, Contract | None, str]:
    """The file of a contract as a daemon took it up, and the contract that it is, for its one collection; or why that
    is not known."""
    loaded, why_not = _file_of(store, name, env)
    return loaded, None if loaded is None else _of_collection(loaded.contract, name), why_not


def _file_of(store: RedisStore, name: str, env: Mapping[str, str]) -> tuple[LoadedContract | None, str]:
    with translated():
        text: Any = store.client.get(ControlKeys(name, place=store.place).text)
    if text is None:
        return None, "Redis does not hold the file that runs"
    try:
        (found,) = load_files([(f"{name.partition(OF)[0]}, as it runs", text)], env).contracts
    except ContractError as error:
        return None, f"the file that runs cannot be read here: {error.problems[0]}"
    return found, ""
