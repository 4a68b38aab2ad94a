"""The servers and the two daemons, and everything that a fault may do to them."""

from __future__ import annotations

import random
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from tests.soak import contracts
from tests.soak.documents import LIVE, Document, fresh, slug
from tests.support.contracts import ContractDirectory
from tests.support.daemon import Daemon
from tests.support.proxy import Proxy
from tests.support.servers import connect, start_again

DAEMONS = 2
LEASE_S = 3
OPLOG_MB = 990
"""The least that mongod takes; without a limit it is a part of the disk."""
START_S = 60.0


class Stage:
    """As a context manager: everything runs on entry, and nothing is left on exit."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.folder = folder
        self.directories = [
            ContractDirectory(folder / f"contracts{n}", contracts.TOKEN) for n in range(DAEMONS)
        ]
        """Of contracts, one a daemon."""

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.replica_set = stack.enter_context(ReplicaSet(3, oplog_mb=OPLOG_MB))
            self.redis_server = stack.enter_context(
                RedisServer(appendonly=True, config={"appendfsync": "always"})
            )
            self.proxy = stack.enter_context(Proxy(self.redis_server.port))
            self.mongo: MongoClient[Document] = stack.enter_context(
                MongoClient(self.replica_set.uri, w="majority")
            )
            self.redis = connect(self.redis_server.url)
            stack.callback(self.redis.close)
            self._fill()
            self.daemons = [self._daemon(stack, directory) for directory in self.directories]
            for daemon in self.daemons:
                self.start_daemon(daemon)
            self.wait_daemons()
            self._stack = stack.pop_all()
        return self

    def _fill(self) -> None:
        chance = random.Random("the beginning")
        database = self.mongo[contracts.TOKEN]
        for short in contracts.SHORTS:
            contracts.write(self.directories, short)
            database[short].insert_many([fresh(chance, short, n, n, slug(n)) for n in range(LIVE)])
        database["page"].create_index("slug", unique=True)

    def _daemon(self, stack: ExitStack, directory: ContractDirectory) -> Daemon:
        daemon = Daemon(
            directory.path,
            mongo_uri=self.replica_set.uri,
            redis_url=self.proxy.redis_url,
            env={
                "SYNCD_LEASE_TTL": str(LEASE_S),
                # So that a thousand documents are ranges enough to have workers read.
                "SYNCD_CHUNK_DOCUMENTS": "20",
                "SYNCD_SNAPSHOT_PROCESSES": "2",
            },
        )
        stack.callback(daemon.close)
        return daemon

    def start_daemon(self, daemon: Daemon) -> None:
        """As a service manager does: without waiting for it. Harmless when it runs."""
        if not daemon.process.alive:
            daemon.launch()

    def wait_daemons(self) -> None:
        """Until both answer; what they read at their start is read then."""
        for daemon in self.daemons:
            daemon.process.wait_ready(START_S)

    def start_member(self, number: int) -> None:
        start_again(self.replica_set.members[number])

    def restore(self) -> None:
        """Everything runs, nothing is in the way, and every contract is as it was."""
        self.proxy.restore()
        for number in range(len(self.replica_set.members)):
            self.start_member(number)
        if not self.redis_server.alive:
            self.redis_server.start()
        for directory in self.directories:
            contracts.restore(directory)
        for daemon in self.daemons:
            if daemon.process.alive:
                daemon.resume()
            self.start_daemon(daemon)
        self.wait_daemons()

    def active(self) -> Daemon:
        """The daemon that holds the most leases."""
        return max(self.daemons, key=held)

    def standby(self) -> Daemon:
        return min(self.daemons, key=held)

    def keep_logs(self, into: Path) -> list[str]:
        """Copies of what daemons and Redis logged, which would go with the stage."""
        into.mkdir(parents=True, exist_ok=True)
        kept = []
        sources = [(f"daemon{n}.log", daemon.process.log) for n, daemon in enumerate(self.daemons)]
        for name, source in [*sources, ("redis.log", self.redis_server.log)]:
            with suppress(OSError):
                shutil.copyfile(source, into / name)
                kept.append(str(into / name))
        return kept

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def held(daemon: Daemon) -> int:
    """How many lanes it serves; -1 when it does not say."""
    if not daemon.process.alive or daemon.get("/status")[0] != 200:
        return -1
    return sum(lane["state"] in ("snapshot", "catching_up", "live") for lane in daemon.status()["lanes"])
