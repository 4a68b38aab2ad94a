"""Contracts whose documents show what they name in other collections: both sides change, come and go.

A key shows its document and what that names as of one moment, so its states are those of all of them in one order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.simulation.checker import Checker
from tests.simulation.contracts import COLLECTION, LEADS, SQUADS
from tests.simulation.mongo.oplog import Change, Document, described
from tests.simulation.redis.server import RedisModel
from tests.simulation.timeline import BEGINNING, Timeline
from tests.simulation.workload import TEAMS, Workload

NAMES = {SQUADS: TEAMS, LEADS: ("p", "q")}
"""The `_id` of joined documents, by collection."""


class JoinTimeline(Timeline):
    """What each key should show."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self._own: dict[Any, Document] = {}
        """Documents without what they name."""
        self.documents: dict[str, Any] = {}
        """The `_id` of the document that a key is of."""
        self.latest: dict[Any, dict[str, str]] = {}
        """Of each document, by collection, the token of the last change there that it shows."""
        self._collection = COLLECTION
        self._joined: dict[str, dict[Any, Document]] = {name: {} for name in NAMES}

    def deploy(self, version: int, token: str) -> None:
        """A version is at work from now on. Of what its keys show of others the position says nothing either."""
        known, self._collection = len(self.changes), COLLECTION
        super().deploy(version, token)
        del self.changes[known:]

    def add(self, change: Change) -> None:
        """A majority has one more change."""
        self._collection = change.collection if change.collection in self._joined else COLLECTION
        if change.collection in self._joined:
            _apply(self._joined[change.collection], change)
            self._refresh(change.token)
            return
        if change.op == "drop":
            self._own.clear()
        elif change.collection == COLLECTION and change.op != "invalidate":
            _apply(self._own, change)
        after = None if change.after is None else self._with(change.after)
        super().add(replace(change, after=after))

    def _refresh(self, token: str) -> None:
        """What shows it has one more state. The position does not say when that shows, for it is read by pages."""
        known = len(self.changes)
        for document_id, own in self._own.items():
            before, after = self._documents[document_id], self._with(own)
            if after != before:
                self._documents[document_id] = after
                self._note(document_id, before, after, token)
        del self.changes[known:]

    def _note(self, document_id: Any, before: Any, after: Any, token: str) -> None:
        known = len(self.changes)
        super()._note(document_id, before, after, token)
        self.documents |= {key: document_id for _, key, _ in self.changes[known:]}
        self.latest.setdefault(document_id, {})[self._collection] = token

    def _with(self, own: Document) -> Document:
        squad = self._joined[SQUADS].get(own["team"], {})
        lead = self._joined[LEADS].get(squad.get("lead"), {})
        return own | {name: one for name, one in (("squad", squad), ("lead", lead)) if one}


class JoinChecker(Checker):
    """Also of changes of what documents name: the position says how far their streams are, and what is read again."""

    _timeline: JoinTimeline

    def _passed(self, redis: RedisModel, fields: Mapping[bytes, bytes]) -> None:
        """Where nothing is to be read again, a document shows its last state when all streams have passed that."""
        # Not by syncd's own reading, which a guard may have taken out.
        said, _, pending = json.loads(fields.get(b"joined") or '["{}", "", []]')
        if pending:
            return
        tokens = {name.partition(".")[2]: token["_data"] for name, token in json.loads(said).items()}
        tokens[COLLECTION] = self.token
        for key, document_id in self._timeline.documents.items():
            latest = self._timeline.latest[document_id].items()
            if all(BEGINNING < token <= tokens.get(name, BEGINNING) for name, token in latest):
                self._must_show(redis, key, len(self._timeline.lines[key].states) - 1)


def _apply(documents: dict[Any, Document], change: Change) -> None:
    if change.after is None:
        documents.pop(change.document_id, None)
    else:
        documents[change.document_id] = change.after


class JoinWorkload(Workload):
    """Also writes to the joined collections."""

    def _change(self, **options: Any) -> int:
        if self._random.random() < 0.5:
            return super()._change(**options)
        collection = self._random.choice([SQUADS, SQUADS, LEADS])
        document_id = self._random.choice(NAMES[collection])
        before = self._oplog.current.get((collection, document_id))
        self._version += 1
        after: Document | None = {"_id": document_id, "name": f"n{self._version}", "note": 0}
        if collection == SQUADS:
            after |= {"lead": self._random.choice(NAMES[LEADS])}
        op = (
            "insert"
            if before is None
            else self._random.choice(["update", "update", "update", "replace", "delete"])
        )
        if op == "delete":
            after = None
        elif op == "update" and self._random.random() < 0.2:
            after = {**before, "note": self._version}  # which nothing shows
        description = described(before or {}, after or {}) if op == "update" else None
        self._world.note(f"mongo {op} {collection} {document_id} {after}")
        self._oplog.note(op, collection, document_id, after, description, **options)
        return 1
