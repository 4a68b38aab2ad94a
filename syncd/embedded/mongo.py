"""One real mongod."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from syncd.embedded import binaries
from syncd.embedded.ports import LOOPBACK
from syncd.embedded.server import Server

Document = dict[str, Any]

COMMAND_TIMEOUT_MS = 1_000


class Mongod(Server):
    """One mongod. On its own it has no change streams: they need a `ReplicaSet`, even of one.

    `role`, in a sharded cluster: `configsvr` or `shardsvr`. `parameters` become `--setParameter`; `test_commands`
    allows `configureFailPoint` and its like.
    """

    kind = "mongod"
    log_noise = '"c":"NETWORK"'

    def __init__(
        self,
        *,
        replica_set: str | None = None,
        role: str | None = None,
        directory: Path | None = None,
        binary: Path | None = None,
        cache_gb: float = 0.25,
        oplog_mb: int | None = None,
        test_commands: bool = False,
        parameters: Mapping[str, str | int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._binary = binary or binaries.mongod()
        self._replica_set, self._role = replica_set, role
        self._cache_gb = cache_gb
        self._oplog_mb = oplog_mb
        self._parameters: dict[str, str | int] = {
            "diagnosticDataCollectionEnabled": "false",
            "shutdownTimeoutMillisForSignaledShutdown": 100,  # else it waits 15 s for clients to go elsewhere
            **({"enableTestCommands": 1} if test_commands else {}),
            **(parameters or {}),
        }
        super().__init__(directory, env)

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def uri(self) -> str:
        """This member and no other, in any role."""
        return f"mongodb://{self.address}/?directConnection=true"

    def _command(self) -> Sequence[str | Path]:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        options: dict[str, str | float | Path | None] = {
            "--dbpath": data,
            "--bind_ip": LOOPBACK,
            "--port": self.port,
            "--wiredTigerCacheSizeGB": self._cache_gb,
            # small journal files, made when they are needed: by default they take 300 MB from the start
            "--wiredTigerEngineConfigString": "log=(prealloc=false,file_max=16MB)",
            "--replSet": self._replica_set,
            "--oplogSize": self._oplog_mb,
        }
        words = [str(word) for item in options.items() if item[1] is not None for word in item]
        for name, value in self._parameters.items():
            words += ["--setParameter", f"{name}={value}"]
        if self._role is not None:
            words.append(f"--{self._role}")
        return [self._binary, "--nounixsocket", "--quiet", *words]

    def answers(self) -> bool:
        # The driver waits half a second after a refused connection; check first whether the port is open.
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=1).close()
        except OSError:
            return False
        try:
            self.command("ping")
        except PyMongoError:
            return False
        return True

    def command(self, name: str, value: Any = 1, **arguments: Any) -> Document:
        """An admin command to this member, over a connection of its own; raises PyMongoError."""
        with MongoClient[Document](
            self.uri,
            serverSelectionTimeoutMS=COMMAND_TIMEOUT_MS,
            connectTimeoutMS=COMMAND_TIMEOUT_MS,
            socketTimeoutMS=20 * COMMAND_TIMEOUT_MS,
        ) as client:
            return client.admin.command(name, value, **arguments)

    def state(self) -> int | None:
        """1 primary, 2 secondary, other numbers on the way there; None when it does not answer."""
        if not self.alive:
            return None
        try:
            return int(self.command("replSetGetStatus")["myState"])
        except PyMongoError:
            return None

    def is_writable(self) -> bool:
        """Not the same as state 1: a fresh primary still catches up before it accepts writes."""
        if not self.alive:
            return False
        try:
            return bool(self.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False
