"""Entries of a stream become documents of a time series, each once though the collection takes the same one twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Flow, Scene
from tests.support.ways.stream import (
    NOW_MS,
    NUMBERED,
    SERIES,
    SYNC,
    add_series,
    add_stream,
    append_timed,
    key,
    numbers,
    pending,
    wait_done,
    wait_numbers,
)


def start(scene: Scene, short: str) -> Flow:
    flow = add_series(scene, short)
    scene.start()
    flow.wait_live()
    return flow


def dead_letters(flow: Flow) -> list[str]:
    return [dead_letter["reason"] for dead_letter in flow.dead_letters()]


def test_the_collection_is_made_as_the_contract_says(scene: Scene) -> None:
    """With its fields, granularity and expiry; the documents have the `_id` of their entry."""
    fields = {"at": {"from": "at", "type": "epoch_ms"}, "n": "n"}
    said = {**SERIES, "meta_field": "n", "expire_after": "9000d"}
    flow = add_stream(scene, "made", fields, timeseries=said)
    (entry,) = append_timed(flow, [7])
    scene.start()
    wait_done(flow)
    (made,) = flow.collection.database.list_collections(filter={"name": flow.collection.name})
    assert made["type"] == "timeseries"
    said = made["options"]
    assert said["expireAfterSeconds"] == 777_600_000
    wanted = {"timeField": "at", "metaField": "n", "granularity": "seconds"}
    assert {name: said["timeseries"][name] for name in wanted} == wanted
    found = flow.collection.find_one()
    assert found is not None
    assert (found["_id"], found["n"], found["at"].isoformat()) == (
        f"{key(flow)}/{entry}",
        "7",
        "2026-01-02T03:04:05",
    )


def test_one_that_is_there_is_used(scene: Scene) -> None:
    """Also where the contract does not ask for a time series."""
    flow = add_stream(scene, "there", {**NUMBERED, "at": {"from": "when", "type": "epoch_ms"}})
    flow.collection.database.create_collection(flow.collection.name, timeseries={"timeField": "when"})
    scene.start()
    flow.wait_live()
    append_timed(flow, range(50))
    wait_numbers(flow, range(50))
    wait_done(flow)


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "no time series"), ({"timeseries": {"timeField": "other"}}, "timeField"),
     ({"timeseries": {"timeField": "at", "metaField": "n"}}, "metaField")],
    ids=["ordinary", "another time", "another meta"],
)  # fmt: skip
def test_one_that_is_otherwise_is_refused(scene: Scene, options: dict[str, Any], said: str) -> None:
    """The lane says what does not fit, and nothing is read."""
    flow = add_series(scene, "wrong")
    flow.collection.database.create_collection(flow.collection.name, **options)
    append_timed(flow, [1])
    scene.start()
    assert said in flow.wait_state("failed")["error"]
    assert not scene.daemon.is_ready()
    assert flow.collection.count_documents({}) == 0


def test_what_is_refused_can_be_replayed(scene: Scene, redis_url: str) -> None:
    """An entry without a time, or that does not fit, is a dead letter; behind a replay its document is there once."""
    flow = start(scene, "refused")
    append_timed(flow, range(3))
    scene.redis.xadd(key(flow), {"n": 3})
    scene.redis.xadd(key(flow), {"n": "none", "at": NOW_MS})
    scene.redis.xadd(key(flow), {"n": 5, "at": NOW_MS, "text": "x" * 9_000_000})
    append_timed(flow, range(6, 9))
    wait_numbers(flow, [0, 1, 2, 6, 7, 8])
    too_much = ["document_refused"] * 2
    wait_until(lambda: sorted(dead_letters(flow)) == ["cannot_convert", *too_much], 20, flow.dead_letters)
    wait_done(flow)
    fields = {"n": "n", "text": "say.text", "at": {"from": "at", "type": "epoch_ms"}}
    flow.write({**flow.projections[0], "fields": fields}, sync=SYNC, timeseries=SERIES)

    def replayed() -> bool:
        syncd("deadletters", "replay", flow.contract, "--all", SYNCD_REDIS_URL=redis_url)
        return dead_letters(flow) == too_much

    wait_until(replayed, 30, flow.dead_letters)
    assert flow.collection.count_documents({"n": "none"}) == 1
    assert flow.collection.count_documents({}) == 7


def test_one_daemon_writes_and_the_other_stands_by(scene: Scene) -> None:
    """The standby is ready, and takes over what the other has left."""
    flow = start(scene, "standby")
    with scene.another_daemon() as second:
        wait_until(lambda: [lane["state"] for lane in second.status()["lanes"]] == ["standby"], 20)
        second.wait_ready()
        append_timed(flow, range(500))
        wait_numbers(flow, range(500))
        scene.daemon.terminate()
        append_timed(flow, range(500, 1000))
        wait_until(lambda: [lane["state"] for lane in second.status()["lanes"]] == ["live"], 20)
        wait_numbers(flow, range(1000))
        wait_done(flow)


def test_a_batch_that_mongodb_may_have_forgotten(scene: Scene) -> None:
    """MongoDB knows a session for half an hour. Behind that each document is looked up, with a warning: those that are
    there are not written again, the others are."""
    flow = add_series(scene, "forgotten")
    entries = append_timed(flow, range(20))
    scene.start()
    wait_numbers(flow, range(20))
    wait_done(flow)
    scene.daemon.terminate()
    # As a daemon leaves it that dies between the write and the end of its batch. Ten never arrived.
    more = append_timed(flow, range(20, 30))
    scene.redis.xreadgroup(flow.contract, "elsewhere/boot/1/0", {key(flow): ">"})
    assert pending(flow) == 10
    scene.redis.hset(
        flow.names.control("position"),
        mapping={"batch": " ".join(entries + more), "since": "1700000000000000"},
    )
    scene.start()
    wait_numbers(flow, range(30))
    wait_done(flow)
    flow.wait_live()
    assert flow.metric("syncd_append_uncertain_total", why="session_expired") == 1
    assert flow.metric("syncd_writes_total", store="mongo", result="repeated") == 20
    assert numbers(flow) == list(range(30))


def test_a_destroyed_group(scene: Scene) -> None:
    """A person destroys the group: it is made again where it stood at the last check. What comes again is looked up."""
    flow = start(scene, "group")
    append_timed(flow, range(100))
    wait_numbers(flow, range(100))
    wait_done(flow)
    pipe = scene.redis.pipeline(transaction=True)
    pipe.hset(flow.names.control("position"), "acknowledged", "0-0")
    pipe.xgroup_destroy(key(flow), flow.contract)
    pipe.execute()
    append_timed(flow, range(100, 200))
    wait_numbers(flow, range(200))
    wait_done(flow)
    assert flow.metric("syncd_append_uncertain_total", why="group_lost") == 1
    assert flow.metric("syncd_writes_total", store="mongo", result="repeated") > 0
