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

Namespace = tuple[str, str]
"""A database and a collection."""


def stages(plans: Iterable[StreamPlan]) -> list[Document]:
    """What comes behind `$changeStream` for the collections of these plans.

    Of each collection only the fields that its own plans read leave MongoDB, so documents go into a field a set of
    paths; `with_document` puts them back.
    """
    by_namespace: dict[Namespace, list[StreamPlan]] = defaultdict(list)
    for plan in plans:
        by_namespace[plan.namespace].append(plan)
    parts: dict[tuple[str, ...], list[Namespace]] = defaultdict(list)
    for namespace, readers in by_namespace.items():
        if (paths := _paths(readers)) is not None:
            parts[paths].append(namespace)
    patched = [
        namespace
        for namespace, readers in by_namespace.items()
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
    for number, (paths, namespaces) in enumerate(parts.items()):
        name = f"{_PART}{number}"
        moved[name] = _only(namespaces, "$fullDocument")
        wanted |= {f"{name}.{path}": 1 for path in paths} if paths else {name: 1}
    return [_match(by_namespace), {"$set": moved}, {"$project": wanted}]


def _match(namespaces: Iterable[Namespace]) -> Document:
    """In this form MongoDB makes it a part of the scan of its oplog. A rename concerns both names."""
    of = {"$in": _named(namespaces)}
    whole = {"$in": ["dropDatabase", "invalidate"]}
    return {"$match": {"$or": [{"ns": of}, {"to": of}, {"operationType": whole}]}}


def _named(namespaces: Iterable[Namespace]) -> list[Document]:
    """As events name them."""
    return [{"db": database, "coll": collection} for database, collection in namespaces]


def _paths(plans: list[StreamPlan]) -> tuple[str, ...] | None:
    """The fields of documents that any of the plans takes from a change; none at all where all of them read."""
    paths: set[str] = set()
    for plan in plans:
        if "fullDocument" in plan.event_fields:
            return _WHOLE
        start = "fullDocument."
        paths |= {path.removeprefix(start) for path in plan.event_fields if path.startswith(start)}
    return tuple(server_projection(paths)) if paths else None


def _only(namespaces: Iterable[Namespace], value: str) -> Any:
    return {"$cond": [{"$in": ["$ns", {"$literal": _named(namespaces)}]}, value, "$$REMOVE"]}


def with_document(event: Document) -> Document:
    """An event as a stream over its collection gives it."""
    for name in event:
        if name.startswith(_PART) and name != "documentKey":
            event["fullDocument"] = event.pop(name)
            break
    return event
