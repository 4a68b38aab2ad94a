"""All members of a key, where each becomes a document: those that are there, and those of which there is a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from syncd.plan.to_mongo.state import COLON, StatePlan
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import ZERO
from syncd.stores.redis.key_states import KeyStates, members_of
from syncd.stores.redis.store import RedisStore, translated
from syncd.to_mongo.append.batch import Refused

DOCUMENTS = 1000
"""Of one read."""


@dataclass(frozen=True)
class Documents:
    """What is read of a collection."""

    namespace: tuple[str, str]
    filter: Any
    find_projection: Any
    source: Any = None


class MemberNames:
    """Of one contract."""

    def __init__(self, redis: RedisStore, mongo: MongoStore, plan: StatePlan, site: str) -> None:
        self._redis, self._mongo, self._plan, self._site = redis, mongo, plan, site
        self._states = KeyStates(redis, plan)

    def pages(self, key: bytes) -> Iterator[list[bytes]]:
        """Names, some at a time: what a key of a million members has is never in memory at once."""
        yield from members_of(self._redis, self._plan, key)
        yield from self.gone(key)

    def gone(self, key: bytes) -> Iterator[list[bytes]]:
        """Of documents whose member is not there. A key of another type says nothing of members."""
        for names in self._of_documents(key):
            if absent := self._states.absent(names):
                yield absent

    def wrong_type(self, key: bytes) -> Refused | None:
        """What is wrong with a key that has no such members; None where it has, or is not there."""
        with translated():
            kind: Any = self._redis.client.type(key)
        found = kind.decode()
        if found in (self._plan.type, "none"):
            return None
        return Refused("wrong_type", f"the key is a {found}, the contract says {self._plan.type}")

    def _of_documents(self, key: bytes) -> Iterator[list[bytes]]:
        """Documents that were made of members of this key: nothing else says which members are gone."""
        own: Document = {
            "_syncd.pos": {"$exists": True}, "_syncd.deleted": {"$exists": False},
            "_syncd.site": {"$in": [None, "", self._site]},
        }  # fmt: skip
        if not self._plan.template.by_id:
            first = (key + COLON).decode()
            own["_id"] = {"$gte": first, "$lt": f"{first[:-1]}{chr(ord(first[-1]) + 1)}"}
        lookup = Lookup(self._mongo, Documents(self._plan.namespace, own, {"_id": 1}))
        cursor, time = None, ZERO
        while True:
            documents, time = lookup.chunk(cursor, DOCUMENTS, time)
            if not documents:
                return
            yield [name for one in documents if (name := self._plan.key(one["_id"])) is not None]
            cursor = {"_id": documents[-1]["_id"]}
