"""Finds keys in Redis by what a contract writes: by their template, or by the map from `_id` to key. Only reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from syncd.contract.model.redis.template import KeyTemplate
from syncd.plan.keys.templates import decode_key_value, encode_key_value, parse_key, scan_pattern
from syncd.plan.to_redis.change import Drop, Retired
from syncd.plan.types import unpacked
from syncd.stores.redis.records.keys.key_lists import keys_in
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

SCAN_COUNT = 1000
RECORD_COUNT = 20
"""Records of elements, of which one may have thousands of keys."""
MEMBERSHIPS_COUNT = 200
"""Documents, which mostly are members of a few keys."""
WHOLE_MAP = b":"
"""No `_id` begins so: it says that a map is whole (lua/operations/members). Of a sample, its owner is behind it."""

Candidate: TypeAlias = tuple[Drop, Any]
"""What would remove a key, and the `_id` of the document that the key says it belongs to."""


class KeyScan:
    """Pages of what is there; a key that comes or goes meanwhile may be in or not, as SCAN has it."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._control = store, control

    def candidates(self, shape: Retired) -> Iterator[list[Candidate]]:
        """Every key of a shape with its document."""
        return self.by_id(shape) if shape.by_id else self.by_map(shape)

    def by_id(self, shape: Retired) -> Iterator[list[Candidate]]:
        """Where a key holds its `_id`."""
        for keys in self.keys(shape):
            candidates = []
            for key in keys:
                values = parse_key(shape.template, key)
                if values is not None:
                    ident = encode_key_value(values["_id"])
                    candidates.append((Drop(shape, ident, key.decode()), values["_id"]))
            if candidates:
                yield candidates

    def by_map(self, shape: Retired) -> Iterator[list[Candidate]]:
        """Where the map says which document has a key."""
        for entries in self.memberships(shape) if shape.is_shared else self.maps(shape):
            yield [(Drop(shape, ident, None), decode_key_value(ident)) for ident in entries]

    def keys(self, shape: Retired, *, kind: str | None = None) -> Iterator[list[bytes]]:
        """Every key that looks like one of the template; with `kind`, those of that Redis type."""
        pattern = scan_pattern(shape.template)
        for node in self._store.nodes:
            if kind is None:
                with translated():
                    yield from node.scans.pages(shape.template.prefix, pattern)
            else:
                yield from pages(node.client.scan, match=pattern, count=SCAN_COUNT, _type=kind)

    def foreign(self, template: KeyTemplate) -> Iterator[list[bytes]]:
        """Those of an application's keys, see `to_redis/copy/foreign_keys`, that look like one of the template."""
        pattern = scan_pattern(template)
        for node, control in self._places:
            yield from pages(partial(node.client.sscan, control.foreign), match=pattern, count=SCAN_COUNT)

    def maps(self, shape: Retired) -> Iterator[Mapping[str, list[str]]]:
        """The map of a shape, `_id` to keys; of elements there may be several."""
        count = RECORD_COUNT if shape.each else SCAN_COUNT
        for node, control in self._places:
            name = control.keys_by_id(shape.name, shape.template.text)
            for entries in pages(partial(node.client.hscan, name), count=count):
                yield {ident.decode(): keys_in(shape.template, said) for ident, said in entries.items()}

    def memberships(self, shape: Retired) -> Iterator[Mapping[str, list[tuple[str, str]]]]:
        """Where documents share keys: `_id` to keys and members, by the map."""
        for node, control in self._places:
            name = control.members(shape.name, shape.template.text)
            for entries in pages(partial(node.client.hscan, name), count=MEMBERSHIPS_COUNT):
                yield {
                    ident.decode(): unpacked(said)
                    for ident, said in entries.items()
                    if not ident.startswith(WHOLE_MAP)
                }

    @property
    def _places(self) -> Iterator[tuple[RedisStore, ControlKeys]]:
        for node in self._store.places:
            yield node, self._control.at(node.place)


def pages(scan: Callable[..., Any], *, also_empty: bool = False, **options: Any) -> Iterator[Any]:
    """What SCAN, or one of its kind, finds. `also_empty`: pages on which nothing is, which there may be many of."""
    cursor = 0
    while True:
        with translated():
            cursor, page = scan(cursor, **options)
        if page or also_empty:
            yield page
        if cursor == 0:
            return
