"""Maps between documents and keys that are lost, in whole or in part (nothing_lost, never_torn, no_ghosts,
nothing_silent).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow
from tests.support.ways.reconcile import check

SLUG = projection({"n": "n"}, key="{slug}")
COUNT = 60


def films(count: int = COUNT) -> list[dict[str, object]]:
    return [{"_id": number, "n": number, "slug": f"s{number}"} for number in range(count)]


def live(rig: Rig, short: str) -> Flow:
    flow = rig.scene.run(short, SLUG, documents=films(), unique=[["slug"]])
    flow.collection.create_index("slug", unique=True)
    flow.wait_same()
    return flow


def of(flow: Flow, which: str) -> str:
    """The map `keys` or `owners`."""
    return flow.names.control(f"{which}:card:{flow.names.prefix('card')}{{slug}}")


def some(flow: Flow, which: str) -> None:
    names = flow.redis.hkeys(of(flow, which))
    flow.redis.hdel(of(flow, which), *names[: COUNT // 2])


def all_of(flow: Flow, which: str) -> None:
    flow.redis.delete(of(flow, which))


def repaired(rig: Rig, flow: Flow) -> tuple[int, int]:
    """What a check with repair found, and what is left."""
    report = check(rig.scene, flow, rig.mongo.uri, rig.redis.url, repair=True, wait_s=60.0)
    return report.found, report.found - report.repaired


@pytest.mark.parametrize("lose", [some, all_of], ids=["some", "all"])
def test_lost_owners(rig: Rig, lose: Callable[[Flow, str], None]) -> None:
    """nothing_lost: entries of the map from key to `_id` are gone; a check with repair makes them again, and never
    removes a key that a document has"""
    flow = live(rig, "owners")
    lose(flow, "owners")
    assert rig.scene.redis.hlen(of(flow, "owners")) < COUNT
    found, left = repaired(rig, flow)
    assert found and not left
    flow.assert_same()
    assert rig.scene.redis.hlen(of(flow, "owners")) == COUNT
    flow.collection.delete_many({"_id": {"$lt": COUNT // 3}})
    flow.wait_same()


@pytest.mark.parametrize("lose", [some, all_of], ids=["some", "all"])
def test_lost_owners_while_documents_go(rig: Rig, lose: Callable[[Flow, str], None]) -> None:
    """no_ghosts: entries of the map from key to `_id` are gone, and so are documents before a daemon has read them;
    their keys go all the same"""
    flow = live(rig, "gone")
    lose(flow, "owners")
    flow.collection.delete_many({"_id": {"$lt": COUNT // 3}})
    flow.collection.update_many({"_id": {"$gt": 50}}, [{"$set": {"slug": {"$concat": ["$slug", "x"]}}}])
    flow.wait_same()


@pytest.mark.parametrize("lose", [some, all_of], ids=["some", "all"])
def test_lost_keys_are_found_by_a_check(rig: Rig, lose: Callable[[Flow, str], None]) -> None:
    """no_ghosts: entries of the map from `_id` to key are gone, and documents with them; a check finds the keys that
    stay, and repair removes these and no others"""
    flow = live(rig, "keys")
    lose(flow, "keys")
    flow.collection.delete_many({"_id": {"$lt": COUNT // 2}})
    wait_until(lambda: flow.lane()["changes"] >= COUNT // 2, 20, flow.lane)
    found, left = repaired(rig, flow)
    assert found and not left
    flow.wait_same()
    assert rig.scene.redis.hlen(of(flow, "keys")) == COUNT // 2


def test_lost_keys_while_down(rig: Rig) -> None:
    """no_ghosts, nothing_silent: the map from `_id` to key is gone while the daemon is down, and documents go; the
    daemon says so, copies again, and the keys that had stayed are gone"""
    flow = live(rig, "down")
    rig.scene.daemon.kill()
    all_of(flow, "keys")
    flow.collection.delete_many({"_id": {"$lt": COUNT // 2}})
    rig.scene.start()
    flow.wait_same(60)
    told = rig.scene.daemon.logs(level="warning", contract=flow.contract)
    assert any("the map of keys has lost entries" in line["event"] for line in told), told


def test_a_snapshot_makes_the_maps_again(rig: Rig) -> None:
    """no_ghosts: both maps are gone, and documents with them; a new snapshot removes what has no document, and leaves
    what has one"""
    flow = live(rig, "both")
    rig.scene.daemon.kill()
    all_of(flow, "keys")
    all_of(flow, "owners")
    flow.collection.delete_many({"_id": {"$lt": COUNT // 2}})
    rig.scene.redis.rpush(flow.names.control("requests"), "snapshot")
    rig.scene.start()
    flow.wait_same(60)
    assert rig.scene.redis.hlen(of(flow, "owners")) == rig.scene.redis.hlen(of(flow, "keys")) == COUNT // 2


@pytest.mark.parametrize("other", [1, 1000], ids=["of a document", "of none"])
def test_a_claim_of_another_document(rig: Rig, other: int) -> None:
    """nothing_lost: the map says that a key is another document's; a check with repair puts that right, also where the
    other document is none, and the key stays"""
    flow = live(rig, "false")
    key = flow.key("s0")
    for time in ("0000000000:0000000000", "9999999999:9999999999"):
        said = rig.scene.redis.hget(of(flow, "owners"), key).decode()
        assert len(said.partition(" ")[0]) > 0
        width = len(said.partition(" ")[0])
        rig.scene.redis.hset(of(flow, "owners"), key, f"{time.ljust(width)[:width]} {other}")
        found, left = repaired(rig, flow)
        assert found and not left
        flow.assert_same()
        assert rig.scene.redis.hget(of(flow, "owners"), key).endswith(b" 0")


def test_a_key_of_the_application_goes_and_one_of_another_type_stays(rig: Rig) -> None:
    """no_ghosts: a key that looks like the template's and has no document goes with a repair; one of another type,
    which syncd never wrote, stays"""
    flow = live(rig, "foreign")
    rig.scene.redis.hset(flow.key("nobody"), "n", "1")
    rig.scene.redis.rpush(flow.key("list"), "1")
    found, left = repaired(rig, flow)
    assert (found, left) == (2, 1)
    assert not rig.scene.redis.exists(flow.key("nobody")) and rig.scene.redis.exists(flow.key("list"))
    assert not flow.dead_letters()


@pytest.mark.parametrize("which", ["keys", "owners"])
def test_a_map_of_another_type(rig: Rig, which: str) -> None:
    """nothing_silent: a map that holds another Redis type stops the lane with the name of that key; without it the lane
    goes on, and the map is made again"""
    flow = live(rig, "type")
    rig.scene.daemon.kill()
    rig.scene.redis.delete(of(flow, which))
    rig.scene.redis.set(of(flow, which), "no map")
    rig.scene.start()
    wait_until(lambda: of(flow, which) in flow.lane().get("error", ""), 30, flow.lane)
    rig.scene.redis.delete(of(flow, which))
    rig.scene.daemon.kill()
    rig.scene.start()
    flow.collection.delete_many({"_id": {"$lt": 5}})
    flow.wait_live()
    flow.wait_same(60)


def test_what_is_known_of_dead_letters(rig: Rig) -> None:
    """never_torn, nothing_silent: `letters` and `stale` are gone while dead letters wait; a document still has one dead
    letter, and an update does not go on top of the older state that its key shows"""
    card = projection({"n": {"from": "n", "type": "int"}, "title": "title"})
    flow = rig.scene.run("letters", card, documents=[{"_id": 1, "n": 1, "title": "first"}])
    flow.collection.replace_one({"_id": 1}, {"_id": 1, "n": "no number", "title": "second"})
    wait_until(lambda: len(flow.dead_letters()) == 1, 20, flow.lane)
    rig.scene.daemon.kill()
    rig.scene.redis.delete(flow.names.control("letters"), flow.names.control("stale"))
    rig.scene.start()
    flow.wait_live()
    assert rig.scene.daemon.logs(event="dead letters were not known by document, read again", count=1)
    first = flow.dead_letters()
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "third"}})
    wait_until(lambda: flow.dead_letters() != first, 20, flow.lane)
    assert len(flow.dead_letters()) == 1
    assert flow.hash(1) == {"n": "1", "title": "first"}
