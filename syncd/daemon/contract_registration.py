"""Keeps a record in Redis of the contracts of this daemon, so that contracts that left are known."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from pathlib import Path

from syncd import telemetry
from syncd.errors import StoreError
from syncd.plan.base import ContractPlan
from syncd.stores.redis.records.claims import contracts_beside
from syncd.stores.redis.records.orphans import NOTED_EVERY_S, note_set
from syncd.stores.redis.store import RedisStore

AGAIN_S = 1.0
"""The same after an error."""


def place_of(directory: Path) -> str:
    """Where a set of contracts comes from: this directory of this host."""
    return f"{socket.gethostname()}:{directory.resolve()}"


class ContractRegistration(threading.Thread):
    """Registers the set of `follow`, until `stop`."""

    def __init__(self, store: RedisStore, directory: Path) -> None:
        super().__init__(name="contract-registration", daemon=True)
        self._store = store
        self._place = place_of(directory)
        self._names: list[str] = []
        self._is_whole = True
        self._halt, self._changed = threading.Event(), threading.Event()

    def follow(self, plans: Iterable[ContractPlan], *, is_whole: bool) -> None:
        """Register this set from now on. Where it is not whole, no contract that was part of it leaves."""
        self._is_whole, self._names = is_whole, [plan.name for plan in plans]
        self._changed.set()
        if not self.is_alive() and not self._halt.is_set():
            self.start()

    def stop(self) -> None:
        """Register nothing more."""
        self._halt.set()
        self._changed.set()

    def run(self) -> None:
        """Register the set when it changes, and every NOTED_EVERY_S."""
        while not self._halt.is_set():
            self._changed.clear()
            try:
                self._register()
            except StoreError:  # the lanes report what is wrong with Redis
                self._changed.wait(AGAIN_S)
            else:
                self._changed.wait(NOTED_EVERY_S)

    def _register(self) -> None:
        present, store = set(self._names), self._store.renewed()
        if not self._is_whole:
            present |= {*contracts_beside(store, present, self._place)}
        for name in note_set(store, self._place, present):
            telemetry.contract_left(name)
