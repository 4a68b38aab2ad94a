"""Which document has which key, where a key is not a function of `_id`: what the maps say, and what MongoDB says.

Two maps in Redis say it, `_id` to key and key to `_id`. They can be lost, in whole or in part: evicted, or removed by
hand. An entry is sound where both say the same. Of any other key only MongoDB can say whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from syncd.errors import FatalError
from syncd.plan.keys.templates import encode_key_value, parse_key
from syncd.plan.to_redis.change import Retired
from syncd.plan.to_redis.shape import Shape
from syncd.stores.mongo.ids import pieces
from syncd.stores.mongo.reads.lookup import Found, Lookup
from syncd.stores.mongo.times import Moment
from syncd.stores.paging import paged
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

KEYS_A_QUERY = 100
KEYS_A_CALL = 200
"""Whose records Redis reads: one may have thousands of keys."""


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
        return [held for node, some in self._store.by_node(keys) for held in self._of(node, shape, some)]

    def _of(self, node: RedisStore, shape: Shape | Retired, keys: Sequence[str]) -> list[Held]:
        by_key, by_id = self._names(node, shape)
        if shape.each:
            return self._of_elements(node, by_key, by_id, keys)
        said = self._members(node, by_key, keys)
        idents = [text.partition(" ")[2] for text in said]
        mapped = self._members(node, by_id, idents)
        return [Held(*parts) for parts in zip(keys, said, idents, mapped, strict=True)]

    @staticmethod
    def _of_elements(node: RedisStore, by_key: str, by_id: str, keys: Sequence[str]) -> list[Held]:
        found: list[Held] = []
        for page in paged(list(keys), KEYS_A_CALL):
            _, *said = node.call("syncd_held", [], [by_id, by_key, *page])
            texts = [one.decode() for one in said]
            found += [
                Held(key, entry, entry.partition(" ")[2], key if has_it else "")
                for key, entry, has_it in zip(page, texts[::2], texts[1::2], strict=True)
            ]
        return found

    def are_lost(self, shape: Shape | Retired) -> int:
        """How many entries of the map from `_id` to key are lost, as far as their number shows it: each key has its
        document, and a document has one key, or of elements some."""
        counts = [self._count(node, shape) for node in self._store.nodes]
        if shape.each:
            return sum(owners for keys, owners in counts if not keys)
        return sum(max(0, owners - keys) for keys, owners in counts)

    def count(self, shape: Shape | Retired) -> tuple[int, int]:
        """Entries of the map from `_id` to key, and of the one back. Raises FatalError where one is no hash."""
        counts = [self._count(node, shape) for node in self._store.nodes]
        return sum(keys for keys, _ in counts), sum(owners for _, owners in counts)

    def _count(self, node: RedisStore, shape: Shape | Retired) -> tuple[int, int]:
        by_key, by_id = self._names(node, shape)
        pipe = node.client.pipeline(transaction=True)
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

    def _names(self, node: RedisStore, shape: Shape | Retired) -> tuple[str, str]:
        name, template, control = shape.name, shape.template.text, self._control.at(node.place)
        return control.ids_by_key(name, template), control.keys_by_id(name, template)

    @staticmethod
    def _members(node: RedisStore, name: str, members: Sequence[str]) -> list[str]:
        if not members:
            return []
        with translated():
            found: Any = node.client.hmget(name, list(members))
        return [value.decode() if value else "" for value in found]


class Holders(NamedTuple):
    """Documents by the key that they should have, each with its `_id`, as of one moment."""

    by_key: Mapping[str, dict[str, Any]]
    time: Moment


def holders(lookup: Lookup, shape: Shape, keys: Sequence[str], after: Moment) -> Iterator[Holders]:
    """Asks MongoDB which documents have these keys, a page at a time; each page has an entry for each of its keys."""
    for page in (page for some in pieces(keys) for page in paged(some, KEYS_A_QUERY)):
        yield from _page(lookup, shape, page, after)


def _page(lookup: Lookup, shape: Shape, keys: list[str], after: Moment) -> Iterator[Holders]:
    parsed = [parse_key(shape.template, key.encode()) for key in keys]
    # The position of an element is no value that MongoDB could look for.
    positions = {one.path for one in shape.template.placeholders if one.is_position}
    values = [
        {path: value for path, value in one.items() if path not in positions}
        for one in parsed if one is not None
    ]  # fmt: skip
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
        for key in by_key.keys() & shape.keys(document):
            by_key[key][encode_key_value(document["_id"])] = document["_id"]
    return by_key
