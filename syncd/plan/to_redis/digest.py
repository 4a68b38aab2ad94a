"""MongoDB's own digest of what a plan reads of a document, as expressions that it evaluates.

`$toHashedIndexKey` is fast, and drops what follows the point of a number, at any depth: 0.5 and 0.7 hash alike. So
numbers are taken apart before, four levels deep. What lies deeper gets another digest with every read: then it counts
as different, and is compared in full.

Left out on purpose: minus zero counts as zero, and a component of a vector counts to 2**-52 and up to 2,000.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, TypeAlias

from bson import Binary, Int64

Expression: TypeAlias = "dict[str, Any]"

SOURCE = "_syncd_source"
"""Where a read has digest and bucket of each document, as `[digest, bucket]`."""
BUCKETS = 4096
"""A power of two, so that a bucket belongs to one partition where their count is one as well."""
DIGEST_BITS = 40
"""Few enough for MongoDB to add up a million of them exactly."""
_DEPTH = 4
_PRIME = Int64(9_007_199_254_740_881)
"""The largest below 2**53: a number beyond it leaves a remainder that a double holds exactly."""
_UP = 2.0**62
_NO_OBJECT: Any = {"$literal": {}}
_AFTER_ARRAYS = {"$literal": Binary(b"")}


def bucket_of(path: str) -> Expression:
    """The bucket, 0 to BUCKETS - 1, of the `_id` at `path`."""
    return {"$abs": {"$mod": [{"$toHashedIndexKey": path}, BUCKETS]}}


def digest_of(paths: Iterable[str] | None, vectors: Collection[str] = ()) -> Expression:
    """The digest of a document's values at these paths, None for all of it. `vectors`: paths of arrays of numbers."""
    if paths is None:
        return _reduced({"whole": _value("$$ROOT", _DEPTH)})
    names = {path: f"${path}" for path in sorted(paths)}
    plain = [name for path, name in names.items() if path not in vectors]
    parts = {f"p{at}": _flat(name) for at, name in enumerate(plain)}
    parts |= {f"v{at}": _vector(names[path]) for at, path in enumerate(sorted(vectors)) if path in names}
    # The way down costs ten times as much as all else, and most documents need none of it.
    there = {"$objectToArray": {f"p{at}": name for at, name in enumerate(plain)}}
    chosen = {"$filter": {"input": there, "as": "field", "cond": _has_to_descend("$$field.v")}}
    down = {"$map": {"input": chosen, "as": "field", "in": ["$$field.k", _value("$$field.v", _DEPTH)]}}
    parts["deep"] = {"$cond": [{"$or": [_has_to_descend(name) for name in plain]}, down, 0]}
    return _reduced(parts)


def _reduced(parts: Expression) -> Expression:
    return {"$mod": [{"$toHashedIndexKey": parts}, 1 << DIGEST_BITS]}


def _flat(value: str) -> Expression:
    return {"$cond": [{"$isNumber": value}, _number(value), value]}


def _number(value: str) -> Expression:
    is_double, is_decimal = ({"$eq": [{"$type": value}, kind]} for kind in ("double", "decimal"))
    as_text = ["decimal", {"$toString": value}]
    return {"$cond": [is_double, _double(value), {"$cond": [is_decimal, as_text, {"$mod": [value, _PRIME]}]}]}


def _double(value: str) -> Expression:
    """Whole doubles are distinguished from integers, for their texts in Redis differ. Two steps of 62 bits behind the
    point."""
    finer = {"$multiply": [{"$mod": ["$$fine", 1]}, _UP]}
    fraction = {"$multiply": [{"$mod": [value, 1]}, _UP]}
    parts = {"$let": {"vars": {"fine": fraction}, "in": [value, "$$fine", finer]}}
    return {"$cond": [{"$eq": [{"$mod": [value, 1]}, 0]}, ["double", {"$mod": [value, _PRIME]}], parts]}


def _is_container(value: str) -> Expression:
    """By the order of BSON types, which is the fastest question."""
    return {"$and": [{"$gte": [value, _NO_OBJECT]}, {"$lt": [value, _AFTER_ARRAYS]}]}


def _has_to_descend(value: str) -> Expression:
    """Whether there may be a number within. An array of text has none, and is the commonest."""
    is_text = {"$and": [{"$gte": [{"$min": value}, ""]}, {"$lt": [{"$max": value}, _NO_OBJECT]}]}
    return {"$and": [_is_container(value), {"$not": [is_text]}]}


def _value(value: str, depth: int) -> Expression:
    within: Any = {"$multiply": [{"$rand": {}}, 1e15]}
    if depth:
        name = f"at{depth}"
        elements = {"$map": {"input": value, "as": "element", "in": {"v": "$$element"}}}
        items = {"$cond": [{"$isArray": [value]}, elements, {"$objectToArray": value}]}
        parts = [f"$${name}.k", _value(f"$${name}.v", depth - 1)]
        within = [{"$type": value}, {"$map": {"input": items, "as": name, "in": parts}}]
    other = {"$cond": [_is_container(value), within, value]}
    return {"$cond": [{"$isNumber": value}, _number(value), other]}


def _vector(value: str) -> Expression:
    element = {"$cond": [{"$isNumber": "$$x"}, {"$multiply": ["$$x", 2.0**52]}, "$$x"]}
    return {"$cond": [{"$isArray": [value]}, {"$map": {"input": value, "as": "x", "in": element}}, value]}
