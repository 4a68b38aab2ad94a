"""The paths and types of some documents of a collection, never values."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson.binary import UUID_SUBTYPE, VECTOR_SUBTYPE, Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from syncd.text import escaped

_DEEPEST = 4
"""Levels of subdocuments that are read."""

_MOST_MEMBERS = 30
"""A subdocument with more names than this over all documents is a map: its names are data."""

_SHORTEST_VECTOR = 16
_LONGEST_VECTOR = 32_768
_FLOAT32 = 0x27

_NAMES: dict[type, str] = {
    str: "string", bool: "bool", int: "int", Int64: "long", float: "double", Decimal128: "decimal",
    datetime.datetime: "date", DatetimeMS: "date", ObjectId: "objectId", bytes: "binData", type(None): "null",
    Regex: "regex", Timestamp: "timestamp", dict: "object", list: "array", Code: "javascript", DBRef: "dbRef",
    MinKey: "minKey", MaxKey: "maxKey",
}  # fmt: skip
"""The names that MongoDB's `$type` uses."""


@dataclass(slots=True)
class SeenPath:
    """What one path holds: documents by type, types of an array's elements, lengths of vectors."""

    types: Counter[str] = field(default_factory=Counter)
    elements: set[str] = field(default_factory=set)
    lengths: set[int | None] = field(default_factory=set)

    @property
    def dims(self) -> int | None:
        """The length of the vectors here, if there are only vectors, of one length."""
        return next(iter(self.lengths)) if len(self.lengths) == 1 else None

    @property
    def nested(self) -> bool:
        """True if an array or a subdocument was among the values."""
        return "array" in self.types or "object" in self.types


@dataclass(slots=True)
class CollectionSurvey:
    """All paths of `total` documents in the order in which they came; names that no path can hold are apart."""

    total: int = 0
    paths: dict[str, SeenPath] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)


def survey(documents: Iterable[Mapping[str, Any]]) -> CollectionSurvey:
    """Read every document once."""
    result = CollectionSurvey()
    for document in documents:
        result.total += 1
        for path, value in _walk(document, "", 1, result.unreachable):
            _record(result.paths.setdefault(path, SeenPath()), value)
    _fold_maps(result)
    _put_members_behind_their_holder(result)
    return result


def _walk(
    document: Mapping[str, Any], prefix: str, depth: int, unreachable: set[str]
) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if not name or "." in name or name.startswith("$") or "\0" in name or not _is_unicode(name):
            unreachable.add(prefix + escaped(name))
            continue
        path = prefix + name
        yield path, value
        if isinstance(value, Mapping) and depth < _DEEPEST:
            yield from _walk(value, f"{path}.", depth + 1, unreachable)


def _is_unicode(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def _record(seen: SeenPath, value: Any) -> None:
    seen.types[type_name(value)] += 1
    if value is not None:
        seen.lengths.add(_vector_length(value))
    if isinstance(value, list):
        seen.elements |= set(map(type_name, value))


def type_name(value: Any) -> str:
    """MongoDB's name for the type of a value; `vector` and `uuid` for binaries of these kinds."""
    if isinstance(value, Binary):
        return {UUID_SUBTYPE: "uuid", VECTOR_SUBTYPE: "vector"}.get(value.subtype, "binData")
    return _NAMES.get(type(value)) or ("object" if isinstance(value, Mapping) else "unknown")


def _vector_length(value: Any) -> int | None:
    if isinstance(value, list) and all(type(number) in (int, float, Int64) for number in value):
        length = len(value)
    elif isinstance(value, Binary) and value.subtype == VECTOR_SUBTYPE and value[:1] == bytes([_FLOAT32]):
        length = (len(value) - 2) // 4
    else:
        return None
    return length if _SHORTEST_VECTOR <= length <= _LONGEST_VECTOR else None


def _fold_maps(result: CollectionSurvey) -> None:
    members = Counter(path.rpartition(".")[0] for path in result.paths)
    maps = [path for path, count in members.items() if path and count > _MOST_MEMBERS]
    for path in [path for path in result.paths if any(path.startswith(f"{one}.") for one in maps)]:
        del result.paths[path]


def _put_members_behind_their_holder(result: CollectionSurvey) -> None:
    order = {path: at for at, path in enumerate(result.paths)}

    def place(path: str) -> list[int]:
        parts = path.split(".")
        return [order[".".join(parts[:length])] for length in range(1, len(parts) + 1)]

    result.paths = {path: result.paths[path] for path in sorted(result.paths, key=place)}
