"""Keeps what documents show of joined ones up to date, a page at a time beside the stream of the lane."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from syncd.errors import PositionLostError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.joins import Joined
from syncd.plan.values.raw import RawId
from syncd.stores.mongo.collections import require_joined
from syncd.stores.mongo.reads.naming import naming_of
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import LATEST, ZERO, Moment, seconds, token_time
from syncd.stores.redis.records.position import Position
from syncd.stores.redis.records.refreshes import JoinedPosition, Named
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.context import RunContext, StreamContext
from syncd.to_redis.joins.joined_stream import JoinedBatch, JoinedStream
from syncd.to_redis.joins.units import MOST_EXPANDED, ExpansionUnit, JoinedChangesUnit, PageUnit
from syncd.to_redis.sources import Source
from syncd.to_redis.stream.change_stream import is_drained
from syncd.to_redis.stream.window import DATA_OPS

MOST_PENDING = 500
"""Joined documents of which a refresh may be under way. With more, their streams wait: all are part of the position,
which is stored with each call."""
MOST_DOCUMENTS = 500
"""Of a page: the changes of the lane's own documents wait behind it."""


class JoinedStreams:
    """Of one run: opened before anything is read, and read by threads of their own."""

    def __init__(self, context: StreamContext, *, thin: bool) -> None:
        by_namespace: dict[tuple[str, str], list[Joined]] = defaultdict(list)
        for join in context.plan.joins:
            by_namespace[join.namespace].append(join)
        self._context = context
        self._streams = [JoinedStream(context.mongo, joins, thin=thin) for joins in by_namespace.values()]

    def require(self) -> None:
        """Raises CapabilityError where a joined collection has no change stream, or an index is missing."""
        mongo, plan = self._context.mongo, self._context.plan
        for join in plan.joins:
            require_joined(mongo, join.namespace)
        for naming in naming_of(mongo, plan.joins, plan.namespace).values():
            naming.require()

    def begin(self) -> JoinedPosition:
        """Open all at the present moment."""
        begun = {stream.collection: stream.begin() for stream in self._streams}
        tokens = {collection: batch.token for collection, batch in begun.items()}
        return JoinedPosition(tokens, max((batch.time for batch in begun.values()), default=ZERO))

    def resume(self, position: Position) -> None:
        """Open all where they were."""
        horizon = max(position.time, position.read_watermark, position.joined.time)
        for stream in self._streams:
            stream.resume(position.joined.tokens.get(stream.collection), horizon)

    def items(self) -> Iterator[Iterator[JoinedBatch]]:
        """What each brings."""
        return (stream.items() for stream in self._streams)


class Refresher:
    """Of one run, used by its thread."""

    def __init__(self, run: RunContext, pipeline: Pipeline) -> None:
        lane, plan = run.lane, run.lane.plan
        self._plan, self._status, self._builder = plan, lane.status, run.builder
        self._log, self._pipeline = run.log, pipeline
        naming = naming_of(lane.mongo, plan.joins, plan.namespace, lane.control.partition)
        self._own = {join.name: naming[join.name] for join in plan.joins if not join.parent}
        self._through = {join.name: (join.parent, naming[join.name]) for join in plan.joins if join.parent}
        self._collections = {".".join(join.namespace) for join in plan.joins}
        self._waiting: deque[tuple[Source, JoinedBatch]] = deque()
        """Batches whose changes are not noted yet."""
        self._reached: dict[str, Moment] = {}
        """By collection: up to where its stream was read to its end."""

    def takes(self, source: Source, item: Any) -> bool:
        """Whether it is a batch of a joined collection. Its source brings few more until it is worked off."""
        if not isinstance(item, JoinedBatch):
            return False
        self._waiting.append((source, item))
        if not is_drained(item.batch):
            self._reached.pop(item.collection, None)
        return True

    def reached(self, moment: Moment) -> Moment | None:
        """Up to where all changes are known, where those of the documents themselves are up to `moment`; None while a
        joined collection has more."""
        if self._waiting or self._collections - self._reached.keys():
            return None
        return min([moment, *self._reached.values()])

    @property
    def is_done(self) -> bool:
        """Whether all documents show all changes that are known."""
        return self.reached(LATEST) is not None and not self._log.position.joined.pending

    def work(self) -> bool:
        """Note changes for which there is room, and refresh one page. Returns whether there was anything to do."""
        if not self._collections:
            return False
        noted = self._note()
        refreshed = self._refresh()
        joined = self._log.confirmed.joined
        since = [joined.since] if joined.since else []
        since += [token_time(item.batch.events[0]["_id"]) for _, item in self._waiting if item.batch.events]
        self._status.refreshing(len(joined.pending), seconds(min(since)) if since else None)
        return noted or refreshed

    def _note(self) -> bool:
        if not self._waiting or self._room <= 0:
            return False
        source, item = self._waiting.popleft()
        batch, collection = item.batch, item.collection
        if not batch.events:
            self._pipeline.drain()
            self._log.joined_idle(self._log.position.joined.passed(collection, batch.token))
        at = 0
        while at < len(batch.events):
            if self._room <= 0:
                left = type(batch)(batch.events[at:], batch.token, batch.time, batch.is_proof)
                self._waiting.appendleft((source, JoinedBatch(collection, left)))
                return True
            part = batch.events[at : at + self._room]
            at += len(part)
            whole = at == len(batch.events)
            named = [one for event in part for one in self._named(collection, event)]
            token = batch.token if whole else part[-1]["_id"]
            self._pipeline.apply(JoinedChangesUnit(collection, token, named))
        if is_drained(batch):
            self._reached[collection] = batch.reached
        source.done()
        return bool(batch.events)

    @property
    def _room(self) -> int:
        return MOST_PENDING - len(self._log.position.joined.pending)

    def _named(self, collection: str, event: Document) -> Iterator[tuple[Named, Moment]]:
        if event["operationType"] not in DATA_OPS:
            what = f"the joined collection {collection} was dropped, renamed or changed as a whole"
            raise PositionLostError("mongo", f"{what} ({event['operationType']}); copying again")
        document_id = event["documentKey"]["_id"]
        if isinstance(document_id, RawId) or document_id is None:
            return  # no document names it
        for join in self._plan.joins:
            if ".".join(join.namespace) == collection:
                yield (join.name, encode_key_value(document_id)), token_time(event["_id"])

    def _refresh(self) -> bool:
        pending = self._log.position.joined.pending
        own = sum(name in self._own for name, _ in pending)
        if len(pending) > own and own < MOST_EXPANDED:
            self._pipeline.apply(ExpansionUnit(self._builder, self._log, self._through))
        if own:
            size = min(MOST_DOCUMENTS, self._pipeline.documents)
            self._pipeline.apply(PageUnit(self._builder, self._log, self._own, size))
        return bool(pending)
