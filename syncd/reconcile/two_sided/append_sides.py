"""Entries of a stream that are done, and the documents that were made of them: as long as both are there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import bson

from syncd.errors import FatalError, is_about_input
from syncd.plan.paths import getter, server_projection
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.values.codec import CODEC
from syncd.reconcile.compare import CONTENT, DEAD, MISSING, Flaw, same_value
from syncd.reconcile.document_comparison import Difference
from syncd.reconcile.two_sided.sides import KeyDifference, Part, Point, SideComparison, Sides
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.store import translated as asked
from syncd.stores.redis.records.requests.repairs import of_key
from syncd.stores.redis.store import RedisStore, translated

ENTRIES_A_PAGE = 1000


class AppendSides(Sides):
    """Of a contract of `capture: append` into an ordinary collection. The id of an entry takes the place of a key."""

    def __init__(self, plan: AppendPlan, mongo: MongoStore, redis: RedisStore) -> None:
        paths = [".".join(field.path) for field in plan.fields]
        super().__init__(Lookup(mongo, Part(plan.namespace, None, server_projection(paths))))
        self._plan, self._redis = plan, redis
        self._get = {path: getter(path) for path in paths}
        self._page: dict[bytes, Mapping[bytes, bytes]] = {}

    def pages(self) -> Iterator[list[bytes]]:
        """All entries that the group is done with, oldest first."""
        start, end = "-", done_up_to(self._redis, self._plan)
        server = self._redis.at_key(self._plan.stream)
        while end:
            with translated():
                found: Any = server.client.xrange(self._plan.stream, start, end, count=ENTRIES_A_PAGE)
            if not found:
                return
            self._page |= dict(found)
            yield [entry for entry, _ in found]
            start = f"({found[-1][0].decode()}"

    def chunks(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """None: a document stays when its entry is trimmed."""
        return iter(())

    def compare(self, keys: Sequence[bytes]) -> SideComparison:
        """Compare these entries with their documents. Entries that are trimmed by now are left out."""
        documents = self._documents([self._plan.document_id(entry.decode()) for entry in keys])
        by_id = {document["_id"]: document for document in documents.values()}
        differing = {}
        for key, said in self._entries(keys).items():
            name = self._plan.document_id(key.decode())
            if (flaw := self._flaw(key.decode(), said, by_id.get(name))) is not None:
                differing[key] = KeyDifference(
                    Difference(self._plan.projection, name, *flaw), "", is_done=True
                )
        return SideComparison(differing, len(by_id), Point())

    def repair(self, key: bytes, found: KeyDifference) -> str:
        """To deliver the entry once more. A document that is there is never overwritten."""
        return of_key(self._plan.projection, key.decode()) if found.difference.kind == MISSING else ""

    def dead_letter(self, key: bytes) -> str:
        """The entry."""
        return key.decode()

    def _entries(self, keys: Sequence[bytes]) -> dict[bytes, Mapping[bytes, bytes]]:
        missing = [key for key in keys if key not in self._page]
        known = {key: self._page.pop(key) for key in keys if key in self._page}
        if not missing:
            return known
        pipe = self._redis.at_key(self._plan.stream).client.pipeline(transaction=False)
        for key in missing:
            pipe.xrange(self._plan.stream, key.decode(), key.decode())
        with translated():
            replies = pipe.execute()
        return known | {key: found[0][1] for key, found in zip(missing, replies, strict=True) if found}

    def _flaw(self, entry: str, said: Mapping[bytes, bytes], document: Document | None) -> Flaw | None:
        try:
            wanted = bson.decode(self._plan.document(entry, said).raw, CODEC)
        except Exception as error:  # a dead letter, or one that a person has dropped
            if not is_about_input(error):
                raise
            return DEAD, ()
        if document is None:
            return MISSING, ()
        names = [path for path, get in self._get.items() if not same_value(get(wanted), get(document))]
        return (CONTENT, tuple(names)) if names else None


class AppendGate:
    """See Gate. All entries that are compared were done before the comparison began."""

    def __init__(self, mongo: MongoStore, redis: RedisStore, plan: AppendPlan) -> None:
        self._mongo, self._redis, self._plan = mongo, redis, plan

    def unready(self) -> str:
        """See Gate."""
        database, name = self._plan.namespace
        with asked():
            found = list(self._mongo.client[database].list_collections(filter={"name": name}))
        if found and found[0].get("type") == "timeseries":
            return f"{database}.{name} is a time series, where no entry can be found by its `_id`"
        if done_up_to(self._redis, self._plan):
            return ""
        return f"no daemon has read {self._plan.stream} for {self._plan.name} yet; start `syncd run`"

    def passed(self, point: Point, *, is_done: bool) -> bool:
        """See Gate."""
        return True


def done_up_to(redis: RedisStore, plan: AppendPlan) -> str:
    """The end of what the group is done with, for XRANGE; "" where there is no group."""
    pipe = redis.at_key(plan.stream).client.pipeline(transaction=True)
    pipe.xpending(plan.stream, plan.name)
    pipe.xinfo_groups(plan.stream)
    with translated():
        pending, groups = pipe.execute(raise_on_error=False)
    if isinstance(groups, Exception) or isinstance(pending, Exception):
        text = f"{groups} {pending}"
        if "no such key" in text or "NOGROUP" in text:
            return ""
        raise FatalError("redis", f"{plan.stream} cannot be read: {text}")
    if pending["pending"]:
        return f"({pending['min'].decode()}"
    own = next(group for group in groups if group["name"].decode() == plan.name)
    return str(own["last-delivered-id"].decode())
