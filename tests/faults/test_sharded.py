"""A sharded MongoDB: documents that change shards, chunks that move, shard keys that change, idle shards
(nothing_lost, never_backwards, no_ghosts, fenced, applied_once, nothing_silent).

A real cluster of a config server and three shards, with the router that is inside each mongod instead of a mongos; or
that of SYNCD_TEST_MONGOS_URI, by its mongos, without the tests that look into shards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from syncd.embedded import RedisServer
from syncd.errors import LaterNumberError, TransientError
from syncd.stores.mongo.idle_shards import IdleShards
from syncd.stores.mongo.sharding import ids_of_shards
from syncd.stores.mongo.store import MongoStore
from syncd.stores.mongo.times import ZERO
from syncd.to_mongo.fences import Fences
from syncd.to_mongo.session import ContractSession
from syncd.to_redis.stream.change_stream import RawStream
from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.sharded import ShardedCluster
from tests.support.ways.outbox import add_outbox, put, remove, wait_like_redis
from tests.support.ways.sharded import (
    UNIQUE,
    by_region,
    documents_left_behind,
    load,
    move,
    pass_through,
    refine,
    shard,
    shards,
)
from tests.support.ways.twoway import add_two_way, hset

CARD = projection(["title"])


@pytest.fixture(scope="module")
def cluster(no_child_survives: None) -> Iterator[ShardedCluster | None]:
    """None where the environment names another one."""
    if os.environ.get("SYNCD_TEST_MONGOS_URI"):
        yield None
        return
    with ShardedCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def mongos(cluster: ShardedCluster | None) -> str:
    """How a daemon reaches the cluster."""
    return os.environ["SYNCD_TEST_MONGOS_URI"] if cluster is None else cluster.uri


@pytest.fixture
def scene(mongos: str, redis_server: RedisServer, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongos, redis_server.url) as scene:
        yield scene
        scene.mongo.drop_database(token)
        scene.redis.flushall()


def say(scene: Scene, *words: str) -> str:
    """What a verb prints."""
    reach = {"SYNCD_MONGO_URI": scene.reach["mongo_uri"], "SYNCD_REDIS_URL": scene.reach["redis_url"]}
    done = syncd(*words, **reach)
    return done.stdout + done.stderr


def test_documents_that_change_shards(scene: Scene) -> None:
    """nothing_lost, no_ghosts: documents whose shard key changes, in both directions, and chunks that move, keep their
    keys; those that are deleted lose them"""
    flow = by_region(scene, "moves", CARD)
    scene.start()
    flow.wait_live()
    flow.assert_same()
    for n in range(8):
        other = {"eu": "us", "us": "eu"}[("eu", "us")[n % 2]]
        query = {"_id": n, "region": ("eu", "us")[n % 2]}
        flow.collection.update_one(query, {"$set": {"region": other, "title": f"moved{n}"}})
    flow.collection.delete_one({"_id": 8, "region": "eu"})
    move(flow, shards(flow)[2], region="u")
    flow.collection.update_one({"_id": 0, "region": "us"}, {"$set": {"title": "on the third"}})
    pass_through(flow)
    flow.assert_same()


def test_chunks_that_move_under_load(scene: Scene) -> None:
    """nothing_lost, no_ghosts: chunks go from shard to shard while documents are made, change, change shards and go,
    and the daemon is killed meanwhile; every key is there, also one that the shard key is a part of, and no other.
    Into a collection whose chunks move go the keys of an outbox"""
    flow = by_region(scene, "load", CARD, projection(["title"], name="moving", key="{region}:{_id}"))
    target = add_outbox(scene, "target")
    shard(target, _id=1)
    move(target, shards(target)[1], _id=20)
    scene.start()
    for one in (flow, target):
        one.wait_live()
    with load(flow, target):
        for number, to in enumerate([*shards(flow)[2::-1], shards(flow)[1]]):
            with suppress(OperationFailure):  # a transaction may be in its way
                move(flow, to, region="u")
            with suppress(OperationFailure):
                move(target, to, _id=20)
            if number == 1:
                scene.daemon.kill()
                scene.daemon.start()
    flow.wait_same()
    wait_like_redis(target)


def last_ops(flow: Flow, *ops: bytes) -> set[bytes]:
    """The documents of which the last entry of a feed is one of these."""
    entries = flow.redis.xrange(flow.key("all", "feed"))
    last = {entry[b"_id"]: entry[b"op"] for _, entry in entries}
    return {ident for ident, op in last.items() if op in ops}


def clash(flow: Flow) -> None:
    """A second document of an `_id`, on another shard."""
    flow.collection.insert_one({"_id": 0, "region": "us", "title": "another"})


@pytest.mark.at_scale
def test_documents_that_a_chunk_left_behind(scene: Scene, cluster: ShardedCluster | None) -> None:
    """no_ghosts: documents that a shard still has of a chunk that moved are neither copied nor found by a check, also
    those that were changed or deleted since"""
    if cluster is None:
        pytest.skip("sets failpoints of the shards")
    with documents_left_behind(cluster.clients.values()):
        flow = by_region(scene, "behind", CARD)
        flow.collection.update_one({"_id": 1, "region": "us"}, {"$set": {"title": "changed"}})
        flow.collection.delete_one({"_id": 3, "region": "us"})
        names = flow.collection.database.name, flow.collection.name
        held = [one[names[0]][names[1]].count_documents({}) for one in cluster.clients.values()]
        assert sum(held) == 14 and flow.collection.count_documents({}) == 9
        scene.start()
        flow.wait_live()
        flow.assert_same()
        found = say(scene, "reconcile", flow.contract, "--contracts", str(scene.contracts.path))
        assert "no drift" in found


def test_collections_whose_ids_may_repeat(scene: Scene) -> None:
    """nothing_silent: a collection that is sharded by another field than `_id` is refused with the reason, at the
    start and by `check --connect`; not so one that is sharded by `_id`, or by nothing, or whose `_id` the contract
    states to be unique. As a target, where `_id` alone does not find documents, it is refused in any case"""
    films = [{"_id": n, "title": "one", "region": "eu"} for n in range(3)]
    none, by_id, other = (scene.add(name, CARD, documents=films) for name in ("none", "by-id", "other"))
    target = add_outbox(scene, "target", documents=films)
    for flow, key in ((by_id, {"_id": "hashed"}), (other, {"region": 1, "_id": 1}), (target, {"region": 1})):
        flow.collection.create_index(list(key.items()))
        shard(flow, **key)
    stated = by_region(scene, "stated", CARD)
    scene.start()
    for flow in (none, by_id, stated):
        flow.wait_live()
        flow.assert_same()
    wait_until(lambda: "is sharded by region, _id" in other.lane().get("error", ""), 20, other.lane)
    assert "mongo.unique: [[_id]]" in other.lane()["error"] and other.lane()["state"] == "failed"
    wait_until(lambda: "is sharded by region" in target.lane().get("error", ""), 20, target.lane)
    found = say(scene, "check", "--connect", str(scene.contracts.path))
    assert "is sharded by region, _id" in found and "is sharded by region, and syncd writes" in found


def test_an_id_that_repeats(scene: Scene) -> None:
    """nothing_silent: where two documents have one `_id`, though the contract states that none have, the lane says so
    when it meets them, and goes on when they are gone"""
    flow = by_region(scene, "repeats", CARD)
    clash(flow)
    scene.start()
    wait_until(lambda: "have one `_id`" in flow.lane().get("error", ""), 20, flow.lane)
    flow.collection.delete_one({"_id": 0, "region": "us"})
    flow.write(CARD, version="1.0.1", **UNIQUE)  # it need not wait half a minute
    flow.wait_live()
    flow.wait_same()


def test_a_shard_key_that_changes(scene: Scene) -> None:
    """nothing_silent, nothing_lost: a collection that gets another shard key while its lane runs is refused with its
    next change, before a second document of an `_id` shows; one whose `_id` is stated to be unique goes on through
    that, and through a resharding, whose copies are no changes"""
    films = [{"_id": n, "title": f"t{n}", "region": "eu"} for n in range(5)]
    refined = scene.add("refined", CARD, documents=films)
    shard(refined, _id=1)
    stated = by_region(scene, "stated", CARD)
    scene.start()
    for flow in (refined, stated):
        flow.wait_live()
    refine(refined, "region")
    move(refined, shards(refined)[1], _id=0, region="f")
    clash(refined)
    wait_until(lambda: "is sharded by _id, region" in refined.lane().get("error", ""), 30, refined.lane)
    assert refined.hash(0) == {"title": "t0"}
    before = stated.metric("syncd_changes_total", op="insert")
    scene.mongo.admin.command("reshardCollection", stated.collection.full_name, key={"_id": 1})
    stated.collection.update_one({"_id": 3}, {"$set": {"title": "after"}})
    stated.collection.delete_one({"_id": 4})
    stated.wait_hash(3, {"title": "after"})
    stated.wait_same()
    assert stated.metric("syncd_changes_total", op="insert") == before
    assert stated.lane()["state"] == "live"


def test_a_target_that_gets_another_shard_key(scene: Scene) -> None:
    """nothing_silent: a target that gets another shard key while its lane runs is refused with the next write, and no
    key of it becomes a dead letter, one way and both ways"""
    one_way = add_outbox(scene, "one")
    both = add_two_way(scene, "both", "outbox", documents=[])
    for flow in (one_way, both):
        shard(flow, _id=1)
        flow.collection.insert_many([{"_id": n, "n": n} for n in range(4)])
    scene.start()
    for flow in (one_way, both):
        flow.wait_live()
        refine(flow, "n")
    put(one_way, range(8), 1)
    hset(both, 1, n=7)
    for flow in (one_way, both):
        wait_until(
            lambda flow=flow: "is sharded by _id, n, and syncd writes" in flow.lane()["error"], 30, flow.lane
        )  # type: ignore[misc]
        assert not flow.dead_letters()


def test_idle_shards_hold_nothing_back(scene: Scene) -> None:
    """nothing_silent: a change shows within seconds, though the other shards have no writes and would say only after
    ten seconds that nothing came before it; until they say so the lane does not count as fresh"""
    flow = by_region(scene, "idle", CARD)
    scene.start()
    flow.wait_live()
    time.sleep(1.5)
    began = time.monotonic()
    flow.collection.update_one({"_id": 0, "region": "eu"}, {"$set": {"title": "now"}})
    flow.wait_hash(0, {"title": "now"})
    assert time.monotonic() - began < 5


def test_what_shards_have_not_spoken_of(scene: Scene, mongos: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: while idle shards have said nothing, a reply without changes tells for how many seconds"""
    monkeypatch.setattr(IdleShards, "note", lambda *_: None)
    flow = by_region(scene, "silent", CARD)
    store = MongoStore(mongos)
    store.connect()
    stream = RawStream(store, flow.collection.database.name, flow.collection.name, [])
    stream.open({}, ZERO)
    time.sleep(2)
    flow.collection.update_one({"_id": 0, "region": "eu"}, {"$set": {"title": "held back"}})
    assert 1 <= stream.next().held_back_s < 10
    store.close()


def test_a_shard_that_does_not_answer(scene: Scene, cluster: ShardedCluster | None) -> None:
    """nothing_silent: `doctor` and `check --connect` say that a shard gives no answer, also one that has no part of the
    collection"""
    if cluster is None:
        pytest.skip("sets failpoints of a shard")
    flow = by_region(scene, "away", CARD)
    third = cluster.clients[shards(flow)[2]][flow.collection.database.name][flow.collection.name]
    with failing(third, "aggregate", 6):
        for verb in (["doctor", "--contracts"], ["check", "--connect"]):
            assert "a shard gives no answer" in say(scene, *verb, str(scene.contracts.path))


def test_a_feed_of_documents_that_change_shards(scene: Scene) -> None:
    """applied_once: the last entry of a document that is there is never its deletion, though MongoDB reports a change
    of its shard key as an insert and a deletion, in any order; with a filter it does not leave either"""
    feed = projection(["title"], name="feed", type="stream", key="all")
    flow = by_region(scene, "feed", CARD, feed)
    open_only = {"filter": {"title": {"$ne": "closed"}}}
    filtered = scene.add("filtered", CARD, feed, source=flow, **UNIQUE, **open_only)
    scene.start()
    for one in (flow, filtered):
        one.wait_live()
    for n in range(6):
        here, there = ("eu", "us")[n % 2], ("us", "eu")[n % 2]
        flow.collection.update_one({"_id": n, "region": here}, {"$set": {"region": there, "title": f"m{n}"}})
    flow.collection.delete_one({"_id": 6, "region": "eu"})
    flow.collection.insert_one({"_id": "end", "region": "eu", "title": "end"})
    for one in (flow, filtered):
        wait_until(lambda one=one: b"end" in ids_in(one), 20, one.lane)  # type: ignore[misc]
        there = {str(found["_id"]).encode() for found in flow.collection.find()}
        gone = last_ops(one, b"delete", b"leave")
        assert not gone & there and b"6" in gone, gone


def ids_in(flow: Flow) -> set[bytes]:
    return {entry[b"_id"] for _, entry in flow.redis.xrange(flow.key("all", "feed"))}


def late_writes(cluster: ShardedCluster, flow: Flow, store: MongoStore, session: ContractSession) -> int:
    """How many shards of a collection refuse the write of a daemon that came before."""
    namespace = (flow.collection.database.name, flow.collection.name)
    ids = ids_of_shards(store, namespace)
    owners = cluster.table(".".join(namespace)).owners([{"_id": one} for one in ids.values()])
    assert owners == list(ids), "each is an `_id` of its shard"
    for document_id in ids.values():
        late = {"q": {"_id": {"$eq": document_id}}, "u": {"$set": {"late": True}}, "upsert": True}
        with pytest.raises(LaterNumberError):
            session.write(namespace[0], {"update": namespace[1], "updates": [late]}, 5)
    assert flow.collection.count_documents({"late": True}) == 0
    return len(ids)


@pytest.mark.parametrize("key", [{"_id": 1}, {"_id": "hashed"}, {}], ids=["range", "hashed", "none"])
def test_a_fence_on_every_shard(
    scene: Scene, cluster: ShardedCluster | None, key: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """fenced: once a daemon has begun, every shard refuses the writes of the daemons before it, also one that gets its
    part of the collection later, and the one to which a collection that is not sharded goes"""
    if cluster is None:
        pytest.skip("looks at which shard a document is on")
    monkeypatch.setattr("syncd.to_mongo.fences.CHECK_S", 0.0)
    flow = scene.add("target", CARD, documents=[{"_id": n} for n in range(20)])
    if key:
        flow.collection.create_index(list(key.items()))
        shard(flow, **key)
    store = MongoStore(cluster.uri)
    store.connect()
    database, name = flow.collection.database.name, flow.collection.name
    fences, session = Fences(store, (database, name)), ContractSession(store, flow.contract)
    session.write(database, {"update": name, "updates": fences.all()}, 7)
    before = late_writes(cluster, flow, store, session)
    if key == {"_id": 1}:
        move(flow, shards(flow)[1], _id=10)
    elif not key:
        flow.collection.database.client.admin.command("movePrimary", database, to=shards(flow)[1])
    new = fences.due()
    assert len(new) == (key != {"_id": "hashed"})
    if new:
        session.write(database, {"update": name, "updates": new}, 8)
    assert late_writes(cluster, flow, store, session) == before + (key == {"_id": 1})
    if key == {"_id": 1}:
        refine(flow, "n")
        with pytest.raises(TransientError, match="another key than `_id` now"):
            fences.due()
    store.close()


def test_keys_that_go_to_a_sharded_collection(scene: Scene) -> None:
    """nothing_lost: a collection that is sharded by `_id` takes the states of keys, and of deleted ones, on all
    shards"""
    flow = add_outbox(scene, "target")
    shard(flow, _id="hashed")
    scene.start()
    flow.wait_live()
    put(flow, range(40), 1)
    remove(flow, range(10))
    wait_until(lambda: flow.collection.count_documents({}) == 30, 20, flow.lane)
    assert {one["n"] for one in flow.collection.find()} == {1}


def test_the_identity_of_a_cluster(scene: Scene) -> None:
    """nothing_silent: a position names the cluster by its id; a lane that starts again goes on from it; `doctor` says
    that the window of the oplogs is not known"""
    flow = by_region(scene, "identity", CARD)
    scene.start()
    flow.wait_live()
    version = scene.mongo["config"]["version"].find_one()
    assert version is not None
    assert flow.position()["deployment"].decode() == f"sharded cluster/{version['clusterId']}"
    flow.collection.update_one({"_id": 0, "region": "eu"}, {"$set": {"title": "applied"}})
    flow.wait_hash(0, {"title": "applied"})
    scene.daemon.kill()
    flow.collection.update_one({"_id": 1, "region": "us"}, {"$set": {"title": "while down"}})
    log = scene.daemon.process.log.stat().st_size
    scene.daemon.start()
    flow.wait_live(40)
    flow.wait_same()
    assert "snapshot" not in scene.daemon.process.log.read_text()[log:]
    assert "the window of its oplogs is unknown" in say(scene, "doctor")


def test_errors_of_a_shard(scene: Scene, cluster: ShardedCluster | None) -> None:
    """nothing_lost: a shard that another server cannot reach, or that steps down, costs an attempt and no change"""
    if cluster is None:
        pytest.skip("sets failpoints of a shard")
    flow = by_region(scene, "errors", CARD)
    scene.start()
    flow.wait_live()
    for code in (6, 189):
        shard_of_us = cluster.clients[shards(flow)[1]][flow.collection.database.name][flow.collection.name]
        with failing(shard_of_us, "find getMore", code, times=2):
            flow.collection.update_one({"_id": 1, "region": "us"}, {"$set": {"title": f"after {code}"}})
            flow.collection.delete_one({"_id": 3, "region": "us"})
            pass_through(flow)
        flow.assert_same()
