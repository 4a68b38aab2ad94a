"""Everything of one run: both stores, the network between, and the daemons."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from tests.simulation import loop as loops
from tests.simulation.loop import Loop, Process
from tests.simulation.mongo.client import CLIENTS, ModelClient
from tests.simulation.mongo.server import MongoModel
from tests.simulation.redis.data import Entry
from tests.simulation.redis.link import ModelConnection, Sender
from tests.simulation.redis.scripts import Library
from tests.simulation.redis.server import RedisModel
from tests.simulation.standins import SimpleQueue
from tests.simulation.watcher import Broken, Watcher

LEASE_S = 3.0


@dataclass
class Daemon:
    """One process with its lane."""

    process: Process
    version: int
    lane: Any
    cut_redis: float = 0.0
    """Until when nothing of it reaches Redis."""
    cut_mongo: float = 0.0
    stop: Callable[[], None] = field(default=lambda: None)


class World:
    """One run. Also the network of its daemons."""

    rest_s = 0.0
    """For how long nothing may happen when all is done."""

    def __init__(self, seed: int, kind: str, library: Library | None = None) -> None:
        self.random = Random(seed)
        random.seed(seed)  # pauses between attempts have jitter
        self.loop = Loop(self.random)
        loops.CURRENT[:] = [self.loop]
        SimpleQueue.longest = 0
        self.kind = kind
        self.redis_clock = 0.0
        """How far Redis's clock is off, in seconds."""
        self.redis = RedisModel(lambda: int((self.loop.epoch_s + self.redis_clock) * 1000), library)
        self.mongo = MongoModel(lambda: self.loop.epoch_s, self.random.randrange)
        self.checker = self._watcher()
        self.redis.watch = self._watched
        self.daemons: list[Daemon] = []
        self.on_the_way: list[Sender] = []
        self.loss = 0.0
        """How likely a connection breaks at a call."""
        self.down_until = 0.0
        """Redis answers no client before."""
        self.trace: list[str] | None = None
        self.kills = 0
        self.version = 1
        """Of the contract, the latest."""
        self.at_send: dict[Process, Callable[[], None]] = {}
        """What happens to a process when it has sent something."""
        self.due: list[Callable[[], None]] = []
        """What happens next."""
        self._numbers = 0
        structlog.configure(
            processors=[structlog.processors.format_exc_info, self._log], cache_logger_on_first_use=False,
            wrapper_class=structlog.make_filtering_bound_logger(0), logger_factory=structlog.ReturnLoggerFactory(),
        )  # fmt: skip

    def _watcher(self) -> Watcher:
        """Who looks at this run."""
        raise NotImplementedError

    def _lane(self, version: int, common: Any, hub: Any) -> Any:
        """Of a daemon with this version of the contract."""
        raise NotImplementedError

    def note(self, what: str) -> None:
        """For a reader of a run."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.clock:10.4f} {what}")

    def _log(self, logger: Any, level: str, event: Any) -> str:
        if self.trace is not None:
            self.note(f"log {level} {event}")
        return self.checker.log(logger, level, event)

    def _watched(self, name: bytes, args: list[bytes], reply: Any, before: dict[bytes, Entry | None]) -> None:
        if self.trace is not None and (before or isinstance(reply, Exception)):
            self.note(f"redis {args[:2]} {list(before)} -> {reply!r:.200}")
        try:
            self.checker.after(self.redis, args, reply, before)
        except Broken as error:  # not for the lane that made the call
            self.checker.broken = self.checker.broken or error

    # The network.

    def is_cut(self, process: Process) -> bool:
        """Whether nothing of this process reaches Redis."""
        clock = self.loop.clock
        return self.down_until > clock or any(
            d.process is process and d.cut_redis > clock for d in self.daemons
        )

    def loses(self) -> bool:
        """Whether the connection breaks at this moment."""
        return self.loss > 0 and self.random.random() < self.loss

    def is_mongo_cut(self, process: Process) -> bool:
        """Whether nothing of this process reaches MongoDB."""
        return any(d.process is process and d.cut_mongo > self.loop.clock for d in self.daemons)

    loses_mongo = loses

    def send(self, connection: Sender) -> None:
        """Something is on its way to Redis."""
        if connection not in self.on_the_way:
            self.on_the_way.append(connection)
        if connection.process in self.at_send:
            self.due.append(self.at_send.pop(connection.process))

    def arrive(self) -> None:
        """Something arrives there."""
        connection = self.on_the_way[int(self.random.random() * len(self.on_the_way))]
        if max(self.down_until, connection.held_until) > self.loop.clock:
            return
        if connection.sent:
            connection.arrive()
        if not connection.sent:
            self.on_the_way.remove(connection)

    def hold(self, daemon: Daemon) -> None:
        """What a daemon has sent stays on the way, perhaps for long."""
        until = self.loop.clock + self.random.choice([0.0, LEASE_S * 1.2, LEASE_S * 2])
        for connection in self.on_the_way:
            if connection.process is daemon.process:
                connection.held_until = until

    # Daemons.

    def start(self, version: int) -> Daemon:
        """One more daemon."""
        from syncd.lanes.context import Common
        from syncd.settings import Settings
        from syncd.stores.mongo.store import MongoStore
        from syncd.stores.redis.records.leases import Leases
        from syncd.stores.redis.records.requests.lane_requests import RequestBoard
        from syncd.stores.redis.store import RedisStore
        from syncd.to_redis.stream.hub import StreamHub

        self._numbers += 1
        process = Process(f"daemon-{self._numbers}")
        uri = f"mongodb://{process.name}"
        CLIENTS[uri] = lambda: ModelClient(self, process)
        settings = Settings.model_construct(
            lease_ttl=LEASE_S, batch_writes=self.random.choice([1, 2, 3, 5, 20]),
            chunk_documents=self.random.choice([1, 2, 3, 10]), partition="1/1",
        )  # fmt: skip
        daemon = Daemon(process, version, None)
        self.daemons.append(daemon)

        def begin() -> None:
            redis = RedisStore("redis://model:6379/0")
            pool = redis.client.connection_pool
            pool.connection_class = ModelConnection  # type: ignore[assignment]
            pool.connection_kwargs |= {"network": self, "process": process}
            mongo = MongoStore(uri)
            leases = Leases(redis, process.name, LEASE_S)
            common = Common(mongo, redis, leases, settings, RequestBoard(redis))
            lane = daemon.lane = self._lane(version, common, StreamHub(mongo))
            lane.start()

        self.loop.spawn(process, begin)
        self.note(f"start {process.name} version {version}")
        return daemon

    def kill(self, daemon: Daemon) -> None:
        """The process is gone. What it has sent may arrive later, even much later."""
        self.note(f"kill {daemon.process.name}")
        self.kills += 1
        self.hold(daemon)
        self.daemons.remove(daemon)
        self.loop.kill(daemon.process)

    def end(self) -> None:
        """Nothing runs any more."""
        for daemon in list(self.daemons):
            self.loop.kill(daemon.process)
        self.daemons.clear()
        CLIENTS.clear()
