"""never_torn: no key ever holds a part of a document."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from syncd.embedded import RedisServer
from tests.faults.conftest import Rig
from tests.support.broken.proxy import Proxy
from tests.support.check import PATIENCE_S, wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import Servers

FIELDS = ["title", "year", "text"]


def film(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "year": 1900 + number, "text": "x" * 50, **more}


class Small(NamedTuple):
    """A live contract of one hash and one JSON document each, and the way its daemon takes to Redis."""

    flow: Flow
    proxy: Proxy


@pytest.fixture(scope="module")
def small(
    servers: Servers, mongo_uri: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Small]:
    token = f"t{secrets.token_hex(4)}"
    folder = tmp_path_factory.mktemp("torn")
    with (
        Proxy(urlsplit(redis_url).port or 0) as proxy,
        Scene(folder, token, mongo_uri, redis_url, daemon_redis=proxy.redis_url) as scene,
    ):
        shapes = [projection(FIELDS), projection(FIELDS, name="doc", type="json")]
        yield Small(scene.run("film", *shapes), proxy)
    servers.forget(token)


@pytest.fixture
def flow(small: Small) -> Flow:
    """Fifty documents as they were in the beginning, in Redis too."""
    small.flow.collection.delete_many({})
    small.flow.collection.insert_many([film(n) for n in range(50)])
    small.flow.wait_same()
    return small.flow


def test_a_partial_update_of_a_key_that_is_gone(flow: Flow) -> None:
    """An update of one field brings back the whole document where its key was deleted, for hash and JSON alike."""
    for number in range(10):
        flow.redis.delete(flow.key(number), flow.key(number, "doc"))
    flow.collection.update_many({"_id": {"$lt": 5}}, {"$set": {"title": "new"}})
    flow.wait_hash(4, {"title": "new", "year": "1904", "text": "x" * 50})
    flow.collection.update_many({"_id": {"$lt": 10}}, {"$unset": {"title": ""}})
    flow.wait_same()
    assert flow.json(9, "doc") == {"year": 1909, "text": "x" * 50}


def test_a_change_of_which_half_is_refused(rig: Rig) -> None:
    """A change sets one field and removes another, and Redis forbids the first: the hash stays as it was, and is right
    once Redis allows it."""
    rights = ["on", ">x", "~*", "&*", "+@all", "-hset", "(+hset ~syncd:*)"]
    flow = rig.scene.run("film", projection(FIELDS), documents=[film(1)])
    rig.scene.redis.execute_command("ACL", "SETUSER", "lame", *rights)
    url = rig.redis.url.replace("redis://", "redis://lame:x@")
    rig.scene.daemon.kill()
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "new"}, "$unset": {"year": ""}})
    daemon = rig.scene.daemon = rig.scene.another_daemon(SYNCD_REDIS_URL=url)
    daemon.start()
    assert "ACL" in flow.wait_state("failed")["error"]
    assert flow.hash(1) == {"title": "film 1", "year": "1901", "text": "x" * 50}
    rig.scene.redis.execute_command("ACL", "SETUSER", "lame", "+hset")
    daemon.kill()
    daemon.start()
    flow.wait_hash(1, {"title": "new", "text": "x" * 50})
    rig.scene.redis.execute_command("ACL", "DELUSER", "lame")


def test_a_partial_update_of_a_key_that_expired(flow: Flow) -> None:
    """An update of one field brings back the whole document where its key expired a moment before."""
    for number in range(50):
        flow.redis.pexpire(flow.key(number), 1 + number % 5)
        flow.redis.pexpire(flow.key(number, "doc"), 1 + number % 7)
    for number in range(50):
        flow.collection.update_one({"_id": number}, {"$set": {"year": 1}})
    flow.wait_same()


def test_many_updates_of_one_document_in_one_batch(flow: Flow) -> None:
    """Updates that arrive together with a document's deletion and rebirth, and a lost key, end in one whole state."""
    films = flow.collection
    with flow.collection.database.client.start_session() as session:
        for number in range(20):
            flow.redis.delete(flow.key(number))
            with session.start_transaction():
                films.update_one({"_id": number}, {"$set": {"title": "a"}}, session=session)
                films.delete_one({"_id": number}, session=session)
                films.insert_one(film(number), session=session)
                films.update_one(
                    {"_id": number}, {"$set": {"title": "b"}, "$unset": {"text": ""}}, session=session
                )
    flow.wait_same()


def test_a_partial_update_that_loses_its_reply(small: Small, flow: Flow) -> None:
    """A key that is deleted between a call whose reply was lost and the next one is whole again after it."""
    for number in range(5):
        lost = small.proxy.close_after_next_request(containing=b"syncd_apply")
        flow.collection.update_one({"_id": number}, {"$set": {"title": "one"}})
        assert lost.wait(PATIENCE_S)
        flow.redis.delete(flow.key(number), flow.key(number, "doc"))
        flow.collection.update_one({"_id": number}, {"$set": {"year": 2}})
        flow.wait_hash(number, {"title": "one", "year": "2", "text": "x" * 50})
    flow.wait_same()


def test_an_update_of_a_key_that_is_older_than_the_stream(rig: Rig) -> None:
    """While a second snapshot runs, an update of one field does not show beside older values of the others."""
    films = [film(n) for n in range(2000)]
    flow = rig.scene.run(
        "old", projection(FIELDS), projection(FIELDS, name="doc", type="json"), documents=films
    )
    rig.scene.daemon.kill()
    flow.redis.delete(flow.names.control("position"))
    flow.collection.update_many({}, {"$set": {"title": "second"}})
    rig.redis_proxy.delay(0.002)
    hold = rig.redis_proxy.hold_request(b"syncd_apply", nth=30)
    rig.scene.another_daemon(SYNCD_BATCH_WRITES="20", SYNCD_CHUNK_DOCUMENTS="100").start()
    hold.wait()
    last = range(1950, 2000)
    flow.collection.update_many({"_id": {"$gte": last[0]}}, {"$set": {"year": 1}})
    assert 0 < flow.copied() < last[0]
    hold.release()
    waiting = set(last)
    while waiting:
        for number in list(waiting):
            as_hash, as_json = flow.hash(number), flow.json(number, "doc")
            for said in (as_hash, as_json):
                assert (said["title"], int(said["year"])) in {
                    (f"film {number}", 1900 + number),
                    ("second", 1900 + number),
                    ("second", 1),
                }
            if int(as_json["year"]) == 1:
                waiting.discard(number)


def test_keys_that_are_evicted(rig: Rig, tmp_path: Path) -> None:
    """A Redis that evicts keys with a TTL never shows a part of a document, also during updates."""
    config = {"maxmemory": "30mb", "maxmemory-policy": "volatile-random"}
    films = [{"_id": n, "title": f"film {n}", "year": 1900, "text": "x" * 500} for n in range(3000)]
    with (
        RedisServer(config=config, modules=False) as server,
        Scene(tmp_path / "evict", "faults", rig.mongo.uri, server.url) as scene,
    ):
        flow = scene.run("evict", projection(FIELDS, ttl="1h"), documents=films)
        before = scene.redis.info("stats")["evicted_keys"]
        number = 0
        while scene.redis.info("stats")["evicted_keys"] < before + 1500:
            scene.redis.set(f"filler:{number}", "x" * 100_000, ex=3600)
            number += 1
        evicted = {n for n in range(3000) if not scene.redis.exists(flow.key(n))}
        assert evicted
        flow.collection.update_many({"_id": {"$lt": 1500}}, {"$set": {"year": 1}})
        flow.catch_up()
        fields = {b"title", b"year", b"text"}
        pipe = scene.redis.pipeline(transaction=False)
        for n in range(3000):
            pipe.hgetall(flow.key(n))
        found = pipe.execute()
        assert all(content.keys() == fields for content in found if content)
        years = {n: content[b"year"] for n, content in enumerate(found) if content}
        assert all(year == (b"1" if n < 1500 else b"1900") for n, year in years.items())
        assert evicted & years.keys(), "none of the evicted came back"


def test_a_full_redis(rig: Rig, tmp_path: Path) -> None:
    """A Redis without memory takes nothing, not even a part: the lane waits, and goes on when there is room."""
    config = {"maxmemory": "20mb", "maxmemory-policy": "noeviction"}
    with (
        RedisServer(config=config, modules=False) as server,
        Proxy(server.port) as proxy,
        Scene(tmp_path / "full", "faults", rig.mongo.uri, server.url, daemon_redis=proxy.redis_url) as scene,
    ):
        flow = scene.run("full", projection(FIELDS), documents=[film(n) for n in range(100)])
        scene.redis.config_set("maxmemory", 1_000_000)
        flow.collection.update_many({}, {"$set": {"year": 7, "title": "y" * 100}})
        flow.collection.insert_many([film(n) for n in range(1000, 1500)])
        lane = flow.wait_state("waiting")
        assert "maxmemory" in lane["error"]
        assert len(flow.keys()) == 100
        scene.redis.config_set("maxmemory", "20mb")
        flow.wait_same(30)
        assert not flow.dead_letters()
        assert wait_until(lambda: flow.lane()["state"] == "live")


def test_what_readers_see_while_an_edited_contract_is_copied(rig: Rig) -> None:
    """While the copy after an edit runs, each key has the whole of one shape, and the two stand side by side: keys that
    the copy has reached in the new one, the others in the old."""
    count, old, new = 400, projection(["title", "year"]), projection(["title", "text"])
    env = {"SYNCD_BATCH_WRITES": "20", "SYNCD_CHUNK_DOCUMENTS": "100"}
    flow = rig.scene.run("film", old, documents=[film(n) for n in range(count)], env=env)
    half = rig.redis_proxy.hold_request(b"syncd_apply", flow.key(count // 2).encode())
    flow.write(new)
    half.wait()
    seen = [flow.hash(n).keys() for n in range(count)]
    kinds = {frozenset(shape) for shape in seen}
    assert kinds == {frozenset({"title", "year"}), frozenset({"title", "text"})}
    assert seen[0] == {"title", "text"}
    assert seen[-1] == {"title", "year"}
    assert not rig.scene.daemon.is_ready()
    half.release()
    flow.wait_live()
    flow.assert_same()
    # Under another key: both are there, until the sweep.
    half = rig.redis_proxy.hold_request(b"syncd_apply", flow.key(f"second:{count // 2}").encode())
    flow.write(projection(["title", "text"], key="second:{_id}"))
    half.wait()
    assert flow.hash("second:0") == flow.hash(0) == {"title": "film 0", "text": "x" * 50}
    assert (flow.hash(f"second:{count - 1}"), len(flow.hash(count - 1))) == ({}, 2)
    half.release()
    flow.wait_live()
    assert flow.keys() == {f"second:{n}" for n in range(count)}
