"""Change streams that quiet lanes share: one a database, or one for many databases, in one thread each.

A shared stream matches the collections of its members, which MongoDB does within its scan of the oplog: what happens
in other collections costs little. It is opened again when members come or go, at the earliest position of all; each
drops what it had before. A lane gets, as its position, only tokens that its own stream can begin behind: of its own
changes, or high-water marks.

Nothing is handled here. At any error, and at anything that happens to a collection as a whole, members go back to
streams of their own, which meet the same and know what to do.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from syncd import telemetry
from syncd.errors import FatalError, SyncdError, TransientError, UnknownError
from syncd.stores.mongo.history import History
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import is_high_water_mark, just_before, token_at, token_time
from syncd.to_redis.stream.change_stream import AWAIT_MS, Batch, RawStream, is_drained
from syncd.to_redis.stream.member import Member, order
from syncd.to_redis.stream.pace import Pace
from syncd.to_redis.stream.shared_stages import Namespace, stages, with_document
from syncd.to_redis.stream.window import DATA_OPS

GATHER_S = 0.3
"""Lanes become quiet together: the first one waits so long for the others."""
REOPEN_S = 1.0
"""How often new members may make it open again."""
RETRY_S, NEVER = 30.0, float("inf")
"""After an error a database gets no shared stream for so long. Without the rights for it, none any more."""
FEW = 4
"""Databases that have a stream each. The lanes of all further ones share one over the deployment."""
FIRST_MS = 10
"""How long the first reply may wait: until then lanes have nothing from here."""

Scope = str | None
"""The database of a stream, or all of them."""
DEPLOYMENT: Scope = None


class StreamHub:
    """The shared streams of one daemon. Thread-safe."""

    def __init__(self, store: MongoStore) -> None:
        self._store, self.history, self.pace = store, History(store), Pace()
        self._lock = threading.Lock()
        self._streams: dict[Scope, SharedStream] = {}
        self._not_before: dict[Scope, float] = {}

    def join(self, member: Member) -> bool:
        """Cover `member` soon, which sets `covered` or `left`. False where there is no shared stream to be had."""
        database, collection = member.plan.namespace
        if collection.startswith("system."):
            return False  # a stream over a database leaves those out
        with self._lock:
            scope = self._scope_for(database)
            if time.monotonic() < self._not_before.get(scope, 0.0):
                return False
            stream = self._streams.get(scope)
            if stream is None or not stream.add(member):
                stream = self._streams[scope] = SharedStream(
                    self._store, self.history, scope, member, self._refuse
                )
                stream.start()
            return True

    def _scope_for(self, database: str) -> Scope:
        others = (stream for scope, stream in self._streams.items() if scope not in (database, DEPLOYMENT))
        has_few = sum(not stream.has_ended for stream in others) < FEW
        return database if has_few or self._not_before.get(DEPLOYMENT) == NEVER else DEPLOYMENT

    def _refuse(self, scope: Scope, error: Exception) -> None:
        is_permanent = isinstance(error, FatalError) and not isinstance(error, UnknownError)
        retry_s = NEVER if is_permanent else RETRY_S
        with self._lock:
            self._not_before[scope] = time.monotonic() + retry_s
        if isinstance(error, SyncdError):
            telemetry.shared_stream_ended(scope, str(error), retry_s)
        else:
            telemetry.shared_stream_bug(scope)


class SharedStream(threading.Thread):
    """One cursor over the collections of its members. Ends with the last of them, or with the first error."""

    def __init__(
        self,
        store: MongoStore,
        history: History,
        scope: Scope,
        first: Member,
        refuse: Callable[[Scope, Exception], None],
    ) -> None:
        super().__init__(name=f"shared-{scope or 'deployment'}", daemon=True)
        self._store, self._history, self._scope, self._refuse = store, history, scope, refuse
        self._lock = threading.Lock()
        self._members = [first]
        self._joined = self._ended = False
        self._by_collection: dict[Namespace, list[Member]] = {}
        self._stream: RawStream | None = None
        self._high_water: Document | None = None
        self._opened = self._proof = 0.0
        self._stale = False
        self._server: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether no lane can join it any more."""
        return self._ended

    def add(self, member: Member) -> bool:
        """Take one more; False when the stream has ended."""
        with self._lock:
            if self._ended:
                return False
            self._members.append(member)
            self._joined = True
            return True

    def run(self) -> None:
        """Deliver until no member is left."""
        try:
            time.sleep(GATHER_S)
            while members := self._present():
                self._deliver(members)
        except Exception as error:  # noqa: BLE001 - after any error the members go on with streams of their own
            if members := self._end():
                self._refuse(self._scope, error)
            for member in members:
                member.leave()

    def _present(self) -> list[Member]:
        with self._lock:
            self._members = [member for member in self._members if not member.left.is_set()]
            self._joined, self._ended = False, not self._members
            return self._members.copy()

    def _end(self) -> list[Member]:
        with self._lock:
            self._ended = True
            return [member for member in self._members if not member.left.is_set()]

    def _deliver(self, members: list[Member]) -> None:
        """Open a stream for these members, and read it until there are others."""
        tokens = [member.token for member in members]
        for token in filter(is_high_water_mark, tokens):
            self._high_water = token
        self._by_collection = defaultdict(list)
        for member in members:
            self._by_collection[member.plan.namespace].append(member)
        of_all: Document = {"allChangesForCluster": True} if self._scope is DEPLOYMENT else {}
        found = stages(member.plan for member in members)
        stream = RawStream(self._store, self._scope or "admin", None, found)
        try:
            latest = just_before(token_time(max(tokens, key=order)))
            self._require_same_server()
            stream.open({"startAfter": min(tokens, key=order), **of_all}, latest)
            batch = stream.next(FIRST_MS)
            self._opened, self._stale = time.monotonic(), False
            for member in members:
                member.covered.set()
            self._pass_on(batch, proof=True)
            while not (self._stale or stream.is_exhausted or self._is_outdated()):
                self._pass_on(stream.next(self._wait_ms()), proof=True)
        finally:
            stream.close()

    def _require_same_server(self) -> None:
        """Another process, or another election, may have another history. Each lane checks for itself."""
        server = self._history.server()
        if self._server not in (None, server):
            raise TransientError("mongo", "MongoDB is another process, or was elected since")
        self._server = server

    def _is_outdated(self) -> bool:
        return self._joined and time.monotonic() - self._opened > REOPEN_S

    def _wait_ms(self) -> int:
        """Until members want to hear again that there is nothing."""
        return max(10, min(AWAIT_MS, round((self._proof - time.monotonic()) * 1000)))

    def _pass_on(self, batch: Batch, *, proof: bool) -> None:
        high_water, changes = self._high_water_of(batch.token), defaultdict(list)
        for event in batch.events:
            if event["operationType"] in DATA_OPS:
                changes[event["ns"]["db"], event["ns"]["coll"]].append(with_document(event))
            else:
                self._give_back(event)
        for collection, events in changes.items():
            self._offer(self._by_collection[collection], events, high_water, batch.held_back_s)
        if proof and time.monotonic() >= self._proof and is_drained(batch):
            self._proof = time.monotonic() + AWAIT_MS / 1000
            for collection, members in self._by_collection.items():
                if collection not in changes:
                    self._offer(members, [], high_water, batch.held_back_s)

    def _offer(
        self, members: list[Member], events: list[Document], high_water: Document | None, held_back_s: int
    ) -> None:
        for member in members:
            if not member.offer(events, high_water, proof=True, held_back_s=held_back_s):
                self._stale = True

    def _give_back(self, event: Document) -> None:
        """Something happened to a collection, or to all of them: its lane finds out itself what that was."""
        places = [event[name] for name in ("ns", "to") if name in event]
        for (database, collection), members in self._by_collection.items():
            named = (one["db"] == database and one.get("coll", collection) == collection for one in places)
            if not places or any(named):
                self._stale = True
                for member in members:
                    member.leave()

    def _high_water_of(self, token: Document) -> Document | None:
        """A high-water mark behind everything before `token`. One of any time can be made from one that was seen.

        The token itself may be that of a change, behind which no stream but its own collection's can begin.
        """
        if is_high_water_mark(token):
            self._high_water = token
            return token
        return None if self._high_water is None else token_at(self._high_water, token_time(token))
