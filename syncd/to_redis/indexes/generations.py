"""The record of a contract's indexes in Redis: which real ones are ours, and what each is for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

SERVING, BUILDING, OLD = "serving", "building", "old"
_RETIRED = "retired"
"""What an earlier version called old ones, without an end."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A real index that we made."""

    generation: int
    name: str
    fingerprint: str
    """Digest of all that it was made with."""
    shape: str = ""
    """What the server says that it is over: an index of the name over anything else is not ours."""
    alias: str = ""
    documents: int = -1
    """About how many keys it held when it was last complete; below 0 where that is not known."""
    until: float | None = None
    """Of an old one: epoch seconds at which it goes; None where a person has to drop it."""


class Generations:
    """Written before an index is made and after it was dropped: what is not in here belongs to another client."""

    def __init__(self, store: RedisStore, control: ControlKeys) -> None:
        self._store, self._key = store, control.indexes
        self._slots: dict[str, Generation] = {}

    def load(self) -> None:
        """Read what a run before has left."""
        with translated():
            raw: Any = self._store.client.hgetall(self._key)
        self._slots = {name.decode(): _read(name.decode(), json.loads(said)) for name, said in raw.items()}

    def of(self, role: str, alias: str) -> Generation | None:
        """The one that serves, or is built."""
        return self._slots.get(f"{role}:{alias}")

    def put(self, role: str, one: Generation) -> None:
        """Note one that serves, or is built."""
        self._set(f"{role}:{one.alias}", one)

    def retire(self, one: Generation, until: float | None) -> None:
        """One that served stays for clients that have opened it, until then."""
        self._set(f"{OLD}:{one.name}", replace(one, until=until))

    def forget(self, role: str, name: str) -> None:
        """`name`: of the index; of an old one its real name."""
        with translated():
            self._store.client.hdel(self._key, f"{role}:{name}")
        self._slots.pop(f"{role}:{name}", None)

    def old(self) -> list[Generation]:
        """All that served once and are still there."""
        return [one for slot, one in self._slots.items() if slot.startswith((f"{OLD}:", f"{_RETIRED}:"))]

    def every(self) -> list[Generation]:
        """All that are ours."""
        return list(self._slots.values())

    def drop(self, one: Generation) -> None:
        """Forget one, in all its roles."""
        for slot in [slot for slot, other in self._slots.items() if other == one]:
            role, _, name = slot.partition(":")
            self.forget(role, name)

    def aliases(self) -> set[str]:
        """Names of the indexes that have a real one that serves or is built."""
        return {
            one.alias for slot, one in self._slots.items() if slot.startswith((f"{SERVING}:", f"{BUILDING}:"))
        }

    def real_names(self) -> set[str]:
        """All real indexes that are ours."""
        return {one.name for one in self._slots.values()}

    def _set(self, slot: str, one: Generation) -> None:
        with translated():
            self._store.client.hset(self._key, slot, json.dumps(asdict(one)))
        self._slots[slot] = one


def _read(slot: str, said: dict[str, Any]) -> Generation:
    role, _, name = slot.partition(":")
    alias = said.get("alias") or (name if role != OLD else "")
    # One that an earlier version left goes at once, as it did there.
    until = said.get("until", 0.0 if role == _RETIRED else None)
    return Generation(
        said["generation"], said["name"], said["fingerprint"], said.get("shape", ""), alias,
        said.get("documents", -1), until,
    )  # fmt: skip
