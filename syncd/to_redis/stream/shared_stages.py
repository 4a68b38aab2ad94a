"""The stages of a change stream that several collections share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from syncd.plan.paths import server_projection
from syncd.plan.stream_plan import StreamPlan
from syncd.stores.mongo.store import Document

_PART = "document"
_WHOLE: tuple[str, ...] = ()


def stages(plans: Iterable[StreamPlan]) -> list[Document]:
    """What comes behind `$changeStream` for the collections of these plans, all of one database.

    Of each collection only the fields that its own plans read leave MongoDB, so documents go into a field a set of
    paths; `with_document` puts them back.
    """
    by_collection: dict[str, list[StreamPlan]] = defaultdict(list)
    for plan in plans:
        by_collection[plan.namespace[1]].append(plan)
    database = plan.namespace[0]
    parts: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for collection, readers in by_collection.items():
        if (paths := _paths(readers)) is not None:
            parts[paths].append(collection)
    patched = [
        name
        for name, readers in by_collection.items()
        if any("updateDescription" in plan.event_fields for plan in readers)
    ]
    moved: Document = {"updateDescription": _only(patched, "$updateDescription")}
    wanted: Document = {
        "_id": 1,
        "operationType": 1,
        "documentKey": 1,
        "ns": 1,
        "to": 1,
        "updateDescription": 1,
    }
    wanted["wallTime"] = {"$toDouble": "$wallTime"}
    for number, (paths, collections) in enumerate(parts.items()):
        name = f"{_PART}{number}"
        moved[name] = _only(collections, "$fullDocument")
        wanted |= {f"{name}.{path}": 1 for path in paths} if paths else {name: 1}
    return [_match(database, list(by_collection)), {"$set": moved}, {"$project": wanted}]


def _match(database: str, collections: list[str]) -> Document:
    """In this form MongoDB makes it a part of the scan of its oplog. A rename concerns both names."""
    namespaces = {"$in": [{"db": database, "coll": name} for name in collections]}
    whole = {"$in": ["dropDatabase", "invalidate"]}
    return {"$match": {"$or": [{"ns": namespaces}, {"to": namespaces}, {"operationType": whole}]}}


def _paths(plans: list[StreamPlan]) -> tuple[str, ...] | None:
    """The fields of documents that any of the plans takes from a change; none at all where all of them read."""
    paths: set[str] = set()
    for plan in plans:
        if "fullDocument" in plan.event_fields:
            return _WHOLE
        start = "fullDocument."
        paths |= {path.removeprefix(start) for path in plan.event_fields if path.startswith(start)}
    return tuple(server_projection(paths)) if paths else None


def _only(collections: list[str], value: str) -> Any:
    return {"$cond": [{"$in": ["$ns.coll", {"$literal": collections}]}, value, "$$REMOVE"]}


def with_document(event: Document) -> Document:
    """An event as a stream over its collection gives it."""
    for name in event:
        if name.startswith(_PART) and name != "documentKey":
            event["fullDocument"] = event.pop(name)
            break
    return event
