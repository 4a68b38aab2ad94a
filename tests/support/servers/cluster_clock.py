"""What a mongos knows of the time of its cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import MongoClient

Document = dict[str, Any]


class Clock:
    """The latest cluster time that the router knows, signed. It goes with whatever a shard is asked."""

    def __init__(self, clients: Sequence[MongoClient[Document]]) -> None:
        self._clients, self.latest = clients, clients[0].admin.command("ping")["$clusterTime"]

    @property
    def time(self) -> Timestamp:
        """The latest, without its signature."""
        found: Timestamp = self.latest["clusterTime"]
        return found

    def ask(self) -> None:
        """All shards, of which one has the rest of the router."""
        for client in self._clients:
            with client.start_session(causal_consistency=False) as session:
                session.advance_cluster_time(self.latest)
                self.told(client.admin.command("ping", session=session)["$clusterTime"])

    def told(self, time_of: Any) -> None:
        """A shard has said so."""
        if time_of["clusterTime"] > self.latest["clusterTime"]:
            self.latest = bson.decode(time_of.raw) if isinstance(time_of, RawBSONDocument) else time_of
