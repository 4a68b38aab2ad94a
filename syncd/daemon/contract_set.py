"""Tells Redis which contracts this daemon has, so that those that are no longer among them are known."""

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
from syncd.stores.redis.records.lease import is_dead
from syncd.stores.redis.store import RedisStore

EVERY_S = 15.0
"""How often it is told again: a daemon with older files may have stopped meanwhile, and left contracts to nobody."""
AGAIN_S = 1.0
"""The same after an error."""


class Roster(threading.Thread):
    """Tells the set that `follow` gave it, until `stop`."""

    def __init__(self, store: RedisStore, directory: Path) -> None:
        super().__init__(name="roster", daemon=True)
        self._store = store
        self._place = f"{socket.gethostname()}:{directory.resolve()}"
        self._names: list[str] = []
        self._halt, self._changed = threading.Event(), threading.Event()

    def follow(self, plans: Iterable[ContractPlan]) -> None:
        """This is the set from now on."""
        self._names = sorted(plan.name for plan in plans)
        self._changed.set()
        if not self.is_alive() and not self._halt.is_set():
            self.start()

    def stop(self) -> None:
        """Tell nothing more."""
        self._halt.set()
        self._changed.set()

    def run(self) -> None:
        """Tell the set when it changes, and now and then."""
        while not self._halt.is_set():
            self._changed.clear()
            try:
                self._tell()
            except StoreError:  # the lanes say what is wrong with Redis
                self._changed.wait(AGAIN_S)
            else:
                self._changed.wait(EVERY_S)

    def _tell(self) -> None:
        names = json.dumps(self._names)
        digest = hashlib.blake2b(names.encode(), digest_size=8).hexdigest()
        args = [self._place, digest, names, round(time.time())]
        held = self._say(args)
        # A contract whose daemon was killed has left as well, though its lease has not run out.
        if dead := [lease for lease in held if is_dead(lease)]:
            self._say([*args, *dead])

    def _say(self, args: list[Any]) -> list[str]:
        """Returns leases of contracts that are no longer in the set, and may have left."""
        reply = self._store.call("syncd_roster", [], args)
        for name in reply[1]:
            telemetry.contract_left(name.decode())
        return [lease.decode() for lease in reply[2]]
