"""The records of documents that have a key for each element, where the node of a key is another one now: see
`moved_records`, and `lua/operations/each.lua` for the records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias

import orjson

from syncd.stores.redis.records.moved_records import Command, Moved, Named
from syncd.stores.redis.scan import RECORD_COUNT, SCAN_COUNT, pages

_TIME = 16
_UNKNOWN = ""
"""Instead of a digest: the key is written with the next change of its document."""

Record: TypeAlias = "list[str]"
"""Time, key, digest, key, digest, ..."""


class MovedElements:
    """Of one lane."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved

    def move(self, one: Named) -> None:
        """On every node that had some."""
        for place in self._moved.places:
            self._owners(place, one)
            self._records(place, one)

    def _owners(self, place: str, one: Named) -> None:
        """Of two documents that had a key the later one has it."""
        moved, name = self._moved, self._moved.keys(place).ids_by_key(one.projection, one.template)
        for entries in pages(partial(moved.client(place).hscan, name), count=SCAN_COUNT):
            for target, some in moved.elsewhere(place, entries):
                there = moved.keys(target).ids_by_key(one.projection, one.template)
                new: list[bytes] = []
                for key, theirs in zip(some, moved.held(target, there, some), strict=True):
                    if theirs is None or theirs[:_TIME] <= entries[key][:_TIME]:
                        new += [key, entries[key]]
                moved.carry(target, [("HSET", there, *new)] if new else [])
                moved.carry(place, [("HDEL", name, *some)])

    def _records(self, place: str, one: Named) -> None:
        moved, name = self._moved, self._moved.keys(place).keys_by_id(one.projection, one.template)
        for found in pages(partial(moved.client(place).hscan, name), count=RECORD_COUNT):
            self._page(place, name, one, {ident: _read(said) for ident, said in found.items()})

    def _page(self, place: str, name: str, one: Named, found: Mapping[bytes, Record]) -> None:
        """Of some documents, with a call or two for each node."""
        moved, old = self._moved, list[Command]()
        going: dict[str, dict[bytes, dict[str, str]]] = {}
        for ident, record in found.items():
            digests = dict(zip(record[1::2], record[2::2], strict=False))
            gone = [*moved.elsewhere(place, [key.encode() for key in digests])]
            for target, some in gone:
                going.setdefault(target, {})[ident] = {
                    key: digests.pop(key) for key in map(bytes.decode, some)
                }
            if gone:
                left = [record[0], *(text for pair in digests.items() for text in pair)]
                old.append(("HSET", name, ident, orjson.dumps(left)) if digests else ("HDEL", name, ident))
        for target, documents in going.items():
            there, new = moved.keys(target).keys_by_id(one.projection, one.template), list[Command]()
            held = moved.held(target, there, list(documents))
            for (ident, added), theirs in zip(documents.items(), held, strict=True):
                new.append(("HSET", there, ident, _merged(found[ident][0], added, theirs)))
            moved.carry(target, new)
        moved.carry(place, old)


def _read(said: bytes) -> Record:
    """Empty where it is no record, which a copy makes again."""
    try:
        found: Any = orjson.loads(said)
    except orjson.JSONDecodeError:
        return []
    is_record = isinstance(found, list) and all(isinstance(text, str) for text in found)
    return found if is_record else []


def _merged(time: str, added: dict[str, str], theirs: bytes | None) -> bytes:
    """Keys of another state than the others are known to be the document's, and not what they hold."""
    record = _read(theirs) if theirs is not None else []
    is_same = not record or record[0] == time
    digests = dict(zip(record[1::2], record[2::2], strict=False))
    digests |= {key: digest if is_same else _UNKNOWN for key, digest in added.items()}
    return orjson.dumps([record[0] if record else time, *(text for pair in digests.items() for text in pair)])
