"""What a check wants repaired. The lane does it, for it alone knows what the stream wrote since the read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

MOST_WANTED = 1000
"""Repairs that wait at once: who asks for more waits."""
_DOCUMENT, _KEY, _ABSENT, _MEMBER = "d", "k", "a", "m"


def of_document(ident: str) -> str:
    """Read this document again, and write its keys whole or remove them."""
    return _DOCUMENT + ident


def of_key(projection: str, key: str) -> str:
    """Remove this key, unless a document has it by now. Of a contract from Redis: read it again."""
    return f"{_KEY}{projection} {key}"


def of_member(projection: str, ident: str, key: str, member: bytes) -> str:
    """Remove this member, unless a document has it by now. `ident`: of the document whose it would be."""
    return _MEMBER + json.dumps([projection, ident, key, member.decode(errors="surrogateescape")])


def of_absent(key: str, position: str) -> str:
    """This key counts as deleted, if it is still not there, and its document is of this position still."""
    return f"{_ABSENT}{position} {key}"


def split_repairs(entries: Iterable[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Idents of documents; projection and key of keys."""
    idents = [entry[1:] for entry in entries if entry[0] == _DOCUMENT]
    keys = [entry[1:].partition(" ") for entry in entries if entry[0] == _KEY]
    return idents, [(projection, key) for projection, _, key in keys]


def split_members(entries: Iterable[str]) -> list[tuple[str, str, str, bytes]]:
    """Projection, ident, key and member."""
    found = [json.loads(entry[1:]) for entry in entries if entry[0] == _MEMBER]
    return [(name, ident, key, member.encode(errors="surrogateescape")) for name, ident, key, member in found]


def split_absent(entries: Iterable[str]) -> dict[str, str]:
    """Keys that count as deleted, each with a position."""
    found = [entry[1:].partition(" ") for entry in entries if entry[0] == _ABSENT]
    return {key: position for position, _, key in found}


def request_repairs(store: RedisStore, contract: str, entries: Sequence[str]) -> None:
    """Ask for some. What waits already is not asked for twice."""
    if entries:
        with translated():
            store.client.sadd(ControlKeys(contract, place=store.place).repair, *entries)


def requested_repairs(store: RedisStore, contract: str) -> list[str]:
    """All that wait, in any order."""
    with translated():
        waiting: Any = store.client.smembers(ControlKeys(contract, place=store.place).repair)
    return [entry.decode() for entry in waiting]


def repairs_waiting(store: RedisStore, contract: str) -> int:
    """How many wait."""
    with translated():
        return int(store.client.scard(ControlKeys(contract, place=store.place).repair))


def repairs_done(store: RedisStore, contract: str, entries: Sequence[str]) -> None:
    """These are done."""
    if entries:
        with translated():
            store.client.srem(ControlKeys(contract, place=store.place).repair, *entries)
