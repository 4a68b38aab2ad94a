"""Compares a collection with the keys of one projection, all of both, by rules of its own.

Nothing here comes from syncd: a mistake in its projection must not hide itself. Only plain types are known; anything
else raises, so that no test believes it compared what it did not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection
from redis import Redis, RedisCluster

PAGE = 2000
SHOWN = 5

_PLAIN_TEXT = re.compile(r"[A-Za-z][\w.-]*")
_HEX = re.compile(r"[0-9a-f]{24}")
_MISSING = object()
ELEMENTS = ("list", "set", "zset")
_READ: dict[str, Callable[[Any, str], Any]] = {
    "hash": lambda redis, key: redis.hgetall(key),
    "json": lambda redis, key: redis.execute_command("JSON.GET", key),
    "string": lambda redis, key: redis.get(key),
    "list": lambda redis, key: redis.lrange(key, 0, -1),
    "set": lambda redis, key: redis.smembers(key),
    "zset": lambda redis, key: redis.zrange(key, 0, -1, withscores=True),
}


@dataclass
class Difference:
    """What is wrong, key by key. False when nothing is."""

    missing: list[str] = field(default_factory=list)
    """Keys that should be there."""
    extra: list[str] = field(default_factory=list)
    """Keys without a document."""
    different: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Key -> what it should hold, what it holds."""
    documents: int = 0

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.different)

    def __str__(self) -> str:
        examples = dict(islice(self.different.items(), SHOWN))
        return (
            f"of {self.documents} documents {len(self.missing)} are missing {self.missing[:SHOWN]}, "
            f"{len(self.different)} differ (should, is) {examples}; "
            f"{len(self.extra)} keys are extra {self.extra[:SHOWN]}"
        )


def compare(
    collection: Collection[dict[str, Any]],
    redis: Redis,
    projection: Mapping[str, Any],
    prefix: str,
    where: Mapping[str, Any] | None = None,
) -> Difference:
    """`projection` as the contract has it, with plain paths for fields; `prefix` goes before its key."""
    wanted = {}
    for document in collection.find(where or {}):
        for view, key in _views(document, projection):
            content = _content(view, projection)
            if content is not None:
                wanted[prefix + _key(view, key)] = content
    found = set()
    for page in _pages(redis, prefix):
        found.update(key.decode() for key in page)
    result = Difference(sorted(wanted.keys() - found), sorted(found - wanted.keys()), documents=len(wanted))
    for key, content in _read(redis, sorted(wanted.keys() & found), projection["type"]):
        if content is None:  # gone since the scan
            result.missing.append(key)
        elif not _SAME.get(projection["type"], _same_json)(wanted[key], content):
            result.different[key] = (wanted[key], content)
    return result


def _views(
    document: Mapping[str, Any], projection: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """What has a key, with its template: the document, or with `each`, of a path without dots, one for each element."""
    each = projection.get("each")
    if each is None:
        yield document, projection["key"]
        return
    for position, element in enumerate(document.get(each) or ()):
        yield {**document, each: element}, projection["key"].replace(f"{{{each}.#}}", str(position))


def _key(document: Mapping[str, Any], template: str) -> str:
    return re.sub(r"\{([^}]*)\}", lambda match: _key_text(_at(document, match[1])), template)


def _key_text(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is ObjectId:
        return str(value)
    if type(value) is str and _PLAIN_TEXT.fullmatch(value) and not _HEX.fullmatch(value):
        return value
    raise TypeError(f"no rule for a key with {value!r}")


def _content(document: Mapping[str, Any], projection: Mapping[str, Any]) -> Any:
    """What the key should hold; None when it should not be there."""
    if projection["type"] in ELEMENTS:
        return _elements(_at(document, projection["value"]["from"]), projection)
    fields = projection["fields"]
    paths = fields if isinstance(fields, Mapping) else {name: name for name in fields}
    if not all(isinstance(path, str) for path in paths.values()):
        raise TypeError("only plain paths can be compared")
    values = {name: _at(document, path) for name, path in paths.items()}
    values = {name: value for name, value in values.items() if value is not _MISSING}
    if projection["type"] == "hash":
        return {name: value for name, value in values.items() if value is not None} or None
    return values


def _elements(array: Any, projection: Mapping[str, Any]) -> Any:
    """What a key holds of an array; None where it should not be there."""
    if array is _MISSING or not array:
        return None
    keep = projection.get("keep", {})
    array = array[: keep.get("first")] if "last" not in keep else array[-keep["last"] :]
    if projection["type"] == "zset":
        return {_text_of(one["member"]): float(one["score"]) for one in array}
    texts = [_text_of(one) for one in array]
    return texts if projection["type"] == "list" else set(texts)


def _text_of(value: Any) -> bytes:
    if type(value) in (str, int):
        return str(value).encode()
    raise TypeError(f"no rule for the element {value!r}")


def _at(value: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(value, Mapping):
            if isinstance(value, list):
                raise TypeError(f"no rule for an array on the way of {path}")
            return _MISSING
        value = value.get(part, _MISSING)
        if value is _MISSING:
            break
    return value


def _pages(redis: Redis, prefix: str) -> Iterator[Sequence[bytes]]:
    if isinstance(redis, RedisCluster):
        for node in redis.get_primaries():
            yield from _pages(redis.get_redis_connection(node), prefix)
        return
    cursor = 0
    while True:
        cursor, keys = redis.scan(cursor, match=f"{prefix}*", count=PAGE)
        yield keys
        if cursor == 0:
            return


def _read(redis: Redis, keys: Sequence[str], kind: str) -> Iterator[tuple[str, Any]]:
    for start in range(0, len(keys), PAGE):
        page = keys[start : start + PAGE]
        pipe = redis.pipeline(transaction=False)
        for key in page:
            _READ[kind](pipe, key)
        for key, reply in zip(page, pipe.execute(), strict=True):
            if kind == "hash":
                yield key, {name.decode(): value for name, value in reply.items()} or None
            elif kind in ELEMENTS:
                yield key, (dict(reply) if kind == "zset" else reply) or None
            else:
                yield key, None if reply is None else json.loads(reply)


def _same_hash(wanted: Mapping[str, Any], found: Mapping[str, bytes]) -> bool:
    return wanted.keys() == found.keys() and all(_same_text(wanted[name], found[name]) for name in wanted)


def _same_json(wanted: Any, found: Any) -> bool:
    # As text too: to Python True is 1 and 1.0 is 1.
    return bool(wanted == found and json.dumps(wanted, sort_keys=True) == json.dumps(found, sort_keys=True))


def _same_text(wanted: Any, found: bytes) -> bool:
    """Whether a hash field holds a value."""
    text = found.decode()
    if type(wanted) is str:
        return text == wanted
    if type(wanted) is bool:
        return text == ("true" if wanted else "false")
    if type(wanted) is int:
        return text == str(wanted)
    if type(wanted) is float:
        return float(text) == wanted
    if type(wanted) in (list, dict):
        return bool(json.loads(text) == wanted)
    raise TypeError(f"no rule for {wanted!r} in a hash")


_SAME: dict[str, Callable[[Any, Any], bool]] = {
    "hash": _same_hash,
    **dict.fromkeys(ELEMENTS, lambda wanted, found: bool(wanted == found)),
}
