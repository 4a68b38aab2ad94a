"""The change stream of a joined collection: which of its documents changed in a way that other documents show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from syncd.errors import PositionLostError, TransientError
from syncd.plan.paths import server_projection
from syncd.plan.to_redis.joins import Joined
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import ZERO, Moment
from syncd.to_redis.stream.change_stream import AWAIT_MS, Batch, RawStream

_TOUCHED = "touched"


@dataclass(frozen=True, slots=True)
class JoinedBatch:
    """One reply of the stream of a collection."""

    collection: str
    batch: Batch


class JoinedStream(RawStream):
    """Of one collection, for all joins to it."""

    def __init__(self, store: MongoStore, joins: Iterable[Joined], *, thin: bool = False) -> None:
        """`thin`: all updates, whatever they changed, for changes that are larger than an event may be."""
        joins = list(joins)
        super().__init__(store, *joins[0].namespace, _stages(joins, thin=thin))
        self.collection = ".".join(joins[0].namespace)

    def begin(self) -> Batch:
        """Open at the present moment."""
        return self.open({}, ZERO)

    def resume(self, token: Document | None, horizon: Moment) -> Batch:
        """Open behind `token`. Raises PositionLostError."""
        if token is None:
            raise PositionLostError("mongo", f"no position is stored in the joined {self.collection}")
        return self.open({"startAfter": token}, horizon)

    def items(self) -> Iterator[JoinedBatch]:
        """All batches from where it was opened."""
        try:
            while not self.is_exhausted:
                yield JoinedBatch(self.collection, self.next(AWAIT_MS))
            raise TransientError("mongo", "the change stream of a joined collection ended; opening it again")
        finally:
            self.close()


def _stages(joins: list[Joined], *, thin: bool) -> list[Document]:
    """Only changes leave MongoDB that may show: of an update it says itself whether it touched one of the fields."""
    wanted: Document = {
        "_id": 1, "operationType": 1, "documentKey._id": 1, "wallTime": {"$toDouble": "$wallTime"},
    }  # fmt: skip
    if thin:
        return [{"$project": wanted}]
    wanted[_TOUCHED] = _touches(server_projection(path for join in joins for path in join.fields))
    shows = {"$or": [{"operationType": {"$ne": "update"}}, {_TOUCHED: True}]}
    return [{"$project": wanted}, {"$match": shows}, {"$project": {_TOUCHED: 0}}]


def _touches(paths: Iterable[str]) -> Document:
    """Whether an update changed one of these paths, a part of it, or what is around it."""
    changed = {
        "$concatArrays": [
            _names({"$objectToArray": {"$ifNull": ["$updateDescription.updatedFields", {"$literal": {}}]}}, "k"),
            {"$ifNull": ["$updateDescription.removedFields", []]},
            _names({"$ifNull": ["$updateDescription.truncatedArrays", []]}, "field"),
        ]
    }  # fmt: skip
    touching = "|".join(map(_touching, sorted(set(paths) - {"_id"})))
    touches = {"$regexMatch": {"input": "$$this", "regex": f"^(?:{touching})" if touching else "^(?!)"}}
    return {"$anyElementTrue": [{"$map": {"input": changed, "in": touches}}]}


def _touching(path: str) -> str:
    """Names in the description of an update that touch a path. It counts the elements of an array: `tags.0.label` is a
    part of `tags.label`, and `tags.0` around it."""
    first, _, rest = path.partition(".")
    return re.escape(first) + (rf"(?:\.\d+)*(?:$|\.{_touching(rest)})" if rest else r"(?:\.|$)")


def _names(entries: Any, field: str) -> Document:
    return {"$map": {"input": entries, "in": f"$$this.{field}"}}
