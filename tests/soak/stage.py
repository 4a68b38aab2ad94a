"""The servers and the two daemons, and everything that a fault may do to them."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from syncd.plan.partition import WHOLE, Partition
from syncd.stores.redis.records.position import ControlKeys
from tests.soak import contracts
from tests.soak.contracts import names
from tests.soak.documents import LIVE, Document, fresh, slug
from tests.support.broken.proxy import Proxy
from tests.support.daemon import Daemon
from tests.support.servers.shared import connect, start_again

DAEMONS = 2
LEASE_S = 3
OPLOG_MB = 990
"""The least that mongod takes; without a limit it is a part of the disk."""
START_S = 60.0
ALWAYS = {"appendfsync": "always"}
"""What Redis showed outlives its `kill -9`."""


class Stage:
    """As a context manager: everything runs on entry, and nothing is left on exit."""

    moves_in_one_step = True
    """Whether a document that moves leaves its old key in the same step."""
    shorts: Sequence[str] = contracts.SHORTS
    """Of all contracts."""
    redis_servers: Sequence[RedisServer]
    redis_url: str
    """The way to Redis that nothing is in."""

    def __init__(self, folder: Path, partitions: int = 1) -> None:
        """`partitions`: of each contract, by as many processes of each daemon."""
        self.partitions = Partition(count=partitions).all
        self._stack = ExitStack()
        self.folder = folder
        self.directories = [contracts.Files(folder / f"contracts{n}") for n in range(DAEMONS)]
        """Of contracts, one a daemon."""
        self.may_go_back = threading.Event()
        """Set while Redis has lost what it had acknowledged, and syncd has not written it again."""

    def __enter__(self) -> Stage:
        with ExitStack() as stack:
            self.replica_set = stack.enter_context(ReplicaSet(3, oplog_mb=OPLOG_MB))
            reached_at = self._start_redis(stack)
            self.mongo: MongoClient[Document] = stack.enter_context(
                MongoClient(self.replica_set.uri, w="majority")
            )
            self.redis = connect(self.redis_url)
            stack.callback(self.redis.close)
            self._fill()
            self.daemons = [self._daemon(stack, directory, reached_at) for directory in self.directories]
            for daemon in self.daemons:
                self.start_daemon(daemon)
            self.wait_daemons()
            self._stack = stack.pop_all()
        return self

    def _start_redis(self, stack: ExitStack) -> str:
        """Returns the URL by which daemons reach it."""
        self.redis_server = stack.enter_context(RedisServer(appendonly=True, config=ALWAYS))
        self.redis_servers, self.redis_url = [self.redis_server], self.redis_server.url
        self.proxy = stack.enter_context(Proxy(self.redis_server.port))
        return self.proxy.redis_url

    def record(self, short: str, what: str) -> str:
        """One of syncd's own keys."""
        return self.record_at("", short, what)

    def record_at(self, place: str, short: str, what: str) -> str:
        """The same of one node of a cluster; of a partition, another one each time."""
        own = self.partitions if short in contracts.SHORTS else [WHOLE]
        part = own[time.monotonic_ns() // 7000 % len(own)]
        keys = ControlKeys(names(short).contract, part, place)
        return keys.position if what == "position" else keys.lease

    def dead(self, short: str) -> str:
        """The key of the dead letters of a contract."""
        return names(short).control("dead")

    def _fill(self) -> None:
        chance = random.Random("the beginning")
        database = self.mongo[contracts.TOKEN]
        for short in contracts.SHORTS:
            contracts.write(self.directories, short)
            database[short].insert_many([fresh(chance, short, n, n, slug(n)) for n in range(LIVE)])
        database["page"].create_index("slug", unique=True)

    def _daemon(self, stack: ExitStack, directory: contracts.Files, redis_url: str) -> Daemon:
        daemon = Daemon(
            directory.path,
            mongo_uri=self.replica_set.uri,
            redis_url=redis_url,
            env={
                "SYNCD_LEASE_TTL": str(LEASE_S),
                # So that a thousand documents are ranges enough to have workers read.
                "SYNCD_CHUNK_DOCUMENTS": "20",
                "SYNCD_SNAPSHOT_PROCESSES": "2",
                **self._split(),
            },
        )
        stack.callback(daemon.close)
        return daemon

    def _split(self) -> dict[str, str]:
        count = len(self.partitions)
        return {"SYNCD_WORKERS": str(count), "SYNCD_SPLIT": "true"} if count > 1 else {}

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
        for number in range(len(self.replica_set.members)):
            self.start_member(number)
        self.restore_redis()
        for directory in self.directories:
            contracts.restore(directory)
        for daemon in self.daemons:
            if daemon.process.alive:
                daemon.resume()
            self.start_daemon(daemon)
        self.wait_daemons()

    def restore_redis(self) -> None:
        """It runs, and nothing is in the way."""
        self.proxy.restore()
        if not self.redis_server.alive:
            self.redis_server.start()

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
        sources += [(f"redis{n}.log", server.log) for n, server in enumerate(self.redis_servers)]
        for name, source in sources:
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
