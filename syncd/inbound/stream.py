"""A MongoDB change stream by raw `aggregate` and `getMore`.

`Collection.watch()` costs twice as much per change: it copies the resume token for every event. Here a batch is one
reply, and it ends when the server has nothing more at once.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Self

from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from syncd.errors import FatalError, OplogTooShortError, PositionLostError
from syncd.plan.codec import CODEC
from syncd.plan.compile import Plan
from syncd.plan.partition import WHOLE, Partition
from syncd.stores.mongo import Document, MongoStore, translated
from syncd.stores.times import ZERO, Moment, just_before, moment, timestamp, token_time

AWAIT_MS = 1000
"""How long the server waits for a first event; the pause in which an idle lane does its housekeeping."""
_NOT_A_TOKEN = frozenset({9, 14, 15, 40647, 40649})
"""What MongoDB answers to a token that it cannot read: FailedToParse, TypeMismatch, Overflow and two of its own."""
_OF_DOCUMENTS = ["insert", "update", "replace", "delete"]
MAX_EVENTS = 2000
"""Events a reply; the server also ends it at 16 MB."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One reply: events in order, and the token from which the stream can go on after all of them."""

    events: list[Document]
    token: Document
    time: Moment
    """Every change up to here, inclusive, was delivered."""

    @classmethod
    def of(cls, events: list[Document], token: Document) -> Self:
        """Everything up to `token`."""
        through = token_time(events[-1]["_id"]) if events else just_before(token_time(token))
        return cls(events, token, through)

    @property
    def reached(self) -> Moment:
        """The time that the server had looked at when it answered."""
        return token_time(self.token)


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
        self._session: ClientSession | None = None
        self._cursor: Any = 0

    def open(self, stage: Document, horizon: Moment) -> Batch:
        """Open as `stage` of `$changeStream` says. `horizon`: the latest time that MongoDB must know of.

        Raises PositionLostError when MongoDB's own time is before the horizon.
        """
        command = self._command(stage)
        with translated():
            # getMore must come in the session of its aggregate.
            self._session = self._store.client.start_session(causal_consistency=False)
            reply = self._run(command)
        if horizon > moment(reply["operationTime"]):
            raise PositionLostError(
                "mongo",
                "the stored position is later than MongoDB's own time: the data were restored to an earlier moment",
            )
        return self._batch(reply, "firstBatch")

    def _command(self, stage: Document) -> Document:
        return {
            "aggregate": self._target,
            "pipeline": [{"$changeStream": stage}, *self._stages],
            "cursor": {"batchSize": MAX_EVENTS},
            "readConcern": {"level": "majority"},
        }

    def next(self, wait_ms: int = AWAIT_MS) -> Batch:
        """Wait for events, so long at most."""
        command = {
            "getMore": self._cursor,
            "collection": self._cursor_of,
            "batchSize": MAX_EVENTS,
            "maxTimeMS": wait_ms,
        }
        # Where this fails, `close` must not ask for the cursor over the same dead link: the error would wait for that.
        self._cursor = 0
        with translated():
            return self._batch(self._run(command), "nextBatch")

    def _run(self, command: Document) -> Document:
        database = self._store.client[self._database]
        return database.command(command, codec_options=CODEC, session=self._session)

    def _batch(self, reply: Document, name: str) -> Batch:
        cursor = reply["cursor"]
        self._cursor = cursor["id"]
        return Batch.of(cursor[name], cursor["postBatchResumeToken"])

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
        self, store: MongoStore, plan: Plan, partition: Partition = WHOLE, *, thin: bool = False
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

    def begin(self) -> Batch:
        """Open at the present moment."""
        return self.open({}, ZERO)

    def resume(self, token: Document, event: Document | None, horizon: Moment) -> Batch:
        """Open behind `token`. `event` is the token of the last change delivered, `horizon` the latest time that shows.

        Raises PositionLostError when the server cannot resume, or when its history is not the one that the token comes
        from: its data were restored to an earlier moment.
        """
        if event is not None and event != token:
            self._check_history(event)
        try:
            return self.open({"startAfter": token}, horizon)
        except FatalError as error:
            if getattr(error.__cause__, "code", None) in _NOT_A_TOKEN:
                raise PositionLostError("mongo", "the stored resume token is not one of MongoDB's") from error
            raise

    def _check_history(self, event: Document) -> None:
        """Any history accepts a token that stands for no event; the last event itself is known to its own alone.

        Times are inclusive: the stream from the event's time begins with it. The changes of one transaction share a
        time, and therefore times are compared.
        """
        time = token_time(event)
        try:
            found = self.open({"startAtOperationTime": timestamp(time)}, ZERO).events or self.next().events
        except OplogTooShortError:
            return  # it no longer reaches back to that event, and cannot tell
        finally:
            self.close()
        if not found or token_time(found[0]["_id"]) != time:
            raise PositionLostError(
                "mongo",
                "the last change that was applied is not in MongoDB's history: the data were restored",
            )
