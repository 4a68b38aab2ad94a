"""A daemon with its contracts, between one MongoDB and one Redis, and what a test asks about them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from tests.support.check import wait_until
from tests.support.compare import Difference, compare
from tests.support.contracts import ContractDirectory, Names
from tests.support.daemon import Daemon
from tests.support.servers.shared import connect

TIMEOUT = 20.0  # seconds

Document = dict[str, Any]


class Scene:
    """Use as a context manager. `mongo_uri` and `redis_url` are how the test reaches the servers; `daemon_mongo` and
    `daemon_redis` how the daemon does, where a proxy stands between. `start` runs the daemon, once there is a contract.
    """

    def __init__(
        self,
        folder: Path,
        token: str,
        mongo_uri: str,
        redis_url: str,
        *,
        daemon_mongo: str | None = None,
        daemon_redis: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.token = token
        self.contracts = ContractDirectory(folder / "contracts", token)
        self.mongo: MongoClient[Document] = MongoClient(mongo_uri)
        self.redis = connect(redis_url)
        self.home = "{0}" if redis_url.startswith("redis+cluster") else ""
        """What the names of records that belong to no key begin with."""
        self.reach = {"mongo_uri": daemon_mongo or mongo_uri, "redis_url": daemon_redis or redis_url}
        self._env = dict(env or {})
        self._daemons: list[Daemon] = []
        self.daemon = self.another_daemon()
        """The one that `start` starts."""

    def another_daemon(self, **env: str) -> Daemon:
        """One more daemon on the same contracts, not started."""
        daemon = Daemon(self.contracts.path, env={**self._env, **env}, **self.reach)
        self._daemons.append(daemon)
        return daemon

    def add(
        self,
        short: str,
        *projections: Mapping[str, Any],
        documents: Iterable[Document] = (),
        source: Flow | None = None,
        database: str | None = None,
        **more: Any,
    ) -> Flow:
        """Inserts the documents, then writes the contract; the daemon may run already. `source`: another contract,
        whose collection this one reads too; `database`: another one than the scene's."""
        names = Names(self.token, short)
        collection = source.collection if source else self.mongo[database or names.database][names.collection]
        if documents := list(documents):
            collection.insert_many(documents)
        if source or database:
            more["collection"] = collection.full_name
        flow = Flow(self, names, collection)
        flow.write(*projections, **more)
        return flow

    def run(
        self, short: str, *projections: Mapping[str, Any], env: Mapping[str, str] | None = None, **more: Any
    ) -> Flow:
        """`add`, and wait until the lane is live; starts the daemon where it does not run. `env` is for the daemon,
        from now on."""
        flow = self.add(short, *projections, **more)
        if env:
            self.daemon = self.another_daemon(**env)
        if not self.daemon.process.alive:
            self.daemon.start()
        flow.wait_live()
        return flow

    def start(self) -> None:
        self.daemon.start()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *error: object) -> None:
        for daemon in self._daemons:
            daemon.close()
        self.redis.close()
        self.mongo.close()


class Flow:
    """One contract of a scene."""

    def __init__(self, scene: Scene, names: Names, collection: Collection[Document]) -> None:
        self._scene = scene
        self.names = names
        self.contracts = scene.contracts
        self.contract = names.contract
        self.collection = collection
        self.redis = scene.redis
        self.projections: tuple[Mapping[str, Any], ...] = ()
        self.sync: Mapping[str, Any] = {}
        self.filter: Mapping[str, Any] | None = None
        self._marks = 0

    def write(self, *projections: Mapping[str, Any], **more: Any) -> None:
        """Writes the contract's file, or another version of it."""
        self.projections, self.filter = projections, more.get("filter")
        self.sync = more.get("sync") or {}
        self._scene.contracts.write(self.names.short, *projections, **more)

    def lane(self) -> dict[str, Any]:
        """What /status says of this contract; empty when it says nothing."""
        lanes = self._scene.daemon.status()["lanes"]
        return next((lane for lane in lanes if lane["contract"] == self.contract), {})

    def wait_state(self, state: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        daemon = self._scene.daemon
        return wait_until(
            lambda: (lane := self.lane()).get("state") == state and lane,
            timeout,
            lambda: f"lane {state}; {self.lane()}; {daemon.process.log_tail()}",
        )

    def wait_live(self, timeout: float = TIMEOUT) -> None:
        self.wait_state("live", timeout)

    def command(self, name: str) -> bytes:
        """How a command of MongoDB on the collection begins, for a proxy."""
        collection = self.collection.name.encode()
        length = (len(collection) + 1).to_bytes(4, "little")
        return b"\x02" + name.encode() + b"\x00" + length + collection + b"\x00"

    def key(self, end: object, projection: str = "card") -> str:
        return f"{self.names.prefix(projection)}{end}"

    def keys(self, projection: str = "card") -> set[str]:
        """All keys of a projection, without their prefix."""
        prefix = self.names.prefix(projection)
        return {key.decode().removeprefix(prefix) for key in self.redis.scan_iter(f"{prefix}*", count=1000)}

    def hash(self, end: object, projection: str = "card") -> dict[str, str]:
        """A hash as text; empty when there is no key."""
        reply = self.redis.hgetall(self.key(end, projection))
        return {name.decode(): value.decode() for name, value in reply.items()}

    def hashes(
        self, ends: Iterable[object] | None = None, projection: str = "card"
    ) -> dict[Any, dict[str, str]]:
        """The same of many keys, or of all, in one call."""
        ends = list(self.keys(projection) if ends is None else ends)
        pipe = self.redis.pipeline(transaction=False)
        for end in ends:
            pipe.hgetall(self.key(end, projection))
        return {
            end: {name.decode(): value.decode() for name, value in reply.items()}
            for end, reply in zip(ends, pipe.execute(), strict=True)
        }

    def json(self, end: object, projection: str = "card") -> Any:
        """A JSON document; None when there is no key."""
        reply = self.redis.execute_command("JSON.GET", self.key(end, projection))
        return None if reply is None else json.loads(reply)

    def wait_hash(self, end: object, wanted: Mapping[str, str], projection: str = "card") -> None:
        wait_until(
            lambda: self.hash(end, projection) == wanted,
            TIMEOUT,
            lambda: f"{wanted} at {self.key(end, projection)}; there is {self.hash(end, projection)}",
        )

    def wait_gone(self, end: object, projection: str = "card") -> None:
        key = self.key(end, projection)
        wait_until(lambda: not self.redis.exists(key), TIMEOUT, f"{key} gone")

    def differences(self) -> list[Difference]:
        """Of every projection that differs."""
        found = [
            compare(self.collection, self.redis, said, self.names.prefix(said["projection"]), self.filter)
            for said in self.projections
            if said["type"] != "stream"  # it has no state
        ]
        return [difference for difference in found if difference]

    def wait_same(self, timeout: float = TIMEOUT) -> None:
        """Until Redis holds exactly the collection."""
        wait_until(
            lambda: not self.differences(),
            timeout,
            lambda: f"Redis like MongoDB: {'; '.join(map(str, self.differences()))}; {self.lane()}",
        )

    def assert_same(self) -> None:
        """Redis holds exactly the collection, now."""
        assert not self.differences(), "; ".join(map(str, self.differences()))

    def catch_up(self, timeout: float = 60) -> None:
        """Until everything written before this call has gone through the stream: a marker was written behind it.

        The first field of the first projection must be a plain one at the top of the document.
        """
        said = self.projections[0]
        fields = said["fields"]
        name, path = next(iter(fields.items())) if isinstance(fields, Mapping) else (fields[0], fields[0])
        self._marks += 1
        value = f"mark{self._marks}"
        self.collection.replace_one({"_id": "marker"}, {"_id": "marker", path: value}, upsert=True)
        self.wait_live(timeout)
        end = "marker"
        wait_until(
            lambda: (
                self.hash(end).get(name) == value
                if said["type"] == "hash"
                else (self.json(end) or {}).get(name) == value
            ),
            timeout,
            lambda: f"the marker; {self.lane()}",
        )

    def dead_letters(self) -> list[dict[str, str]]:
        """Oldest first."""
        entries = self.redis.xrange(self._scene.home + self.names.control("dead"))
        return [
            {name.decode(): value.decode(errors="surrogateescape") for name, value in said.items()}
            for _, said in entries
        ]

    def position(self) -> dict[str, bytes]:
        """The stored position; empty when there is none."""
        return {
            name.decode(): value for name, value in self.redis.hgetall(self.names.control("position")).items()
        }

    def copied(self) -> int:
        """Documents that the snapshot has durably copied."""
        return int(self.redis.hget(self.names.control("position"), "copied") or 0)

    def count_reads(self) -> None:
        """From now on `documents_read` counts what is read from this test's database."""
        self.collection.database.command("profile", 2, filter={"op": "query"})

    def documents_read(self) -> int:
        """Documents that finds on this collection gave since `count_reads`; not those that asked for ids only."""
        database = self.collection.database
        database.command("profile", 0)
        whole = {"ns": self.collection.full_name, "command.projection": {"$ne": {"_id": 1}}}
        whole["command.find"] = {"$exists": True}
        return sum(entry.get("nreturned", 0) for entry in database["system.profile"].find(whole))

    def metric(self, name: str, **labels: str) -> float:
        return self._scene.daemon.metric(name, contract=self.contract, **labels)
