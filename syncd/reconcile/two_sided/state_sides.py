"""Compares keys that go to MongoDB with their documents: the key says what its document should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from syncd.errors import why_unfit
from syncd.plan.paths import MISSING as NOTHING
from syncd.plan.paths import getter, server_projection
from syncd.plan.to_mongo.gone import Gone, why_gone
from syncd.plan.to_mongo.state import ABSENT, FoundKey, StatePlan
from syncd.reconcile.compare import CONTENT, EXPIRED, EXTRA, MISSING, TTL, TTL_TOLERANCE_MS, Flaw, same_value
from syncd.reconcile.document_comparison import Difference
from syncd.reconcile.two_sided.sides import KeyDifference, KeySides, Part, SideComparison
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.redis.records.requests.repairs import of_absent, of_key
from syncd.stores.redis.store import RedisStore

DELETED = "_syncd.deleted"
_NOT_KNOWN = -2


class StateSides(KeySides):
    """Of a contract of `capture: outbox` or `keyspace`."""

    def __init__(self, plan: StatePlan, mongo: MongoStore, redis: RedisStore, site: str, policy: str) -> None:
        """`site`: whose documents these are. `policy`: how Redis evicts keys."""
        paths = [".".join(field.path) for field in (*plan.fields, *([plan.value] if plan.value else []))]
        paths += [*plan.key_paths, "_syncd", *([plan.expires_at] if plan.expires_at else [])]
        wanted = server_projection(paths)
        super().__init__(redis, plan, Lookup(mongo, Part(plan.namespace, None, wanted)))
        self._plan, self._site, self._policy = plan, site, policy
        own = {"_syncd.site": site, "_syncd.pos": {"$exists": True}, DELETED: {"$exists": False}}
        self._own = Lookup(mongo, Part(plan.namespace, own, {"_id": 1}))
        self._get = {path: getter(path) for path in [*paths, DELETED]}

    def chunks(self, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """Documents that were made of a key of this site; none where `on_delete: ignore` keeps them."""
        return iter(()) if self._plan.contract.sync.on_delete == "ignore" else self._chunks(self._own, size)

    def compare(self, keys: Sequence[bytes]) -> SideComparison:
        """Compare these keys with their documents."""
        documents = self._read(keys)
        states = self._states.read(keys)
        differing = {}
        for key, found in states.found.items():
            document = documents.get(key)
            if (flaw := self._flaw(key, found, document, states.moment // 1000)) is not None:
                difference = Difference(self._plan.projection, key.decode(), *flaw)
                differing[key] = KeyDifference(
                    difference,
                    self._content(found.digest),
                    self._is_done(found),
                    position=_position(document),
                )
        return SideComparison(differing, len(documents), self._point(states))

    def repair(self, key: bytes, found: KeyDifference) -> str:
        """To sync the key again; a document without a key is to be deleted."""
        if found.difference.kind == EXTRA:
            return of_absent(found.difference.key, found.position)
        return of_key(found.difference.projection, found.difference.key)

    def dead_letter(self, key: bytes) -> str:
        """The key."""
        return key.decode()

    def _content(self, digest: str) -> str:
        """The part of a digest that MongoDB holds too: an application may move the expiry all the time."""
        return digest if self._plan.expires_at is not None else digest.partition(":")[0]

    def _is_done(self, found: FoundKey) -> bool:
        """Whether the lane remembers that it has written this state. An outbox remembers nothing."""
        return self._plan.contract.sync.capture == "keyspace" and self._content(
            found.digest
        ) == self._content(found.known)

    def _flaw(self, key: bytes, found: FoundKey, document: Document | None, now: int) -> Flaw | None:
        if not found.is_there:
            return None if document is None else self._without_key(found, document, now)
        try:
            update = self._plan.update_of(key, found)
            return (MISSING, ()) if document is None else self._differing(update.set, update.unset, document)
        except Exception as error:  # noqa: BLE001 - a dead letter says the same, once the lane has met it
            return CONTENT, (f"({why_unfit(error).reason})",)

    def _differing(self, sets: Mapping[str, Any], unsets: list[str], document: Document) -> Flaw | None:
        there = {path: get(document) for path, get in self._get.items()}
        moment = self._plan.expires_at
        names = [
            path for path, value in sets.items() if path != moment and not same_value(value, there[path])
        ]
        names += [p for p in [*unsets, DELETED] if p != moment and there[p] is not NOTHING]
        late = moment is not None and not _near(sets.get(moment, NOTHING), there[moment])
        if names:
            return CONTENT, (*names, moment) if late and moment else tuple(names)
        return (TTL, (moment,)) if late and moment else None

    def _without_key(self, found: FoundKey, document: Document, now: int) -> Flaw | None:
        """Of a document whose key is not there. A key that expired was not deleted, unless the contract says so;
        and one that may have expired is not taken for deleted."""
        sync, said = self._plan.contract.sync, document.get("_syncd")
        if sync.on_delete == "ignore" or not isinstance(said, dict):
            return None
        if said.get("site") != self._site or "pos" not in said or "deleted" in said:
            return None
        if found.type == ABSENT:
            return EXTRA, ()  # members do not expire
        expires = self._expiry(found, document)
        if expires == _NOT_KNOWN:
            is_sure = sync.on_expire == "delete" and self._policy == "noeviction"
            return (EXTRA if is_sure else EXPIRED), ()
        gone = why_gone(expires, now, self._policy)
        deletes = gone == Gone.DELETED or (gone == Gone.EXPIRED and sync.on_expire == "delete")
        return (EXTRA if deletes else EXPIRED), ()

    def _expiry(self, found: FoundKey, document: Document) -> int:
        """When the key that is gone was to expire, by what the lane or the document remembers; -1 never."""
        if found.known and self._plan.contract.sync.capture == "keyspace":
            return int(found.known.partition(":")[2])
        if self._plan.expires_at is None:
            return _NOT_KNOWN
        moment = self._get[self._plan.expires_at](document)
        return -1 if moment is NOTHING else _milliseconds(moment)


def _position(document: Document | None) -> str:
    said = (document or {}).get("_syncd")
    return str(said.get("pos", "")) if isinstance(said, dict) else ""


def _near(one: Any, other: Any) -> bool:
    if one is NOTHING or other is NOTHING:
        return one is other
    return abs(_milliseconds(one) - _milliseconds(other)) <= TTL_TOLERANCE_MS


def _milliseconds(moment: Any) -> int:
    try:
        return int(moment)
    except (TypeError, ValueError):  # another client has put something there
        return _NOT_KNOWN
