"""The servers that all tests share: each started when the first test asks for it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import cached_property
from typing import Any

from pymongo import MongoClient
from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from syncd.embedded import Mongod, RedisServer, ReplicaSet, ValkeyServer
from syncd.errors import PlatformError
from tests.support.servers import redis70

REDIS_CONFIG = {"enable-debug-command": "local"}
START_S = 60.0
PAUSE_S = 0.3


class Servers:
    """Use as a context manager: what was started is stopped at the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._redis_urls: list[str] = []
        self._mongo_uris: list[str] = []

    @cached_property
    def mongo_uri(self) -> str:
        uri = self._stack.enter_context(ReplicaSet(test_commands=True)).uri
        self._mongo_uris.append(uri)
        return uri

    @cached_property
    def redis_url(self) -> str:
        return self._start(RedisServer(config=REDIS_CONFIG))

    @cached_property
    def valkey_url(self) -> str:
        return self._start(ValkeyServer(config=REDIS_CONFIG))

    @cached_property
    def redis70_url(self) -> str:
        found = redis70.find()
        return self._start(RedisServer(binary=found.binary, env=found.env, config=REDIS_CONFIG))

    def _start(self, server: RedisServer) -> str:
        url = self._stack.enter_context(server).url
        self._redis_urls.append(url)
        return url

    def forget(self, token: str) -> None:
        """Removes what a test left that wrote its `token` into names: databases, keys, state, indexes."""
        for uri in self._mongo_uris:
            with MongoClient[dict[str, Any]](uri) as client:
                for name in client.list_database_names():
                    if token in name:
                        client.drop_database(name)
        for url in self._redis_urls:
            with connect(url) as client:
                _drop_indexes(client, token)
                _delete(client, f"{token}*")
                _delete(client, f"syncd:*{token}*")
                for record in ("syncd:claims", "syncd:contracts"):
                    said: Any = client.hgetall(record)
                    gone = [name for name, text in said.items() if token.encode() in name + text]
                    if gone:
                        client.hdel(record, *gone)

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def start_again(member: Mongod) -> None:
    """After a kill, as often as it takes: mongod may still hold its own lock for a moment. Harmless when it runs."""
    deadline = time.monotonic() + START_S
    while not member.alive:
        try:
            member.start()
        except PlatformError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)


def connect(url: str) -> Redis:
    """A client that does not hide anything: no retries, replies as bytes, RESP2. Of a cluster, one that finds slots."""
    if url.startswith("redis+cluster://"):
        nodes = [ClusterNode(*one.split(":")) for one in url.partition("://")[2].split(",")]
        return RedisCluster(startup_nodes=nodes, protocol=2, legacy_responses=True, socket_timeout=10)  # type: ignore[return-value]
    return Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), protocol=2, legacy_responses=True, socket_timeout=10
    )


def _delete(client: Redis, pattern: str) -> None:
    keys = list(client.scan_iter(match=pattern, count=1000))
    for start in range(0, len(keys), 1000):
        client.unlink(*keys[start : start + 1000])


def _drop_indexes(client: Redis, token: str) -> None:
    modules = {module[b"name"] for module in client.module_list()}
    if b"search" not in modules:
        return
    for name in client.execute_command("FT._LIST"):
        if token.encode() in name:
            client.execute_command("FT.DROPINDEX", name)
