"""A contract that is split over several daemons by the hash of `_id`."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.scene import Flow, Scene

FILMS: list[dict[str, Any]] = [{"_id": n, "slug": f"s{n}", "title": f"film {n}", "n": 0} for n in range(200)]


def launch(scene: Scene, partition: str, **env: str) -> Daemon:
    daemon = scene.another_daemon(SYNCD_PARTITION=partition, SYNCD_LEASE_TTL="3", **env)
    daemon.start()
    return daemon


def lane(daemon: Daemon) -> dict[str, Any]:
    """Empty until it has one."""
    said: list[dict[str, Any]] = daemon.status()["lanes"]
    return said[0] if said else {}


def wait_state(state: str, *daemons: Daemon) -> None:
    for daemon in daemons:
        wait_until(lambda daemon=daemon: lane(daemon).get("state") == state, 30, daemon.process.log_tail)


def run_two(scene: Scene, **env: str) -> tuple[Daemon, Daemon]:
    pair = launch(scene, "1/2", **env), launch(scene, "2/2", **env)
    wait_state("live", *pair)
    return pair


def titles(flow: Flow) -> list[str]:
    ends = flow.keys()
    return sorted(flow.hash(end)["title"] for end in ends)


def test_two_daemons_share_a_collection(scene: Scene) -> None:
    """Each copies and follows its part, whatever the type of `_id`; together they write every document once."""
    ids = [
        1, 2.5, Int64(2**40), Decimal128("7.25"), "word", "$word", "1", ObjectId(), True, b"bytes", Binary(b"x", 5),
        datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), {"a": 1}, {"b": [1, "$x"]}, -3, "", None,
    ]  # fmt: skip
    more = [f"name{n}" for n in range(60)]
    flow = scene.add(
        "film",
        projection(["title"]),
        documents=[{"_id": i, "title": f"t{n}"} for n, i in enumerate(ids + more)],
    )
    daemons = run_two(scene)
    assert titles(flow) == sorted(f"t{n}" for n in range(len(ids + more)))
    copied = [lane(daemon)["snapshot"]["copied"] for daemon in daemons]
    assert sum(copied) == len(ids + more)
    assert min(copied) > 10
    for n, document_id in enumerate(ids):
        flow.collection.replace_one({"_id": document_id}, {"title": f"new{n}"})
        flow.collection.update_one({"_id": document_id}, {"$set": {"title": f"newer{n}"}})
    flow.collection.delete_many({"_id": {"$in": more}})
    wanted = sorted(f"newer{n}" for n in range(len(ids)))
    wait_until(lambda: len(flow.keys()) == len(ids) and titles(flow) == wanted, 10, lambda: titles(flow))
    changes = [lane(daemon)["changes"] for daemon in daemons]
    assert sum(changes) == 2 * len(ids) + len(more)
    assert min(changes) > 10
    assert [lane(daemon)["partition"] for daemon in daemons] == ["1/2", "2/2"]


def test_each_partition_sweeps_its_own_orphans(scene: Scene) -> None:
    """A key without a document goes with the sweep of the partition that its `_id` belongs to, and with no other."""
    flow = scene.add("film", projection(["title"]), documents=FILMS[:100], sync={"adopt": True})
    for number in range(100, 200):
        flow.redis.hset(flow.key(number), "title", "an orphan")
    second = launch(scene, "2/2")
    wait_state("live", second)
    left = flow.keys() - {str(n) for n in range(100)}
    assert 20 < len(left) < 80, "it removed those of the other, or left its own"
    first = launch(scene, "1/2")
    wait_state("live", first)
    flow.assert_same()


def test_another_number_of_partitions(scene: Scene) -> None:
    """From 1 to 2 to 1, with kill -9: the new layout copies again and removes what went in between. As long as one
    daemon of the old layout lives, those of the new one stand by, and say for whom."""
    flow = scene.add("film", projection(["title", "n"]), documents=FILMS)
    old = [launch(scene, "1/1")]
    wait_state("live", *old)
    for turn, count in enumerate((2, 1), start=1):
        new = [launch(scene, f"{number}/{count}") for number in range(1, count + 1)]
        wait_state("standby", *new)
        assert f"not in {count}" in lane(new[0])["error"]
        for daemon in old[1:]:
            daemon.kill()
        flow.collection.update_many({}, {"$set": {"n": turn}})
        if len(old) == 1:
            flow.wait_same()
        assert all(lane(daemon)["state"] == "standby" for daemon in new), "one of the old ones lives"
        old[0].kill()
        flow.collection.delete_many({"_id": {"$gte": 190 - turn * 10}})
        flow.collection.insert_one({"_id": 1000 + turn, "title": "late", "n": 0})
        wait_state("live", *new)
        flow.wait_same()
        flow.collection.update_many({}, {"$inc": {"n": 1}})
        flow.wait_same()
        positions = {key.decode() for key in flow.redis.scan_iter(flow.names.control("*position"))}
        parts = [""] if count == 1 else [f"{number}of{count}:" for number in range(1, count + 1)]
        assert positions == {flow.names.control(f"{part}position") for part in parts}
        assert sum(len(daemon.logs(event="layout changed")) for daemon in new) == 1
        old = new


def test_a_layout_that_was_removed(scene: Scene) -> None:
    """Without its layout in Redis a partition writes nothing more; it divides the contract again, and copies it."""
    flow = scene.add("film", projection(["title"]), documents=FILMS)
    daemons = run_two(scene)
    flow.redis.delete(flow.names.control("layout"))
    flow.collection.update_many({}, {"$set": {"title": "new"}})
    flow.collection.delete_one({"_id": 5})
    flow.wait_same()
    wait_state("live", *daemons)
    assert all(len(daemon.logs(event="snapshot started")) == 2 for daemon in daemons)
    flow.assert_same()


def test_the_first_daemon_of_all_is_no_change_of_layout(scene: Scene) -> None:
    """A contract that begins split has no log line of a change; one daemon alone copies its part and waits for none."""
    flow = scene.add("film", projection(["title"]), documents=FILMS)
    first = launch(scene, "1/2")
    wait_state("live", first)
    assert 50 < len(flow.keys()) < 150
    assert not first.logs(event="layout changed")
    assert first.metric("syncd_partitions", contract=flow.contract) == 2


def test_what_a_person_asks_reaches_the_right_partition(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """Dead letters of all partitions are one list, and each is replayed by its own; a snapshot is asked of all."""
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    bad = [{"_id": n, "year": "not a number"} for n in range(30)]
    flow = scene.add("film", projection({"year": {"from": "year", "type": "int"}}), documents=bad)
    daemons = run_two(scene)
    assert len(flow.dead_letters()) == 30
    flow.collection.update_many({"_id": {"$lt": 15}}, {"$set": {"year": 7}})
    said = syncd("deadletters", "replay", flow.contract, "--all", **env)
    assert "15 written, 15 still failing, 0 not found" in said.stdout
    assert {dead_letter["id"] for dead_letter in flow.dead_letters()} == {str(n) for n in range(15, 30)}
    assert syncd("snapshot", flow.contract, **env).returncode == 0
    wait_until(lambda: all(len(daemon.logs(event="snapshot finished")) == 2 for daemon in daemons), 20)


def test_status_shows_the_partitions_elsewhere(scene: Scene) -> None:
    """`syncd status` of one daemon names its partition, and the others with their holder, or that there is none."""
    flow = scene.add("film", projection(["title"]), documents=FILMS)
    first = launch(scene, "1/3")
    wait_state("live", first)
    wait_state("live", launch(scene, "2/3"))
    first.terminate()
    first.start()
    wait_until(
        lambda: any(p["holder"] for p in lane(first).get("partitions", [])[1:]), 30, lambda: lane(first)
    )
    said = syncd("status", SYNCD_HTTP=first.url.removeprefix("http://")).stdout
    assert f"{flow.contract} 1/3 " in said
    assert f"{flow.contract} 2/3: held by " in said
    assert f"{flow.contract} 3/3: NO DAEMON works on it, not begun" in said


def test_keys_that_go_from_one_partition_to_another(scene: Scene) -> None:
    """A key that moves between documents of different partitions ends with its last document, and none is left over."""
    flow = scene.add("film", projection(["title", "slug"], key="{slug}"), unique=[["slug"]], documents=FILMS)
    flow.collection.create_index("slug", unique=True)
    run_two(scene)
    chance = random.Random(1)
    for turn in range(300):
        one, two = chance.sample(range(len(FILMS)), 2)
        match chance.randrange(3):
            case 0:  # two documents exchange their keys
                here, there = (flow.collection.find_one({"_id": n}) for n in (one, two))
                if here and there:
                    flow.collection.update_one({"_id": one}, {"$set": {"slug": f"aside{turn}"}})
                    flow.collection.update_one({"_id": two}, {"$set": {"slug": here["slug"]}})
                    flow.collection.update_one({"_id": one}, {"$set": {"slug": there["slug"]}})
            case 1:  # a key goes with its document, and comes back with another one
                if gone := flow.collection.find_one_and_delete({"_id": one}):
                    flow.collection.update_one({"_id": two}, {"$set": {"slug": gone["slug"]}})
            case 2:
                new = {"_id": one, "slug": f"new{turn}", "title": f"t{turn}"}
                flow.collection.replace_one({"_id": one}, new, upsert=True)
    flow.wait_same()
    for what in ("keys", "owners"):
        (name,) = flow.redis.scan_iter(flow.names.control(f"{what}:*"), count=1000)
        assert flow.redis.hlen(name) == len(flow.keys())


def test_an_index_is_rebuilt_when_all_have_copied(scene: Scene) -> None:
    """The first partition makes indexes. A new generation serves only when every partition has written its documents,
    and until then the keys of the old projection stay."""
    old = index(scene.token, ["title"])
    flow = scene.add("film", old, documents=FILMS)
    first, second = run_two(scene)
    assert not second.logs(event="index created")
    assert found(flow) == len(FILMS)
    second.kill()
    flow.write({**index(scene.token, ["title", "slug"]), "projection": "other", "key": "{_id}:x"})
    wait_until(lambda: len(first.logs(event="index created")) == 2, 20, first.process.log_tail)
    wait_until(lambda: flow.redis.hget(flow.names.control("1of2:position"), "phase") == b"sweep", 20)
    assert not first.logs(event="index swapped")
    assert len(flow.keys()) == found(flow) == len(FILMS), "the old index serves the old keys"
    second.start()
    wait_until(lambda: first.logs(event="index swapped"), 20, first.process.log_tail)
    wait_state("live", first, second)
    assert not flow.keys()
    assert found(flow) == len(FILMS)


def index(token: str, fields: list[str]) -> dict[str, Any]:
    said = {"name": f"{token}-films", "fields": [{"name": name, "type": "tag"} for name in fields]}
    return projection(fields, index=said)


def found(flow: Flow) -> int:
    return int(flow.redis.execute_command("FT.SEARCH", f"{flow.names.token}-films", "*", "LIMIT", 0, 0)[0])


def test_a_collection_that_is_dropped(scene: Scene) -> None:
    """Every partition learns of it: all keys go, and a collection that comes again is copied by all."""
    flow = scene.add("film", projection(["title"]), documents=FILMS)
    daemons = run_two(scene)
    flow.collection.drop()
    wait_until(lambda: not flow.keys(), 20, lambda: lane(daemons[0]))
    flow.collection.insert_many(FILMS[:50])
    flow.wait_same()
    wait_state("live", *daemons)
    assert all(daemon.logs(event="position lost") for daemon in daemons)


@pytest.mark.parametrize("said", ["0/2", "3/2", "2", "a/b", "1/1000"])
def test_a_partition_that_cannot_be(scene: Scene, said: str) -> None:
    """It ends the daemon with exit code 2 and the name of the setting."""
    run = syncd("run", "--contracts", scene.contracts.path, "--partition", said)
    assert run.returncode == 2
    assert "SYNCD_PARTITION" in run.stderr
