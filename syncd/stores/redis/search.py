"""The search module: which indexes there are, and what FT.INFO says of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from syncd.stores.redis.store import RedisStore, translated

_UNKNOWN = ("unknown index", "no such index", "index not found", "search_index_not_found")
"""How versions of the module say that there is neither an index nor an alias of a name."""


@dataclass(frozen=True, slots=True)
class SeenIndex:
    """A real index, as it is at present."""

    name: str
    """Its own, also where it was asked for by an alias."""
    documents: int
    """How many keys it holds."""
    attempts: int
    """How often a key did not fit it; a key that is written again counts again."""
    is_building: bool
    error: str
    """The last reason, without the value."""
    shape: str
    """Digest of what it is over: type of the keys, prefix, and the place, name and type of every field."""


class Search:
    """Asks the search module of one Redis, and changes its indexes."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    def names(self) -> set[str]:
        """All real indexes. Aliases are not among them."""
        return {_text(name) for name in self._do("FT._LIST")}

    def look(self, name: str) -> SeenIndex | None:
        """The index of that name, or behind that alias; None where there is none."""
        try:
            return _seen(_pairs(self._store.client.execute_command("FT.INFO", name)))
        except ResponseError as error:
            if any(words in str(error).lower() for words in _UNKNOWN):
                return None
            with translated():
                raise

    def create(self, name: str, kind: str, prefix: str, more: Sequence[str]) -> None:
        """Make an index; the module goes through the keys that are there by itself. Over an alias of that name it
        would succeed too, and hide it."""
        self._do("FT.CREATE", name, "ON", kind.upper(), "PREFIX", 1, prefix, *more)

    def drop(self, name: str) -> None:
        """Remove an index, and leave its keys. By an alias, the index behind it goes."""
        self._do("FT.DROPINDEX", name)

    def point(self, alias: str, name: str) -> None:
        """Have an alias mean that index from now on."""
        self._do("FT.ALIASUPDATE", alias, name)

    def remove_alias(self, alias: str) -> None:
        """Have an alias mean nothing any more."""
        self._do("FT.ALIASDEL", alias)

    def exchange(self, name: str, real: str) -> None:
        """Remove the index `name`, and make its name an alias of `real`, in one step."""
        with translated(), self._store.client.pipeline(transaction=True) as pipe:
            pipe.execute_command("FT.DROPINDEX", name)
            pipe.execute_command("FT.ALIASADD", name, real)
            pipe.execute()

    def held(self, name: str, keys: Sequence[bytes]) -> set[bytes]:
        """Which of these keys an index holds."""
        reply = self._do(
            "FT.SEARCH", name, "*", "INKEYS", len(keys), *keys, "NOCONTENT", "LIMIT", 0, len(keys)
        )
        return set(reply[1:])

    def _do(self, *command: Any) -> Any:
        with translated():
            return self._store.client.execute_command(*command)


def shape_of(kind: str, prefixes: Sequence[str], fields: Sequence[Sequence[str]]) -> str:
    """The digest of an index over these fields: place, name and type of each."""
    text = json.dumps(
        [kind.upper(), list(prefixes), sorted([*field[:2], field[2].upper()] for field in fields)]
    )
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _seen(info: dict[str, Any]) -> SeenIndex:
    over = _pairs(info["index_definition"])
    fields = [_pairs(field[:6]) for field in info["attributes"]]
    return SeenIndex(
        name=_text(info["index_name"]),
        documents=int(info["num_docs"]),
        attempts=int(info.get("hash_indexing_failures", 0)),
        is_building=bool(int(info["indexing"])),
        error=_kind_of(_pairs(info.get("Index Errors") or [])),
        shape=shape_of(
            _text(over["key_type"]),
            [_text(prefix) for prefix in over["prefixes"]],
            [[_text(field[name]) for name in ("identifier", "attribute", "type")] for field in fields],
        ),
    )


def _pairs(reply: Any) -> dict[str, Any]:
    if isinstance(reply, dict):
        return {_text(name): value for name, value in reply.items()}
    return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _kind_of(errors: dict[str, Any]) -> str:
    """The search module quotes the offending value in its message: only what stands before the quotation is shown."""
    return _text(errors.get("last indexing error", "")).split("`")[0].split("'")[0].strip()[:120]
