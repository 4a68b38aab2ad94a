"""Replica sets: change streams and transactions need one, and elections happen in one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo.errors import OperationFailure

from syncd.embedded.mongo import Document, Mongod
from syncd.embedded.started import Started
from syncd.errors import PlatformError

POLL = 0.05  # seconds between two checks of a replica set
PRIMARY_TIMEOUT = 60.0  # seconds
ELECTION_TIMEOUT_MS = 1_000  # a primary that is gone is missed after this; MongoDB's default is 10 s
HEARTBEAT_MS = 200
ALREADY_INITIALIZED = 23
NOTHING_STABLE_YET = 5841000  # the answer to `fsync` before the initial sync is committed by the majority
WORKING_STATES = frozenset({1, 2})  # primary, secondary


class ReplicaSet(Started):
    """A replica set of one (ready in about a second) or three members, with elections after about a second.

    Takes the options of `Mongod`. With a `directory` the data is found again on the next start.
    """

    def __init__(
        self,
        members: int = 1,
        *,
        name: str = "rs",
        directory: Path | None = None,
        role: str | None = None,
        **options: Any,
    ) -> None:
        self.name, self._role = name, role
        self.members = [
            Mongod(
                replica_set=name, role=role, directory=directory and directory / f"member{number}", **options
            )
            for number in range(members)
        ]

    @property
    def uri(self) -> str:
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{hosts}/?replicaSet={self.name}&directConnection=false"

    def start(self) -> None:
        """Starts members that do not run, and waits until every member serves and one is primary."""
        stopped = [member for member in self.members if not member.alive]
        for member in stopped:
            member.process.launch()
        for member in stopped:
            member.process.wait_ready()
        self._configure()
        self.wait_for_primary()
        self._wait(self._all_serve, "not every member serves")
        if len(self.members) > 1:
            self._wait(self._all_can_roll_back, "not every member has a checkpoint")

    def _configure(self) -> None:
        config: Document = {
            "_id": self.name,
            **({"configsvr": True} if self._role == "configsvr" else {}),
            "members": [{"_id": n, "host": member.address} for n, member in enumerate(self.members)],
            "settings": {
                "electionTimeoutMillis": ELECTION_TIMEOUT_MS,
                "heartbeatIntervalMillis": HEARTBEAT_MS,
            },
        }
        first = self.members[0]
        try:
            first.command("replSetInitiate", config)
        except OperationFailure as error:
            if error.code != ALREADY_INITIALIZED:
                raise
            self._reconfigure(config)

    def _reconfigure(self, config: Document) -> None:
        """Data of an earlier process: its members had other ports, and would wait for those forever."""
        first = self.members[0]
        present = first.command("replSetGetConfig")["config"]
        if [m["host"] for m in present["members"]] != [m["host"] for m in config["members"]]:
            first.command("replSetReconfig", {**config, "version": present["version"] + 1}, force=True)

    @property
    def primary(self) -> Mongod | None:
        return next((member for member in self.members if member.state() == 1), None)

    def wait_for_primary(
        self, timeout: float = PRIMARY_TIMEOUT, *, other_than: Mongod | None = None
    ) -> Mongod:
        """The primary, as soon as there is one; `other_than` skips a member that may still believe it is."""
        found: list[Mongod] = []

        def look() -> bool:
            candidates = (member for member in self.members if member is not other_than)
            found.extend(member for member in candidates if member.is_writable())
            return bool(found)

        self._wait(look, "no primary", timeout)
        return found[0]

    def step_down(self) -> Mongod:
        """Makes the primary give up; returns the next one (of a set of one the same, a second later)."""
        old = self.wait_for_primary()
        if len(self.members) == 1:
            old.command("replSetStepDown", 1, secondaryCatchUpPeriodSecs=0, force=True)
            return self.wait_for_primary()
        # long enough that the old one cannot win the election that follows
        old.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5, force=True)
        return self.wait_for_primary(other_than=old)

    def stop(self) -> None:
        for member in reversed(self.members):
            member.stop()

    def close(self) -> None:
        for member in self.members:
            member.close()

    def _all_serve(self) -> bool:
        return all(member.state() in WORKING_STATES for member in self.members)

    def _all_can_roll_back(self) -> bool:
        """A fresh member that must roll back before its first checkpoint (after a minute) would crash."""
        self.wait_for_primary().command("appendOplogNote", data={"reason": "a first checkpoint"})
        try:
            for member in self.members:
                member.command("fsync")
        except OperationFailure as error:
            if error.code != NOTHING_STABLE_YET:
                raise
            return False
        return True

    def _wait(self, condition: Callable[[], bool], complaint: str, timeout: float = PRIMARY_TIMEOUT) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                states = [member.state() for member in self.members]
                logs = "\n".join(member.process.log_tail() for member in self.members)
                raise PlatformError(f"{complaint} after {timeout:.0f} s, states {states}; {logs}")
            time.sleep(POLL)
