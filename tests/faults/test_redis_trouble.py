"""A Redis that evicts, forgets, fails over or holds what is not ours (nothing_lost, never_torn, fenced, nothing_silent,
bounded).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from syncd.embedded import RedisServer
from syncd.errors import FencedError
from syncd.plan.claims import Claims
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.check import meanwhile, wait_until
from tests.support.contracts import projection
from tests.support.daemon import ROOT
from tests.support.scene import Flow, Scene

FIELDS = ["title", "n", "text"]
CARD = projection(FIELDS)
DOC = projection(FIELDS, name="doc", type="json")
COUNT = 500
LEASE = {"SYNCD_LEASE_TTL": "5"}


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n, "text": "x" * 200}


def films(count: int = COUNT) -> list[dict[str, Any]]:
    return [film(number) for number in range(count)]


@contextmanager
def updating(flow: Flow, count: int = COUNT) -> Iterator[list[int]]:
    """Updates of one field of one document after another until the block ends; how many so far."""
    done = [0]

    def update() -> None:
        flow.collection.update_one({"_id": done[0] % count}, {"$inc": {"n": 1}})
        done[0] += 1

    with meanwhile(update, 0.01):
        yield done


def snapshots(flow: Flow, scene: Scene) -> list[dict[str, Any]]:
    return scene.daemon.logs(event="snapshot started", contract=flow.contract)


def lost(flow: Flow, scene: Scene) -> list[dict[str, Any]]:
    return scene.daemon.logs(event="lease lost", contract=flow.contract)


def wait_copied_again(flow: Flow, scene: Scene, times: int) -> None:
    wait_until(lambda: len(snapshots(flow, scene)) == times, 20, flow.lane)
    flow.wait_live(40)
    flow.wait_same()


@pytest.fixture
def small(rig: Rig, tmp_path: Path) -> Iterator[Scene]:
    """A Redis that evicts any key above 6 MB."""
    config = {"maxmemory": "6mb", "maxmemory-policy": "allkeys-lru"}
    with (
        RedisServer(config=config, modules=False) as server,
        Scene(tmp_path / "small", "faults", rig.mongo.uri, server.url) as scene,
    ):
        yield scene


def fill(scene: Scene) -> None:
    """As much as the Redis holds, so that other keys go."""
    pipe = scene.redis.pipeline(transaction=False)
    for number in range(600):
        pipe.set(f"filler:{number % 300}", "x" * 20_000)
    pipe.execute()


def make_room(scene: Scene) -> None:
    scene.redis.config_set("maxmemory", 0)
    scene.redis.delete(*scene.redis.scan_iter("filler:*"))


def assert_none_torn(flow: Flow) -> None:
    pipe = flow.redis.pipeline(transaction=False)
    for number in range(COUNT):
        pipe.hgetall(flow.key(number))
    for number, found in enumerate(pipe.execute()):
        assert not found or (found.keys() == {b"title", b"n", b"text"}), f"{number}: {found.keys()}"


def test_a_redis_that_evicts_everything(small: Scene) -> None:
    """never_torn, nothing_silent: with `allkeys-lru` documents, position and lease go at any moment; no key ever holds
    a part, the lane says what it lost, and a snapshot brings everything back once there is room."""
    flow = small.run("evict", CARD, documents=films(), env=LEASE)
    with updating(flow):
        while len(lost(flow, small)) < 2:
            fill(small)
            assert_none_torn(flow)
        make_room(small)
    errors = [line["error"] for line in lost(flow, small)]
    assert all(re.search("gone from (syncd:claims in )?Redis", one) for one in errors), errors
    assert not small.daemon.logs(event="lane standby")
    assert_none_torn(flow)
    small.redis.rpush(flow.names.control("requests"), "snapshot")
    flow.wait_same(40)
    flow.catch_up()
    flow.assert_same()


def test_a_position_that_was_evicted(small: Scene) -> None:
    """nothing_lost, nothing_silent: a lane whose position was evicted says so and copies again by itself; one that lost
    its lease alone takes it again and goes on."""
    flow = small.run("evict", CARD, documents=films(), env=LEASE)
    small.daemon.pause()
    lease = small.redis.get(flow.names.control("lease"))
    while small.redis.exists(flow.names.control("position")):
        fill(small)
    make_room(small)
    small.redis.set(flow.names.control("lease"), lease, ex=60)  # it may have gone as well
    small.daemon.resume()
    wait_until(lambda: lost(flow, small), 20, flow.lane)
    wait_copied_again(flow, small, 2)
    small.redis.delete(flow.names.control("lease"))
    flow.collection.update_many({}, {"$inc": {"n": 1}})
    flow.wait_same()
    first, *more = [line["error"].split(" of ")[0] for line in lost(flow, small)]
    assert first == "the position"
    assert "the lease" in more
    assert len(snapshots(flow, small)) == 2
    assert not small.daemon.logs(event="lane standby")


def test_a_flush_under_load(rig: Rig) -> None:
    """nothing_lost, nothing_silent: after FLUSHALL every lane, an idle one too, notices, says so, and is not ready
    before everything is there again."""
    busy = rig.scene.add("busy", CARD, DOC, documents=films())
    idle = rig.scene.run("idle", CARD, documents=films(2000), env={**LEASE, "SYNCD_BATCH_WRITES": "50"})
    busy.wait_live()
    rig.redis_proxy.delay(0.005)
    with updating(busy):
        rig.scene.redis.flushall()
        for flow in (idle, busy):
            wait_until(lambda flow=flow: lost(flow, rig.scene), 20, flow.lane)
        wait_until(rig.scene.daemon.is_ready, 60, idle.lane)
        idle.assert_same()
        assert busy.keys() >= {str(number) for number in range(COUNT)}
    rig.redis_proxy.restore()
    for flow in (idle, busy):
        wait_copied_again(flow, rig.scene, 2)
        assert flow.metric("syncd_lane_restarts_total", why="fenced") >= 1
    assert not rig.scene.daemon.logs(event="lane standby")


def test_an_epoch_from_before_a_flush(rig: Rig) -> None:
    """fenced: a call that was on its way through a FLUSHALL does not pass with the lease that was taken after it."""
    store = RedisStore(rig.redis.url)
    store.connect()
    before, after = (
        Lease(store, ControlKeys("faults-epoch"), "one/owner", 10, Claims("mongo", "1", ())) for _ in range(2)
    )
    before.acquire()
    before.forget_position("sweep")
    rig.scene.redis.flushall()
    after.acquire()
    after.forget_position("sweep")
    with pytest.raises(FencedError) as caught:
        before.forget_position("sweep")
    assert caught.value.holder == after.value
    store.close()


def rights(without: str) -> list[str]:
    """What the manual says that syncd needs, for the keys of these tests."""
    page = (ROOT / "docs/how-to/rights.md").read_text()
    (said,) = re.findall(r"^ACL SETUSER syncd (.*?)^```", page, re.MULTILINE | re.DOTALL)
    words = [word for word in said.split() if not word.startswith(("~", ">")) and word not in without.split()]
    return [*words, ">secret", "~faults:*", "~syncd:*"]


def make_trouble(rig: Rig, flow: Flow, moving: Flow, flush: str) -> None:
    """Changes of every kind, and documents that do not fit, while Redis forgets its functions again and again."""
    with updating(flow):
        for turn in range(3):
            rig.scene.redis.execute_command(*flush.split())
            flow.collection.replace_one({"_id": 900}, film(900) | {"n": "no number"}, upsert=True)
            flow.collection.insert_one(film(1000 + turn))
            flow.collection.delete_one({"_id": 450 + turn})
            moving.collection.update_one({"_id": turn}, {"$set": {"title": f"m{turn}"}})
            wait_until(lambda n=turn: flow.hash(1000 + n) and moving.hash(f"m{n}"), 20, flow.lane)
    wait_until(lambda: len(flow.dead_letters()) == 1, 20, flow.dead_letters)
    flow.collection.update_one({"_id": 900}, {"$set": {"n": 1}})


@pytest.mark.parametrize(
    ("without", "flush"),
    [("", "FUNCTION FLUSH"), ("+function|list +function|load +fcall", "SCRIPT FLUSH")],
    ids=["functions", "scripts"],
)
def test_a_user_with_few_rights(rig: Rig, without: str, flush: str) -> None:
    """nothing_lost: the rights that the manual names are enough, with functions and, where these are forbidden, by
    scripts; a Redis that forgets either gets them again, and nothing is copied again."""
    rig.scene.redis.execute_command("FUNCTION", "FLUSH")
    rig.scene.redis.execute_command("ACL", "SETUSER", "narrow", "reset", *rights(without))
    url = rig.redis_proxy.redis_url.replace("//", "//narrow:secret@")
    number = {"title": "title", "n": {"from": "n", "type": "int"}, "text": "text"}
    shapes = projection(number), projection(FIELDS, name="doc", type="json")
    moving = rig.scene.add("moving", projection(["title"], key="{title}"), unique=[["title"]])
    moving.collection.insert_many([{"_id": n, "title": f"t{n}"} for n in range(10)])
    flow = rig.scene.run("rights", *shapes, documents=films(), env={"SYNCD_REDIS_URL": url})
    moving.wait_live()
    make_trouble(rig, flow, moving, flush)
    rig.scene.daemon.kill()
    flow.collection.update_many({"_id": {"$gte": 1000}}, {"$inc": {"n": 1}})
    rig.scene.start()
    flow.wait_live()
    flow.projections = CARD, DOC
    for one in (flow, moving):
        one.wait_same()
        assert len(snapshots(one, rig.scene)) == 1
    assert not lost(flow, rig.scene)
    done = cli.syncd("deadletters", "drop", flow.contract, "--all", SYNCD_REDIS_URL=url)
    assert (done.returncode, done.stdout) == (0, "dropped 1\n"), done.stderr
    libraries = rig.scene.redis.execute_command("FUNCTION", "LIST")
    assert bool(libraries) != bool(without)
    rig.scene.redis.execute_command("ACL", "DELUSER", "narrow")
