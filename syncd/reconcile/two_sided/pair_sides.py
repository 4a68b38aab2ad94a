"""Keys and documents that go both ways: what the lane would write, if it read them now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from syncd.errors import why_unfit
from syncd.plan.both.merge import Base, Merged, merge
from syncd.plan.both.plan import Record, TwoWayPlan, digests, is_agreed, known_of, stored
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_mongo.gone import Gone, why_gone
from syncd.plan.to_mongo.state import FoundKey
from syncd.reconcile.compare import CONTENT, EXPIRED, EXTRA, MISSING, Flaw
from syncd.reconcile.document_comparison import Difference
from syncd.reconcile.two_sided.sides import KeyDifference, KeySides, SideComparison
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.redis.records.requests.repairs import of_document
from syncd.stores.redis.store import RedisStore

NO_KEY, NO_DOCUMENT, BASE = ("(key)",), ("(document)",), ("(base)",)
"""Which side is not there; or both sides are alike, and the base is not."""


class PairSides(KeySides):
    """Of a contract of `direction: both`."""

    def __init__(self, plan: TwoWayPlan, mongo: MongoStore, redis: RedisStore, policy: str) -> None:
        """`policy`: how Redis evicts keys."""
        super().__init__(redis, plan.state, Lookup(mongo, plan.documents))
        self._plan, self._policy = plan, policy
        self._ids = Lookup(mongo, plan)

    def chunks(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """All documents."""
        return self._chunks(self._ids, size)

    def compare(self, keys: Sequence[bytes]) -> SideComparison:
        """Compare these keys with their documents, and both with the base."""
        documents = self._read(keys)
        marked = self._states.marked(keys)
        states = self._states.read(keys)
        differing = {}
        for key, found in states.found.items():
            flaw, source = self._flaw(found, documents.get(key), states.moment // 1000)
            if flaw is not None:
                difference = Difference(self._state.projection, key.decode(), *flaw)
                differing[key] = KeyDifference(difference, source, is_agreed(found), waits=key in marked)
        return SideComparison(differing, len(documents), self._point(states))

    def repair(self, key: bytes, found: KeyDifference) -> str:
        """To merge the key again, as if its document had changed."""
        return of_document(self.dead_letter(key))

    def dead_letter(self, key: bytes) -> str:
        """The text of the `_id`."""
        return encode_key_value(self._state.document_id(key))

    def _flaw(self, found: FoundKey, document: Document | None, now: int) -> tuple[Flaw | None, str]:
        """What differs, and what that was decided by."""
        record = known_of(found, document)
        content = found.digest.partition(":")[0]
        try:
            redis, mongo = digests(self._plan.of_key(found)), digests(self._plan.of_document(document))
        except Exception as error:  # noqa: BLE001 - a dead letter says the same, once the lane has met it
            reason = why_unfit(error).reason
            return (CONTENT, (f"({reason})",)), f"{content} {reason}"
        source = f"{content} {record} {sorted(mongo.items()) if mongo is not None else None}"
        if redis is None and mongo is None:
            return None, source
        merged = merge(
            record.base if record else None, redis, mongo, self._plan.rules,
            deleted=False, redis_is_newer=False, restore=False,
        )  # fmt: skip
        if redis is None:
            return self._without_key(merged, record, found, now), source
        if mongo is None:
            return _without_document(merged), source
        if names := merged.to_redis | merged.to_mongo:
            return (CONTENT, tuple(sorted(names))), source
        is_known = record is not None and record.base == Base(merged.agreed or {})
        return None if is_known else (CONTENT, BASE), source

    def _without_key(self, merged: Merged, record: Record | None, found: FoundKey, now: int) -> Flaw | None:
        if not merged.keep:
            has_one = bool(merged.to_redis) or not self._plan.rules.empty_is_gone
            return (MISSING, NO_KEY) if has_one else None
        if record is None or record.base.lost:
            return EXPIRED, ()
        # No entry of an outbox says that a key expired, so a key may be gone that the lane knows without an expiry.
        listens = self._plan.contract.sync.capture == "keyspace" and self._plan.rules.deletes
        expires = stored(found.known)[0].partition(":")[2]
        if listens and expires and why_gone(int(expires), now, self._policy) == Gone.DELETED:
            return MISSING, NO_KEY
        return EXPIRED, ()


def _without_document(merged: Merged) -> Flaw | None:
    if merged.delete:
        return EXTRA, ()
    return None if merged.keep else (MISSING, NO_DOCUMENT)
