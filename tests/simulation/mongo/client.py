"""The driver's client, as far as syncd uses it, before the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError

from tests.simulation.loop import Killed, Process, current
from tests.simulation.mongo.oplog import Document, Stamp
from tests.simulation.mongo.server import MongoModel

CLIENTS: dict[str, Callable[[], ModelClient]] = {}
"""How to make the client of a URI, in the run under way."""


class Network(Protocol):
    """What commands of a process go through."""

    mongo: MongoModel

    def is_mongo_cut(self, process: Process) -> bool:
        """Whether nothing of this process reaches MongoDB."""

    def loses_mongo(self) -> bool:
        """Whether the connection breaks at this moment."""


def client_of(uri: str, **options: Any) -> ModelClient:
    """Stands in for the driver's MongoClient."""
    return CLIENTS[uri]()


class ModelClient:
    """One client of a process."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network, self.process = network, process
        self.admin = ModelDatabase(self, "admin")
        self.topology_description = SimpleNamespace(has_known_servers=True)

    def __getitem__(self, name: str) -> ModelDatabase:
        return ModelDatabase(self, name)

    def server_info(self) -> Document:
        """What `buildInfo` says."""
        with self.reach():
            return {"version": "7.0.0", "versionArray": [7, 0, 0, 0]}

    def start_session(self, **options: Any) -> ModelSession:
        """One that says nothing but its id."""
        return ModelSession(self)

    def close(self) -> None:
        """Nothing is open."""

    @contextmanager
    def reach(self) -> Iterator[None]:
        """A way to the server and back, on which anything may happen."""
        if self.process.is_dead:
            raise Killed
        loop = current()
        loop.let_others()
        if self.network.is_mongo_cut(self.process):
            loop.park(2.0)
            raise ServerSelectionTimeoutError("no primary")
        if self.network.loses_mongo():
            raise AutoReconnect("connection reset by peer")
        yield
        loop.let_others()
        if self.network.is_mongo_cut(self.process) or self.network.loses_mongo():
            raise AutoReconnect("connection closed")


class ModelSession:
    """What a command is sent under."""

    def __init__(self, client: ModelClient) -> None:
        self.client = client
        self.session_id: Document = {"id": b""}

    def end_session(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> ModelSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.end_session()


class ModelDatabase:
    """One database of a client."""

    def __init__(self, client: ModelClient, name: str) -> None:
        self.client, self.name = client, name

    def __getitem__(self, name: str) -> ModelCollection:
        return ModelCollection(self, name)

    def get_collection(self, name: str, **options: Any) -> ModelCollection:
        """The model reads what a majority has."""
        return ModelCollection(self, name)

    def command(
        self,
        said: Any,
        *rest: Any,
        codec_options: CodecOptions[Any] | None = None,
        session: ModelSession | None = None,
        **options: Any,
    ) -> Any:
        """Run one."""
        client, mongo = self.client, self.client.network.mongo
        command: Mapping[str, Any] = {said: 1} if isinstance(said, str) else said
        stamp = (
            Stamp(bytes(session.session_id["id"]), command.get("txnNumber", 0), client.process)
            if session
            else None
        )
        with client.reach():
            reply = mongo.command(command, Waiting(mongo).wait, stamp)
        if codec_options is None or codec_options.document_class is not RawBSONDocument:
            return reply
        return RawBSONDocument(bson.encode(reply), codec_options)


class ModelCollection:
    """One collection of a client."""

    def __init__(
        self, database: ModelDatabase, name: str, codec_options: CodecOptions[Any] | None = None
    ) -> None:
        self._database, self._name, self._codec = database, name, codec_options
        self._client = database.client

    def with_options(self, codec_options: CodecOptions[Any]) -> ModelCollection:
        """The same, with documents of another kind."""
        return ModelCollection(self._database, self._name, codec_options)

    def find_one(
        self,
        query: Mapping[str, Any],
        projection: Any = None,
        sort: Any = None,
        max_time_ms: int = 0,
    ) -> Document | None:
        """Of `local`: the oplog, or the configuration of the replica set."""
        with self._client.reach():
            mongo = self._client.network.mongo
            if self._name == "system.replset":
                return {"_id": "rs", "settings": {"replicaSetId": mongo.deployment}}
            return mongo.find_one(query, sort[0][1] if sort else 1)

    def find(self, query: Mapping[str, Any], projection: Any = None) -> list[Any]:
        """What a majority has."""
        said = {"find": self._name, "filter": query, "projection": projection}
        found: list[Document] = self._database.command(said)["cursor"]["firstBatch"]
        if self._codec is None or self._codec.document_class is not RawBSONDocument:
            return found
        return [RawBSONDocument(bson.encode(one), self._codec) for one in found]

    def estimated_document_count(self) -> int:
        """About how many documents there are."""
        with self._client.reach():
            return self._client.network.mongo.count(self._name)


class Waiting:
    """Of a command that waits for something to be committed."""

    def __init__(self, mongo: MongoModel) -> None:
        self._mongo = mongo

    def wait(self, seconds: float) -> bool:
        """Whether something was committed, or an election came, in this time."""
        loop = current()
        self._mongo.waiting.append(loop.ticket())
        return loop.park(seconds)
