"""What a Redis can do, as detected, and what a contract asks for beyond that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis import Redis
from redis import exceptions as driver

from syncd.contract.model import Contract
from syncd.errors import CapabilityError


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one server can do, as detected."""

    flavour: str
    """`redis` or `valkey`."""
    version: tuple[int, ...]
    json: bool = False
    search: bool = False
    cluster: bool = False
    persistence: bool = True
    maxmemory_policy: str = "unknown"

    def __str__(self) -> str:
        extras = [name for name in ("json", "search", "cluster") if getattr(self, name)]
        return f"{self.flavour} {'.'.join(map(str, self.version))} ({', '.join(extras) or 'no modules'})"


def detect(client: Redis) -> Capabilities:
    """Ask the server what it is and what it can do."""
    info: dict[str, Any] = client.info()
    flavour = "valkey" if "valkey_version" in info or info.get("server_name") == "valkey" else "redis"
    version = str(info.get(f"{flavour}_version", info.get("redis_version", "0")))
    commands: Any = client.execute_command("COMMAND INFO", "JSON.SET", "FT.CREATE")
    return Capabilities(
        flavour=flavour,
        version=tuple(int(part) for part in re.findall(r"\d+", version)[:3]),
        json=_known(commands, 0),
        search=_known(commands, 1),
        cluster=bool(info.get("cluster_enabled")),
        persistence=bool(info.get("aof_enabled")) or _saves(client),
        maxmemory_policy=str(info.get("maxmemory_policy", "unknown")),
    )


def _known(commands: Any, index: int) -> bool:
    if isinstance(commands, dict):  # some versions of the driver turn the reply into a map by name
        return ("json.set", "ft.create")[index] in {str(name).lower() for name in commands}
    return bool(len(commands) > index and commands[index])


def _saves(client: Redis) -> bool:
    """Whether snapshots to disk are on; a service that hides CONFIG keeps its data by its own means."""
    try:
        return bool(client.config_get("save").get("save"))
    except driver.ResponseError:
        return True


class Lack(NamedTuple):
    """Something that a projection needs and the server has not. `key` is the contract key that asks for it."""

    projection: int
    key: str
    what: str
    remedy: str


def lacks(contract: Contract, server: Capabilities) -> Iterator[Lack]:
    """Everything in the contract that this server cannot hold."""
    for at, projection in enumerate(contract.redis):
        where = f"contract {contract.name}, projection {projection.projection}"
        if projection.type == "json" and not server.json:
            what = f"{where}: `type: json` needs the JSON data type, which {server} lacks"
            yield Lack(at, "type", what, "use Redis 8, Redis Stack, or a hash")
        if projection.index is not None and not server.search:
            what = f"{where}: its index needs the search module, which {server} lacks"
            yield Lack(at, "index", what, "use Redis 8, Redis Stack, or leave the index out")


def require(contract: Contract, server: Capabilities) -> None:
    """Raise CapabilityError where this server cannot hold what the contract asks for."""
    missing = [f"{lack.what}; {lack.remedy}" for lack in lacks(contract, server)]
    if missing:
        raise CapabilityError("redis", ". ".join(missing))
