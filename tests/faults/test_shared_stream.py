"""Quiet lanes share a change stream, and what they are promised holds as before (nothing_lost, no_ghosts, fenced,
nothing_silent, bounded).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from syncd.embedded import RedisServer, ReplicaSet
from syncd.to_redis.stream.hub import FEW
from tests.faults.conftest import Rig
from tests.support.broken.failpoint import failing
from tests.support.check import SOON_S, wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

CARD = projection(["title", "n"])
COUNT = 50
SOME = "uvwxyz"
"""Databases, more than have a shared stream each."""
TIMEOUT = 30.0


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n, "more": {"a": number, "b": [{"c": 1, "d": 2}]}}


def films(count: int = COUNT) -> list[dict[str, Any]]:
    return [film(number) for number in range(count)]


def share(scene: Scene, shorts: str = "abc", **more: Any) -> list[Flow]:
    """A lane for each letter, all on one shared stream."""
    flows = [scene.add(short, CARD, documents=films(), **more) for short in shorts]
    scene.start()
    wait_shared(*flows)
    return flows


def wait_stream(kind: str, *flows: Flow) -> None:
    for flow in flows:
        wait_until(
            lambda flow=flow: flow.lane().get("stream") == kind, TIMEOUT, lambda flow=flow: flow.lane()
        )


def wait_shared(*flows: Flow) -> None:
    wait_stream("shared", *flows)


def touch(*flows: Flow, n: int = 1) -> None:
    """Changes of all collections, one after the other, and some of them in one transaction."""
    for number in range(5):
        for flow in flows:
            flow.collection.update_one({"_id": number}, {"$set": {"n": n}}, upsert=True)
    client = flows[0].collection.database.client
    with client.start_session() as session, session.start_transaction():
        for number in (6, 7):
            for flow in flows:
                flow.collection.delete_one({"_id": number}, session=session)
                flow.collection.insert_one(film(1000 * n + number), session=session)
    for flow in flows:
        flow.collection.delete_one({"_id": 10 + n})


def snapshots(scene: Scene) -> int:
    return len(scene.daemon.logs(event="snapshot started"))


def streams(scene: Scene) -> int:
    """Change streams that MongoDB has open, and that are read."""
    pipeline = [
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"cursor.originatingCommand.pipeline.$changeStream": {"$exists": True}}},
    ]
    found = [entry["cursor"] for entry in scene.mongo.admin.aggregate(pipeline)]
    lately = datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=5)
    return sum(cursor["lastAccessDate"] > lately for cursor in found)


def restarts(flow: Flow) -> float:
    return flow.metric("syncd_lane_restarts_total")


@pytest.mark.at_scale
def test_what_quiet_lanes_cost(rig: Rig) -> None:
    """Lanes of all kinds share one stream; each gets its own changes, at once; the daemon still stops at once."""
    plain, whole, other = (
        rig.scene.add(short, CARD, documents=films()) for short in ("plain", "whole", "other")
    )
    whole.write(projection("all", type="json"))
    flows = [
        plain,
        whole,
        other,
        rig.scene.add("filtered", CARD, source=plain, filter={"n": {"$gt": 0}}),
        rig.scene.add("paths", projection({"a": "more.a", "b": "more.b"}, type="json"), source=other),
        rig.scene.add("empty", CARD),
    ]
    rig.scene.start()
    wait_shared(*flows)
    wait_until(lambda: streams(rig.scene) == 1, TIMEOUT, lambda: streams(rig.scene))
    for n in range(1, 4):
        touch(plain, whole, other, flows[-1], n=n)
        plain.collection.update_one({"_id": 3}, {"$set": {"n": 0, "more.a": 9}, "$unset": {"title": 1}})
        other.collection.update_one({"_id": 3}, {"$set": {"more.b.0.c": n}})
        for flow in flows:
            if flow is not whole:
                flow.wait_same()
        wait_until(lambda: all(whole.json(one["_id"]) == one for one in whole.collection.find()), TIMEOUT)
    wait_shared(*flows)  # one that had a little too much to do meanwhile may have left for a moment
    for flow in flows:
        assert restarts(flow) == 0, flow.lane()["errors"]
    wait_until(
        lambda: all(flow.lane()["lag_seconds"] < 0.5 for flow in flows), message="fresh without a change"
    )
    began = time.monotonic()
    assert rig.scene.daemon.terminate() == 0
    assert time.monotonic() - began < SOON_S
    assert not rig.scene.daemon.logs(level="warning")


def test_killed_while_it_shares(rig: Rig) -> None:
    """nothing_lost, no_ghosts: after kill -9 every lane goes on from a position that its own stream understands."""
    flows = share(rig.scene)
    last = flows[-1]
    for n in range(1, 3):
        touch(*flows, n=n)
        # The last change that the shared stream saw is not one of the others' own.
        last.collection.update_one({"_id": 20}, {"$set": {"n": n}})
        for flow in flows:
            flow.wait_same()
        rig.scene.daemon.kill()
        touch(*flows, n=10 + n)
        rig.scene.start()
        for flow in flows:
            flow.wait_live()
            flow.wait_same()
        if n == 1:
            wait_shared(*flows)
    assert snapshots(rig.scene) == len(flows)
    assert not rig.scene.daemon.logs(event="position lost")


def test_a_position_beside_a_busier_neighbour(rig: Rig) -> None:
    """nothing_lost: a lane's position goes on though every reply ends with a change of another collection."""
    quiet, other = share(rig.scene, "ab")
    for n in range(20):
        other.collection.update_one({"_id": 1}, {"$set": {"n": n}})
        other.wait_same()
        latest = other.position()["time"]
        time.sleep(0.1)
    wait_until(lambda: quiet.lane()["position"] >= other.lane()["position"].split(":")[0], 70)
    assert rig.scene.daemon.terminate() == 0
    assert quiet.position()["time"].split(b":")[0] >= latest.split(b":")[0]
    touch(quiet, other)
    rig.scene.start()
    for flow in (quiet, other):
        flow.wait_live()
        flow.wait_same()
    assert snapshots(rig.scene) == 2


def test_a_lane_that_becomes_busy(rig: Rig) -> None:
    """nothing_lost, bounded: a busy lane takes a stream of its own, and shares again when it is quiet."""
    busy, quiet = share(rig.scene, "ab")
    for n in range(6):
        busy.collection.insert_many([film(number) for number in range(1000 * (n + 1), 1000 * (n + 2))])
        busy.collection.update_many({"_id": {"$gte": 1000}}, {"$inc": {"n": 1}})
        touch(quiet, n=n)
    quiet.wait_same()
    wait_stream("own", busy)
    busy.wait_same(60)
    wait_shared(busy, quiet)
    assert streams(rig.scene) == 1
    touch(busy, quiet, n=9)
    for flow in (busy, quiet):
        flow.wait_same()
        assert restarts(flow) == 0, flow.lane()["errors"]
    assert snapshots(rig.scene) == 2


def test_a_lane_that_does_not_keep_up(rig: Rig) -> None:
    """bounded, nothing_lost: while Redis does not answer, changes wait in MongoDB and not in the daemon."""
    flows = share(rig.scene, "ab")
    rig.redis_proxy.blackhole()
    for n in range(1, 15):
        for flow in flows:
            flow.collection.update_one({"_id": n}, {"$set": {"n": n}})
        time.sleep(0.02)  # one reply for each change
    wait_stream("own", *flows)
    rig.redis_proxy.restore()
    for flow in flows:
        flow.wait_live(60)
        flow.wait_same()
    assert snapshots(rig.scene) == 2


def test_collections_that_go(rig: Rig) -> None:
    """no_ghosts: `on_drop` holds for a lane that shares; the others do not notice."""
    flows = share(rig.scene, "abcd", sync={"on_drop": "purge"})
    dropped, away, onto, stays = flows
    touch(*flows)
    dropped.collection.drop()
    away.collection.rename("elsewhere")
    away.collection.database["new"].insert_many(films(3))
    away.collection.database["new"].rename(onto.collection.name, dropTarget=True)
    for flow in flows:
        flow.wait_same()
    losses = rig.scene.daemon.logs(event="position lost")
    assert sorted(loss["contract"] for loss in losses) == [flow.contract for flow in (dropped, away, onto)]
    assert restarts(stays) == 0, stays.lane()["errors"]
    dropped.collection.insert_many(films(5))
    wait_shared(*flows)
    touch(*flows, n=2)
    for flow in flows:
        flow.wait_same()
    dropped.collection.database.client.drop_database("faults")
    wait_until(lambda: not any(flow.keys() for flow in flows), TIMEOUT)
    assert not rig.scene.daemon.logs(event="no shared stream, every lane has its own")
    dropped.collection.insert_many(films(5))
    dropped.wait_same()


@pytest.mark.parametrize("code", [280, 10334, 13])
def test_an_error_of_the_shared_stream(rig: Rig, code: int) -> None:
    """nothing_lost, nothing_silent: its errors end only the shared stream; the lanes go on, each with its own."""
    flows = share(rig.scene, "ab")
    everything = flows[0].collection.database["$cmd.aggregate"]
    with failing(everything, "getMore", code, times=1) as point:
        touch(*flows)
        point.wait_hits(1)
        wait_stream("own", *flows)
    touch(*flows, n=2)
    for flow in flows:
        flow.wait_same()
        assert restarts(flow) == 0, flow.lane()["errors"]
    (entry,) = rig.scene.daemon.logs(event="no shared stream, every lane has its own")
    assert entry["level"] == "warning"
    assert entry["database"] == "faults"
    assert (entry["retry_seconds"] is None) == (code == 13)
    assert snapshots(rig.scene) == 2


def test_an_election(rig: Rig) -> None:
    """nothing_lost: lanes that share outlive an election as others do."""
    flows = share(rig.scene, "ab")
    rig.mongo.step_down()
    touch(*flows)
    for flow in flows:
        flow.wait_same()
        flow.wait_live()
    assert snapshots(rig.scene) == 2


def databases(shorts: str) -> list[str]:
    return [f"faults-{short}" for short in shorts]


def many(scene: Scene, shorts: str = "abcdefgh") -> list[Flow]:
    """A lane for each letter, each on a collection of another database."""
    return [scene.add(short, CARD, documents=films(), database=f"faults-{short}") for short in shorts]


def test_lanes_of_many_databases(rig: Rig) -> None:
    """nothing_lost, no_ghosts, nothing_silent: more than a few databases share one stream over the deployment, in one
    transaction, after kill -9, where one is dropped, and where the stream fails."""
    flows = many(rig.scene)
    try:
        rig.scene.start()
        wait_shared(*flows)
        wait_until(lambda: streams(rig.scene) <= FEW + 1, TIMEOUT, lambda: streams(rig.scene))
        touch(*flows)
        for flow in flows:
            flow.wait_same()
        rig.scene.daemon.kill()
        touch(*flows, n=2)
        rig.scene.start()
        for flow in flows:
            flow.wait_same()
        wait_shared(*flows)
        gone, *rest = reversed(flows)
        gone.collection.database.client.drop_database(gone.collection.database.name)
        wait_until(lambda: not gone.keys(), TIMEOUT)
        with failing(rig.scene.mongo.admin["$cmd.aggregate"], "getMore", 10334, times=1) as point:
            touch(*rest, n=3)
            point.wait_hits(1)
        touch(*rest, n=4)
        for flow in rest:
            flow.wait_same()
            assert restarts(flow) == 0, flow.lane()["errors"]
        (entry,) = rig.scene.daemon.logs(event="no stream over the deployment")
        assert entry["retry_seconds"] == 30
        copied = sorted(said["contract"] for said in rig.scene.daemon.logs(event="snapshot started"))
        assert copied == sorted(flow.contract for flow in [*flows, gone])
    finally:
        for name in databases("abcdefgh"):
            rig.scene.mongo.drop_database(name)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A MongoDB that asks who one is: URIs of its administrator, and of a user with rights on one collection only."""
    key = tmp_path / "key"
    key.write_text("x" * 32)
    key.chmod(0o600)
    with ReplicaSet() as server:
        member = server.members[0]
        admin = MongoClient(server.uri).admin
        privileges = [
            {"resource": {"db": "faults", "collection": name}, "actions": ["find", "changeStream"]}
            for name in "ab"
        ]
        privileges += [
            {"resource": {"db": name, "collection": ""}, "actions": ["find", "changeStream"]}
            for name in databases(SOME)
        ]
        admin.command("createRole", "narrow", privileges=privileges, roles=[])
        admin.command("createUser", "boss", pwd="boss", roles=["root"])
        admin.command("createUser", "syncd", pwd="syncd", roles=["narrow"])
        admin.client.close()
        member.stop()
        member.process.command += ["--auth", "--keyFile", str(key)]
        member.process.launch()
        uris = tuple(server.uri.replace("//", f"//{name}:{name}@") for name in ("boss", "syncd"))
        with MongoClient[dict[str, Any]](uris[0]) as client:
            wait_until(lambda: client.admin.command("hello")["isWritablePrimary"], 30)
        yield uris[0], uris[1]


def test_rights_on_single_collections(
    guarded: tuple[str, str], redis_server: RedisServer, tmp_path: Path
) -> None:
    """nothing_silent: without rights on the database every lane keeps its own stream, and one line says why. A contract
    that joins another collection needs the same rights on that one, and no more; without them it says of which one."""
    boss, narrow = guarded
    with Scene(tmp_path, "faults", boss, redis_server.url, daemon_mongo=narrow) as scene:
        scene.redis.flushall()
        flows = [scene.add(short, CARD, documents=films()) for short in "ab"]
        scene.start()
        wait_until(lambda: scene.daemon.logs(event="no shared stream, every lane has its own"), TIMEOUT)
        touch(*flows)
        for flow in flows:
            flow.wait_same()
            assert flow.lane()["stream"] == "own"
            assert restarts(flow) == 0, flow.lane()["errors"]
        of, other = (flow.collection for flow in flows)
        of.create_index({"n": 1, "_id": 1})
        joins = {"other": {"collection": other.full_name, "on": {"n": "_id"}, "fields": ["title"]}}
        of.insert_one({"_id": "joined", "n": "there"})
        joined = scene.run("joined", projection({"title": "other.title"}), source=flows[0], joins=joins)
        other.insert_one({"_id": "there", "title": "of the other"})
        joined.wait_hash("joined", {"title": "of the other"})
        joins["other"] |= {"collection": "faults.secret"}
        joined.write(projection({"title": "other.title"}), collection=of.full_name, joins=joins)
        wanted = "read faults.secret, or not follow its changes; grant it `find` and `changeStream` on it"
        assert wanted in joined.wait_state("failed")["error"]
        env = {"SYNCD_MONGO_URI": narrow, "SYNCD_REDIS_URL": redis_server.url}
        assert wanted in syncd("check", "--connect", "--contracts", scene.contracts.path, **env).stdout
        (entry,) = scene.daemon.logs(event="no shared stream, every lane has its own")
        assert "not authorized" in entry["error"]
        assert entry["retry_seconds"] is None


def test_rights_on_single_databases(
    guarded: tuple[str, str], redis_server: RedisServer, tmp_path: Path
) -> None:
    """nothing_silent: without rights on the deployment each database has its shared stream, and one line says why."""
    boss, narrow = guarded
    with Scene(tmp_path, "faults", boss, redis_server.url, daemon_mongo=narrow) as scene:
        scene.redis.flushall()
        flows = many(scene, SOME)
        scene.start()
        wait_shared(*flows)
        touch(*flows)
        for flow in flows:
            flow.wait_same()
            assert restarts(flow) == 0, flow.lane()["errors"]
        (entry,) = scene.daemon.logs(event="no stream over the deployment")
        assert "not authorized" in entry["error"]
        assert entry["retry_seconds"] is None
        assert streams(scene) == len(flows)
