"""A sharded cluster of real mongods: a config server, shards, and a router before them."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import Any, Self

from pymongo import MongoClient

from syncd.embedded import ReplicaSet
from tests.support.servers.chunk_table import ChunkTable
from tests.support.servers.cluster_clock import Clock
from tests.support.servers.merged_stream import MergedStreams
from tests.support.servers.numbered_writes import Writes
from tests.support.servers.router import Router

Document = dict[str, Any]

MAJORITY = {"w": "majority"}
SHARDS = ("a", "b", "c")
"""The router is inside the last one. No collection begins there, so it is also the shard without any traffic."""
FAST = {
    "config": {"reshardingMinimumOperationDurationMillis": 0},
    "shard": {"orphanCleanupDelaySecs": 0, "writePeriodicNoops": "false"},
}
"""By default a resharding takes five minutes at least, and documents that have moved stay on their old shard for
fifteen, where their `_id` is in the way of another one. A shard without writes says nothing by itself, where others
would after ten seconds: what waits for that shows at once."""


class ShardedCluster:
    """Use as a context manager: ready in about five seconds. `uri` is that of the router, `shards` are the sets."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._databases: set[str] = set()
        self.shards: dict[str, ReplicaSet] = {}
        self._streams = MergedStreams(self)

    @property
    def uri(self) -> str:
        return self._router.uri

    def __enter__(self) -> Self:
        with self._stack:
            self._sets = [
                ReplicaSet(name="cfg", role="configsvr", test_commands=True, parameters=FAST["config"])
            ]
            self._sets += [
                ReplicaSet(name=name, role="shardsvr", test_commands=True, parameters=FAST["shard"])
                for name in SHARDS
            ]
            for one in self._sets:
                self._stack.enter_context(one)
            self.shards = {one.name: one for one in self._sets[1:]}
            for name, one in self.shards.items():
                address = f"{name}/{one.members[0].address}"
                self.config.admin.command("_configsvrAddShard", address, name=name, writeConcern=MAJORITY)
            self.config.admin.command("_configsvrBalancerStop")
            self._stack.callback(self._streams.close)
            port = self.shards[SHARDS[-1]].members[0].port
            self._router = self._stack.enter_context(
                Router(port, self._handlers(), Writes(self).write, self._streams, self.clock)
            )
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @cached_property
    def config(self) -> MongoClient[Document]:
        """The config server itself."""
        return self._client(self._sets[0])

    @cached_property
    def clients(self) -> dict[str, MongoClient[Document]]:
        """The shards themselves."""
        return {name: self._client(one) for name, one in self.shards.items()}

    @cached_property
    def clock(self) -> Clock:
        """The router's."""
        return Clock([*self.clients.values()])

    def _client(self, one: ReplicaSet) -> MongoClient[Document]:
        # It hears within half a second, and not ten, that a shard is there again.
        return self._stack.enter_context(MongoClient[Document](one.members[0].uri, heartbeatFrequencyMS=500))

    def _handlers(self) -> dict[str, Any]:
        return {
            "enableSharding": lambda name, said: self.create_database(said.get("enableSharding", name), said),
            "refresh": self._refresh,
            "create": self._at_primary,
            "listCollections": self._at_primary,
            "listIndexes": self._at_primary,
            "count": self._count,
            "listDatabases": self._list_databases,
            "killCursors": self._streams.kill,
            "createIndexes": self._everywhere,
            "drop": lambda name, said: self._structure("_shardsvrDropCollection", f"{name}.{said['drop']}"),
            "dropDatabase": lambda name, _: self._drop_database(name),
            "renameCollection": lambda _, said: self._structure(
                "_shardsvrRenameCollection", said["renameCollection"], to=said["to"]
            ),
            "shardCollection": lambda _, said: self._structure(
                "_shardsvrCreateCollection", said["shardCollection"], shardKey=said["key"],
                unique=said.get("unique", False),
            ),
            "refineCollectionShardKey": lambda _, said: self._structure(
                "_shardsvrRefineCollectionShardKey", said["refineCollectionShardKey"], newShardKey=said["key"]
            ),
            "reshardCollection": self._reshard,
            "movePrimary": self._move_primary,
            "moveRange": lambda _, said: self.config.admin.command(
                "_configsvrMoveRange", said["moveRange"], toShard=said["toShard"], min=said["min"],
                writeConcern=MAJORITY,
                **({"max": said["max"]} if "max" in said else {}),
            ),
        }  # fmt: skip

    def _database(self, name: str) -> Document | None:
        return self.config["config"]["databases"].find_one({"_id": name})

    def create_database(self, name: str, said: Document | None = None) -> Document:
        """Where there is none of this name."""
        if name not in self._databases and name not in ("admin", "config", "local"):
            primary = (said or {}).get("primaryShard", SHARDS[0])
            self.config.admin.command(
                "_configsvrCreateDatabase", name, primaryShardId=primary, writeConcern=MAJORITY
            )
            self._databases.add(name)
        return {}

    def _at_primary(self, name: str, said: Document) -> Document:
        if said.get("create"):
            self.create_database(name)
        if name in ("admin", "config"):
            return self.config[name].command(_plain(said))
        found = self._database(name)
        return self.clients[found["primary"] if found else SHARDS[0]][name].command(_plain(said))

    def _structure(self, command: str, namespace: str, **more: Any) -> Document:
        """As a mongos has it done by the primary shard of the database."""
        name, _, collection = namespace.partition(".")
        if (found := self._database(name)) is None:
            self.create_database(name)
            found = self._database(name)
            assert found is not None
        said = {command: collection, "databaseVersion": found["version"], "writeConcern": MAJORITY, **more}
        return self.clients[found["primary"]][name].command(said)

    def _reshard(self, _: str, said: Document) -> Document:
        namespace = said["reshardCollection"]
        found = self._database(namespace.partition(".")[0])
        assert found is not None
        return self.clients[found["primary"]].admin.command(
            "_shardsvrReshardCollection", namespace, key=said["key"], databaseVersion=found["version"],
            writeConcern=MAJORITY,
        )  # fmt: skip

    def _move_primary(self, _: str, said: Document) -> Document:
        found = self._database(said["movePrimary"])
        assert found is not None
        return self.clients[found["primary"]].admin.command(
            "_shardsvrMovePrimary", said["movePrimary"], to=said["to"], databaseVersion=found["version"],
            writeConcern=MAJORITY,
        )  # fmt: skip

    def _drop_database(self, name: str) -> Document:
        if (found := self._database(name)) is None:
            return {}
        self._databases.discard(name)
        said = {"_shardsvrDropDatabase": 1, "databaseVersion": found["version"], "writeConcern": MAJORITY}
        return self.clients[found["primary"]][name].command(said)

    def _everywhere(self, name: str, said: Document) -> Document:
        """On the primary shard of the database, and on all that have a part of the collection."""
        self.create_database(name)
        reply = self._at_primary(name, said)
        for client in self.clients.values():
            if client[name].list_collection_names(filter={"name": said["createIndexes"]}):
                reply = client[name].command(_plain(said))
        return reply

    def _refresh(self, name: str, said: Document) -> Document:
        """The table of the router."""
        router = self.clients[SHARDS[-1]].admin
        router.command("_flushDatabaseCacheUpdates", name, syncFromConfig=True)
        return router.command("_flushRoutingTableCacheUpdates", f"{name}.{said['name']}", syncFromConfig=True)

    def _count(self, name: str, said: Document) -> Document:
        with MongoClient[Document](self.uri) as client:
            return {"n": client[name][said["count"]].count_documents(said.get("query") or {})}

    def _list_databases(self, _: str, said: Document) -> Document:
        names = [one["_id"] for one in self.config["config"]["databases"].find()]
        return {"databases": [{"name": one} for one in (*names, "admin", "config")]}

    def table(self, namespace: str) -> ChunkTable:
        """Which shard has what of a collection, at present."""
        return ChunkTable(self.config, namespace)


def _plain(said: Document) -> Document:
    """What a client said, without what belongs to its connection."""
    return {
        name: value
        for name, value in said.items()
        if name not in ("lsid", "$clusterTime", "$db", "txnNumber")
    }
