"""What the nodes of a cluster say of it. All are asked at once: one that is paused or cut off takes connections and
says nothing, while the others know what has become of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias, TypeVar

from redis import Redis
from redis import exceptions as driver

from syncd.errors import CapabilityError, TransientError
from syncd.stores.redis.cluster.slots import SLOTS, Master

ASKED_S = 2.0
"""How long a node may take to say what it knows."""
MOST_NAMED = 3
_NO_CLUSTER = "cluster support disabled"
_Said = TypeVar("_Said")
_Address: TypeAlias = tuple[str, int]


class View(NamedTuple):
    """What one node says of the cluster."""

    epoch: int
    masters: list[Master]


class Moving(NamedTuple):
    """A slot on its way."""

    slot: int
    source: str
    """Address of the node that has it; empty where none says so."""
    target: str

    def __str__(self) -> str:
        return f"{self.slot} from {self.source or 'a node'} to {self.target or 'another'}"


class Views:
    """Asks the nodes. Used by one thread at a time, but for `moving`."""

    def __init__(self, seeds: Sequence[Redis], asked_s: float) -> None:
        """`seeds`: the nodes that the settings name."""
        self._limits = {"socket_timeout": asked_s, "socket_connect_timeout": asked_s}
        self._clients: dict[_Address, Redis] = {
            _address_of(seed): like(seed, **self._limits) for seed in seeds
        }
        self._seeds = list(self._clients)

    def of(self, master: Master) -> Redis:
        """For a short question to a node."""
        at = master.host, master.port
        if at not in self._clients:
            seed = self._clients[self._seeds[0]]
            self._clients[at] = like(seed, host=master.host, port=master.port)
        return self._clients[at]

    def newest(self) -> View:
        """The view of those that know of the latest change. A node that was cut off knows less."""
        views, errors = [], list[driver.RedisError]()
        for said in _of_all(list(self._clients.values()), _view_of):
            if isinstance(said, View):
                views.append(said)
            elif said is not None:
                errors.append(said)
        if not views:
            raise _why_none(errors)
        newest = max(views, key=lambda view: view.epoch)
        self._keep(newest)
        return newest

    def _keep(self, view: View) -> None:
        """Ask those next time, beside the seeds."""
        for master in view.masters:
            self.of(master)
        known = {(master.host, master.port) for master in view.masters}.union(self._seeds)
        for address in self._clients.keys() - known:
            self._clients.pop(address).close()

    def moving(self, masters: Iterable[Master]) -> list[Moving]:
        """The slots that are on their way, as these nodes say it."""
        found: dict[int, Moving] = {}
        for said in _of_all([self.of(master) for master in masters], _moves_of):
            if isinstance(said, driver.RedisError):
                raise said
            for one in said:
                other = found.get(one.slot, one)
                found[one.slot] = Moving(one.slot, one.source or other.source, one.target or other.target)
        return sorted(found.values())

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()


def like(client: Redis, **changes: Any) -> Redis:
    """One with connections of the same kind, to another server or with other limits."""
    pool = client.connection_pool
    kind = type(pool)
    return Redis(
        connection_pool=kind(connection_class=pool.connection_class, **{**pool.connection_kwargs, **changes})
    )


def why_waiting(moving: Sequence[Moving]) -> str:
    """For people: what and remedy."""
    some = ", ".join(map(str, moving[:MOST_NAMED])) + (", ..." if len(moving) > MOST_NAMED else "")
    asked = moving[0].source or moving[0].target
    return (
        f"slots of the cluster are on their way ({some}), and a document whose key is not there yet has to wait; where "
        f"the move was broken off, end it: redis-cli --cluster fix {asked}"
    )


def ids_of_masters(said: Mapping[str, Mapping[str, str]], asked: str) -> dict[str, str]:
    """By which the cluster knows its masters, as the one that was asked says to `CLUSTER NODES`: by address, and by the
    name that a node announces, where it has one."""
    found = {}
    for address, one in said.items():
        flags = one["flags"].split(",")
        if {"master", "fail"}.intersection(flags) != {"master"}:  # `fail?` is a suspicion alone
            continue
        port = address.rpartition(":")[2]
        for name in (address, f"{one['hostname']}:{port}", *([asked] if "myself" in flags else [])):
            found[name] = one["node_id"]
    return found


def _of_all(clients: Sequence[Redis], ask: Callable[[Redis], _Said]) -> list[_Said | driver.RedisError]:
    def answer(client: Redis) -> _Said | driver.RedisError:
        try:
            return ask(client)
        except driver.RedisError as error:
            return error

    if len(clients) == 1:
        return [answer(clients[0])]
    with ThreadPoolExecutor(len(clients), thread_name_prefix="views") as pool:
        return list(pool.map(answer, clients))


def _why_none(errors: Sequence[driver.RedisError]) -> Exception:
    for error in errors:
        if _NO_CLUSTER in str(error):
            what = "SYNCD_REDIS_URL says redis+cluster://, and this Redis is none"
            return CapabilityError("redis", f"{what}; write redis://")
    if errors:
        return errors[0]
    return TransientError(
        "redis", "no node of the cluster knows a node for every slot; waiting for them", soon=True
    )


def _address_of(client: Redis) -> _Address:
    asked = client.connection_pool.connection_kwargs
    return str(asked.get("host", "localhost")), int(asked.get("port", 6379))


def _view_of(client: Redis) -> View | None:
    """None where this node knows of no node for some slot, or takes no writes."""
    info: Any = client.execute_command("CLUSTER INFO")
    if not isinstance(info, dict) or info.get("cluster_state") != "ok":
        return None
    slots: Any = client.execute_command("CLUSTER SLOTS")
    ranges: dict[_Address, list[tuple[int, int]]] = {}
    for first, last, (host, port, *_), *_ in slots:
        name = host.decode() if isinstance(host, bytes) else host
        where = _address_of(client)[0] if not name or name == "?" else name
        ranges.setdefault((where, int(port)), []).append((int(first), int(last)))
    if sum(last - first + 1 for some in ranges.values() for first, last in some) < SLOTS:
        return None
    masters = [Master(host, port, tuple(sorted(some))) for (host, port), some in ranges.items()]
    return View(int(info.get("cluster_current_epoch", 0)), masters)


def _moves_of(client: Redis) -> list[Moving]:
    """Slots of this node that are on their way to another one, or to this one."""
    said: Any = client.execute_command("CLUSTER NODES")
    by_id = {one["node_id"]: address for address, one in said.items()}
    here = next((address for address, one in said.items() if "myself" in one["flags"]), "")
    found = []
    for one in said[here].get("migrations") or () if here else ():
        other = by_id.get(one["node_id"], "")
        is_leaving = one["state"] == "migrating"
        found.append(Moving(int(one["slot"]), *((here, other) if is_leaving else (other, here))))
    return found
