"""The Redis side: connect, find out what the server can do, translate its errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import replace
from typing import Any, Self, TypeVar

from redis import Redis
from redis import exceptions as driver

from syncd.errors import (
    CapabilityError,
    FatalError,
    RefusedError,
    SlotMovedError,
    StoreError,
    TransientError,
    UnknownError,
    UnusableUriError,
    UriError,
)
from syncd.settings import Settings
from syncd.stores import tls
from syncd.stores.access import Access, access_of, fixed
from syncd.stores.messages import of_redis
from syncd.stores.redis.capabilities import Capabilities, detect
from syncd.stores.redis.connect.sentinel_url import SUFFIX
from syncd.stores.redis.connect.url import redis_client
from syncd.stores.redis.functions import Functions, require_protocol
from syncd.stores.redis.shared_scan import SharedScan
from syncd.stores.together import Together
from syncd.stores.uri import read_uri

Key = TypeVar("Key", str, bytes)

KNOWN_S = 1.0
"""How long it is known what a server is, for lanes that start together."""
RECENT_S = 1.0
"""What was heard of the nodes of a cluster since then is new enough."""
SOCKET_TIMEOUT_S = 15.0
"""A call that takes longer is given up: the other end may be gone without an error."""

CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
_SCHEMES = ("redis", "rediss", "unix", f"redis{SUFFIX}", f"rediss{SUFFIX}", *CLUSTER_SCHEMES)
OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_TRANSIENT_CODES = (
    "OOM", "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "NOREPLICAS", "MISCONF", "UNBLOCKED",
    "max number of clients",
)  # fmt: skip
_NOT_HERE = "non local key"
"""What a function says that comes to a key of another node; nothing is written then."""
_IS_DOWN = "the cluster is down"
"""The same where the node does not know a node for every slot."""


class RedisStore:
    """One Redis, shared by all lanes. Thread-safe; `client` pools its connections."""

    place = ""
    """What the names of syncd's records begin with: in a Redis Cluster a hash tag, see `cluster`."""
    node = ""
    """Of a node of a cluster its address."""

    def __init__(self, access: Access | str, *, socket_timeout: float = SOCKET_TIMEOUT_S) -> None:
        """`access`: how it is reached, or a URL that stays."""
        access = fixed("redis", access) if isinstance(access, str) else access
        try:
            self.address = read_uri(access.now().uri, _SCHEMES)
        except UriError as error:
            raise UnusableUriError("redis", f"SYNCD_REDIS_URL is not usable: {error}") from None
        self._client = redis_client(access, socket_timeout)
        self._functions = Functions()
        self.scans = SharedScan(self._client)
        self._known: Together[Capabilities] = Together(KNOWN_S)

    @staticmethod
    def of(settings: Settings) -> RedisStore:
        """The Redis of these settings, or the cluster. All of syncd connects this way."""
        from syncd.stores.redis.cluster.nodes import ClusterStore, is_cluster  # noqa: PLC0415 - it is made of this class

        access = access_of("redis", settings)
        return (ClusterStore if is_cluster(access.now().uri) else RedisStore)(access)

    @property
    def client(self) -> Redis:
        """Of a cluster: of its home, the node that has the records of no node."""
        return self._client

    @property
    def functions(self) -> Functions:
        """How those of `client` are to be called."""
        return self._functions

    @property
    def nodes(self) -> Sequence[RedisStore]:
        """Each server that has a part of the keys, with the records that belong to it; outside a cluster, this one."""
        return (self,)

    @property
    def places(self) -> Sequence[RedisStore]:
        """The same, and of a cluster the places that no node uses any more: a contract that has not worked since slots
        moved has its records there."""
        return self.nodes

    def shown(self) -> list[str]:
        """The nodes of a cluster, a line each, for people."""
        return []

    def explained(self, error: Exception) -> Exception:
        """What a lane is to report of an error."""
        return error

    def on_the_way(self) -> str:
        """Which slots of a cluster are on their way from one node to another, with what to do; empty for none."""
        return ""

    @property
    def placed(self) -> str:
        """Which nodes there are, and which keys they have; empty outside a cluster."""
        return ""

    def renew(self, seconds: float) -> None:
        """Ask a cluster again who has which slot, unless that was asked within this time."""

    def renewed(self) -> Self:
        """The same for what lives as long as a daemon, and is no lane: slots may have moved since it asked last. Where
        the cluster does not answer, what is asked next says so."""
        with suppress(StoreError):
            self.renew(RECENT_S)
        return self

    def on_their_way(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of these keys whose slot is moving from one node to another."""
        return set()

    def node_of(self, key: str | bytes) -> int:
        """Which of `nodes` has this key."""
        return 0

    def at_key(self, key: str | bytes) -> RedisStore:
        """The node that has this key."""
        return self.nodes[self.node_of(key)]

    def by_node(self, keys: Sequence[Key]) -> list[tuple[RedisStore, list[Key]]]:
        """These keys with the node that has them."""
        return [(self, list(keys))] if keys else []

    def with_timeout(self, seconds: float) -> RedisStore:
        """The same Redis by connections of its own, on which no call may take longer."""
        other, pool = copy(self), self._client.connection_pool
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        kind = type(pool)
        other._client = Redis(
            connection_pool=kind(
                connection_class=pool.connection_class, **{**pool.connection_kwargs, **limits}
            )
        )
        other.scans = SharedScan(other._client)
        return other

    def connect(self) -> Capabilities:
        """Ping, refuse what is too old, bring the functions. Returns what the server can do."""
        return self._known.ask(self._connect)

    def _connect(self) -> Capabilities:
        found = self.look()
        with translated():
            self.functions.prepare(self.client)
        return found

    def look(self) -> Capabilities:
        """What the server can do, for those that only read. Raises CapabilityError: too old, or not what the
        address says."""
        with translated():
            found = replace(detect(self.client), by_sentinel="primary" in self._options)
            oldest = OLDEST[found.flavour]
            if found.version < oldest:
                raise CapabilityError(
                    "redis",
                    f"{found.flavour} {'.'.join(map(str, found.version))} is too old; "
                    f"syncd needs {found.flavour} {oldest[0]}.{oldest[1]} or later",
                )
            if found.cluster and not self.place:
                raise CapabilityError(
                    "redis",
                    "this is a node of a Redis Cluster, and SYNCD_REDIS_URL names it as a Redis of its own; "
                    "write redis+cluster://HOST:PORT,HOST:PORT with some of the nodes",
                )
            return found

    def call(self, name: str, keys: list[Any], args: list[Any]) -> list[Any]:
        """Call one of syncd's functions, bringing the library where the server forgot it. Returns a word and what goes
        with it. Raises FatalError where the functions are of another protocol. See `Lease.call` for those that check
        the lease."""
        with translated(self.node):
            if self.functions.by_script is None:
                self.functions.prepare(self.client)
            try:
                return require_protocol(self._called(name, keys, args))
            except driver.ResponseError as error:
                if not self.functions.is_missing(error):
                    raise
                self.functions.prepare(self.client)
                return require_protocol(self._called(name, keys, args))

    def _called(self, name: str, keys: list[Any], args: list[Any]) -> list[Any]:
        reply: list[Any] = self.client.execute_command(*self.functions.command(name, keys, args))
        return reply

    @property
    def _options(self) -> dict[str, Any]:
        return self.client.connection_pool.connection_kwargs

    def clock_us(self) -> int:
        """Microseconds since 1970, by Redis's clock."""
        with translated():
            return clock_us(self.client.time())

    def close(self) -> None:
        """Close all connections."""
        self.client.close()


def clock_us(reply: Any) -> int:
    """The same, of the reply to a TIME that was asked together with something else."""
    seconds, micros = reply
    return int(seconds) * 1_000_000 + int(micros)


@contextmanager
def translated(node: str = "") -> Iterator[None]:
    """Turn errors of the driver into errors of syncd. `node`: of a cluster, the one that is asked."""
    try:
        yield
    except driver.RedisError as error:
        raise translate(error, node) from error


def translate(error: driver.RedisError, node: str = "") -> StoreError:
    """One error of the driver as an error of syncd; what is unknown is reported as an error, and tried again soon."""
    text, redis = of_redis(error), f"Redis node {node}" if node else "Redis"
    if isinstance(error, driver.AuthenticationError | driver.NoPermissionError):
        kind = FatalError if isinstance(error, driver.NoPermissionError) else RefusedError
        return kind("redis", f"{redis} refuses us: {text}; fix the user, password or ACL in SYNCD_REDIS_URL")
    if isinstance(error, driver.ConnectionError) and (why := tls.explained(text, "redis")):
        return RefusedError("redis", why)
    if isinstance(error, driver.OutOfMemoryError) or text.startswith("OOM"):
        return TransientError(
            "redis", f"{redis} is at maxmemory; raise it, or let the application's keys expire"
        )
    if isinstance(error, driver.BusyLoadingError):
        return TransientError("redis", f"{redis} cannot answer yet: {text}; waiting for it", soon=True)
    if isinstance(error, driver.ConnectionError | driver.TimeoutError):
        message = f"no connection to {redis}: {text}; is it up, and is SYNCD_REDIS_URL right?"
        return TransientError("redis", message, soon=True)
    if isinstance(error, driver.AskError | driver.TryAgainError) or _NOT_HERE in text:
        return SlotMovedError()
    message = f"{redis} cannot take writes now: {text}; waiting for it"
    if isinstance(error, driver.ClusterError) or _IS_DOWN in text:
        return TransientError(
            "redis", message, soon=True
        )  # until another node has taken over, a second or two
    if isinstance(error, driver.ReadOnlyError) or text.startswith(_TRANSIENT_CODES):
        return TransientError("redis", message)
    return UnknownError("redis", f"{redis} answered: {text}; see its log")
