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
    found: set[str] = set()
    for node, some in store.by_node(keys):
        with translated():
            said: Any = node.client.smismember(control.at(node.place).foreign, some)
        found.update(key for key, is_one in zip(some, said, strict=True) if is_one)
    return found


def count_foreign(store: RedisStore, contract: str) -> int:
    """Keys of an application under the templates of a contract, which leaves them alone."""
    return sum(_count(node, contract) for node in store.nodes)


def _count(node: RedisStore, contract: str) -> int:
    with translated():
        count: Any = node.client.scard(ControlKeys(contract, place=node.place).foreign)
    return int(count) - _is_whole(node, contract)


def has_lost_foreign(store: RedisStore, contract: str) -> bool:
    """Whether keys were noted, and it is not known any more which: Redis may evict the set."""
    return any(_has_lost(node, contract) for node in store.nodes)


def _has_lost(node: RedisStore, contract: str) -> bool:
    if _is_whole(node, contract):
        return False
    _, claims = read_claims(node)
    noted = [said.get("noted") for said in claims.values() if said["contract"] == contract]
    return any(noted) or any(
        read_fields(node, part, Fields.NOTED) == ["1"] for part in partitions_of(node, contract)
    )


def _is_whole(node: RedisStore, contract: str) -> bool:
    with translated():
        said: Any = node.client.sismember(ControlKeys(contract, place=node.place).foreign, _WHOLE)
    return bool(said)
