"""Collections of other kinds, and errors of MongoDB that pass by themselves (nothing_lost, no_ghosts,
nothing_silent).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from syncd.stores.mongo.codes import LOST, OPLOG_TOO_SHORT, TRANSIENT
from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection(["title"])


@contextmanager
def refused_lists(rig: Rig) -> Iterator[None]:
    """Asking for all of a collection is refused once; asking again, for its name and type, is not."""
    admin, data = rig.scene.mongo.admin, {"failCommands": ["listCollections"], "errorCode": 13}
    admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data})
    try:
        yield
    finally:
        admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def films(count: int = 20) -> list[dict[str, Any]]:
    return [{"_id": number, "title": f"film {number}"} for number in range(count)]


def capped(flow: Flow) -> None:
    flow.collection.database.create_collection(flow.collection.name, capped=True, size=100_000)


def view(flow: Flow) -> None:
    flow.collection.database.create_collection(flow.collection.name, viewOn="others", pipeline=[])


def series(flow: Flow) -> None:
    flow.collection.database.create_collection(flow.collection.name, timeseries={"timeField": "at"})


def clustered(flow: Flow) -> None:
    index = {"key": {"_id": 1}, "unique": True}
    flow.collection.database.create_collection(flow.collection.name, clusteredIndex=index)


KINDS: dict[str, tuple[Callable[[Flow], None], str]] = {
    "capped": (capped, "is capped; a capped collection drops documents without an event"),
    "view": (view, "is a view; a view or time series has no change stream"),
    "time series": (series, "is a timeseries; a view or time series has no change stream"),
}


def restart(rig: Rig) -> None:
    rig.scene.daemon.kill()
    rig.scene.start()


def test_a_collection_of_another_kind(rig: Rig) -> None:
    """nothing_silent: a collection that cannot be followed is refused with the reason, also where it takes the place of
    one that was synced, and the contract goes on by itself when an ordinary one is there again"""
    flows = {kind: rig.scene.add(kind.replace(" ", "-"), CARD, documents=films()) for kind in KINDS}
    rig.scene.start()
    for kind, flow in flows.items():
        flow.wait_live()
        flow.collection.drop()
        flow.wait_same()
        KINDS[kind][0](flow)
    restart(rig)
    for kind, flow in flows.items():
        reason = KINDS[kind][1]
        wait_until(lambda: reason in flow.lane().get("error", ""), 20, flow.lane)  # noqa: B023
        assert flow.lane()["state"] == "failed"
    assert not rig.scene.daemon.is_ready()
    env = {"SYNCD_MONGO_URI": rig.mongo.uri, "SYNCD_REDIS_URL": rig.redis.url}
    told = cli.syncd("check", rig.scene.contracts.path, "--connect", **env)
    said = told.stdout + told.stderr
    assert told.returncode == 1 and all(reason.split(";")[0] in said for _, reason in KINDS.values()), said
    for flow in flows.values():
        flow.collection.drop()
        flow.collection.insert_many(films(5))
    restart(rig)
    for flow in flows.values():
        flow.wait_live()
        flow.wait_same()


def test_a_collection_that_becomes_capped(rig: Rig) -> None:
    """nothing_silent: `convertToCapped` under a lane that runs stops it with the reason, and nothing waits for ever"""
    flow = rig.scene.run("becomes", CARD, documents=films())
    flow.wait_same()
    flow.collection.database.command({"convertToCapped": flow.collection.name, "size": 100_000})
    wait_until(lambda: "is capped" in flow.lane().get("error", ""), 20, flow.lane)
    assert flow.lane()["state"] == "failed"


def test_a_capped_collection_without_the_right_to_ask(rig: Rig) -> None:
    """nothing_silent: a user who may not ask for the options of a collection learns of the cap from MongoDB's answer"""
    flow = rig.scene.add("rights", CARD)
    capped(flow)
    flow.collection.insert_many(films())
    with refused_lists(rig):
        rig.scene.start()
        wait_until(
            lambda: "a capped collection drops documents" in flow.lane().get("error", ""), 20, flow.lane
        )
        assert flow.lane()["state"] == "failed"


def test_a_clustered_collection(rig: Rig) -> None:
    """nothing_lost: a collection that is clustered by `_id` is synced like any other"""
    flow = rig.scene.add("clustered", CARD)
    clustered(flow)
    flow.collection.insert_many(films())
    rig.scene.start()
    flow.wait_live()
    flow.collection.delete_one({"_id": 3})
    flow.collection.update_one({"_id": 4}, {"$set": {"title": "later"}})
    flow.wait_same()


def test_codes_that_pass(rig: Rig) -> None:
    """nothing_lost: after an error of MongoDB that passes by itself the lane goes on at once, whatever its code and
    whichever command meets it"""
    flow = rig.scene.run("codes", CARD, documents=films())
    flow.wait_same()
    for number, code in enumerate((112, 234, 355, 364, 384, 402, 412, 50915)):
        with failing(flow.collection, "getMore", code, times=1) as point:
            flow.collection.insert_one({"_id": 100 + number, "title": "later"})
            point.wait_hits(1)
            flow.wait_same(8)
    for code in (234, 355, 364, 50915):
        with failing(flow.collection, "find", code, times=2) as point:
            rig.scene.redis.flushall()
            point.wait_hits(2)
            flow.wait_same(8)
    assert not rig.scene.daemon.logs(level="error")


def test_an_unknown_code(rig: Rig) -> None:
    """nothing_silent: an error that syncd does not know is reported as one, and tried again soon, with growing
    pauses"""
    flow = rig.scene.run("unknown", CARD, documents=films())
    flow.wait_same()
    with failing(flow.collection, "aggregate getMore", 7_654_321, times=2) as point:
        flow.collection.insert_one({"_id": 100, "title": "later"})
        began = time.monotonic()
        point.wait_hits(2)
        flow.wait_same()
    assert time.monotonic() - began < 10
    told = rig.scene.daemon.logs(event="lane interrupted", level="error")
    assert told and all(line["why"] == "unknown" for line in told)


def test_codes_are_of_one_kind() -> None:
    """A lost position is no error that passes, and a session that was overtaken is neither."""
    assert not TRANSIENT & {*LOST, OPLOG_TOO_SHORT, 225, 217, 11, 13, 18, 166, 11000, 10334}
