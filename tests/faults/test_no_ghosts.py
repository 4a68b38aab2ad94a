"""no_ghosts: a key whose document is gone, no longer matches, or moved to another key, is gone."""

from __future__ import annotations

import itertools
import random
from contextlib import AbstractContextManager
from typing import Any

from tests.faults.conftest import Rig
from tests.support.check import meanwhile, wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

COUNT = 3000
SLUG = {"key": "{slug}", "name": "slug"}


def film(number: int) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "slug": f"s{number}", "state": "public"}


def add(rig: Rig, **more: Any) -> Flow:
    shapes = [projection(["title"]), projection(["title", "slug"], **SLUG)]
    return rig.scene.add(
        "film", *shapes, unique=[["slug"]], documents=[film(n) for n in range(COUNT)], **more
    )


def removing(flow: Flow, seed: int) -> AbstractContextManager[None]:
    """Deletes documents, takes them out of the filter, moves them to other keys, and brings some of them back."""
    films, chance, turns = flow.collection, random.Random(seed), itertools.count(1)

    def write() -> None:
        turn, number = next(turns), chance.randrange(COUNT)
        which = {"_id": number}
        match chance.randrange(5):
            case 0:
                films.delete_one(which)
            case 1:
                films.update_one(which, {"$set": {"state": "draft"}})
            case 2:
                films.update_one(which, {"$set": {"slug": f"moved{turn}"}})
            case 3:
                films.replace_one(which, film(number) | {"slug": f"anew{turn}"}, upsert=True)
            case 4:
                films.delete_one(which)
                films.insert_one(film(number) | {"slug": f"again{turn}"})

    return meanwhile(write, 0.015)


def assert_no_ghosts(flow: Flow) -> None:
    wait_until(lambda: flow.lane().get("state") == "live", 30, flow.lane)
    flow.wait_same()
    for what in ("keys", "owners"):
        maps = flow.redis.scan_iter(flow.names.control(f"{what}:*"), count=1000)
        assert sum(flow.redis.hlen(name) for name in maps) == len(flow.keys("slug")), (
            "the maps hold what there is"
        )


def test_removals_while_a_snapshot_runs(rig: Rig) -> None:
    """Documents that go, leave the filter or move while they are copied leave no key, with a kill in the middle."""
    rig.redis_proxy.delay(0.001)
    flow = add(rig, filter={"state": "public"})
    daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="40")
    with removing(flow, seed=1):
        daemon.start()
        wait_until(lambda: flow.copied() >= COUNT // 3, 30, flow.position)
        daemon.kill()
        rig.scene.start()
        wait_until(lambda: flow.position()["phase"] == b"stream", 30, flow.position)
    rig.redis_proxy.restore()
    assert_no_ghosts(flow)


def test_removals_while_the_daemon_is_down(rig: Rig) -> None:
    """What went while the daemon was down goes after its start, by the stream or, without a position, by a sweep."""
    flow = add(rig)
    rig.scene.start()
    flow.wait_live()
    for position_lost in (False, True):
        rig.scene.daemon.kill()
        low = COUNT // 2 if position_lost else 0
        with removing(flow, seed=2):
            flow.collection.delete_many({"_id": {"$gte": low, "$lt": low + 300}})
        flow.collection.update_many(
            {"_id": {"$lt": low + 600}}, [{"$set": {"slug": {"$concat": ["$slug", "x"]}}}]
        )
        if position_lost:
            flow.redis.delete(flow.names.control("position"))
        rig.scene.start()
        flow.wait_live()
        assert_no_ghosts(flow)
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 2


def test_the_sweep_leaves_foreign_keys_alone(rig: Rig) -> None:
    """The sweep of a contract that adopts what it finds removes orphans, and no key that its templates never give."""
    flow = add(rig, sync={"adopt": True})
    foreign_keys = [
        "faults:film",
        "faults:film:cards:1",
        "faults:film:card",
        "faults:film:card:a:b",
        "faults:film:slugs:x",
    ]
    for key in foreign_keys:
        rig.scene.redis.set(key, "not ours")
    for number in range(COUNT, COUNT + 500):
        rig.scene.redis.hset(flow.key(number), "title", "an orphan")
    rig.scene.start()
    wait_until(lambda: flow.position().get("phase") == b"stream", 30, flow.position)
    for key in foreign_keys:
        assert rig.scene.redis.get(key) == b"not ours"
        rig.scene.redis.delete(key)
    assert_no_ghosts(flow)


def test_documents_that_come_while_the_sweep_looks(rig: Rig) -> None:
    """A document that is inserted again after the sweep found its key without one keeps the key."""
    # Such ids take long to find and to compare: changes overtake the read that was made before them.
    ids = [f"{number}{'é:' * 300}" for number in range(800)]
    documents = [{"_id": id_, "n": 1} for id_ in ids]
    flow = rig.scene.run("long", projection(["n"]), documents=documents, sync={"sweep_limit": "100%"})
    rig.scene.daemon.kill()
    flow.redis.delete(flow.names.control("position"))
    flow.collection.delete_many({})
    back = 0
    rig.scene.daemon.process.launch()
    while flow.position().get("phase") != b"stream":
        if flow.position() and back < len(ids):
            flow.collection.insert_one({"_id": ids[back], "n": 2})
            back += 1
    flow.wait_live()
    wait_until(lambda: len(flow.keys()) == back, 20, lambda: f"{back} keys; there are {len(flow.keys())}")
    assert back > 0


def test_a_document_that_loses_the_field_of_its_key(rig: Rig) -> None:
    """Without the field, or with a list in it, a document has no key: the old one goes, beside a dead letter."""
    flow = rig.scene.add(
        "lose", projection(["title"], **SLUG), unique=[["slug"]], documents=[film(1), film(2), film(3)]
    )
    rig.scene.start()
    flow.wait_live()
    flow.collection.update_one({"_id": 1}, {"$unset": {"slug": ""}})
    flow.collection.update_one({"_id": 2}, {"$set": {"slug": ["s2"]}})
    reasons = {"1": "key_field_missing", "2": "key_field_type"}
    wait_until(
        lambda: {dead_letter["id"]: dead_letter["reason"] for dead_letter in flow.dead_letters()} == reasons
    )
    wait_until(lambda: flow.keys("slug") == {"s3"}, 5, lambda: flow.keys("slug"))
    flow.collection.update_many(
        {"_id": {"$lt": 3}}, [{"$set": {"slug": {"$concat": ["new", {"$toString": "$_id"}]}}}]
    )
    wait_until(lambda: flow.keys("slug") == {"s3", "new1", "new2"}, 5, lambda: flow.keys("slug"))


def test_a_collection_that_is_dropped_or_renamed(rig: Rig) -> None:
    """A collection that goes takes its keys with it; one that comes again under the name is copied."""
    flow = add(rig)
    rig.scene.start()
    flow.wait_live()
    flow.collection.drop()
    wait_until(lambda: not flow.keys() and not flow.keys("slug"), 20, flow.lane)
    flow.collection.insert_many([film(n) for n in range(10)])
    flow.wait_same()
    flow.wait_live()
    flow.collection.rename("elsewhere")
    wait_until(lambda: not flow.keys() and not flow.keys("slug"), 20, flow.lane)
    flow.collection.insert_one(film(3))
    flow.wait_same()
    assert_no_ghosts(flow)
    assert len(rig.scene.daemon.logs(event="position lost")) == 2
    rig.scene.mongo.drop_database("faults")
    wait_until(lambda: not flow.keys(), 20, flow.lane)
