"""Finds the collections of contracts over several, as they come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from syncd import telemetry
from syncd.contract.model.contract import Contract
from syncd.contract.several import collection_of, for_collection, matching, name_of
from syncd.errors import StoreError
from syncd.settings import Settings
from syncd.stores.mongo.collections import collections_of
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.records.claims import read_contracts, read_left
from syncd.stores.redis.records.orphans import count_keys, find_orphan, remove_indexes, remove_records
from syncd.stores.redis.store import RedisStore

LOOKS = 3
"""A collection that is missing for so many is gone, once its lane has nothing left to do."""
LATE_S = 5.0
LONGEST_COUNT_S = 2.0


class Found(NamedTuple):
    """The contracts of a set, one for each collection."""

    contracts: list[Contract]
    unknown: dict[str, str]
    """Contracts over several collections of which none is known, and why."""
    is_whole: bool
    """Whether no collection is left out that a daemon has served."""


@dataclass(slots=True)
class _Known:
    """Of one contract over several collections."""

    listed: list[str] | None = None
    """What MongoDB has; None where it has not answered yet."""
    why: str = "MongoDB has not answered yet"
    gone_since: dict[str, float] = field(default_factory=dict)
    """Collections that a lane serves and MongoDB does not have, with the monotonic second since when."""
    left_out: set[str] = field(default_factory=set)
    """Collections whose keys would be syncd's own."""
    whole: Contract | None = None
    made: dict[str, Contract | None] = field(default_factory=dict)
    """Of this contract over all of them, the one for each."""

    def make(self, whole: Contract, collections: Iterable[str]) -> Mapping[str, Contract | None]:
        """As `for_collection` does, but each that is still there once."""
        made = self.made if whole is self.whole else {}
        self.made = {
            name: made[name] if name in made else for_collection(whole, name) for name in collections
        }
        self.whole = whole
        return self.made


class Discovery:
    """Of one daemon. `lanes` gives what `/status` says of each."""

    def __init__(self, settings: Settings, lanes: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self._settings = settings
        self._lanes, self._gone_s = lanes, LOOKS * settings.discover_every
        self._known: dict[str, _Known] = {}
        self._kept: set[str] = set()
        """Contracts of collections that are gone, of which something is left."""
        self._lock = threading.Lock()

    @cached_property
    def _mongo(self) -> MongoStore:
        """A client has threads, which only a daemon of contracts over several collections needs."""
        return MongoStore.of(self._settings)

    @cached_property
    def _redis(self) -> RedisStore:
        return RedisStore.of(self._settings)

    def ask(self, contracts: Iterable[Contract]) -> None:
        """Ask MongoDB which collections there are. May wait as long as it does."""
        for contract in contracts:
            if not contract.patterns:
                continue
            known = self._of(contract)
            try:
                databases = [pattern.partition(".")[0] for pattern in contract.patterns]
                known.listed = matching(contract, collections_of(self._mongo, databases))
            except StoreError as error:
                known.why = str(error)

    def expand(self, contracts: Iterable[Contract]) -> Found:
        """One contract for each collection: that MongoDB has, or that a daemon serves and has not cleared yet."""
        found = Found([], {}, True)
        for contract in contracts:
            if contract.patterns:
                found = self._add(found, contract)
            else:
                found.contracts.append(contract)
        return found

    def _of(self, contract: Contract) -> _Known:
        with self._lock:
            return self._known.setdefault(contract.name, _Known())

    def _add(self, found: Found, contract: Contract) -> Found:
        known = self._of(contract)
        lanes = list(self._lanes())
        try:
            said_of = read_contracts(self._redis.renewed())
            recorded = [name for name, said in said_of.items() if "left" not in said]
        except StoreError as error:
            recorded, known.why, found = [], str(error), found._replace(is_whole=False)
        names = [*recorded, *(lane["contract"] for lane in lanes)]
        named = (collection_of(contract, name) for name in names)
        served = matching(contract, (one for one in named if one is not None))
        there = sorted({*(known.listed or ()), *served} - self._gone(contract, known, served, lanes))
        for name, one in known.make(contract, there).items():
            if one is not None:
                found.contracts.append(one)
            elif name not in known.left_out:
                known.left_out.add(name)
                telemetry.collection_left_out(contract.name, name)
        if known.listed is None and not served:
            found.unknown[contract.name] = f"its collections are not known yet: {known.why}"
        return found

    def _gone(
        self, contract: Contract, known: _Known, served: Sequence[str], lanes: Sequence[dict[str, Any]]
    ) -> set[str]:
        """Those that MongoDB no longer has, and whose lanes have seen that."""
        now, missing = time.monotonic(), {*served} - {*(served if known.listed is None else known.listed)}
        known.gone_since = {name: known.gone_since.get(name, now) for name in missing}
        at_rest = {
            lane["contract"]
            for lane in lanes
            if lane["state"] == "live" and lane["lag_seconds"] is not None and lane["lag_seconds"] < LATE_S
        }
        old = {name for name, since in known.gone_since.items() if now - since > self._gone_s}
        return {name for name in old if name_of(contract, name) in at_rest}

    def forget(self, contracts: Iterable[Contract]) -> None:
        """Remove the records of collections that are gone, where their keys went with them."""
        for contract in (one for one in contracts if one.patterns and one.sync.on_drop == "purge"):
            listed = self._of(contract).listed
            for name in read_left(self._redis) if listed is not None else ():
                collection = collection_of(contract, name)
                if collection is None or collection in (listed or ()) or name in self._kept:
                    continue
                if self._is_used(name):
                    self._kept.add(name)
                else:
                    indexes = remove_indexes(self._redis, name)
                    records = remove_records(self._redis, name)
                    telemetry.collection_gone(contract.name, collection, records, indexes)

    def _is_used(self, name: str) -> bool:
        """Whether keys or dead letters are left: then a person decides, see `syncd orphans`."""
        orphan = find_orphan(self._redis, name)
        counts = (count_keys(self._redis, orphan, shape, LONGEST_COUNT_S) for shape in orphan.shapes)
        return bool(orphan.dead_letters) or any(count != (0, True) for count in counts)

    def close(self) -> None:
        """Give up the connections, where there are any."""
        for name in ("_mongo", "_redis"):
            if name in self.__dict__:
                getattr(self, name).close()
