"""Keeps a record in Redis of the contracts of this daemon, so that contracts that left are known."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from syncd import telemetry
from syncd.errors import StoreError
from syncd.plan.base import ContractPlan
from syncd.stores.redis.records.claims import CONTRACTS, contracts_beside
from syncd.stores.redis.records.lease import is_dead
from syncd.stores.redis.store import RedisStore

EVERY_S = 15.0
"""Pause between registrations: a daemon with older files may have stopped meanwhile, so that its contracts left."""
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
        """Register the set when it changes, and every EVERY_S."""
        while not self._halt.is_set():
            self._changed.clear()
            try:
                self._register()
            except StoreError:  # the lanes report what is wrong with Redis
                self._changed.wait(AGAIN_S)
            else:
                self._changed.wait(EVERY_S)

    def _register(self) -> None:
        present = set(self._names)
        if not self._is_whole:
            present |= {*contracts_beside(self._store, present, self._place)}
        names = json.dumps(sorted(present))
        digest = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
        args = [self._place, digest, names, round(time.time())]
        held = self._call(args)
        # A contract whose daemon was killed has left as well, though its lease has not run out.
        if dead := [lease for lease in held if is_dead(lease)]:
            self._call([*args, *dead])

    def _call(self, args: list[Any]) -> list[str]:
        """Returns leases of contracts that are no longer in the set, and may have left."""
        left: set[str] = set()
        held: set[str] = set()
        for node in self._store.nodes:
            reply = node.call("syncd_roster", [node.place + CONTRACTS], args)
            left.update(name.decode() for name in reply[1])
            held.update(lease.decode() for lease in reply[2])
        for name in sorted(left):
            telemetry.contract_left(name)
        return sorted(held)
