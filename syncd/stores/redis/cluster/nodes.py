"""A Redis Cluster: its nodes as servers of their own, each with the records that belong to its part of the keys.

A call is atomic on one node, and a function may write keys of all slots of its node. So each node has what a Redis
outside a cluster has as a whole: lease, position, claims, maps. Their names begin with a hash tag whose slot the node
has, its place. What belongs to no node (dead letters, requests, reports) is at the home.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakSet

from redis import Redis

from syncd.errors import SlotMovedError, StoreError, TransientError, UnusableUriError, UriError
from syncd.stores.access import Access, Given, fixed
from syncd.stores.redis.capabilities import Capabilities, weakest
from syncd.stores.redis.cluster.slots import Master, SlotMap, map_of, slot_of
from syncd.stores.redis.cluster.views import ASKED_S, Moving, Views, like, why_waiting
from syncd.stores.redis.connect.connections import hang_up, is_hung_up
from syncd.stores.redis.connect.url import redis_client
from syncd.stores.redis.functions import Functions
from syncd.stores.redis.shared_scan import SharedScan
from syncd.stores.redis.store import CLUSTER_SCHEMES, SOCKET_TIMEOUT_S, Key, RedisStore, translated
from syncd.stores.together import Together
from syncd.stores.uri import read_uri

HOME = "{0}"
PLACES = HOME + "syncd:places"
"""Hash: the places of nodes, by the order in which they were taken. A place stays when its node has lost the slot."""
_WRITE = "write redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT with some of the nodes"


class NodeStore(RedisStore):
    """One node of a cluster."""

    def __init__(self, client: Redis, address: str, place: str) -> None:
        self._client, self.node, self.place = client, address, place
        self._functions = Functions()
        self.scans = SharedScan(client)
        self._known = Together(0.0)

    def __str__(self) -> str:
        return self.node


class Seen(NamedTuple):
    """The cluster at one moment."""

    map: SlotMap
    nodes: tuple[NodeStore, ...]
    retired: tuple[str, ...]
    """Places that are no node's any more."""
    new: dict[str, int]
    """Places that are not written down yet, with their order."""
    epoch: int
    """It grows whenever a slot gets another node."""

    @property
    def addresses(self) -> frozenset[str]:
        """Of all masters."""
        return frozenset(node.node for node in self.nodes)


class ClusterStore(RedisStore):
    """All nodes of one cluster, as they were when it was last asked. Thread-safe."""

    place = HOME

    def __init__(self, access: Access | str, *, socket_timeout: float = SOCKET_TIMEOUT_S) -> None:
        """`access`: how it is reached, or a URL that stays."""
        access = fixed("redis", access) if isinstance(access, str) else access
        url = access.now().uri
        try:
            self.address = read_uri(url, CLUSTER_SCHEMES)
        except UriError as error:
            raise UnusableUriError("redis", f"SYNCD_REDIS_URL is not usable: {error}") from None
        self._seeds = [
            redis_client(_to_one(access, number), socket_timeout) for number in range(len(_urls_of(url)))
        ]
        self._begin(ASKED_S)

    def _begin(self, asked_s: float) -> None:
        """`asked_s`: how long a node may take to say what it knows of the cluster."""
        self._views = Views(self._seeds, asked_s)
        self._known = Together(0.0)
        self._lock = threading.Lock()
        self._now: Seen | None = None
        self._asked_at = 0.0
        self._is_fixed = False
        self.slots_moving: frozenset[int] = frozenset()
        """Those that were on their way when the nodes were last asked for them."""
        self._made: WeakSet[NodeStore] = WeakSet()

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

    @property
    def places(self) -> Sequence[NodeStore]:
        """Each node, and each retired place on the node that has its slot."""
        seen = self.seen()
        at = {place: seen.nodes[seen.map.node_of(place)] for place in seen.retired}
        return [*seen.nodes, *(NodeStore(node.client, node.node, place) for place, node in at.items())]

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

    @property
    def placed(self) -> str:
        """As it was when the nodes were last asked. Another one also where slots have gone and come back since."""
        seen = self.seen()
        return " ".join([seen.map.digest, str(seen.epoch), *(node.node for node in seen.nodes)])

    def on_their_way(self, keys: Sequence[bytes]) -> set[bytes]:
        """By what the nodes say now."""
        slots = {one.slot for one in self.moving()} if keys else set()
        return {key for key in keys if slot_of(key) in slots}

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
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        other._seeds = [like(seed, **limits) for seed in self._seeds]
        other._begin(min(seconds, ASKED_S))
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
            epoch, masters = self._views.newest()
            said = self._places(masters)
            # Also where a FLUSHALL has emptied the home: other nodes have records at these places.
            known = [*said, *(place for place in self._had() if place not in said)]
            slots = map_of(masters, known, HOME)
            before = {
                (one.node, one.place): one
                for one in (self._now.nodes if self._now else ())
                if not is_hung_up(one.client)
            }
            nodes = tuple(
                before.get((str(master), place)) or self._node(master, place)
                for master, place in zip(slots.masters, slots.places, strict=True)
            )
            retired = tuple(one for one in known if one not in slots.places)
            fresh = dict.fromkeys(place for place in (*known, *slots.places) if place not in said)
            new = {place: order for order, place in enumerate(fresh, len(said))}
            self._now, self._asked_at = Seen(slots, nodes, retired, new, epoch), time.monotonic()
        self.hang_up(self._now)
        return self._now

    def _had(self) -> list[str]:
        """The places as they were when the nodes were last asked."""
        return [*self._now.map.places, *self._now.retired] if self._now else []

    def renew(self, seconds: float) -> None:
        """Ask them again, also for slots on their way, unless any lane has done so within this time."""
        if time.monotonic() - self._asked_at > seconds:
            self.refresh()
            with suppress(StoreError):  # one that does not answer is not waited for
                self.slots_moving = frozenset(one.slot for one in self.moving())

    def _node(self, master: Master, place: str) -> NodeStore:
        node = NodeStore(like(self._seeds[0], host=master.host, port=master.port), str(master), place)
        self._made.add(node)
        return node

    def hang_up(self, seen: Seen) -> None:
        """Let no one wait for a node that is none any more: it may be paused or cut off, and say nothing."""
        with self._lock:
            made = list(self._made)
        for node in made:
            if node.node not in seen.addresses:
                hang_up(node.client)

    def register(self, found: Seen) -> None:
        """Write down new places, before there are records at them."""
        with translated():
            for place, order in found.new.items():
                found.nodes[0].client.hsetnx(PLACES, place, str(order))

    def require_still(self, digest: str) -> None:
        """That every slot is where it was under the map of this digest, and none on its way. Raises TransientError."""
        self.refresh()
        if self.moving() or self.seen().map.digest != digest:
            raise TransientError(
                "redis", "slots of the cluster moved meanwhile, and keys may have been passed over", soon=True
            )

    def moving(self) -> list[Moving]:
        """The slots that are on their way from one node to another."""
        with translated():
            return self._views.moving(self.seen().map.masters)

    def explained(self, error: Exception) -> Exception:
        """What a lane is to report of an error: where a slot is on its way, which one, and what a person can do."""
        if not isinstance(error, SlotMovedError):
            return error
        try:
            why = self.on_the_way()
        except StoreError:
            return error
        return TransientError("redis", why, soon=True) if why else error

    def on_the_way(self) -> str:
        """As these nodes say it."""
        moving = self.moving()
        return why_waiting(moving) if moving else ""

    def _places(self, masters: list[Master]) -> list[str]:
        """Those that are taken, in their order."""
        home = map_of(masters, [], HOME).masters[0]
        said: Any = self._views.of(home).hgetall(PLACES)
        taken = sorted((int(order), place.decode()) for place, order in said.items())
        return [HOME, *(place for _, place in taken if place != HOME)]

    def clock_us(self) -> int:
        """By the clock of the home."""
        return self.nodes[0].clock_us()

    def call(self, name: str, keys: list[Any], args: list[Any]) -> list[Any]:
        """At the home."""
        return self.nodes[0].call(name, keys, args)

    def close(self) -> None:
        """Close all connections."""
        self._views.close()
        for client in (*self._seeds, *(node.client for node in self._made)):
            client.close()


def is_cluster(url: str) -> bool:
    """Whether SYNCD_REDIS_URL names a cluster."""
    return url.partition("://")[0].lower() in CLUSTER_SCHEMES


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
    if not all(host.strip() and not host.startswith(":") for host in hosts.split(",")):
        raise UnusableUriError(
            "redis", f"SYNCD_REDIS_URL is not usable: it lacks the name of a node; {_WRITE}"
        )
    scheme = parts.scheme.removesuffix("+cluster")
    return [
        urlunsplit((scheme, f"{user}{at}{host}", "/0", parts.query, parts.fragment))
        for host in hosts.split(",")
    ]
