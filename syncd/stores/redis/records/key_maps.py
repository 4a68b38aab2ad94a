"""Which document has which key, where a key is not a function of `_id`: what the maps say, and what MongoDB says.

Two maps in Redis say it, `_id` to key and key to `_id`. They can be lost, in whole or in part: evicted, or removed by
hand. An entry is sound where both say the same. Of any other key only MongoDB can say whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from syncd.errors import FatalError, ProjectionError
from syncd.plan.keys.templates import encode_key_value, parse_key
from syncd.plan.to_redis.change import Retired
from syncd.plan.to_redis.shape import Shape
from syncd.stores.mongo.lookup import Found, Lookup
from syncd.stores.mongo.times import Moment
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

KEYS_A_QUERY = 100


class Held(NamedTuple):
    """What the maps say of one key."""

    key: str
    said: str
    """The entry of the map from key to `_id`, with its time; "" where there is none."""
    ident: str
    """The document of that entry."""
    mapped: str
    """The key that this document has by the other map; "" where it has none."""

    @property
    def is_sound(self) -> bool:
        """Whether both maps say the same."""
        return bool(self.said) and self.mapped == self.key


class KeyMaps:
    """The maps of one contract. Only reads."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._control = store, control

    def of(self, shape: Shape | Retired, keys: Sequence[str]) -> list[Held]:
        """What the maps say of these keys."""
        by_key, by_id = self._names(shape)
        said = self._members(by_key, keys)
        idents = [text.partition(" ")[2] for text in said]
        mapped = self._members(by_id, idents)
        return [Held(*parts) for parts in zip(keys, said, idents, mapped, strict=True)]

    def count(self, shape: Shape | Retired) -> tuple[int, int]:
        """Entries of the map from `_id` to key, and of the one back. Raises FatalError where one is no hash."""
        by_key, by_id = self._names(shape)
        pipe = self._store.client.pipeline(transaction=True)
        pipe.hlen(by_id)
        pipe.hlen(by_key)
        with translated():
            found = pipe.execute(raise_on_error=False)
        for name, reply in zip((by_id, by_key), found, strict=True):
            if "WRONGTYPE" in str(reply):
                what = f"{name} is a map of syncd's and holds another Redis type"
                raise FatalError("redis", f"{what}; delete that key, the map is made again")
            if isinstance(reply, Exception):
                with translated():
                    raise reply
        return int(found[0]), int(found[1])

    def _names(self, shape: Shape | Retired) -> tuple[str, str]:
        name, template = shape.name, shape.template.text
        return self._control.ids_by_key(name, template), self._control.keys_by_id(name, template)

    def _members(self, name: str, members: Sequence[str]) -> list[str]:
        if not members:
            return []
        with translated():
            found: Any = self._store.client.hmget(name, list(members))
        return [value.decode() if value else "" for value in found]


class Holders(NamedTuple):
    """Documents by the key that they should have, each with its `_id`, as of one moment."""

    by_key: Mapping[str, dict[str, Any]]
    time: Moment


def holders(lookup: Lookup, shape: Shape, keys: Sequence[str], after: Moment) -> Iterator[Holders]:
    """Asks MongoDB which documents have these keys, a page at a time; each page has an entry for each of its keys."""
    for page in paged(list(keys), KEYS_A_QUERY):
        yield from _page(lookup, shape, page, after)


def _page(lookup: Lookup, shape: Shape, keys: list[str], after: Moment) -> Iterator[Holders]:
    parsed = [parse_key(shape.template, key.encode()) for key in keys]
    values = [one for one in parsed if one is not None]
    found = lookup.having(values, after)
    if found.complete or len(keys) == 1:
        yield Holders(_by_key(shape, keys, found), found.time)
        return
    middle = len(keys) // 2
    yield from _page(lookup, shape, keys[:middle], after)
    yield from _page(lookup, shape, keys[middle:], after)


def _by_key(shape: Shape, keys: list[str], found: Found) -> dict[str, dict[str, Any]]:
    by_key: dict[str, dict[str, Any]] = {key: {} for key in keys}
    for document in found.documents.values():
        try:
            key = shape.key(document)
        except ProjectionError:
            continue
        if key in by_key:
            by_key[key][encode_key_value(document["_id"])] = document["_id"]
    return by_key
