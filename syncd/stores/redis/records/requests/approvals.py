"""Which edit of a contract waits for an approval, and which one a person has approved: in Redis beside the file of the
contract as it runs."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from syncd.contract.model.contract import Contract
from syncd.contract.several import OF
from syncd.stores.redis.records.claims import read_contracts
from syncd.stores.redis.records.lease import is_dead
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

_WAITS_MS = 20_000
"""How long a daemon that says no more counts as one that waits: it says so every second."""


def plan_id(text: str) -> str:
    """Names an edit: the file of the contract as it is after it, every character."""
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=6).hexdigest()


def is_plan_id(text: str) -> bool:
    """Whether an edit could have this name."""
    return re.fullmatch("[0-9a-f]{12}", text) is not None


def approve(store: RedisStore, contract: str, plan: str, by: str) -> None:
    """From now on daemons take up this edit, and no other."""
    said = json.dumps({"plan": plan, "by": by, "at": round(time.time())})
    with translated():
        store.client.set(ControlKeys(contract, place=store.place).approved, said)


def note_waiting(store: RedisStore, daemon: str, waiting: Mapping[str, str], no_more: Iterable[str]) -> None:
    """For which edit of each contract a daemon waits, and of which contracts for none any more."""
    with translated(), store.client.pipeline(transaction=False) as pipe:
        for contract, plan in waiting.items():
            record = ControlKeys(contract, place=store.place).waits
            pipe.hset(record, daemon, plan)
            pipe.pexpire(record, _WAITS_MS)
        for contract in no_more:
            pipe.hdel(ControlKeys(contract, place=store.place).waits, daemon)
        pipe.execute()


def waiting_plans(store: RedisStore, contract: str) -> list[str]:
    """The edits for whose approval daemons wait: several only while their files differ."""
    with translated():
        found: Any = store.client.hgetall(ControlKeys(contract, place=store.place).waits)
    return sorted({plan.decode() for daemon, plan in found.items() if not is_dead(f"{daemon.decode()}:")})


def running_plan(store: RedisStore, contract: str) -> str:
    """What a daemon took up last; empty where that is not known."""
    names = [name for name in sorted(read_contracts(store)) if name.partition(OF)[0] == contract]
    with translated():
        text: Any = store.client.get(ControlKeys(names[0] if names else contract, place=store.place).text)
    return plan_id(text.decode(errors="replace")) if text else ""


def approved_plan(store: RedisStore, contract: str) -> str:
    """The edit that was approved last; empty where none was."""
    with translated():
        said: Any = store.client.get(ControlKeys(contract, place=store.place).approved)
    try:
        return str(json.loads(said or "{}").get("plan", ""))
    except (ValueError, AttributeError):
        return ""


def texts_as_taken_up(store: RedisStore, contracts: Iterable[Contract]) -> dict[str, str]:
    """The file of each contract as a daemon took it up last, of one over several collections that of any; without those
    of which that is not known."""
    names = {contract.name: contract.name for contract in contracts}
    if over_several := [contract.name for contract in contracts if contract.patterns]:
        known = sorted(read_contracts(store))
        for name in over_several:
            names[name] = next((one for one in known if one.startswith(name + OF)), name)
    with translated(), store.client.pipeline(transaction=False) as pipe:
        for name in names.values():
            pipe.get(ControlKeys(name, place=store.place).text)
        texts: list[bytes | None] = pipe.execute()
    return {name: text.decode(errors="replace") for name, text in zip(names, texts, strict=True) if text}
