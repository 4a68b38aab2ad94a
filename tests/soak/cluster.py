"""The soak on a Redis Cluster: three masters with a replica each, and what happens to such nodes."""

from __future__ import annotations

import time
from contextlib import ExitStack

from syncd.embedded import RedisServer
from syncd.embedded.cluster import RedisCluster
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore
from tests.soak import kept
from tests.soak.contracts import KEPT, SHORTS, names
from tests.soak.faults import Faults
from tests.soak.stage import ALWAYS, Stage
from tests.support.check import wait_until
from tests.support.servers.cluster import half_moved, move, slots_of, stop_replication

MASTERS = 3
NODE_TIMEOUT_S = 2.5
"""After which a node that does not answer is taken for dead."""
SLOTS = 60
"""That move at a time."""
PATIENCE_S = 60.0


class ClusterStage(Stage):
    """See `Stage`. There is no proxy: nodes tell clients their addresses."""

    moves_in_one_step = False
    shorts = (*SHORTS, KEPT)

    def _start_redis(self, stack: ExitStack) -> str:
        self.cluster = stack.enter_context(
            RedisCluster(MASTERS, 1, modules=True, appendonly=True, config=ALWAYS)
        )
        self.redis_servers, self.redis_url = self.cluster.nodes, self.cluster.url
        store = ClusterStore(self.redis_url)
        stack.callback(store.close)
        self._store = store
        return self.redis_url

    def _fill(self) -> None:
        super()._fill()
        for directory in self.directories:
            directory.write_text(KEPT, kept.text())

    def record(self, short: str, what: str) -> str:
        """That of a node, another one each time."""
        self._store.refresh()
        places = [node.place for node in self._store.nodes]
        return self.record_at(places[time.monotonic_ns() // 1000 % len(places)], short, what)

    def dead(self, short: str) -> str:
        """See `Stage`."""
        return HOME + names(short).control("dead")

    def restore_redis(self) -> None:
        """See `Stage`."""
        for node in self.cluster.nodes:
            if node.alive:
                node.resume()
            else:
                node.start()
        self.cluster.wait(lambda said: said["cluster_state"] == "ok")
        self.redis.nodes_manager.initialize()  # type: ignore[attr-defined]

    def masters(self) -> list[RedisServer]:
        """Those with slots."""
        return [node for node in self.cluster.nodes if node.alive and slots_of(self.cluster, node)]

    def wait_replicas(self) -> None:
        """Until each node that is no master has what its master has."""
        for node in self.cluster.nodes:
            if self.cluster.tell(node, "ROLE")[0] != b"master":
                wait_until(lambda node=node: self._is_linked(node), PATIENCE_S, "a replica is linked")

    def _is_linked(self, node: RedisServer) -> bool:
        return bool(self.cluster.tell(node, "INFO", "replication")["master_link_status"] == "up")


class ClusterFaults(Faults):
    """See `Faults`. In place of faults of a link and of one Redis there are those of nodes and slots."""

    _stage: ClusterStage

    def __init__(self, stage: ClusterStage, seed: int, began: float) -> None:
        super().__init__(stage, seed, began)
        self._cluster = stage.cluster
        for kind in [kind for kind in self.kinds if kind.startswith("redis ")]:
            del self.kinds[kind]
        self.kinds |= {
            "master killed": self._kill_master,
            "writes lost by a fail-over": self._lose_writes,
            "node paused": self._pause_node,
            "node emptied": self._empty_node,
            "all nodes restarted": self._restart_nodes,
            "slots moved": self._move_slots,
            "slots half moved": self._half_move,
            "node added and removed": self._add_node,
        }
        self.copies = (*self.copies, "node emptied")

    def _master(self) -> RedisServer:
        return self._chance.choice(self._stage.masters())

    def _two(self) -> tuple[RedisServer, RedisServer]:
        one, other = self._chance.sample(self._stage.masters(), 2)
        return one, other

    def _kill_master(self) -> str:
        """The link to its replica is asynchronous, so that this may lose writes."""
        self._stage.wait_replicas()
        self._stage.may_go_back.set()
        return self._fail_over(self._master())

    def _lose_writes(self) -> str:
        self._stage.wait_replicas()
        self._stage.may_go_back.set()
        master = self._master()
        stop_replication(self._cluster, master)
        seconds = self._some_time(0.3, 1.5)
        return f"those of {seconds:.1f} s; {self._fail_over(master)}"

    def _fail_over(self, master: RedisServer) -> str:
        """A replica takes the slots, and the former master comes back as its replica."""
        had = slots_of(self._cluster, master)[0]
        master.kill()
        others = [node for node in self._cluster.nodes if node is not master]
        wait_until(
            lambda: any(had in slots_of(self._cluster, node) for node in others),
            PATIENCE_S,
            "a replica is master",
        )
        seconds = self._some_time(0, 2)
        master.start()
        self._cluster.wait(lambda said: said["cluster_state"] == "ok")
        return f"back as a replica after {seconds:.1f} s"

    def _pause_node(self) -> str:
        """Perhaps for so long that its replica takes over."""
        node = self._master()
        self._stage.wait_replicas()
        self._stage.may_go_back.set()
        node.pause()
        seconds = self._some_time(0.3, 2 * NODE_TIMEOUT_S)
        node.resume()
        self._cluster.wait(lambda said: said["cluster_state"] == "ok")
        return f"for {seconds:.1f} s"

    def _empty_node(self) -> str:
        self._cluster.tell(self._master(), "FLUSHALL")
        return "FLUSHALL"

    def _restart_nodes(self) -> str:
        self._stage.may_go_back.set()
        for node in self._cluster.nodes:
            node.kill()
        for node in self._cluster.nodes:
            node.start()
        self._cluster.wait(lambda said: said["cluster_state"] == "ok")
        return "with their data"

    def _delete_functions(self) -> str:
        self._cluster.tell(self._master(), "FUNCTION", "FLUSH")
        return "FUNCTION FLUSH on one node"

    def _some_slots(self, node: RedisServer) -> list[int]:
        there = slots_of(self._cluster, node)
        return self._chance.sample(there, min(SLOTS, len(there) // 2))

    def _move_slots(self) -> str:
        source, target = self._two()
        some = self._some_slots(source)
        move(self._cluster, some, source, target)
        return f"{len(some)}"

    def _half_move(self) -> str:
        source, target = self._two()
        some = self._some_slots(source)
        with half_moved(self._cluster, some, source, target):
            seconds = self._some_time(0.5, 3)
        return f"{len(some)} for {seconds:.1f} s"

    def _add_node(self) -> str:
        masters = self._stage.masters()
        node = self._cluster.join()
        for source in masters:
            move(self._cluster, self._some_slots(source), source, node)
        self._some_time(0.5, 3)
        had = slots_of(self._cluster, node)
        move(self._cluster, had, node, masters[0])
        wait_until(lambda: not slots_of(self._cluster, node), PATIENCE_S, "the node has no slots")
        self._cluster.nodes.remove(node)
        name = self._cluster.id_of(node)
        for other in self._cluster.nodes:
            self._cluster.tell(other, "CLUSTER FORGET", name)
        node.close()
        return f"with {len(had)} slots"
