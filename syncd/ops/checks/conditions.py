"""Compares the settings of a Redis with what the promises need: which cannot be kept, for which contract, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.template import template_of
from syncd.errors import Problem
from syncd.stores.redis.capabilities import Capabilities

Level: TypeAlias = Literal["refused", "promise", "data", "advice"]
"""`refused`: the contract does not run. `promise`: it runs, and a promise does not hold. `data`: documents, keys or
names are not those that the contract seems to expect. `advice`: all promises hold."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, or one piece of advice."""

    level: Level
    what: str
    remedy: str
    promises: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    problem: Problem | None = None
    """Its place in a contract file, when the contract is refused."""

    def __str__(self) -> str:
        if self.problem is not None:
            return str(self.problem)
        parts = [", ".join(names) for names in (self.promises, self.contracts) if names]
        about = f" ({'; '.join(parts)})" if parts else ""
        return f"{self.level}{about}: {self.what}; {self.remedy}"


def refused(problem: Problem, contract: str = "", *promises: str) -> Finding:
    """A problem of a contract; `promises` would be broken if it ran all the same."""
    names = (contract,) if contract else ()
    return Finding("refused", problem.what, problem.remedy, promises, names, problem)


def conditions(contracts: list[Contract], server: Capabilities) -> Iterator[Finding]:
    """Settings of Redis that promises depend on."""
    behind = [contract for contract in contracts if contract.sync.direction != "mongo_to_redis"]
    inbound = [contract for contract in contracts if contract.sync.direction == "mongo_to_redis"]
    if not server.persistence:
        yield from _no_persistence(behind, inbound)
    if server.by_sentinel and not server.waits_for_replicas:
        yield from _cut_off(behind, inbound)
    policy = server.maxmemory_policy
    if policy.startswith("allkeys"):
        yield from _evicts_everything(behind, inbound, policy)
    elif policy.startswith("volatile"):
        yield from _evicts_what_expires([one for one in behind if one.captures_state], policy)


def shared_streams(contracts: list[Contract], site: str) -> Iterator[Finding]:
    """Streams of a site that have the same name at every other site."""
    shared = [
        contract for contract in contracts
        if contract.sync.capture == "append" and site and site not in contract.redis[0].key
    ]  # fmt: skip
    if shared:
        what = f"the key of the stream does not name the site, {site}: an entry of another one may get the same `_id`"
        remedy = "write ${SYNCD_SITE} into the key"
        yield Finding("promise", what, remedy, ("nothing_lost", "applied_once"), _names(shared))


def _no_persistence(behind: list[Contract], inbound: list[Contract]) -> Iterator[Finding]:
    if behind:
        what = (
            "this Redis keeps nothing on disk (no AOF, no RDB), so that its restart loses what the application "
            "wrote and MongoDB does not hold yet"
        )
        yield Finding("promise", what, "set appendonly yes", ("nothing_lost",), _names(behind))
    if inbound or not behind:
        what = "this Redis keeps nothing on disk: after its restart every contract is copied again"
        yield Finding("advice", what, "set appendonly yes to go on from the stored position")


def _cut_off(behind: list[Contract], inbound: list[Contract]) -> Iterator[Finding]:
    what = (
        "this Redis takes writes while no replica follows it (min-replicas-to-write 0): where it is cut off, Sentinel "
        "makes another one primary, and "
    )
    remedy = "set min-replicas-to-write 1 and min-replicas-max-lag 10"
    if behind:
        lost = f"{what}what the application writes meanwhile is lost before MongoDB holds it"
        yield Finding("promise", lost, remedy, ("nothing_lost",), _names(behind))
    if inbound or not behind:
        yield Finding("advice", f"{what}readers there see states that the lanes have to make again", remedy)


def _evicts_everything(behind: list[Contract], inbound: list[Contract], policy: str) -> Iterator[Finding]:
    remedy = "noeviction or volatile-lru does not"
    if behind:
        what = f"maxmemory-policy {policy} may evict what MongoDB does not hold yet, keys and streams"
        yield Finding("promise", what, "set maxmemory-policy noeviction", ("nothing_lost",), _names(behind))
    maps = [contract for contract in inbound if _moves(contract)]
    if maps:
        what = f"maxmemory-policy {policy} may evict the map from `_id` to key, and then old keys stay"
        yield Finding("promise", what, remedy, ("no_ghosts",), _names(maps))
    if inbound:
        what = (
            f"maxmemory-policy {policy} may evict dead letters, and the records of keys that wait behind one"
        )
        yield Finding("promise", what, remedy, ("never_torn", "nothing_silent"), _names(inbound))
    if inbound or not behind:
        what = (
            f"maxmemory-policy {policy} may evict positions and claims, and then a contract is copied again; and which "
            "keys were there before a contract, and then no copy removes a key until a person allows it"
        )
        yield Finding("advice", what, remedy)


def _evicts_what_expires(states: list[Contract], policy: str) -> Iterator[Finding]:
    """Keys without a TTL stay. The application decides which keys have one, unless the contract asks for it."""
    remedy = "set maxmemory-policy noeviction, or give no TTL to keys whose writes must not be lost"
    what = f"maxmemory-policy {policy} may evict a key with a TTL before MongoDB holds its last change"
    expiring = [contract for contract in states if contract.redis[0].ttl is not None]
    if expiring:
        yield Finding("promise", what, remedy, ("nothing_lost",), _names(expiring))
    if len(expiring) < len(states):
        yield Finding("advice", what, remedy)


def _moves(contract: Contract) -> bool:
    """Whether a key is no function of `_id`."""
    return any(
        projection.is_shared or projection.share or not template_of(projection).by_id
        for projection in contract.redis
    )


def _names(contracts: list[Contract]) -> tuple[str, ...]:
    return tuple(contract.name for contract in contracts)
