"""Which documents name a joined one, by an index that has to be there.

The index is over the field and `_id`, so that a page of a million documents costs no more than one of ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from syncd.errors import CapabilityError, FatalError
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.keys.templates import decode_key_value
from syncd.plan.partition import WHOLE, Partition
from syncd.plan.to_redis.joins import Joined
from syncd.stores.mongo.ids import AS_STORED, behind, is_pointer
from syncd.stores.mongo.reads.lookup import LONGEST_CHUNK_MS, Lookup
from syncd.stores.mongo.store import Document, MongoStore, code_of
from syncd.stores.mongo.times import ZERO, Moment

_NO_INDEX = frozenset({2, 291})
"""BadValue and NoQueryExecutionPlans: what MongoDB answers to a hint that fits no index."""


class _Everything:
    """All documents of a collection."""

    filter: Any = None
    source: Any = None
    find_projection: Any = AS_STORED

    def __init__(self, namespace: tuple[str, str]) -> None:
        self.namespace = namespace


class Naming(Lookup):
    """Of one join: the documents of `namespace` that name a joined document by `join.local`."""

    def __init__(
        self, store: MongoStore, join: Joined, namespace: tuple[str, str], partition: Partition = WHOLE
    ) -> None:
        super().__init__(store, _Everything(namespace), partition)
        self._join = join

    def page(
        self, ident: str, after: str | None, upto: str | None, most: int, since: Moment
    ) -> tuple[list[str], Moment, bool]:
        """Idents of the next documents that name `ident`, in the order of their `_id`, as of `since` or later; and
        whether these are the last."""
        cursor, last = (_bound(one) for one in (after, upto))
        value, parts = decode_key_value(ident), [behind(cursor, last), self._part(None, None)]
        query = {"$and": [{self._join.local: {"$eq": value}}, *filter(None, parts)]}
        command: Document = {
            "find": self._collection, "filter": query, "projection": AS_STORED, "sort": {"_id": 1},
            "hint": self._join.index, "limit": most, "batchSize": most, "maxTimeMS": LONGEST_CHUNK_MS,
        }  # fmt: skip
        if cursor is not None and is_pointer(cursor["_id"]):
            command["min"] = {self._join.local: value, **cursor}
        try:
            reply = self._run(command, since)
        except FatalError as error:
            if code_of(error) in _NO_INDEX:
                raise CapabilityError("mongo", self.no_index) from error
            raise
        found = self._found(reply, AS_STORED)
        # A reply may hold fewer because they are large: then MongoDB keeps the cursor.
        return list(found.documents), found.time, found.complete and len(found.documents) < most

    def require(self) -> None:
        """Raises CapabilityError where there is no such index."""
        self.page(encode_key_value(""), None, None, 1, ZERO)

    @property
    def no_index(self) -> str:
        """What is missing, and what to do."""
        keys = ", ".join(f'"{path}": 1' for path in self._join.index)
        place = f'db.getSiblingDB("{self._database}").getCollection("{self._collection}")'
        return (
            f"{self._database}.{self._collection} has no index by which the join `{self._join.name}` finds the "
            f"documents that show a change; create it: {place}.createIndex({{{keys}}})"
        )


def naming_of(
    store: MongoStore, joins: Sequence[Joined], namespace: tuple[str, str], partition: Partition = WHOLE
) -> dict[str, Naming]:
    """For each of a contract's joins: of one that goes through another, the documents that this one finds."""
    namespaces = {join.name: join.namespace for join in joins}
    return {
        join.name: Naming(store, join, namespaces[join.parent])
        if join.parent
        else Naming(store, join, namespace, partition)
        for join in joins
    }


def _bound(ident: str | None) -> Document | None:
    return None if ident is None else {"_id": decode_key_value(ident)}
