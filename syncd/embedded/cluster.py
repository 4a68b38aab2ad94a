"""A real Redis Cluster on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis import Redis

from syncd.embedded.ports import LOOPBACK, Port
from syncd.embedded.redis import RedisServer
from syncd.embedded.started import Started
from syncd.errors import PlatformError

SLOTS = 16384
FORMED_S = 60.0
POLL_S = 0.02
QUICK: Mapping[str, str | int] = {
    "cluster-node-timeout": 2500,
    "repl-diskless-sync-delay": 0,
    "cluster-replica-validity-factor": 0,
    "cluster-allow-replica-migration": "no",
}
"""A master that is gone is noticed soon, and a replica that was cut off takes its place all the same."""


class RedisCluster(Started):
    """`masters` nodes with slots, and as many replicas of each. `config` is that of every node."""

    def __init__(
        self,
        masters: int = 3,
        replicas: int = 0,
        *,
        modules: bool = False,
        appendonly: bool = False,
        config: Mapping[str, str | int] | None = None,
        binary: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._masters, self._replicas = masters, replicas
        self._options: dict[str, Any] = {
            "modules": modules,
            "appendonly": appendonly,
            "binary": binary,
            "env": env,
        }
        self._config = {**QUICK, **(config or {})}
        self._buses: dict[RedisServer, Port] = {}
        self._clients: dict[RedisServer, Redis] = {}
        self.nodes: list[RedisServer] = []
        """The masters of the beginning, then their replicas, then what was added."""

    @property
    def url(self) -> str:
        """SYNCD_REDIS_URL: all nodes."""
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def client(self, node: RedisServer) -> Redis:
        """Replies are bytes."""
        return Redis.from_url(node.url)

    def tell(self, node: RedisServer, *words: Any) -> Any:
        """One command to one node."""
        client = self._clients.get(node) or self._clients.setdefault(node, self.client(node))
        return client.execute_command(*words)

    def id_of(self, node: RedisServer) -> str:
        """By which the others know it."""
        return str(self.tell(node, "CLUSTER MYID").decode())

    def add(self) -> RedisServer:
        """One more node, without slots."""
        bus = Port()
        settings = {"cluster-enabled": "yes", "cluster-port": bus.number, **self._config}
        node = RedisServer(config=settings, **self._options)
        self._buses[node] = bus
        node.start()
        self.nodes.append(node)
        return node

    def meet(self, node: RedisServer) -> None:
        """Make it known to the others."""
        known = self.nodes[0]
        self.tell(node, "CLUSTER MEET", LOOPBACK, known.port, self._buses[known].number)

    def join(self) -> RedisServer:
        """One more node, which all know, as it knows them. Others that they know may be dead."""
        node = self.add()
        self.meet(node)
        names = {self.id_of(one) for one in self.nodes}
        self._until(lambda: all(names <= self.known_to(one) for one in self.nodes))
        self.wait(lambda said: said["cluster_state"] == "ok")
        return node

    def known_to(self, node: RedisServer) -> set[str]:
        """Ids of all nodes that a node knows."""
        lines = self.tell(node, "CLUSTER NODES")
        return {str(one["node_id"]) for one in lines.values()}

    def start(self) -> None:
        """All nodes, until each knows of each slot."""
        for number in range(self._masters):
            node = self.add()
            first, last = (at * SLOTS // self._masters for at in (number, number + 1))
            self.tell(node, "CLUSTER ADDSLOTSRANGE", first, last - 1)
            self.tell(node, "CLUSTER SET-CONFIG-EPOCH", number + 1)
        for _ in range(self._masters * self._replicas):
            self.add()
        for node in self.nodes[1:]:
            self.meet(node)
        self.wait(lambda said: said["cluster_known_nodes"] == str(len(self.nodes)))
        for number, node in enumerate(self.nodes[self._masters :]):
            self.tell(node, "CLUSTER REPLICATE", self.id_of(self.nodes[number % self._masters]))
        self.wait(lambda said: said["cluster_state"] == "ok")
        for node in self.nodes[self._masters :]:
            self._until(
                lambda node=node: self.tell(node, "INFO", "replication")["master_link_status"] == "up"
            )

    def wait(self, is_so: Any) -> None:
        """Until every node says so of the cluster."""
        self._until(lambda: all(is_so(self.tell(node, "CLUSTER INFO")) for node in self.nodes))

    @staticmethod
    def _until(is_so: Any) -> None:
        end = time.monotonic() + FORMED_S
        while not is_so():
            if time.monotonic() > end:
                raise PlatformError("the cluster did not form; see the logs of its nodes")
            time.sleep(POLL_S)

    def close(self) -> None:
        """End all nodes."""
        for client in self._clients.values():
            client.close()
        for node in self.nodes:
            node.close()
        for port in self._buses.values():
            port.release()
