"""Change streams over all shards, merged as a mongos merges them."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bson.raw_bson import DEFAULT_RAW_BSON_OPTIONS, RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from syncd.stores.mongo.times import is_high_water_mark, timestamp, token_time
from tests.support.servers.cluster_clock import Clock

if TYPE_CHECKING:
    from tests.support.servers.sharded import ShardedCluster

Document = dict[str, Any]

AT_ONCE = 64
"""Shards that are asked at the same time, of all streams."""
NOT_FOUND = "cannot resume stream; the resume token was not found"


class MergedStreams:
    """Of one cluster. A change is delivered when every shard has told that it has none before it: in the order of the
    resume tokens, and as late as the shard with the least traffic says so. A stream opens without a change. Each shard
    is asked for as long as the client waits, and answers in its own time. Changes, tokens and times are the shards'.

    What differs from a mongos: all stages run on the shards; a shard that is added is not in a stream that is open.
    """

    def __init__(self, cluster: ShardedCluster) -> None:
        self._cluster = cluster
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._streams: dict[int, MergedStream] = {}
        self._ids = itertools.count(1)

    def open(self, database: str, command: Document) -> Document:
        """`aggregate` with `$changeStream`."""
        self._cluster.clock.ask()
        stream = MergedStream(self._pool, self._cluster.clients, self._cluster.clock, database, command)
        self._cluster.clock.ask()
        number = next(self._ids)
        self._streams[number] = stream
        return self._reply(number, "firstBatch", stream, [])

    def has(self, number: int) -> bool:
        """Whether a cursor is one of these."""
        return number in self._streams

    def more(self, _: str, command: Document) -> Document:
        """`getMore`."""
        number = command["getMore"]
        stream = self._streams[number]
        try:
            events = stream.next(command.get("batchSize", 101), command.get("maxTimeMS", 1000))
        except PyMongoError:
            self._end(number)
            raise
        return self._reply(number, "nextBatch", stream, events)

    def kill(self, _: str, command: Document) -> Document:
        """`killCursors`."""
        for number in command["cursors"]:
            self._end(number)
        return {"cursorsKilled": command["cursors"]}

    def close(self) -> None:
        """All of them."""
        for number in list(self._streams):
            self._end(number)
        self._pool.shutdown()

    def _end(self, number: int) -> None:
        """Another thread may have ended it."""
        if (stream := self._streams.pop(number, None)) is not None:
            stream.close()

    def _reply(self, number: int, name: str, stream: MergedStream, events: list[RawBSONDocument]) -> Document:
        cursor: Document = {
            name: events, "postBatchResumeToken": {"_data": stream.token}, "ns": stream.namespace, "id": number,
        }  # fmt: skip
        if stream.is_over:
            self._streams.pop(number).close()
            cursor["id"] = 0
        return {"cursor": cursor, "operationTime": stream.time}


class _Shard:
    """The stream of one shard."""

    def __init__(self, client: MongoClient[Document], clock: Clock, database: str, command: Document) -> None:
        self._clock = clock
        self._database = client[database]
        self._collection = command["aggregate"] if command["aggregate"] != 1 else "$cmd.aggregate"
        self._session = client.start_session(causal_consistency=False)
        self._asked: Future[Any] | None = None
        self.waiting: list[RawBSONDocument] = []
        self._take(self._command(command), "firstBatch")

    def _command(self, command: Document) -> Any:
        """The latest time that any shard has told goes from one to the other."""
        self._session.advance_cluster_time(self._clock.latest)
        found = self._database.command(command, codec_options=DEFAULT_RAW_BSON_OPTIONS, session=self._session)
        self._clock.told(found["$clusterTime"])
        return found

    def _take(self, reply: Any, name: str) -> None:
        cursor = reply["cursor"]
        self._cursor = cursor["id"]
        self.waiting += cursor[name]
        self.token: str = cursor["postBatchResumeToken"]["_data"]
        self.time: Timestamp = reply["operationTime"]

    def ask(self, pool: ThreadPoolExecutor, wait_ms: int) -> Future[Any] | None:
        """For what comes next, unless there is something."""
        if self._asked is not None and self._asked.done():
            asked, self._asked = self._asked, None
            self._take(asked.result(), "nextBatch")
        if self._asked is None and not self.waiting and self._cursor:
            said = {"getMore": self._cursor, "collection": self._collection, "maxTimeMS": wait_ms}
            self._asked = pool.submit(self._command, said)
        return self._asked

    @property
    def reached(self) -> str:
        """The token before which nothing more will come of it."""
        return self.waiting[0]["_id"]["_data"] if self.waiting else self.token

    def close(self) -> None:
        with suppress(PyMongoError):  # the shard may be away
            self._database.command({"killCursors": self._collection, "cursors": [self._cursor]})
        if self._asked is not None:
            wait([self._asked])
        self._session.end_session()


class MergedStream:
    """One cursor."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        clients: dict[str, MongoClient[Document]],
        clock: Clock,
        database: str,
        command: Document,
    ) -> None:
        self._pool, self._lock = pool, threading.Lock()
        stage = dict(command["pipeline"][0]["$changeStream"])
        self._behind = ""
        for name in ("resumeAfter", "startAfter"):
            token = stage.get(name, {}).get("_data", "")
            if token and not is_high_water_mark({"_data": token}):
                # Only one shard has its change: all begin with its time, and what comes before it is left out.
                del stage[name]
                stage["startAtOperationTime"] = timestamp(token_time({"_data": token}))
                self._behind = token
        self._is_met = not self._behind
        if not stage.keys() & {"resumeAfter", "startAfter", "startAtOperationTime"}:
            now = clock.latest["clusterTime"]
            stage["startAtOperationTime"] = Timestamp(now.time, now.inc + 1)
        pipeline = [{"$changeStream": stage}, *command["pipeline"][1:]]
        said = {"aggregate": command["aggregate"], "pipeline": pipeline, "cursor": {"batchSize": 0}}
        said["readConcern"] = command.get("readConcern", {"level": "majority"})
        self._shards = [_Shard(client, clock, database, said) for client in clients.values()]
        collection = command["aggregate"] if command["aggregate"] != 1 else "$cmd.aggregate"
        self.namespace = f"{database}.{collection}"
        self.token = self._behind or min(shard.token for shard in self._shards)
        self.is_over = False

    @property
    def time(self) -> Timestamp:
        """The latest that any shard has told."""
        return max(shard.time for shard in self._shards)

    def next(self, size: int, wait_ms: int) -> list[RawBSONDocument]:
        """Events that no shard can have one before, so long as there are none."""
        deadline = time.monotonic() + wait_ms / 1000
        with self._lock:
            while True:
                asked = [one for shard in self._shards if (one := shard.ask(self._pool, wait_ms))]
                if (events := self._ready(size)) or (left := deadline - time.monotonic()) <= 0:
                    return events
                wait(asked, left, FIRST_COMPLETED)

    def _ready(self, size: int) -> list[RawBSONDocument]:
        events: list[RawBSONDocument] = []
        while len(events) < size and not self.is_over:
            first = min(self._shards, key=lambda shard: (shard.reached, not shard.waiting))
            self._is_met = self._is_met or first.reached == self._behind
            if not self._is_met and first.reached > self._behind:
                raise OperationFailure(NOT_FOUND, 280, {"ok": 0.0, "errmsg": NOT_FOUND, "code": 280})
            if not first.waiting:
                self.token = max(self.token, first.reached)
                return events
            event = first.waiting.pop(0)
            if event["_id"]["_data"] > self._behind:
                events.append(event)
                self.token = event["_id"]["_data"]
                self.is_over = event.get("operationType") == "invalidate"
        return events

    def close(self) -> None:
        for shard in self._shards:
            shard.close()
