"""A contract compiled: what to ask MongoDB for, and functions from documents to writes. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.indexed import entries_of
from syncd.contract.model.redis.projection import Projection
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.errors import why_unfit
from syncd.plan.misfits import Misfits
from syncd.plan.paths import server_projection
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Dead, Delta, Drop, Put, Write
from syncd.plan.to_redis.change_feed import UPDATE, ChangeFeed
from syncd.plan.to_redis.delta import Deltas
from syncd.plan.to_redis.digest import digest_of
from syncd.plan.to_redis.each import shape_of
from syncd.plan.to_redis.joins import joins_of, own_paths
from syncd.plan.to_redis.member_shape import shared_shape
from syncd.plan.to_redis.shape import Shape
from syncd.plan.to_redis.shared_hash import SharedHashShape
from syncd.plan.types import Memberships
from syncd.plan.values.searchable import label_separator


@dataclass(frozen=True, kw_only=True)
class Plan(StreamPlan):
    """One contract from MongoDB to Redis. Compiled by `compile_contract`."""

    deltas: Deltas
    """What updates mean, where they may go in as such."""

    def puts(
        self, ident: str, document: Mapping[str, Any], time: str, change: Mapping[str, Any]
    ) -> list[Write]:
        """All writes for a document as it was at `time`. A shape that does not fit gives a dead letter instead."""
        writes: list[Write] = []
        for shape in self.shapes:
            try:
                writes.append(shape.put(ident, document, time))
            except Exception as error:  # noqa: BLE001 - no error of one document may stop the others
                dead = self._dead(shape, ident, document, error, change)
                writes.append(dead)
                if not dead.key and not shape.by_id and not shape.each:
                    writes.append(Drop(shape, ident, None))  # the key that it had is no longer its own
        return writes

    def copies(self, documents: Mapping[str, Mapping[str, Any]], time: str) -> list[Write]:
        """`puts` for documents by ident, as a snapshot read them at `time`."""
        if len(self.shapes) == 1:
            put = self.shapes[0].put
            try:
                return [put(ident, document, time) for ident, document in documents.items()]
            except Exception:  # noqa: BLE001, S110 - one of them does not fit: then one by one
                pass
        writes: list[Write] = []
        for ident, document in documents.items():
            writes += self.puts(ident, document, time, {"documentKey": document, "time": time})
        return writes

    @staticmethod
    def _dead(
        shape: Shape,
        ident: str,
        document: Mapping[str, Any],
        error: Exception,
        change: Mapping[str, Any],
    ) -> Dead:
        try:
            key = shape.key(document)
        except Exception:  # noqa: BLE001 - the same trouble
            key = ""
        why = why_unfit(error)
        stale = shape.stale(ident) if key else ""
        return Dead(shape.name, ident, key, why.reason, why.detail, change, stale)

    def drops(self, ident: str, document_id: Any, *, deleted: bool) -> list[Write]:
        """All writes for a document that is gone or no longer matches the filter.

        Without a filter a document that a read does not find was deleted; with one, only a delete event shows that.
        """
        if self.contract.sync.on_delete == "ignore" and (deleted or self.filter is None):
            return []
        return [
            shape.drop(ident, document_id)
            for shape in self.shapes
            if not shape.by_id or shape.key_if_any(ident, document_id) is not None
        ]

    def patches(self, ident: str, document_id: Any, deltas: list[Delta]) -> list[Write]:
        """Several deltas of one document, oldest first, as one patch a shape; nothing for a shape untouched."""
        writes: list[Write] = []
        for at, shape in enumerate(self.shapes):
            sets, removed = deltas[0][at] if len(deltas) == 1 else _merge(at, deltas, {})
            if (sets or removed) and (key := shape.key_if_any(ident, document_id)) is not None:
                writes.append(shape.patch(ident, key, sets, removed))
        return writes

    def patched(self, writes: list[Write], deltas: list[Delta]) -> list[Write] | None:
        """Whole writes of a document, as `puts` gave them, brought forward by deltas that came after it.

        None when one of them cannot take a delta (an empty hash, a list, a dead letter): the document must be read.
        """
        result: list[Write] = []
        for at, write in enumerate(writes):
            if not isinstance(write, Put) or isinstance(write.content, str | bytes | list | Memberships):
                return None
            content, names = write.content, write.shape.names
            before = dict(zip(names, content, strict=True)) if isinstance(content, tuple) else dict(content)
            fields, _ = _merge(at, deltas, before)
            whole = write._replace(content=fields)
            stays = write.shape.form.can_hold(fields)
            result.append(whole if stays else Drop(write.shape, write.ident, write.key))
        return result


def _merge(at: int, deltas: list[Delta], fields: dict[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    removed: frozenset[str] = frozenset()
    for delta in deltas:
        sets, gone = delta[at]
        for name in gone:
            fields.pop(name, None)
        fields.update(sets)
        removed = (removed | gone) - sets.keys()
    return fields, removed


def compile_contract(contract: Contract, hmac_key: bytes | None = None) -> Plan:
    """Compile a contract that passed its checks. Without `hmac_key`, `mask: hmac` raises SettingsError."""
    misfits = Misfits()
    fed = [projection for projection in contract.redis if TYPE_RULES[projection.type].fed]
    shapes = tuple(
        _shape(projection, hmac_key, misfits) for projection in contract.redis if projection not in fed
    )
    filtered = contract.mongo.filter is not None
    feeds = tuple(ChangeFeed(projection, hmac_key, misfits, filtered=filtered) for projection in fed)
    paths: set[str] | None = set()
    projected: tuple[Shape | ChangeFeed, ...] = (*shapes, *feeds)
    for one in projected:
        paths = None if paths is None or one.reads is None else paths | one.reads
    joins = joins_of(contract)
    find_projection = None if paths is None else server_projection(own_paths(joins, paths))
    fingerprint = _fingerprint(contract, hmac_key)
    return Plan(
        contract=contract,
        shapes=shapes,
        find_projection=find_projection,
        event_fields=_event_fields(contract, shapes, feeds, find_projection),
        feeds=feeds,
        joins=joins,
        deltas=Deltas(shapes),
        source=_source(contract, paths),
        fingerprint=fingerprint,
        version=fingerprint + _version_of(fed),
        misfits=misfits,
    )


def _shape(projection: Projection, hmac_key: bytes | None, misfits: Misfits) -> Shape:
    if projection.share:
        return SharedHashShape(projection, hmac_key, misfits)
    return shared_shape(projection) if projection.is_shared else shape_of(projection, hmac_key, misfits)


def _event_fields(
    contract: Contract,
    shapes: Iterable[Shape],
    feeds: Iterable[ChangeFeed],
    find_projection: dict[str, int] | None,
) -> dict[str, Any]:
    if contract.mongo.filter is not None or contract.mongo.with_:
        return {"updateDescription": 1} if any(feeds) else {}  # every change is resolved by a read
    names_updates = any(UPDATE in feed.events for feed in feeds)
    wanted: dict[str, Any] = (
        {"updateDescription": 1} if names_updates or all(s.deltas for s in shapes) else {}
    )
    if find_projection is None:
        return wanted | {"fullDocument": 1}
    return wanted | {f"fullDocument.{path}": 1 for path in find_projection}


def _source(contract: Contract, paths: set[str] | None) -> dict[str, Any] | None:
    if contract.reconcile is None or contract.reconcile.check != "digest":
        return None
    specs = [
        spec
        for shape in contract.redis
        for spec in [*(shape.fields or {}).values(), *([shape.value] if shape.value else [])]
    ]
    vectors = {spec.from_ for spec in specs if spec.type == "vector" and spec.from_ is not None}
    vectors |= {shape.vector.from_ for shape in contract.redis if shape.vector is not None}
    return digest_of(None if paths is None else server_projection(paths), vectors)


def _fingerprint(contract: Contract, hmac_key: bytes | None) -> str:
    """Digest of the collection, the filter, every projection but its index, and the masking key."""
    content = {
        "collection": contract.collection,
        "filter": json.loads(_text_of_filter(contract.mongo.filter)),
        "redis": [
            shape.model_dump(mode="json", exclude={"index"}) | {"whole": shape.whole}
            for shape in contract.redis
            # A feed has no state: an edit is about the entries to come.
            if not TYPE_RULES[shape.type].fed or shape.copy_
        ],
        "on_delete": contract.sync.on_delete,
    }
    if contract.mongo.with_:
        content["with"] = {name: join.model_dump(mode="json") for name, join in contract.mongo.with_.items()}
    if searched := [said for projection in contract.redis for said in _searched(projection)]:
        content["searched"] = searched
    if contract.reconcile is not None and contract.reconcile.check == "digest":
        content["digests"] = True  # those of documents that were copied before are not known
    digest = hashlib.blake2b(orjson.dumps(content, option=orjson.OPT_SORT_KEYS), digest_size=16)
    if hmac_key is not None and any(_is_keyed(contract)):
        digest.update(hashlib.blake2b(hmac_key, digest_size=16).digest())
    return digest.hexdigest()


def _version_of(feeds: Iterable[Projection]) -> str:
    """What a copy does not show: empty without feeds."""
    content = [feed.model_dump(mode="json") for feed in feeds]
    return f"+{hashlib.blake2b(orjson.dumps(content), digest_size=8).hexdigest()}" if content else ""


def _searched(projection: Projection) -> Iterable[list[str | None]]:
    """Where a search index changes what is written of a field."""
    for name, entries in entries_of(projection).items():
        spec = (projection.fields or {}).get(name)
        kind, separator = projection.type, label_separator(TYPE_RULES[projection.type].index, entries)
        joins = spec is None or (spec.type in (None, "string") and not spec.mask)
        if joins and separator is not None:
            yield [projection.projection, name, "labels", separator]
        if spec is not None and spec.on_error != "letter":
            yield [projection.projection, name, kind, *sorted(entry.type for entry in entries)]


def _is_keyed(contract: Contract) -> Iterable[bool]:
    for projection in contract.redis:
        specs = list((projection.fields or {}).values()) + ([projection.value] if projection.value else [])
        yield any(spec.mask == "hmac" for spec in specs)


def _text_of_filter(query: Mapping[str, Any] | None) -> str:
    from bson import json_util  # noqa: PLC0415 - slow to import, needed once a contract

    return json_util.dumps(query, json_options=json_util.CANONICAL_JSON_OPTIONS)
