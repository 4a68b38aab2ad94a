"""Scenes: a daemon between the shared servers."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from syncd.embedded import RedisServer
from syncd.stores.redis.store import RedisStore
from tests.support.scene import Scene
from tests.support.servers.shared import Servers, connect


@pytest.fixture(scope="module")
def shared(
    servers: Servers, mongo_uri: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One daemon for all tests of a module. Each brings its contract, under a name of its own, while it runs."""
    token = f"t{secrets.token_hex(4)}"
    env = {"SYNCD_CHUNK_DOCUMENTS": "50"}  # so that a small collection has borders between chunks
    with Scene(tmp_path_factory.mktemp("shared"), token, mongo_uri, redis_url, env=env) as scene:
        yield scene
    servers.forget(token)


@pytest.fixture
def scene(token: str, mongo_uri: str, redis_url: str, tmp_path: Path) -> Iterator[Scene]:
    """A daemon of this test's own, not started yet."""
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis of a module's own, whose options its tests may change."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    """Of that one, empty, and as it was at its start."""
    with connect(server.url) as client:
        client.config_set("maxmemory", 0)
        client.config_set("notify-keyspace-events", "")
        client.flushall()
        yield client


@pytest.fixture
def store(server: RedisServer, client: Redis) -> Iterator[RedisStore]:
    """The same, as lanes have it; not connected yet."""
    store = RedisStore(server.url)
    yield store
    store.close()
