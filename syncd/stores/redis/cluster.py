"""A Redis Cluster: its nodes as servers of their own, each with the records that belong to its part of the keys.

A call is atomic on one node, and a function may write keys of all slots of its node. So each node has what a Redis
outside a cluster has as a whole: lease, position, claims, maps. Their names begin with a hash tag whose slot the node
has, its place. What belongs to no node (dead letters, requests, reports) is at the home.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis import exceptions as driver

from syncd.errors import CapabilityError, TransientError, UnusableUriError, UriError
from syncd.stores.access import Access, Given, fixed
from syncd.stores.redis.capabilities import Capabilities, weakest
from syncd.stores.redis.functions import Functions
from syncd.stores.redis.slots import SLOTS, Master, SlotMap, map_of
from syncd.stores.redis.store import SOCKET_TIMEOUT_S, Key, RedisStore, translated
from syncd.stores.redis.url import redis_client
from syncd.stores.together import Together
from syncd.stores.uri import read_uri

HOME = "{0}"
PLACES = HOME + "syncd:places"
"""Hash: the places of nodes, by the order in which they were taken. A place stays when its node has lost the slot."""
SCHEMES = ("redis+cluster", "rediss+cluster")
_NO_CLUSTER = "cluster support disabled"
_WRITE = "write redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT with some of the nodes"


class NodeStore(RedisStore):
    """One node of a cluster."""

    def __init__(self, client: Redis, address: str, place: str) -> None:
        self._client, self.node, self.place = client, address, place
        self._functions = Functions()
        self._known = Together(0.0)

    def __str__(self) -> str:
        return self.node


class View(NamedTuple):
    """What one node says of the cluster."""

    epoch: int
    masters: list[Master]


class Seen(NamedTuple):
    """The cluster at one moment."""

    map: SlotMap
    nodes: tuple[NodeStore, ...]
    retired: tuple[str, ...]
    """Places that are no node's any more."""
    new: dict[str, int]
    """Places that are not written down yet, with their order."""


class ClusterStore(RedisStore):
    """All nodes of one cluster, as they were when it was last asked. Thread-safe."""

    place = HOME

    def __init__(self, access: Access | str, *, socket_timeout: float = SOCKET_TIMEOUT_S) -> None:
        """`access`: how it is reached, or a URL that stays."""
        access = fixed("redis", access) if isinstance(access, str) else access
        url = access.now().uri
        try:
            self.address = read_uri(url, SCHEMES)
        except UriError as error:
            raise UnusableUriError("redis", f"SYNCD_REDIS_URL is not usable: {error}") from None
        self._seeds = [
            redis_client(_to_one(access, number), socket_timeout) for number in range(len(_urls_of(url)))
        ]
        self._known = Together(0.0)
        self._lock = threading.Lock()
        self._now: Seen | None = None
        self._is_fixed = False
        self._limits: dict[str, Any] = {}

    @property
    def client(self) -> Redis:
        """Of the node that has the home."""
        return self.nodes[0].client

    @property
    def functions(self) -> Functions:
        """How those of the home are to be called."""
        return self.nodes[0].functions

    @property
    def nodes(self) -> Sequence[NodeStore]:
        """Each master that has slots, the home first."""
        return self.seen().nodes

    def seen(self) -> Seen:
        """The cluster as it was when it was last asked."""
        return self._now or self.refresh()

    def shown(self) -> list[str]:
        """Each node with its slots, and where it has syncd's records."""
        found = self.seen().map
        return [
            f"redis node {master.shown}, records at {place}" + " (home)" * (place == HOME)
            for master, place in zip(found.masters, found.places, strict=True)
        ]

    def as_seen(self, seen: Seen) -> ClusterStore:
        """The same cluster as it was at one moment, whatever others see of it since."""
        other = copy(self)
        other._now, other._is_fixed, other._lock = seen, True, threading.Lock()
        return other

    def node_of(self, key: str | bytes) -> int:
        """Which of `nodes` has this key."""
        return self.seen().map.node_of(key)

    def by_node(self, keys: Sequence[Key]) -> list[tuple[RedisStore, list[Key]]]:
        """These keys with the node that has them."""
        found: dict[int, list[Key]] = {}
        for key in keys:
            found.setdefault(self.node_of(key), []).append(key)
        return [(self.nodes[number], some) for number, some in found.items()]

    def with_timeout(self, seconds: float) -> ClusterStore:
        """The same cluster by connections of its own, on which no call may take longer."""
        other = copy(self)
        other._limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        other._seeds = [_client(seed, **other._limits) for seed in self._seeds]
        other._lock, other._now, other._known = threading.Lock(), None, Together(0.0)
        other._is_fixed = False
        return other

    def _connect(self) -> Capabilities:
        self.refresh()
        found = self.look()
        with translated():
            for node in self.nodes:
                node.functions.prepare(node.client)
        return found

    def look(self) -> Capabilities:
        """What all of its nodes can do."""
        return weakest([node.look() for node in self.nodes])

    def refresh(self) -> Seen:
        """Ask the nodes who has which slot now."""
        if self._is_fixed:
            return self.seen()
        with self._lock, translated():
            masters = self._newest().masters
            known = self._places(masters)
            slots = map_of(masters, known, HOME)
            before = {(one.node, one.place): one for one in self._now.nodes} if self._now else {}
            nodes = tuple(
                before.get((str(master), place))
                or NodeStore(self._at(master.host, master.port), str(master), place)
                for master, place in zip(slots.masters, slots.places, strict=True)
            )
            retired = tuple(one for one in known if one not in slots.places)
            fresh = [place for place in slots.places if place not in known]
            new = {place: order for order, place in enumerate(fresh, len(known))}
            self._now = Seen(slots, nodes, retired, new)
            return self._now

    def register(self, found: Seen) -> None:
        """Write down new places, before there are records at them."""
        with translated():
            for place, order in found.new.items():
                found.nodes[0].client.hsetnx(PLACES, place, str(order))

    def require_still(self, digest: str) -> None:
        """That every slot is where it was under the map of this digest, and none on its way. Raises TransientError."""
        self.refresh()
        with translated():
            moving = [node for node in self.nodes if _is_moving(node.client)]
        if moving or self.seen().map.digest != digest:
            raise TransientError(
                "redis", "slots of the cluster moved meanwhile, and keys may have been passed over", soon=True
            )

    def _newest(self) -> View:
        """The view of those that know of the latest change. A node that was cut off knows less."""
        views, errors = [], []
        for client in self._all():
            try:
                if (view := _view_of(client)) is not None:
                    views.append(view)
            except driver.RedisError as error:
                if _NO_CLUSTER in str(error):
                    what = "SYNCD_REDIS_URL says redis+cluster://, and this Redis is none"
                    raise CapabilityError("redis", f"{what}; write redis://") from None
                errors.append(error)
        if views:
            return max(views, key=lambda view: view.epoch)
        if errors:
            raise errors[0]
        raise TransientError(
            "redis", "no node of the cluster knows a node for every slot; waiting for them", soon=True
        )

    def _all(self) -> Iterator[Redis]:
        for node in self._now.nodes if self._now else ():
            yield node.client
        yield from self._seeds

    def _places(self, masters: list[Master]) -> list[str]:
        """Those that are taken, in their order."""
        home = map_of(masters, [], HOME).masters[0]
        said: Any = self._at(home.host, home.port).hgetall(PLACES)
        taken = sorted((int(order), place.decode()) for place, order in said.items())
        return [HOME, *(place for _, place in taken if place != HOME)]

    def _at(self, host: str, port: int) -> Redis:
        return _client(self._seeds[0], host=host, port=port, **self._limits)

    def clock_us(self) -> int:
        """By the clock of the home."""
        return self.nodes[0].clock_us()

    def call(self, name: str, keys: list[Any], args: list[Any]) -> list[Any]:
        """At the home."""
        return self.nodes[0].call(name, keys, args)

    def close(self) -> None:
        """Close all connections."""
        for client in self._all():
            client.close()


def is_cluster(url: str) -> bool:
    """Whether SYNCD_REDIS_URL names a cluster."""
    return url.partition("://")[0].lower() in SCHEMES


def _to_one(access: Access, number: int) -> Access:
    """The way to one of the nodes that are named."""

    def read() -> Given:
        given = access.now()
        return given._replace(uri=_urls_of(given.uri)[number])

    return Access("redis", read, may_change=access.may_change, credentials=access.credentials)


def _urls_of(url: str) -> list[str]:
    """One for each node that is named."""
    parts = urlsplit(url)
    if parts.path.strip("/") not in ("", "0"):
        raise UnusableUriError(
            "redis", f"SYNCD_REDIS_URL is not usable: a cluster has database 0 only; {_WRITE}"
        )
    user, at, hosts = parts.netloc.rpartition("@")
    scheme = parts.scheme.removesuffix("+cluster")
    return [
        urlunsplit((scheme, f"{user}{at}{host}", "/0", parts.query, parts.fragment))
        for host in hosts.split(",")
    ]


def _client(like: Redis, **changes: Any) -> Redis:
    pool = like.connection_pool
    kind = type(pool)
    return Redis(
        connection_pool=kind(connection_class=pool.connection_class, **{**pool.connection_kwargs, **changes})
    )


def _view_of(client: Redis) -> View | None:
    """None where this node knows of no node for some slot, or takes no writes."""
    info: Any = client.execute_command("CLUSTER INFO")
    if not isinstance(info, dict) or info.get("cluster_state") != "ok":
        return None
    slots: Any = client.execute_command("CLUSTER SLOTS")
    ranges: dict[tuple[str, int], list[tuple[int, int]]] = {}
    asked = client.connection_pool.connection_kwargs
    for first, last, (host, port, *_), *_ in slots:
        name = host.decode() if isinstance(host, bytes) else host
        where = asked.get("host", "") if not name or name == "?" else name
        ranges.setdefault((where, int(port)), []).append((int(first), int(last)))
    if sum(last - first + 1 for some in ranges.values() for first, last in some) < SLOTS:
        return None
    masters = [Master(host, port, tuple(sorted(some))) for (host, port), some in ranges.items()]
    return View(int(info.get("cluster_current_epoch", 0)), masters)


def _is_moving(client: Redis) -> bool:
    """Whether a slot of this node is on its way to another one, or to this one."""
    said: Any = client.execute_command("CLUSTER NODES")
    return any(one.get("migrations") for one in said.values() if "myself" in one["flags"])
