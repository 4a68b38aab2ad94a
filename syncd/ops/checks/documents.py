"""Reads a few documents of a collection, and warns where they are not those that the contract seems to expect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from bson.errors import BSONError
from pymongo.errors import OperationFailure

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.projection import FieldTtl, Projection
from syncd.contract.model.redis.template import template_of
from syncd.contract.model.values import COLLECTION, DATABASE
from syncd.errors import FatalError, ProjectionError, SettingsError, StoreError
from syncd.ops.checks.conditions import Finding
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.paths import MISSING, getter
from syncd.plan.to_redis.change import Dead
from syncd.plan.to_redis.compile import compile_contract
from syncd.plan.types import expiring_fields
from syncd.plan.values.codec import CODEC
from syncd.stores.messages import of_mongo
from syncd.stores.mongo.codes import is_about_document
from syncd.stores.mongo.collections import kind_of
from syncd.stores.mongo.store import Document, MongoStore, translated

SAMPLE = 100
LONGEST_MS = 5_000
"""For a filter without an index: a person waits."""


def examine_documents(contract: Contract, mongo: MongoStore, hmac_key: bytes | None) -> Iterator[Finding]:
    """Reasons why a contract from MongoDB to Redis would copy nothing, or only a part."""
    database, _, name = contract.collection.partition(".")
    if kind_of(mongo, (database, name)) is None:
        yield _finding(
            contract,
            f"there is no collection {contract.shown_collection}{_meant(name, _names(mongo, database))}",
            "correct `mongo.collection`, or go on where it is yet to come",
        )
        return
    try:
        sample = _sample(mongo, contract.collection, contract.mongo.filter)
    except FatalError as error:
        cause = error.__cause__
        if not isinstance(cause, OperationFailure) or not is_about_document(cause.code or 0):
            raise
        yield _finding(
            contract,
            f"`filter` fails on documents of {contract.shown_collection}, which would be dead letters "
            f"({of_mongo(cause)})",
            "guard it ($cond, $type), or fix the documents",
        )
        return
    if sample is None:
        return
    if not sample:
        yield from _nothing(contract, mongo)
        return
    yield from _missing_fields(contract, sample)
    yield from _joined(contract, mongo, sample)
    yield from _dead_letters(contract, sample, hmac_key)


def _finding(contract: Contract, what: str, remedy: str) -> Finding:
    return Finding("data", what, remedy, (), (contract.name,))


def _meant(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _names(mongo: MongoStore, database: str) -> list[str]:
    try:
        with translated():
            return list(
                mongo.client[database].list_collection_names(authorizedCollections=True, nameOnly=True)
            )
    except StoreError:  # a hint is not worth one
        return []


def _sample(mongo: MongoStore, namespace: str, query: Mapping[str, Any] | None) -> list[Document] | None:
    """None where MongoDB does not say, or not in time."""
    database, _, name = namespace.partition(".")
    collection = mongo.client[database].get_collection(name, CODEC)
    with translated():
        try:
            return list(collection.find(query or {}, limit=SAMPLE, max_time_ms=LONGEST_MS))
        except BSONError:
            return None  # of a document that this driver cannot read
        except OperationFailure as error:
            if error.code != _TOO_LONG:
                raise
            return None


_TOO_LONG = 50


def _nothing(contract: Contract, mongo: MongoStore) -> Iterator[Finding]:
    shown = contract.shown_collection
    sample = _sample(mongo, contract.collection, None) if contract.mongo.filter else []
    if not sample:
        yield _finding(contract, f"collection {shown} is empty", "correct `mongo.collection`, or go on")
        return
    known = _paths(sample)
    unknown = [path for path in _filtered(contract.mongo.filter) if path not in known]
    hint = "".join(f", and no document has `{path}`{_meant(path, sorted(known))}" for path in unknown[:3])
    yield _finding(
        contract, f"`filter` matches no document of {shown}{hint}", "correct `mongo.filter`, or go on"
    )


def _filtered(query: Any) -> Iterator[str]:
    """The plain paths of a query."""
    if isinstance(query, Mapping):
        for name, value in query.items():
            if name in ("$and", "$or", "$nor"):
                for one in value:
                    yield from _filtered(one)
            elif not name.startswith("$"):
                yield name


def _paths(sample: Sequence[Document]) -> set[str]:
    """All paths of these documents, also of subdocuments and in arrays."""
    found: set[str] = set()
    for document in sample:
        _add_paths(document, "", found)
    return found


def _add_paths(value: Any, before: str, found: set[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _add_paths(item, before, found)
    elif isinstance(value, dict):
        for name, member in value.items():
            found.add(before + name)
            _add_paths(member, f"{before}{name}.", found)


def _missing_fields(contract: Contract, sample: Sequence[Document]) -> Iterator[Finding]:
    for projection in contract.redis:
        for path, whose in _named(projection):
            if path.partition(".")[0] in contract.mongo.with_:
                continue  # it is of another collection
            if what := _nowhere(path, sample, contract.shown_collection):
                yield _finding(
                    contract, what, f"correct {whose} of projection {projection.projection}, or go on"
                )


def _joined(contract: Contract, mongo: MongoStore, sample: Sequence[Document]) -> Iterator[Finding]:
    """Joins that would find nothing, or find documents without what is read of them."""
    for name, join in contract.mongo.with_.items():
        database, _, collection = join.collection.partition(".")
        if kind_of(mongo, (database, collection)) is None:
            meant = _meant(collection, _names(mongo, database))
            what = f"there is no collection {join.collection}, which the join `{name}` names{meant}"
            yield _finding(contract, what, "correct it, or go on where it is yet to come")
            continue
        where = f"of the join `{name}`"
        is_own = join.local.partition(".")[0] not in contract.mongo.with_.keys() - {name}
        if is_own and (what := _nowhere(join.local, sample, contract.shown_collection)):
            yield _finding(contract, what, f"correct `on` {where}, or go on")
        there = _sample(mongo, join.collection, None) or []
        for what in filter(None, (_nowhere(path, there, join.collection) for path in join.fields if there)):
            yield _finding(contract, what, f"correct `fields` {where}, or go on")


def _nowhere(path: str, sample: Sequence[Document], collection: str) -> str:
    """What is wrong where none of the documents has a path; else ""."""
    if any(getter(path)(document) not in (MISSING, []) for document in sample):
        return ""
    return (
        f"none of {len(sample)} documents of {collection} has `{path}`{_meant(path, sorted(_paths(sample)))}"
    )


def _named(projection: Projection) -> Iterator[tuple[str, str]]:
    """Paths of documents that a projection names, each with what names it. Those of its key are not among them, but for
    an array: without one a document has no key, which is no dead letter."""
    specs = {**(projection.fields or {}), **({"value": projection.value} if projection.value else {})}
    for name, spec in specs.items():
        if spec.from_ is not None and spec.from_ not in (DATABASE, COLLECTION):
            yield spec.from_, f"field `{name}`"
    if isinstance(projection.ttl, FieldTtl):
        yield projection.ttl.field, "`ttl`"
    for name, path in expiring_fields(projection).items():
        yield path, f"`ttl` of `{name}`"
    for key in ("each", "time", "score", "position"):
        if (path := getattr(projection, key)) is not None:
            yield path, f"`{key}`"
    if projection.vector is not None:
        yield projection.vector.from_, "`vector`"
    for key in ("attributes", "labels"):
        for name, path in (getattr(projection, key) or {}).items():
            yield path, f"`{name}` of `{key}`"
    for one in template_of(projection).placeholders:
        if one.many:
            yield one.path, "`key`"


def _dead_letters(
    contract: Contract, sample: Sequence[Document], hmac_key: bytes | None
) -> Iterator[Finding]:
    """Documents that would be dead letters."""
    try:
        plan = compile_contract(contract, hmac_key)
    except SettingsError:
        return  # the preflight reports it
    dead: Counter[tuple[str, str]] = Counter()
    for document in sample:
        try:
            writes = plan.puts(encode_key_value(document["_id"]), document, "", {})
        except ProjectionError as error:
            dead["", str(error)] += 1
            continue
        dead.update(
            (f" of projection {one.projection}", f"{one.reason}: {one.detail}")
            for one in writes
            if isinstance(one, Dead)
        )
    for (projection, detail), count in dead.items():
        yield _finding(
            contract,
            f"{count} of {len(sample)} documents of {contract.shown_collection} would be dead letters{projection} "
            f"({detail})",
            _KEY_REMEDY if _is_of_key(contract, detail) else "see docs/how-to/dead-letters.md",
        )


_KEY_REMEDY = (
    "build the key of fields that each document has, and that hold one value: no path leads through an array"
)


def _is_of_key(contract: Contract, detail: str) -> bool:
    templates = (template_of(one).text for one in contract.redis)
    return any(f"key template `{text}`" in detail for text in templates)
