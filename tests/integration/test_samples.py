"""Documents as samples of time series. Skipped where the module RedisTimeSeries cannot be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64
from pymongo import DeleteOne, InsertOne, UpdateOne
from redis.exceptions import ResponseError

from syncd.stores.redis.cluster.slots import slot_of
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.programs.needed import NotFound, give_up
from tests.support.scene import Flow, Scene
from tests.support.servers.cluster import move, slots_of
from tests.support.servers.timeseries import series_cluster, series_server
from tests.support.ways.reconcile import check

START = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
UNIQUE = [["sensor", "at"]]
TEMPERATURE: dict[str, Any] = {
    "name": "t", "type": "timeseries", "key": "{sensor}", "time": "at", "value": "celsius", "labels": {"site": "site"},
}  # fmt: skip
Series = dict[str, dict[int, float]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    try:
        with series_server() as server:
            yield server.url
    except NotFound as error:
        give_up(error)


@pytest.fixture
def scene(url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, url) as scene:
        yield scene


def sample(number: int, **more: Any) -> dict[str, Any]:
    at = START + timedelta(seconds=number)
    return {
        "_id": number,
        "sensor": f"s{number % 3}",
        "at": at,
        "celsius": number / 2,
        "site": "roof",
        **more,
    }


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def wanted(flow: Flow) -> Series:
    found: Series = {}
    for document in flow.collection.find({"at": {"$type": "date"}, "celsius": {"$type": "number"}}):
        at = ms(document["at"].replace(tzinfo=UTC))
        found.setdefault(document["sensor"], {})[at] = float(document["celsius"])
    return found


def there(flow: Flow) -> Series:
    found: Series = {}
    for end in flow.keys("t"):
        try:
            samples: Any = flow.redis.execute_command("TS.RANGE", flow.key(end, "t"), "-", "+")
        except ResponseError:  # gone since the scan
            continue
        found[end] = {at: float(value) for at, value in samples}
    return found


def wait_same(flow: Flow) -> None:
    wait_until(lambda: there(flow) == wanted(flow), 60, lambda: f"{there(flow)} {wanted(flow)} {flow.lane()}")


def info(flow: Flow, end: str) -> dict[str, Any]:
    reply: Any = flow.redis.execute_command("TS.INFO", flow.key(end, "t"))
    said = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
    return {name.decode() if isinstance(name, bytes) else name: value for name, value in said.items()}


def test_a_life_of_a_sample(scene: Scene) -> None:
    """nothing_lost, no_ghosts: a copy, an insert, a new value, a new moment, another series, a value that goes, and a
    deletion: each series is what its documents say, and goes with its last one."""
    flow = scene.run("life", projection(**TEMPERATURE), documents=map(sample, range(30)), unique=UNIQUE)
    wait_same(flow)
    assert info(flow, "s0")["duplicatePolicy"] in (b"last", "last")
    sensors = flow.collection
    sensors.insert_many([sample(number) for number in range(30, 60)])
    sensors.update_one({"_id": 1}, {"$set": {"celsius": Int64(7)}})
    sensors.update_one({"_id": 2}, {"$set": {"at": START + timedelta(days=1)}})
    sensors.update_one({"_id": 3}, {"$set": {"sensor": "other"}})
    sensors.update_one({"_id": 4}, {"$unset": {"celsius": ""}})
    sensors.update_one({"_id": 5}, {"$set": {"at": None}})
    sensors.delete_one({"_id": 6})
    wait_same(flow)
    sensors.delete_many({"sensor": {"$in": ["other", "s1"]}})
    wait_same(flow)
    assert flow.keys("t") == {"s0", "s2"}
    assert flow.dead_letters() == []


def test_one_sample_after_the_other(scene: Scene) -> None:
    """never_backwards, no_ghosts: a moment goes from one document to another, in one batch and while the first changes
    on: the sample is that of the document that has it, and goes with this one alone."""
    documents = [sample(number) for number in range(0, 30, 3)]
    flow = scene.run("pass", projection(**TEMPERATURE), documents=documents, unique=UNIQUE)
    wait_same(flow)
    later = START + timedelta(days=1)
    scene.daemon.terminate()
    flow.collection.bulk_write([
        DeleteOne({"_id": 0}), InsertOne(sample(0, _id="corrected", celsius=1.25)),
        UpdateOne({"_id": 3}, {"$set": {"at": later}}), InsertOne(sample(3, _id="new", celsius=9)),
        UpdateOne({"_id": 3}, {"$set": {"celsius": 99}}),
    ])  # fmt: skip
    scene.start()
    wait_same(flow)
    flow.collection.update_one({"_id": 3}, {"$set": {"celsius": 98}})
    flow.collection.delete_one({"_id": 6})
    flow.collection.insert_one(sample(6, _id="again"))
    wait_same(flow)
    flow.collection.delete_one({"_id": "corrected"})
    wait_same(flow)


def test_a_daemon_that_is_killed(scene: Scene) -> None:
    """nothing_lost, no_ghosts: again and again, while values, moments and series change: each series is what its
    documents say."""
    flow = scene.add("killed", projection(**TEMPERATURE), documents=map(sample, range(900)), unique=UNIQUE)
    scene.daemon = scene.another_daemon(SYNCD_BATCH_WRITES="20", SYNCD_CHUNK_DOCUMENTS="50")
    for turn in range(4):
        scene.start()
        wait_until(lambda: flow.copied() > 0, 60, flow.lane)
        changes: list[Any] = []
        for number in range(turn, 900, 4):
            later = START + timedelta(days=turn + 1, seconds=number)
            changes.append(UpdateOne({"_id": number}, {"$set": {"celsius": turn, "at": later}}))
            if number % 5 == turn:
                changes += [DeleteOne({"_id": number}), InsertOne(sample(number, _id=f"{turn} {number}"))]
        flow.collection.bulk_write(changes)
        scene.daemon.kill()
    scene.start()
    flow.wait_live()
    wait_same(flow)


def test_what_does_not_fit(scene: Scene) -> None:
    """nothing_silent: a moment that is none, or before 1970, a value that is none, and one that no double holds are
    dead letters. The sample stays as it was; a document without a moment is none any more."""
    odd = {
        1: ("at", "tomorrow"), 2: ("at", datetime(1969, 1, 1, tzinfo=UTC)), 3: ("celsius", "warm"),
        4: ("celsius", float("nan")), 5: ("celsius", Int64(2**53 + 1)),
    }  # fmt: skip
    flow = scene.run("odd", projection(**TEMPERATURE), documents=map(sample, range(9)), unique=UNIQUE)
    wait_same(flow)
    before = there(flow)
    for number, (path, value) in odd.items():
        flow.collection.update_one({"_id": number}, {"$set": {path: value}})
    wait_until(lambda: len(flow.dead_letters()) == len(odd), 60, flow.lane)
    assert {one["reason"] for one in flow.dead_letters()} == {"cannot_convert"}
    for number in (1, 2):
        del before[f"s{number}"][ms(sample(number)["at"])]
    assert there(flow) == before


def test_what_redis_does_not_take(scene: Scene) -> None:
    """no_ghosts, nothing_silent: a label or a value that Redis does not take is a dead letter, whichever document
    begins the series, and leaves no empty series behind; an empty label is none."""
    documents = [
        sample(1, sensor="a", site="north, hall (2)"), sample(2, sensor="b", celsius=float("inf")),
        sample(3, sensor="c", site=""), sample(4, sensor="d"), sample(5, sensor="d", site="a,b"),
    ]  # fmt: skip
    flow = scene.run("labels", projection(**TEMPERATURE), documents=documents, unique=UNIQUE)
    flow.wait_live()
    reasons = {one["id"]: one["reason"] for one in flow.dead_letters()}
    assert reasons == {"1": "cannot_convert", "2": "redis_refused", "5": "cannot_convert"}
    assert flow.keys("t") == {"c", "d"}
    flow.collection.update_many({}, {"$set": {"site": "roof", "celsius": 1.0}})
    wait_same(flow)


def test_a_copy_and_a_check(scene: Scene, mongo_uri: str, url: str) -> None:
    """no_ghosts: what was deleted while no daemon ran goes with the next copy. A sample that is missing, or has another
    value, and one of a deleted document are differences, and repaired; those of other clients stay."""
    flow = scene.run("check", projection(**TEMPERATURE), documents=map(sample, range(60)), unique=UNIQUE)
    wait_same(flow)
    scene.daemon.kill()
    flow.collection.delete_many({"_id": {"$lt": 9}})
    flow.redis.delete(flow.names.control("position"))
    scene.daemon = scene.another_daemon()
    scene.start()
    flow.wait_live()
    wait_same(flow)
    assert check(scene, flow, mongo_uri, url).result == "clean"
    run, key = flow.redis.execute_command, flow.key("s0", "t")
    run("TS.DEL", key, ms(sample(9)["at"]), ms(sample(9)["at"]))
    run("TS.ADD", key, ms(sample(12)["at"]), 77, "ON_DUPLICATE", "LAST")
    run("TS.ADD", key, 5, 5)
    flow.redis.delete(flow.key("s1", "t"))
    found = check(scene, flow, mongo_uri, url)
    assert {kind: count for kind, count in found.drift.items() if count} == {"missing": 18, "content": 1}
    assert check(scene, flow, mongo_uri, url, repair=True).left == 0
    assert there(flow)["s0"].pop(5) == 5.0
    run("TS.DEL", key, 5, 5)
    wait_same(flow)


def test_retention(scene: Scene, mongo_uri: str, url: str) -> None:
    """Samples that a series does not keep any more are no dead letters and no difference, also where they come late; an
    edit of the retention, or of the labels, holds for series that are there."""
    shape = projection(**TEMPERATURE, retention="10s")
    flow = scene.run("kept", shape, documents=map(sample, range(0, 90, 3)), unique=UNIQUE)
    kept = {ms(sample(number)["at"]) for number in (78, 81, 84, 87)}
    wait_until(lambda: there(flow)["s0"].keys() == kept, 60, lambda: f"{there(flow)} {flow.lane()}")
    flow.collection.insert_one(sample(0, _id="late", at=START + timedelta(seconds=1)))
    flow.collection.update_one({"_id": 87}, {"$set": {"celsius": -1}})
    wait_until(lambda: there(flow)["s0"][ms(sample(87)["at"])] == -1, 60, flow.lane)
    assert flow.dead_letters() == []
    assert check(scene, flow, mongo_uri, url).result == "clean"
    flow.write(
        projection(**{**TEMPERATURE, "labels": {"place": "site"}}, retention="1h"),
        unique=UNIQUE,
        version="1.0.1",
    )
    wait_until(lambda: there(flow) == wanted(flow), 60, lambda: f"{there(flow)} {flow.lane()}")
    assert info(flow, "s0")["retentionTime"] == 3_600_000


def test_a_projection_that_goes(scene: Scene) -> None:
    """no_ghosts: its samples go, and those of an application in the same series stay."""
    flow = scene.add("gone", projection(**TEMPERATURE), documents=map(sample, range(9)), unique=UNIQUE)
    flow.redis.execute_command("TS.ADD", flow.key("s0", "t"), 1, 1)
    scene.start()
    flow.wait_live()
    assert len(there(flow)["s0"]) == 4
    flow.write(projection(["sensor"]), unique=UNIQUE, version="1.0.1")
    wait_until(lambda: there(flow) == {"s0": {1: 1.0}}, 60, lambda: f"{there(flow)} {flow.lane()}")


def test_a_server_without_the_module(redis_url: str, mongo_uri: str, token: str, tmp_path: Path) -> None:
    """nothing_silent: the contract is refused, and the reason says what to do."""
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        flow = scene.add("none", projection(**TEMPERATURE), documents=[sample(1)], unique=UNIQUE)
        scene.start()
        lane = flow.wait_state("failed")
        assert "`type: timeseries` needs time series, which redis 8" in lane["error"]


def test_the_documented_rights(url: str, mongo_uri: str, token: str, tmp_path: Path) -> None:
    """A user with the commands that the page of rights names for all contracts, and for time series, can do all."""
    page = (ROOT / "docs/how-to/rights.md").read_text(encoding="utf-8")
    said = re.search(r"^ACL SETUSER syncd (.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert said is not None
    rights = [word for word in said[1].split() if word[0] in "+-"]
    rights += [f"+{command}" for command in re.findall(r"`(ts\.\w+)`", page)]
    own = [f"~{token}:*", "~syncd:*", "resetchannels"]
    daemon_redis = url.replace("redis://", "redis://narrow:secret@")
    with Scene(tmp_path, token, mongo_uri, url, daemon_redis=daemon_redis) as scene:
        scene.redis.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "resetkeys", *own, *rights)
        scene.redis.execute_command("ACL", "LOG", "RESET")
        shape = projection(**TEMPERATURE, retention="1h")
        flow = scene.run("rights", shape, documents=map(sample, range(9)), unique=UNIQUE)
        flow.collection.update_one({"_id": 1}, {"$set": {"at": START - timedelta(seconds=1)}})
        flow.collection.delete_many({"sensor": "s2"})
        wait_same(flow)
        assert check(scene, flow, mongo_uri, daemon_redis).result == "clean"
        denied: Any = scene.redis.execute_command("ACL", "LOG")
        asked = {dict(zip(entry[::2], entry[1::2], strict=True))[b"object"] for entry in denied}
        assert asked <= {b"client|setinfo", b"config|get"}


def test_samples_on_a_cluster(mongo_uri: str, token: str, tmp_path: Path) -> None:
    """Samples come, change their series, and go on three nodes, also behind a slot that has moved with its map; a
    check finds nothing."""
    try:
        with series_cluster() as cluster, Scene(tmp_path, token, mongo_uri, cluster.url) as scene:
            flow = scene.run(
                "c", projection(**TEMPERATURE), unique=UNIQUE, documents=[sample(n) for n in range(90)]
            )
            wait_same(flow)
            slot = slot_of(flow.key("s0", "t"))
            source = next(node for node in cluster.nodes if slot in slots_of(cluster, node))
            move(cluster, [slot], source, next(node for node in cluster.nodes if node is not source))
            flow.redis.nodes_manager.initialize()  # type: ignore[attr-defined]
            flow.collection.update_many({"_id": {"$lt": 30}}, {"$inc": {"celsius": 1}})
            flow.collection.update_many({"_id": {"$gte": 60, "$lt": 70}}, {"$set": {"sensor": "new"}})
            flow.collection.delete_many({"_id": {"$gte": 70}})
            wait_same(flow)
            flow.wait_live()
            assert check(scene, flow, mongo_uri, cluster.url).result == "clean"
    except NotFound as error:
        give_up(error)
