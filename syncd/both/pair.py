"""A key and its document as they were read, and the records of their conflicts."""

from __future__ import annotations

import hashlib
import time
from typing import Any, NamedTuple

from bson.datetime_ms import DatetimeMS

from syncd.plan.both.merge import Conflict, Merged
from syncd.plan.both.plan import Record, TwoWayPlan, Value, digests
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_mongo.state import FoundKey
from syncd.stores.mongo.store import Document


class Pair(NamedTuple):
    """A key and its document, read one after the other."""

    key: bytes
    id: Any
    found: FoundKey
    document: Document | None
    redis: dict[str, Value] | None
    mongo: dict[str, Value] | None
    record: Record | None
    """See `known_of`."""
    merge_request: int | None
    merged: Merged

    @property
    def version(self) -> str:
        """Of the agreement that is before this merge."""
        return self.record.version if self.record else _digest_of(self)

    def named(self, conflict: Conflict) -> str:
        """The same for a conflict. What MongoDB loses it has lost when that is written, and what it loses behind that
        is another conflict, though Redis may have agreed to neither."""
        written = self.record.written if self.record and conflict.winner == "redis" else ""
        return f"{self.version}.{written}" if written else self.version

    @property
    def changes_mongo(self) -> bool:
        """Whether the document is written, made or deleted."""
        is_made = self.document is None and self.merged.agreed is not None
        return bool(self.merged.to_mongo) or self.merged.delete == "document" or is_made

    @property
    def changes_redis(self) -> bool:
        """Whether the key is written or made."""
        return bool(self.merged.to_redis) or (self.redis is None and self.merged.agreed is not None)


def records(plan: TwoWayPlan, pair: Pair) -> list[Document]:
    """The records of conflicts for people: the value of each side, and the winner. One for a conflict, also where it
    is decided again, after a crash or because a side has changed since."""
    sync, ident = plan.contract.sync, encode_key_value(pair.id)
    return [
        {
            "_id": f"{plan.name}/{ident}/{pair.named(conflict)}/{conflict.why}-{conflict.winner}",
            "contract": plan.name,
            "key": pair.key.decode(errors="backslashreplace"),
            "document": pair.id,
            "at": DatetimeMS(round(time.time() * 1000)),
            "why": conflict.why,
            "on_conflict": sync.on_conflict,
            "winner": conflict.winner,
            "fields": [
                {"field": name, **_said("mongo", pair.mongo, name), **_said("redis", pair.redis, name)}
                for name in plan.rules.fields
                if name in conflict.fields or not conflict.fields
            ],
        }
        for conflict in pair.merged.conflicts
    ]


def _said(side: str, state: dict[str, Value] | None, name: str) -> dict[str, Any]:
    return {side: state[name].content} if state and name in state else {}


def _digest_of(pair: Pair) -> str:
    said = repr((sorted((digests(pair.redis) or {}).items()), sorted((digests(pair.mongo) or {}).items())))
    return "first-" + hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def had_key(record: Record | None) -> bool:
    """Whether there was a key when both sides last agreed."""
    return record is not None and not record.base.lost and any(record.base.fields.values())
