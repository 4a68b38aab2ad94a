"""What a Redis can do, as detected, and what a contract asks for beyond that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from redis import Redis
from redis import exceptions as driver

from syncd.contract.model.contract import Contract
from syncd.errors import CapabilityError
from syncd.plan.types import NEEDS, type_of

SEARCH = "search"
_NOT_YET = " is not supported on a Redis Cluster yet"
_ELSEWHERE = "leave it out, or run this contract on a Redis that is no cluster"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one server can do, as detected."""

    flavour: str
    """`redis` or `valkey`."""
    version: tuple[int, ...]
    modules: frozenset[str] = frozenset()
    """What it has beyond Redis 7.0, of what syncd can make use of: `json`, `search` and so on."""
    cluster: bool = False
    persistence: bool = True
    maxmemory_policy: str = "unknown"
    by_sentinel: bool = False
    """Whether Sentinel says which server it is."""
    waits_for_replicas: bool = False
    """Whether it takes no writes while too few replicas follow it (min-replicas-to-write)."""

    @property
    def search(self) -> bool:
        """Whether it can have search indexes."""
        return SEARCH in self.modules

    def __str__(self) -> str:
        extras = sorted(self.modules) + ["cluster"] * self.cluster
        return f"{self.flavour} {'.'.join(map(str, self.version))} ({', '.join(extras) or 'no modules'})"


def detect(client: Redis) -> Capabilities:
    """Ask the server what it is and what it can do."""
    info: dict[str, Any] = client.info()
    flavour = "valkey" if "valkey_version" in info or info.get("server_name") == "valkey" else "redis"
    version = str(info.get(f"{flavour}_version", info.get("redis_version", "0")))
    commands = {need.command: need.name for need in NEEDS} | {"FT.CREATE": SEARCH}
    known: Any = client.execute_command("COMMAND INFO", *commands)
    return Capabilities(
        flavour=flavour,
        version=tuple(int(part) for part in re.findall(r"\d+", version)[:3]),
        modules=frozenset(
            name for at, (command, name) in enumerate(commands.items()) if _known(known, at, command)
        ),
        cluster=bool(info.get("cluster_enabled")),
        persistence=bool(info.get("aof_enabled")) or _saves(client),
        maxmemory_policy=str(info.get("maxmemory_policy", "unknown")),
        waits_for_replicas="min_slaves_good_slaves" in info,
    )


def weakest(found: Sequence[Capabilities]) -> Capabilities:
    """What all nodes of a cluster can do."""
    return replace(
        min(found, key=lambda one: one.version),
        modules=frozenset.intersection(*(one.modules for one in found)),
        persistence=all(one.persistence for one in found),
        maxmemory_policy=max((one.maxmemory_policy for one in found), key=_takes),
    )


def _takes(policy: str) -> int:
    """How much a server may evict; one that does not say may evict anything."""
    kinds = {"noeviction": 0, "volatile": 1, "allkeys": 3}
    return next((much for kind, much in kinds.items() if policy.startswith(kind)), 2)


def _known(known: Any, index: int, command: str) -> bool:
    if isinstance(known, dict):  # some versions of the driver turn the reply into a map by name
        return command.lower() in {str(name).lower() for name in known}
    return bool(len(known) > index and known[index])


def _saves(client: Redis) -> bool:
    """Whether snapshots to disk are on; a service that hides CONFIG keeps its data by its own means."""
    try:
        return bool(client.config_get("save").get("save"))
    except driver.ResponseError:
        return True


class Lack(NamedTuple):
    """Something that a contract needs and the server has not."""

    path: tuple[str | int, ...]
    """Of the contract key that asks for it."""
    what: str
    remedy: str


def lacks(contract: Contract, server: Capabilities) -> Iterator[Lack]:
    """Everything in the contract that this server cannot hold."""
    for at, projection in enumerate(contract.redis):
        where = f"contract {contract.name}, projection {projection.projection}"
        need = type_of(projection).need
        if need is not None and need.name not in server.modules:
            what = f"{where}: `type: {projection.type}` needs {need.what}, which {server} lacks"
            yield Lack(("redis", at, "type"), what, need.remedy)
        if projection.index is not None and not server.search and not server.cluster:
            what = f"{where}: its index needs the search module, which {server} lacks"
            yield Lack(("redis", at, "index"), what, "use Redis 8, Redis Stack, or leave the index out")
    if server.cluster:
        yield from _in_a_cluster(contract)


def _in_a_cluster(contract: Contract) -> Iterator[Lack]:
    """What needs more than a call that is atomic on one node, or is not built for several nodes yet."""
    for at, projection in enumerate(contract.redis):
        where = f"contract {contract.name}, projection {projection.projection}"
        if projection.index is not None:
            why = "a search index knows the keys of one node alone"
            yield Lack(("redis", at, "index"), f"{where}: {why}", _ELSEWHERE)
    where = f"contract {contract.name}"
    if contract.sync.direction == "both":
        what = f"{where}: `direction: both`{_NOT_YET}"
        yield Lack(("sync", "direction"), what, _ELSEWHERE)
    elif contract.sync.capture == "outbox":
        why = "an outbox is written in the step that changes a key, and that step has one slot"
        remedy = "write `capture: keyspace`, or run this contract on a Redis that is no cluster"
        yield Lack(("sync", "capture"), f"{where}: {why}", remedy)


def require(contract: Contract, server: Capabilities) -> None:
    """Raise CapabilityError where this server cannot hold what the contract asks for."""
    missing = [f"{lack.what}; {lack.remedy}" for lack in lacks(contract, server)]
    if missing:
        raise CapabilityError("redis", ". ".join(missing))
