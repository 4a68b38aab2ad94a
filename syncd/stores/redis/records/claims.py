"""The record of all contracts of a Redis: who claims which key templates and index names, and which contracts left.

Read here, written by the functions of `lua/` in the same step as a lease is taken or a key is removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from syncd.contract.model.redis.template import KeyTemplate
from syncd.errors import FatalError
from syncd.plan.claims import KEY, MONGO, Claims
from syncd.stores.redis.store import RedisStore, translated
from syncd.text import escaped

CLAIMS, CONTRACTS = "syncd:claims", "syncd:contracts"
VERSION = b"version"
_COUNTERS = (VERSION, b"draws")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a contract asks for with its lease."""

    seen: str
    """Version of the record that this comes from; another one has to be read again."""
    taken: list[tuple[str, str]]
    """Claims of other contracts that stand in the way, and the own claim that each of them meets."""
    dropped: list[str]
    """Claims that the contract has and no longer needs."""

    def encoded(self, claims: Claims, draw: int, *, force: bool) -> str:
        """For `syncd_lease`."""
        said = {"seen": self.seen, "taken": self.taken, "dropped": self.dropped, "draw": draw, "force": force}
        return json.dumps(said | claims.encoded())


def read_claims(store: RedisStore) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """Version of the record, and each claim by its name."""
    with translated():
        raw: Any = store.client.hgetall(store.place + CLAIMS)
    claims = {
        name.decode(): _understood(CLAIMS, name, text, "contract")
        for name, text in raw.items()
        if name not in _COUNTERS
    }
    version: bytes = raw.get(VERSION, b"0")
    if not version.isdigit():
        raise _unreadable(CLAIMS, VERSION)
    return version.decode(), claims


def contract_of(name: bytes, said: bytes) -> str:
    """Whose a claim is; of the counters empty."""
    return "" if name in _COUNTERS else str(_understood(CLAIMS, name, said, "contract")["contract"])


def new_claims(store: RedisStore, names: list[str]) -> list[str]:
    """Those of these claims that no contract had before, and of which it is not checked yet whose the keys are."""
    if not names:
        return []
    with translated():
        said: Any = store.client.hmget(store.place + CLAIMS, names)
    return [name for name, text in zip(names, said, strict=True) if text and json.loads(text).get("new")]


def wish_of(store: RedisStore, contract: str, claims: Claims) -> Wish:
    """What the claims of a contract change in the record as it is now."""
    version, present = read_claims(store)
    wanted = {claim.name for claim in claims.claims}
    return Wish(
        seen=version,
        taken=[
            (name, own)
            for name, said in present.items()
            if said["contract"] != contract and (own := _met(claims, name))
        ],
        dropped=[
            name
            for name, said in present.items()
            if said["contract"] == contract and name not in wanted and not said.get("free")
        ],
    )


def gains_keys(present: Mapping[str, Mapping[str, Any]], contract: str, claims: Claims) -> bool:
    """Whether a contract claims keys that it had not, or not any more: then its position is of no use, see
    lua/handover. `present`: the record, by name."""
    keys = [claim.name for claim in claims.claims if claim.template is not None]
    held = [present[name] for name in keys if name in present]
    return len(held) < len(keys) or any(said["contract"] != contract or said.get("free") for said in held)


def _met(claims: Claims, name: str) -> str | None:
    """The claim that is the same as this one, or else one that meets it."""
    own = [claim.name for claim in claims.claims]
    return name if name in own else next((claim.name for claim in claims.claims if claim.meets(name)), None)


def claimed_by_others(store: RedisStore, contract: str) -> list[KeyTemplate]:
    """The key templates that other contracts have."""
    _, claims = read_claims(store)
    return [
        KeyTemplate.recorded(name.removeprefix(KEY))
        for name, said in claims.items()
        if name.startswith(KEY) and said["contract"] != contract and not said.get("free")
    ]


def templates_going(store: RedisStore, contract: str) -> list[tuple[str, KeyTemplate]]:
    """Those of which another contract still has to remove keys that it took over, with its name."""
    _, claims = read_claims(store)
    return [
        (said["contract"], KeyTemplate.recorded(template))
        for said in claims.values()
        if said["contract"] != contract and said["kind"] == MONGO
        for _, template, _ in said.get("was") or ()
    ]


def templates_of_fields(store: RedisStore) -> list[KeyTemplate]:
    """Those for some fields of hashes that any contract has, or had before."""
    _, claims = read_claims(store)
    texts = {name.removeprefix(KEY) for name in claims if name.startswith(KEY)}
    texts |= {template for said in claims.values() for _, template, _ in said.get("was") or ()}
    return [template for template in map(KeyTemplate.recorded, texts) if template.fields]


def read_left(store: RedisStore) -> Mapping[str, float]:
    """Contracts that are no longer part of any set, with the epoch seconds at which that was seen."""
    return {name: record["left"] for name, record in read_contracts(store).items() if "left" in record}


def read_contracts(store: RedisStore) -> Mapping[str, Mapping[str, Any]]:
    """What is recorded of each contract that runs, or ran, on this Redis."""
    with translated():
        raw: Any = store.client.hgetall(store.place + CONTRACTS)
    return {
        name.decode(): _understood(CONTRACTS, name, text)
        for name, text in raw.items()
        if not name.startswith(b"set ")
    }


def last_seen(store: RedisStore, contracts: Iterable[str]) -> int | None:
    """When a daemon last said that it has one of these contracts among its files, epoch seconds of Redis's clock; None
    where none did."""
    records = read_contracts(store)
    return max((records[name]["seen"] for name in contracts if "seen" in records.get(name, ())), default=None)


def contracts_beside(store: RedisStore, names: Iterable[str], place: str) -> list[str]:
    """All contracts that daemons have in one set with any of these, or from the same place. As lua/contracts decides
    which of them have left."""
    present = {name: said for name, said in read_contracts(store).items() if "left" not in said}
    sets = {present[name].get("set") for name in names if name in present}
    return sorted(
        name for name, said in present.items() if said.get("set") in sets or said.get("place") == place
    )


def _understood(record: str, name: bytes, text: bytes, *members: str) -> Mapping[str, Any]:
    """An entry that syncd wrote. Raises FatalError where another client has changed it: whose keys these are is then
    unknown, and nothing may be removed."""
    try:
        said = _decoded(text)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not said.keys() >= set(members):
        raise _unreadable(record, name)
    return said


@lru_cache(maxsize=4096)
def _decoded(text: bytes) -> Any:
    """Each lane reads the entries of all others, again and again."""
    return json.loads(text)


def _unreadable(record: str, name: bytes) -> FatalError:
    shown = escaped(name.decode(errors="replace"))
    what = f"the entry `{shown}` of {record} is not as syncd wrote it: another client has changed it"
    remedy = f"remove it from Redis (HDEL {record} '{shown}'), and its contract writes it again"
    return FatalError("redis", f"{what}; {remedy}")
