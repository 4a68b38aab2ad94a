"""What a lane writes for documents and their changes: writes of keys, or merge requests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from syncd.errors import ProjectionError
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Removal, Write
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import Moment
from syncd.to_redis.apply.watermarks import Coverage, Watermarks
from syncd.to_redis.stream.window import Window

Built: TypeAlias = tuple[list[Write], Coverage]
"""Writes, and what shows when they are applied."""


class Builder(ABC):
    """Of one run, called by its thread. Nothing here writes, and everything may be built several times: a call is built
    again when Redis refused it, or a call before it.

    An error that is about a document or change is narrowed down to it, and this one becomes its `dead_letters`.
    """

    def __init__(self, plan: StreamPlan, lookup: Lookup, watermarks: Watermarks) -> None:
        self.plan, self.lookup, self.watermarks = plan, lookup, watermarks
        self.filling: Collection[str] = ()
        """Change feeds of a contract with a filter, by name, of which a copy finds out which documents match: readers
        are told nothing of them."""

    @abstractmethod
    def window(self, window: Window, must_read: Collection[str] = ()) -> Built | None:
        """The writes of a window and what they cover, or None when its documents are too big to be read at once: split
        it then. `must_read`: documents of which the events do not say enough."""

    def read_anyway(self, events: Iterable[Document]) -> dict[str, Any]:
        """The `_id`, by ident, of documents that these changes make `window` read, whatever else happens. Called by
        another thread, so it knows nothing of what was done before."""
        return {}

    @abstractmethod
    def copies(self, documents: Mapping[str, Document], time: Moment) -> list[Write]:
        """Of documents by ident, as a copy read them at `time`."""

    @abstractmethod
    def found(self, ident: str, document: Document, time: Moment, change: Document) -> list[Write]:
        """Of one document that was looked up; `change`: what a dead letter says of the reason."""

    @abstractmethod
    def missing(self, ident: str, document_id: Any) -> list[Write]:
        """Of one that was looked up, and is not there."""

    def replayed(
        self, names: Collection[str], ident: str, document: Document | None, time: Moment
    ) -> list[Write]:
        """Of one document that was looked up because projections of these names have dead letters of it: what is
        written beside what its keys hold. None where it is gone."""
        return []

    @abstractmethod
    def orphans(self, drops: Sequence[Removal], current: Collection[str]) -> list[Write]:
        """Of keys that were found without their documents; `current`: idents that the stream has not written since."""

    def dead_letters(self, window: Window, why: ProjectionError) -> list[Write]:
        """Dead letters instead of the only change of a window."""
        event = window.events[0]
        return self.plan.dead_letters(encode_key_value(event["documentKey"]["_id"]), why, event)
