"""A MongoDB change stream by raw `aggregate` and `getMore`.

`Collection.watch()` costs twice as much per change: it copies the resume token for every event. Here a batch is one
reply, and it ends when the server has nothing more at once.

A stream opens without reading the oplog, in milliseconds: the first `getMore` goes through what came since the token,
and may take minutes. That is for a thread of its own.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Any, Self

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect, PyMongoError

from syncd.errors import EventTooLargeError, FatalError, OplogTooShortError, PositionLostError, TransientError
from syncd.plan.partition import WHOLE, Partition
from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.reads.replies import RAW_CODEC, events_in
from syncd.stores.mongo.store import SOCKET_S, Document, MongoStore, took_too_long, translated
from syncd.stores.mongo.times import ZERO, Moment, just_before, moment, seconds, timestamp, token_time
from syncd.to_redis.stream.window import Ahead

AWAIT_MS = 1000
"""How long the server waits for a first event; the pause in which an idle lane does its housekeeping."""
SHARDS_AWAIT_MS = 250
"""The same of a mongos at most: it answers by then that there is nothing, also where a shard holds a change back."""
_NOT_A_TOKEN = frozenset({9, 14, 15, 40647, 40649})
"""What MongoDB answers to a token that it cannot read: FailedToParse, TypeMismatch, Overflow and two of its own."""
_OF_DOCUMENTS = ["insert", "update", "replace", "delete"]
MAX_EVENTS = 2000
"""Events a reply; the server also ends it at 16 MB. Where a reply that is full gets too large by the token at its end,
which is twice as long as an `_id`, it breaks off the connection, or says that an event is too large. Then it is asked
for a quarter of them, and for all again once it has no more."""
TOO_LARGE = 3
"""As many steps down where it says so: the lane does without fields then, and at the next without the stream."""
BEHIND_S = 10
"""A reply without events whose token is further behind MongoDB's own time is no proof that there are none: a majority
is missing, or the server has not come to the end."""
DRAINED_S = 2.0
"""A stream that never pauses counts as read to its end when its last change is no older than this."""
SEARCH_MS, SEARCHES = 20_000, 3
"""How long, and how often, syncd searches for a change that must be the first of a stream."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One reply: events in order, and the token from which the stream can go on after all of them."""

    events: list[Document]
    token: Document
    time: Moment
    """Every change up to here, inclusive, was delivered."""
    is_proof: bool = True
    """Where there are no events: whether MongoDB had none at this moment."""
    ahead: Ahead | None = None
    """Documents that its changes need, where they were read."""
    held_back_s: int = 0
    """In so many last seconds there may be changes all the same, for which not all shards have spoken yet."""
    is_full: bool = False
    """Whether these are as many events as MongoDB was asked for."""

    @classmethod
    def of(cls, events: list[Document], token: Document, *, is_proof: bool = True, **more: Any) -> Self:
        """Everything up to `token`."""
        through = token_time(events[-1]["_id"]) if events else just_before(token_time(token))
        return cls(events, token, through, is_proof, **more)

    @property
    def reached(self) -> Moment:
        """The time up to which the server had read the oplog when it answered."""
        return token_time(self.token)


def age_of(event: Document) -> float:
    """Seconds since a change was written, by the two machines' clocks."""
    wall = event.get("wallTime")
    return 0.0 if wall is None else time.time() - wall / 1000


def is_drained(batch: Batch) -> bool:
    """Whether nothing, or nearly nothing, is behind it at present."""
    if not batch.events:
        return batch.is_proof
    return not batch.is_full and age_of(batch.events[-1]) < DRAINED_S


class RawStream:
    """One cursor with the given stages behind `$changeStream`. Not thread-safe."""

    def __init__(
        self, store: MongoStore, database: str, collection: str | None, stages: list[Document]
    ) -> None:
        """`collection`: None for all of the database."""
        self._store = store
        self._database = database
        self._target: str | int = 1 if collection is None else collection
        self._cursor_of = "$cmd.aggregate" if collection is None else collection
        self._stages = stages
        self._broken = (database, self._target)
        self._client: MongoClient[Document] | None = None
        self._session: ClientSession | None = None
        self._cursor: Any = 0

    def open(self, stage: Document, horizon: Moment) -> Batch:
        """Open as `stage` of `$changeStream` says. `horizon`: the latest time that MongoDB must know of. The batch is
        empty, and proves nothing: its token is where the stream begins.

        Raises PositionLostError when MongoDB's own time is before the horizon. What else speaks against the token comes
        with the first batch.
        """
        reply = self._open(stage, 0)
        if horizon > moment(reply["operationTime"]):
            raise PositionLostError(
                "mongo",
                "the stored position is later than MongoDB's own time: the data were restored to an earlier moment",
            )
        return self._batch(reply, "firstBatch")

    def _open(self, stage: Document, size: int, **more: Any) -> RawBSONDocument:
        command = {
            "aggregate": self._target,
            "pipeline": [{"$changeStream": stage}, *self._stages],
            "cursor": {"batchSize": size},
            "readConcern": {"level": "majority"},
            **more,
        }
        with translated():
            # getMore must come in the session of its aggregate.
            self._client = self._store.stream_client
            self._session = self._client.start_session(causal_consistency=False)
            return self._run(command)

    def next(self, wait_ms: int = AWAIT_MS) -> Batch:
        """Wait for events, so long at most."""
        most = max(1, MAX_EVENTS >> 2 * self._store.replies_broken[self._broken])
        command = {
            "getMore": self._cursor,
            "collection": self._cursor_of,
            "batchSize": most,
            "maxTimeMS": min(wait_ms, SHARDS_AWAIT_MS) if self._store.is_sharded else wait_ms,
        }
        # Where this fails, `close` must not ask for the cursor over the same dead link: the error would wait for that.
        self._cursor, began = 0, time.monotonic()
        try:
            with translated():
                batch = self._batch(self._run(command), "nextBatch", most)
        except EventTooLargeError:
            self._store.replies_broken[self._broken] += TOO_LARGE
            raise
        except TransientError as error:
            if time.monotonic() - began >= SOCKET_S:
                self._store.be_patient()
            elif isinstance(error.__cause__, AutoReconnect) and most > 1:
                self._store.replies_broken[self._broken] += 1
            raise
        if not batch.is_full:
            self._store.replies_broken[self._broken] = 0
        return batch

    def _run(self, command: Document) -> RawBSONDocument:
        assert self._client is not None
        found: RawBSONDocument = self._client[self._database].command(
            command, codec_options=RAW_CODEC, session=self._session
        )
        return found

    def _batch(self, reply: RawBSONDocument, name: str, most: int = MAX_EVENTS) -> Batch:
        cursor: Any = reply["cursor"]
        self._cursor = cursor["id"]
        token, now = dict(cursor["postBatchResumeToken"]), moment(reply["operationTime"])
        events, behind_s = events_in(reply, name), seconds(now) - seconds(token_time(token))
        if self._store.is_sharded and name == "nextBatch" and not events:
            self._store.idle_shards.note(self._store.client, self._database, self._target, now)
        is_proof = name == "nextBatch" and behind_s <= BEHIND_S
        held_back_s = max(0, behind_s) if self._store.is_sharded else 0
        is_full = len(events) >= most
        return Batch.of(events, token, is_proof=is_proof, held_back_s=held_back_s, is_full=is_full)

    @property
    def is_exhausted(self) -> bool:
        """Whether the server closed the cursor (after `invalidate`)."""
        return bool(self._cursor == 0)

    def close(self) -> None:
        """Drop the cursor on the server, if it can still be reached."""
        if self._session is None:
            return
        if self._cursor:
            with contextlib.suppress(PyMongoError):
                self._run({"killCursors": self._cursor_of, "cursors": [self._cursor]})
        self._session.end_session()
        self._session, self._cursor = None, 0


class ChangeStream(RawStream):
    """The stream of one plan's collection, or of a partition of it."""

    def __init__(
        self, store: MongoStore, plan: StreamPlan, partition: Partition = WHOLE, *, thin: bool = False
    ) -> None:
        """`thin`: deliver no fields, for changes that are larger than an event may be."""
        stages: list[Document] = [{"$project": plan.event_projection(thin=thin)}]
        if not partition.is_whole:
            # What happens to the whole collection concerns every partition. MongoDB asks this of the oplog's entries,
            # before it makes events of them; `documentKey: {$exists: false}` would say the same and take twice as long.
            ours = [
                {"operationType": {"$nin": _OF_DOCUMENTS}},
                {"$expr": partition.holds("$documentKey._id")},
            ]
            stages.insert(0, {"$match": {"$or": ours}})
        super().__init__(store, *plan.namespace, stages)
        self._namespace = plan.namespace
        self._high_water: Document | None = None

    def begin(self) -> Batch:
        """Open at the present moment."""
        return self.open({}, ZERO)

    def resume(self, token: Document, horizon: Moment) -> Batch:
        """Open behind `token`; `horizon` is the latest time that shows. Raises PositionLostError."""
        try:
            return self.open({"startAfter": token}, horizon)
        except FatalError as error:
            if getattr(error.__cause__, "code", None) in _NOT_A_TOKEN:
                raise PositionLostError("mongo", "the stored resume token is not one of MongoDB's") from error
            raise

    def any_high_water(self) -> Document:
        """A token that stands for no change."""
        if self._high_water is None:
            other = RawStream(self._store, *self._namespace, [])
            try:
                self._high_water = other.open({}, ZERO).token
            finally:
                other.close()
        return self._high_water

    def require(self, event: Document) -> None:
        """That the history of MongoDB has this change, where the oplog itself may not be read. Raises
        PositionLostError.

        Times are inclusive: the stream from the event's time begins with it. The changes of one transaction share a
        time, and therefore times are compared. In another history the first change may be far, or there is none: then
        MongoDB gives up, again and again.
        """
        moment_of = token_time(event)
        for _ in range(SEARCHES):
            try:
                if self._first_at(moment_of) == moment_of:
                    return
                break
            except OplogTooShortError:
                return  # it no longer reaches back to that event, and cannot tell
            except TransientError as error:
                if not took_too_long(error):
                    raise
        raise PositionLostError(
            "mongo", "the last change that was applied is not in MongoDB's history: the data were restored"
        )

    def _first_at(self, since: Moment) -> Moment | None:
        """The time of the first change from a time on."""
        if self._store.is_sharded:
            return self._first_of_shards(since)
        try:
            reply = self._open({"startAtOperationTime": timestamp(since)}, 1, maxTimeMS=SEARCH_MS)
            events = self._batch(reply, "firstBatch").events
            return token_time(events[0]["_id"]) if events else None
        finally:
            self.close()

    def _first_of_shards(self, since: Moment) -> Moment | None:
        """The same behind a mongos: it opens a stream without an answer, and has one when all shards have said that
        they have nothing before it. A shard that reads a long oplog for that says nothing meanwhile. After a while the
        change counts as found: the lane's own stream has to wait as long, and without an answer nothing is copied."""
        deadline = time.monotonic() + SEARCHES * SEARCH_MS / 1000
        try:
            batch = self.open({"startAtOperationTime": timestamp(since)}, ZERO)
            while not batch.events and batch.reached <= since:
                if time.monotonic() > deadline:
                    return since
                batch = self.next()
            return token_time(batch.events[0]["_id"]) if batch.events else None
        finally:
            self.close()
