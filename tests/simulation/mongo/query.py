"""The part of MongoDB's query and expression language that syncd uses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Document = dict[str, Any]
MISSING = object()


def sort_key(value: Any) -> tuple[int, Any]:
    """MongoDB's order: numbers, then text."""
    return (1, value) if isinstance(value, str) else (0, value)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, wanted: bool(value == wanted or (isinstance(value, list) and wanted in value)),
    "$ne": lambda value, wanted: bool(value != wanted),
    "$in": lambda value, wanted: any(value == one for one in wanted),
    "$nin": lambda value, wanted: all(value != one for one in wanted),
    "$gt": lambda value, wanted: value is not MISSING and bool(sort_key(value) > sort_key(wanted)),
    "$gte": lambda value, wanted: value is not MISSING and bool(sort_key(value) >= sort_key(wanted)),
    "$lt": lambda value, wanted: value is not MISSING and bool(sort_key(value) < sort_key(wanted)),
    "$lte": lambda value, wanted: value is not MISSING and bool(sort_key(value) <= sort_key(wanted)),
    "$type": lambda value, wanted: kind_of(value) in wanted,
    "$exists": lambda value, wanted: (value is not MISSING) == wanted,
}


def kind_of(value: Any) -> str:
    """What MongoDB calls a type, of those that the model has."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else "string" if isinstance(value, str) else "another"


def at_path(document: Any, path: str) -> Any:
    """What a path leads to, through an array a list of what it leads to; MISSING where there is nothing."""
    for name in path.split("."):
        if isinstance(document, list):
            document = [one[name] for one in document if isinstance(one, dict) and name in one]
            continue
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


def matches(document: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether a query finds a document."""
    for name, wanted in query.items():
        if name == "$and":
            said = all(matches(document, part) for part in wanted)
        elif name == "$or":
            said = any(matches(document, part) for part in wanted)
        elif name == "$nor":
            said = not any(matches(document, part) for part in wanted)
        elif name == "$expr":
            said = bool(value_of(wanted, document))
        else:
            said = _fits(at_path(document, name), wanted)
        if not said:
            return False
    return True


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict) and next(iter(wanted), "").startswith("$"):
        return all(_OPERATORS[name](value, part) for name, part in wanted.items())
    if wanted is None:
        return value is None or value is MISSING
    return bool(value == wanted)


def value_of(expression: Any, document: Any) -> Any:
    """What an aggregation expression gives."""
    if isinstance(expression, str) and expression.startswith("$"):
        return MISSING if expression == "$$REMOVE" else at_path(document, expression[1:])
    if not isinstance(expression, dict):
        return expression
    ((name, parts),) = expression.items()
    if name == "$literal":
        return parts
    if name == "$and":
        return all(value_of(part, document) for part in parts)
    if name == "$type":
        return "missing" if value_of(parts, document) is MISSING else "string"
    if name == "$toDouble":
        return float(value_of(parts, document))
    if name == "$convert":
        try:
            return float(value_of(parts["input"], document))
        except (TypeError, ValueError):
            return parts["onError"]
    if name in _OF_LISTS:
        return _OF_LISTS[name](parts, document)
    if name == "$cond":
        condition, then, other = parts
        return value_of(then if value_of(condition, document) else other, document)
    first, second = (value_of(part, document) for part in parts)
    return _OPERATORS[name](first, second)


def _mapped(parts: Any, document: Any) -> list[Any]:
    return [value_of(parts["in"], {"$this": one}) for one in value_of(parts["input"], document)]


def _matched(parts: Any, document: Any) -> bool:
    return re.search(parts["regex"], value_of(parts["input"], document)) is not None


def _or_else(parts: Any, document: Any) -> Any:
    value = value_of(parts[0], document)
    return value_of(parts[1], document) if value is None or value is MISSING else value


_OF_LISTS: dict[str, Callable[[Any, Any], Any]] = {
    "$map": _mapped,
    "$anyElementTrue": lambda parts, document: any(value_of(parts[0], document)),
    "$concatArrays": lambda parts, document: [one for part in parts for one in value_of(part, document)],
    "$objectToArray": lambda part, document: [{"k": n, "v": v} for n, v in value_of(part, document).items()],
    "$ifNull": _or_else,
    "$regexMatch": _matched,
}


def sorted_by(documents: list[Document], stages: list[Mapping[str, Any]]) -> list[Document]:
    """What an aggregation finds and sorts."""
    for stage in stages:
        ((name, said),) = stage.items()
        if name == "$match":
            documents = [one for one in documents if matches(one, said)]
        elif name == "$set":
            documents = [_with(one, said) for one in documents]
        elif name == "$sort":
            ((path, order),) = said.items()
            documents = sorted(documents, key=lambda one: at_path(one, path), reverse=order < 0)
        elif name == "$limit":
            documents = documents[:said]
        else:
            documents = [projected(one, said) for one in documents]
    return documents


def projected(document: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> Document:
    """What a projection leaves."""
    if wanted is None:
        return dict(document)
    if wanted and all(said == 0 for said in wanted.values()):
        return {name: value for name, value in document.items() if name not in wanted}
    found: Document = {}
    if wanted.get("_id", 1) and "_id" in document:
        found["_id"] = document["_id"]
    for path, said in wanted.items():
        if path == "_id":
            continue
        value = at_path(document, path) if said == 1 else value_of(said, document)
        if value is not MISSING:
            put(found, path, value)
    # A document of which nothing is wanted that it has is an empty one, and not missing.
    for path in wanted:
        head = path.partition(".")[0]
        if head != path and isinstance(document.get(head), dict):
            found.setdefault(head, {})
    return found


def put(document: Document, path: str, value: Any) -> None:
    """Set what a path leads to."""
    *heads, last = path.split(".")
    for head in heads:
        document = document.setdefault(head, {})
    document[last] = value


def staged(event: Document, stages: list[Mapping[str, Any]]) -> Document | None:
    """An event behind the stages of a change stream; None where they leave it out."""
    for stage in stages:
        ((name, said),) = stage.items()
        if name == "$match":
            if not matches(event, said):
                return None
        elif name == "$set":
            event = _with(event, said)
        else:
            event = projected(event, said)
    return event


def _with(event: Document, said: Mapping[str, Any]) -> Document:
    changed = dict(event)
    for name, expression in said.items():
        value = value_of(expression, event)
        if value is MISSING:
            changed.pop(name, None)
        else:
            changed[name] = value
    return changed
