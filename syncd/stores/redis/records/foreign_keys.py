"""Keys that an application had under a contract's templates before there was one, see `lua/foreign.lua`. Only reads."""

from __future__ import annotations

from typing import Any

from syncd.stores.redis.records.claims import read_claims
from syncd.stores.redis.records.layout import partitions_of
from syncd.stores.redis.records.position import ControlKeys, Fields, read_fields
from syncd.stores.redis.store import RedisStore, translated

_WHOLE = "syncd:"
"""Stands in the set beside the keys: without it the set is lost."""


def foreign_among(store: RedisStore, control: ControlKeys, keys: list[str]) -> set[str]:
    """Which of these keys are an application's."""
    if not keys:
        return set()
    with translated():
        said: Any = store.client.smismember(control.foreign, keys)
    return {key for key, is_one in zip(keys, said, strict=True) if is_one}


def count_foreign(store: RedisStore, contract: str) -> int:
    """Keys of an application under the templates of a contract, which leaves them alone."""
    with translated():
        count: Any = store.client.scard(ControlKeys(contract).foreign)
    return int(count) - _is_whole(store, contract)


def has_lost_foreign(store: RedisStore, contract: str) -> bool:
    """Whether keys were noted, and it is not known any more which: Redis may evict the set."""
    if _is_whole(store, contract):
        return False
    _, claims = read_claims(store)
    noted = [said.get("noted") for said in claims.values() if said["contract"] == contract]
    return any(noted) or any(
        read_fields(store, part, Fields.NOTED) == ["1"] for part in partitions_of(store, contract)
    )


def _is_whole(store: RedisStore, contract: str) -> bool:
    with translated():
        said: Any = store.client.sismember(ControlKeys(contract).foreign, _WHOLE)
    return bool(said)
