"""The Redis side: connect, find out what the server can do, translate its errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from syncd.errors import CapabilityError, FatalError, StoreError, TransientError
from syncd.stores.functions import Functions

SOCKET_TIMEOUT_S = 15.0
"""A call that takes longer is given up: the other end may be gone without a word."""

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_TRANSIENT_CODES = (
    "OOM", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "MOVED", "ASK", "NOREPLICAS",
    "MISCONF", "UNBLOCKED", "max number of clients",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one server can do, as detected."""

    flavour: str
    """`redis` or `valkey`."""
    version: tuple[int, ...]
    modules: dict[str, int] = field(default_factory=dict)
    json: bool = False
    search: bool = False
    cluster: bool = False
    persistence: bool = True
    maxmemory_policy: str = "unknown"

    def __str__(self) -> str:
        extras = [name for name in ("json", "search", "cluster") if getattr(self, name)]
        return f"{self.flavour} {'.'.join(map(str, self.version))} ({', '.join(extras) or 'no modules'})"


class RedisStore:
    """One Redis, shared by all lanes. Thread-safe; `client` pools its connections."""

    def __init__(self, url: str, *, socket_timeout: float = SOCKET_TIMEOUT_S) -> None:
        # The driver must not send again by itself: a lost reply does not mean a lost write. Lanes retry, from the
        # position they find.
        try:
            self.client = Redis.from_url(
                url,
                protocol=2,
                legacy_responses=True,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=socket_timeout,
                socket_connect_timeout=5.0,
                socket_keepalive=True,
                health_check_interval=0,
                client_name="syncd",
            )
        except ValueError as error:
            raise FatalError("redis", f"SYNCD_REDIS_URL is not usable: {error}; write redis://host:port/0") from None
        self.functions = Functions()

    def connect(self) -> Capabilities:
        """Ping, refuse what is too old, bring the functions. Returns what the server can do."""
        with translated():
            found = detect(self.client)
            oldest = _OLDEST[found.flavour]
            if found.version < oldest:
                raise CapabilityError(
                    "redis",
                    f"{found.flavour} {'.'.join(map(str, found.version))} is too old; "
                    f"syncd needs {found.flavour} {oldest[0]}.{oldest[1]} or later",
                )
            if found.cluster:
                raise CapabilityError(
                    "redis",
                    "this is a Redis Cluster node, and one atomic step cannot span its slots; "
                    "point SYNCD_REDIS_URL at a standalone Redis or a replication group",
                )
            self.functions.prepare(self.client)
            return found

    def call(self, name: str, keys: list[Any], args: list[Any]) -> Any:
        """Call one of syncd's functions, bringing the library where the server forgot it."""
        with translated():
            try:
                return self.client.execute_command(*self.functions.command(name, keys, args))
            except driver.ResponseError as error:
                if not self.functions.is_missing(error):
                    raise
                self.functions.prepare(self.client)
                return self.client.execute_command(*self.functions.command(name, keys, args))

    def close(self) -> None:
        """Close all connections."""
        self.client.close()


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


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the driver into errors of syncd."""
    try:
        yield
    except driver.RedisError as error:
        raise translate(error) from error


def translate(error: driver.RedisError) -> StoreError:
    """One error of the driver as an error of syncd; what is unknown counts as fatal, so that it is seen."""
    text = str(error)
    if isinstance(error, driver.AuthenticationError | driver.NoPermissionError):
        return FatalError("redis", f"Redis refuses us: {text}; mend the user, password or ACL in SYNCD_REDIS_URL")
    if isinstance(error, driver.OutOfMemoryError) or text.startswith("OOM"):
        return TransientError("redis", "Redis is at maxmemory; raise it, or let the application's keys expire")
    if isinstance(error, driver.ConnectionError | driver.TimeoutError):
        return TransientError("redis", f"no connection to Redis: {text}; is it up, and is SYNCD_REDIS_URL right?")
    if isinstance(error, driver.ReadOnlyError | driver.ClusterError) or text.startswith(_TRANSIENT_CODES):
        return TransientError("redis", f"Redis cannot take writes now: {text}; waiting for it")
    return FatalError("redis", f"Redis answered: {text}; see its log")
