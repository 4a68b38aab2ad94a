"""From samples of time series to documents: what a sample is now, where its document is not that already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from syncd.errors import ProjectionError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.paths import MISSING, getter, server_projection
from syncd.plan.to_mongo.state import FoundKey, StatePlan
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import ZERO
from syncd.to_mongo.state.keys.key_sync import KeyOutcome, KeySync
from syncd.to_mongo.state.keys.member_names import Documents
from syncd.to_mongo.state.state_writer import StateWriter
from syncd.to_mongo.state.statements import Change
from syncd.to_mongo.state.store import Reading, StateStore

MOST_SAMPLES = 100
"""Of one call: behind it the application's commands wait."""


class SampleSync(KeySync):
    """Of one contract, called by one thread. A document is never removed: of a sample that is gone nothing says whether
    it was deleted, or too old for its series."""

    def __init__(self, mongo: MongoStore, plan: StatePlan, store: StateStore, writer: StateWriter) -> None:
        super().__init__(plan, store, writer, MOST_SAMPLES)
        paths = [*plan.key_paths, *(".".join(field.path) for field in plan.all_fields)]
        self._lookup = Lookup(mongo, Documents(plan.namespace, None, server_projection(paths)))
        self._get = {path: getter(path) for path in paths}

    def compare(self, page: Mapping[bytes, bytes]) -> tuple[KeyOutcome, int]:
        """Sync those of these samples, each with its content, whose documents are not there, or other than they should
        be. Also how many now have one that had none."""
        ids = {name: self._plan.document_id(name) for name in page if self._plan.owns(name)}
        found = self._lookup.by_ids([*ids.values()], ZERO).documents
        documents = {name: found.get(encode_key_value(one)) for name, one in ids.items()}
        differing = [
            name for name, content in page.items() if not self._holds(documents.get(name), name, content)
        ]
        outcome = self.apply(dict.fromkeys(differing, ""))
        return outcome, sum(documents[name] is None for name in outcome.done)

    def _holds(self, document: Document | None, name: bytes, content: bytes) -> bool:
        """Whether a document is what a sample is."""
        if document is None:
            return False
        try:
            update = self._plan.update_of(name, FoundKey(self._plan.type, content, None))
        except ProjectionError:
            return False
        wanted: dict[str, Any] = dict.fromkeys(update.unset, MISSING) | update.set
        return all(self._get[path](document) == value for path, value in wanted.items())

    def _change(self, key: bytes, found: FoundKey, deleted: str, reading: Reading) -> Change | None:
        return super()._change(key, found, deleted, reading) if found.is_there else None
