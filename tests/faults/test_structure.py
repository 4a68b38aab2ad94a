"""Collections that are dropped, renamed and created again, and what is done to them (nothing_lost, no_ghosts,
nothing_silent).
"""

from __future__ import annotations

from typing import Any

import pytest
from pymongo.collection import Collection

from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.check import wait_until
from tests.support.compare import compare
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection(["title", "n"])
COUNT = 100
MODES = ("purge", "keep", "pause")
THEN = "faults_then"

Films = Collection[dict[str, Any]]


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n}


def films(count: int = COUNT, n: int = 0) -> list[dict[str, Any]]:
    return [film(number, n) for number in range(count)]


def add(rig: Rig, short: str, mode: str) -> Flow:
    return rig.scene.add(short, CARD, documents=films(), sync={"on_drop": mode})


def start(rig: Rig, flows: list[Flow]) -> None:
    rig.scene.mongo.drop_database(THEN)
    rig.scene.start()
    for flow in flows:
        flow.wait_live()


def change(flow: Flow) -> None:
    """The last changes of a collection: they, too, belong to what it leaves behind."""
    flow.collection.delete_many({"_id": {"$lt": 10}})
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$set": {"n": 1}})
    flow.collection.insert_one(film(500))


def copy_of(flow: Flow) -> Films:
    """The collection as it is now, in another database."""
    flow.collection.aggregate([{"$out": {"db": THEN, "coll": flow.collection.name}}])
    return flow.collection.database.client[THEN][flow.collection.name]


def wait_shows(flow: Flow, films: Films) -> None:
    """Until Redis holds exactly this collection, whatever the contract's own one holds."""

    def difference() -> str:
        found = compare(films, flow.redis, CARD, flow.names.prefix("card"))
        return str(found) if found else ""

    wait_until(lambda: not difference(), 20, lambda: f"{flow.contract}: {difference()}; {flow.lane()}")


def drop(films: Films) -> None:
    films.drop()


def rename_away(films: Films) -> None:
    films.rename(f"{films.name}-away", dropTarget=True)


def rename_onto(films: Films) -> None:
    other = films.database[f"{films.name}-other"]
    other.insert_many([film(number, 5) for number in range(50, 60)])
    other.rename(films.name, dropTarget=True)


WAYS = {"drop": drop, "away": rename_away, "onto": rename_onto}


@pytest.mark.parametrize("down", [False, True], ids=["running", "down"])
def test_a_collection_that_goes(rig: Rig, down: bool) -> None:
    """no_ghosts, nothing_lost: a collection that goes leaves what its contract says: nothing, or its last state."""
    flows = {(way, mode): add(rig, f"{way}-{mode}", mode) for way in WAYS for mode in MODES}
    start(rig, list(flows.values()))
    if down:
        rig.scene.daemon.kill()
    then = {}
    for (way, mode), flow in flows.items():
        change(flow)
        then[way, mode] = copy_of(flow)
        WAYS[way](flow.collection)
    if down:
        rig.scene.start()
    for (way, mode), flow in flows.items():
        flow.wait_state("paused" if mode == "pause" else "live")
        if mode == "purge":
            flow.wait_same()
        elif mode == "keep" and way == "onto":
            flow.collection.aggregate([{"$merge": {"into": {"db": THEN, "coll": flow.collection.name}}}])
        if mode != "purge":
            wait_shows(flow, then[way, mode])
    losses = rig.scene.daemon.logs(event="position lost")
    assert sorted(loss["contract"] for loss in losses) == sorted(flow.contract for flow in flows.values())
    actions = {loss["contract"]: (loss["action"], loss["level"]) for loss in losses}
    for (_, mode), flow in flows.items():
        wanted = ("paused", "error") if mode == "pause" else ("resnapshot", "warning")
        assert actions[flow.contract] == wanted
    for (way, mode), flow in flows.items():
        flow.collection.insert_many([film(number, 7) for number in range(90, 99)])
        if mode == "purge":
            flow.wait_same()
        elif mode == "keep":
            flow.collection.aggregate([{"$merge": {"into": {"db": THEN, "coll": flow.collection.name}}}])
            wait_shows(flow, then[way, mode])


def test_a_collection_that_goes_from_under_keys_that_stay(rig: Rig) -> None:
    """nothing_lost: under `on_delete: ignore` the keys of a collection that is dropped stay, those that its documents
    name by `_id`, those that a map names, and members; where nothing is said of `on_drop`."""
    shapes = (
        CARD,
        projection(["title"], name="moving", key="{title}"),
        projection(name="board", type="zset", key="all", member="{_id}", score="n"),
    )
    sync = {"on_delete": "ignore"}
    flow = rig.scene.run("kept", *shapes, documents=films(), sync=sync, unique=[["title"]])
    flow.collection.drop()
    flow.collection.insert_many([film(number) for number in range(COUNT, COUNT + 9)])
    wait_until(lambda: flow.hash(COUNT + 8) and flow.lane()["state"] == "live", 40, flow.lane)
    for name in ("card", "moving"):
        assert len(flow.keys(name)) == COUNT + 9
    assert flow.redis.zcard(flow.key("all", "board")) == COUNT + 9


def test_a_lane_that_waits_for_a_person(rig: Rig) -> None:
    """nothing_silent, no_ghosts: under `on_drop: pause` the keys stay, through a restart, until `syncd snapshot`."""
    flow = add(rig, "film", "pause")
    other = add(rig, "other", "pause")
    start(rig, [flow, other])
    change(flow)
    then = copy_of(flow)
    flow.collection.drop()
    flow.collection.insert_many([film(number, 7) for number in range(50, 60)])
    flow.wait_state("paused")
    code, body = rig.scene.daemon.get("/readyz")
    assert code == 503
    assert f"syncd snapshot {flow.contract}" in body
    assert other.contract not in body
    change(other)
    other.wait_same()
    rig.scene.daemon.terminate()
    rig.scene.start()
    flow.wait_state("paused")
    other.wait_live()
    wait_shows(flow, then)
    done = cli.syncd("snapshot", flow.contract, SYNCD_REDIS_URL=rig.redis.url)
    assert done.returncode == 0, done.stderr
    flow.wait_live()
    flow.assert_same()
    rig.scene.daemon.wait_ready()
    flow.collection.insert_one(film(1))
    flow.wait_same()
    other.wait_same()


def test_a_database_that_goes(rig: Rig) -> None:
    """no_ghosts: a database that is dropped takes the keys of all its contracts with it, but those that shall stay."""
    flows = {mode: add(rig, mode, mode) for mode in MODES}
    start(rig, list(flows.values()))
    then = {}
    for mode, flow in flows.items():
        change(flow)
        then[mode] = copy_of(flow)
    rig.scene.mongo.drop_database("faults")
    flows["pause"].wait_state("paused")
    flows["purge"].wait_same()
    assert not flows["purge"].keys()
    for mode in ("keep", "pause"):
        wait_shows(flows[mode], then[mode])
    for flow in flows.values():
        flow.collection.insert_many(films(5, 9))
    flows["purge"].wait_same()
    for mode in ("keep", "pause"):
        flows[mode].redis.rpush(flows[mode].names.control("requests"), "snapshot")
        flows[mode].wait_same()


def test_what_is_done_to_a_collection_without_a_change_of_its_documents(rig: Rig) -> None:
    """nothing_silent: indexes, rules and other collections' fates are no reason to copy anything."""
    flow = add(rig, "film", "pause")
    start(rig, [flow])
    database, films = flow.collection.database, flow.collection
    films.create_index("title")
    films.create_index("n", unique=False, name="by_n")
    database.command(
        "collMod", films.name, validator={"title": {"$exists": True}}, validationLevel="moderate"
    )
    database.command("collMod", films.name, index={"name": "by_n", "hidden": True})
    database.command("collMod", films.name, changeStreamPreAndPostImages={"enabled": True})
    films.drop_index("by_n")
    database.command("compact", films.name, force=True)
    database.elsewhere.insert_one({})
    database.elsewhere.rename("elsewhere2")
    database.elsewhere2.drop()
    rig.scene.mongo.drop_database(THEN)
    change(flow)
    flow.catch_up()
    flow.assert_same()
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 1
    assert flow.metric("syncd_lane_restarts_total") == 0
    assert flow.metric("syncd_changes_total", op="other") == 0


def test_what_is_not_there_yet_and_what_is_no_collection(rig: Rig) -> None:
    """nothing_lost, nothing_silent: a collection may come later; a view stops its lane with a clear error."""
    assert "faults" not in rig.scene.mongo.list_database_names()
    flow = rig.scene.run("film", CARD)
    rig.scene.daemon.wait_ready()
    flow.collection.insert_many(films())
    flow.wait_same()
    later = rig.scene.run("later", CARD)
    database = flow.collection.database
    database.command("create", "view", viewOn="film", pipeline=[])
    database.command("create", "series", timeseries={"timeField": "t", "metaField": "n"})
    for short in ("view", "series"):
        refused = rig.scene.add(short, CARD)
        error = refused.wait_state("failed")["error"]
        assert refused.collection.full_name in error
        assert "see its log" not in error, "no log says what to do"
        (entry,) = rig.scene.daemon.logs(event="lane interrupted", contract=refused.contract)
        assert entry["level"] == "error"
    assert rig.scene.daemon.get("/readyz")[0] == 503
    later.collection.insert_many(films(10))
    later.wait_same()
    change(flow)
    flow.wait_same()
    rig.scene.daemon.kill()
    database.drop_collection("view")
    database.view.insert_many(films(10))
    rig.scene.start()
    refused = rig.scene.run("view", CARD)
    refused.assert_same()
