"""Which contracts a person has paused, in Redis beside their positions, so that every daemon sees it and a restart
changes nothing. No lease is given while the record is there, see lua/lease."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from syncd.contract.several import OF
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated
from syncd.text import clipped, escaped

LONGEST = 200
"""Characters of a reason, or of a name."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Since when, by whom, and why."""

    contract: str
    """As it was paused: of one for several collections perhaps the whole."""
    since: float
    by: str
    why: str = ""

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds")
        why = f" ({self.why})" if self.why else ""
        return f"paused by {self.by} since {since}{why}; `syncd resume {self.contract}` goes on"


def records_of(store: RedisStore, contract: str) -> list[str]:
    """The keys of which each pauses the contract: its own, and that of the whole where it is for one collection."""
    names = dict.fromkeys((contract, contract.partition(OF)[0]))
    return [ControlKeys(name, place=store.place).paused for name in names]


def pause(store: RedisStore, contract: str, by: str, why: str = "") -> bool:
    """Have every daemon stop working on the contract. False where it was paused already, which then stays as it is."""
    said = {
        "since": round(time.time()),
        "by": clipped(escaped(by), LONGEST),
        "why": clipped(escaped(why), LONGEST),
    }
    with translated():
        return bool(
            store.client.set(ControlKeys(contract, place=store.place).paused, json.dumps(said), nx=True)
        )


def resume(store: RedisStore, *contracts: str) -> bool:
    """Let daemons work on them again. False where none of these was paused."""
    with translated():
        return bool(store.client.delete(*(ControlKeys(name, place=store.place).paused for name in contracts)))


def pause_of(store: RedisStore, contract: str) -> Pause | None:
    """Why daemons do not work on the contract; None where no person has paused it."""
    for key in records_of(store, contract):
        with translated():
            said: Any = store.client.get(key)
        if said is not None:
            return _read(key, said)
    return None


def _read(key: str, said: bytes) -> Pause:
    """Where another client has changed the record, the contract is paused all the same."""
    contract = key.partition("syncd:{")[2].partition("}")[0]
    try:
        found = json.loads(said)
        return Pause(contract, float(found["since"]), str(found["by"]), str(found.get("why", "")))
    except (ValueError, KeyError, TypeError):
        return Pause(contract, 0.0, "a record that syncd did not write")


def as_dict(found: Pause | None) -> dict[str, Any] | None:
    """For JSON."""
    return None if found is None else asdict(found)
