"""Checks of contracts with changes from Redis, under load and through kills (nothing_lost, never_backwards, no_ghosts,
no_echo, nothing_silent).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from syncd.reconcile.report import ReconcileReport
from tests.faults.conftest import Rig, killed_at
from tests.support.broken.turns import Turns
from tests.support.check import wait_until
from tests.support.scene import Flow
from tests.support.ways.back import (
    OPTION,
    add_both,
    add_state,
    change,
    film,
    plant_both,
    plant_calm,
    plant_state,
    set_state,
    unheard,
    wait_states,
)
from tests.support.ways.keyspace import wait_known
from tests.support.ways.outbox import outbox, wait_empty
from tests.support.ways.reconcile import check, drift_of
from tests.support.ways.twoway import wait_alike

COUNT, QUIET = 180, 33
"""Keys, and how many of them only a plant changes: a multiple of 3."""
CAPTURES = ["outbox", "keyspace"]
Begin: TypeAlias = Callable[[Rig, str, int], Flow]


def look(rig: Rig, flow: Flow, **more: Any) -> ReconcileReport:
    return check(rig.scene, flow, rig.mongo.uri, rig.redis.url, **more)


def begin_state(rig: Rig, capture: str, count: int = COUNT) -> Flow:
    flow = add_state(rig.scene, capture)
    rig.scene.start()
    flow.wait_live()
    for number in range(count):
        set_state(flow, number, 0)
    wait_states(flow)
    if capture == "outbox":
        wait_empty(flow)  # what is written is taken away a moment later
    else:
        wait_known(flow, range(count))
    return flow


def begin_both(rig: Rig, capture: str, count: int = COUNT) -> Flow:
    flow = add_both(rig.scene, capture, count)
    rig.scene.start()
    flow.wait_live()
    wait_alike(flow)
    return flow


def changing_states(flow: Flow) -> Turns:
    """Versions that count up and go back again, keys that go and come, and times to live that come and go."""

    def turn(at: int) -> None:
        number = QUIET + 7 * at % (COUNT - QUIET)
        set_state(flow, number, at)
        set_state(flow, number, 0)
        change(flow, QUIET + at % (COUNT - QUIET), ("DEL",) if at % 3 else ("PERSIST",))

    return Turns(turn)


def changing_both(flow: Flow) -> Turns:
    """Fields of both sides, values that go back and forth, and deletions on either side."""

    def turn(at: int) -> None:
        number, other = (QUIET + factor * at % (COUNT - QUIET) for factor in (7, 11))
        flow.collection.update_one({"_id": number}, {"$set": {"a": f"m{at}"}})
        change(flow, number, ("HSET", "b", f"to {at}"))
        change(flow, number, ("HSET", "b", "r0"))
        if at % 4 == 0:
            change(flow, other, ("DEL",))
        elif at % 4 == 1:
            flow.collection.replace_one({"_id": other}, film(other), upsert=True)

    return Turns(turn)


def find_and_repair(rig: Rig, flow: Flow, planted: set[Any], writer: Turns) -> ReconcileReport:
    """While the writer goes on: exactly what was planted is found, repaired, and not found again."""
    with writer:
        writer.wait_turns(5)
        repaired = look(rig, flow, repair=True)
        assert (drift_of(repaired), repaired.result, repaired.left) == (planted, "repaired", 0)
        after = look(rig, flow)
        assert (after.result, after.found) == ("clean", 0)
        writer.wait_turns(5)  # it has met no error
    return repaired


@pytest.mark.parametrize("capture", CAPTURES)
def test_planted_differences_from_redis(rig: Rig, capture: str) -> None:
    """nothing_lost, no_ghosts, nothing_silent: while keys change, go and come, a check finds every planted difference
    and nothing else, a repair corrects them, and no document that has no key by right is touched."""
    flow = begin_state(rig, capture)
    calm = plant_calm(flow)
    before = list(flow.collection.find({"_id": {"$in": calm}}))
    planted = plant_state(flow, range(QUIET))
    found = find_and_repair(rig, flow, planted, changing_states(flow))
    assert found.expired == 1
    wait_states(flow, calm)
    assert list(flow.collection.find({"_id": {"$in": calm}})) == before
    assert not flow.dead_letters()


@pytest.mark.parametrize("capture", CAPTURES)
def test_planted_differences_both_ways(rig: Rig, capture: str) -> None:
    """nothing_lost, no_ghosts, nothing_silent: while both sides change, a check finds the keys that were not reported
    and what was agreed on and lost, and nothing else; the merger brings both sides together, by its own rules."""
    flow = begin_both(rig, capture)
    planted = plant_both(flow, range(QUIET - 1))
    unheard(flow, ("DEL", flow.key(QUIET - 1)))
    if capture == "keyspace":  # a deletion would have been heard; of an outbox it is not known
        planted.add(("card", flow.key(QUIET - 1), "missing"))
    found = find_and_repair(rig, flow, planted, changing_both(flow))
    assert found.expired >= (capture == "outbox")
    if capture == "outbox":
        flow.collection.update_one({"_id": QUIET - 1}, {"$set": {"a": "comes back"}})
    wait_alike(flow)
    assert not flow.dead_letters()
    assert look(rig, flow).result == "clean"


@pytest.mark.parametrize(("capture", "begin"), [("outbox", begin_state), ("keyspace", begin_both)])
def test_a_check_writes_nothing(rig: Rig, capture: str, begin: Begin) -> None:
    """no_echo: a check of a contract at rest, and of one with a difference, changes no document, no key, and nothing
    that is remembered of them; and what a lane has yet to write is no drift."""
    flow = begin(rig, capture, 20)
    unheard(flow, ("HSET", flow.key(1), "n", 5))

    def all_of_it() -> Any:
        kept = {key: flow.redis.dump(key) for key in sorted(flow.redis.keys(flow.key("*")))}
        known = flow.redis.hgetall(flow.names.control("synced")), flow.redis.dump(outbox(flow))
        return kept, known, list(flow.collection.find())

    before = all_of_it()
    assert drift_of(look(rig, flow)) == {("card", flow.key(1), "content")}
    assert all_of_it() == before
    assert look(rig, flow, repair=True).left == 0
    hold = rig.mongo_proxy.hold_request(flow.command("update"))
    for number in range(20):
        change(flow, number, ("HSET", "n", 7))
    hold.wait()
    report = look(rig, flow, wait_s=0.5)
    hold.release()
    assert (report.result, report.found, report.unsettled) == ("incomplete", 0, 20)
    wait_until(lambda: flow.collection.count_documents({"n": 7}) == 20, 20, flow.lane)
    wait_until(lambda: look(rig, flow).result == "clean", 20)


def test_what_the_stream_has_brought_and_is_not_merged(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: of keys that wait for their merge, or that the stream has yet to report, a check says that
    it cannot tell."""
    monkeypatch.setattr("syncd.reconcile.two_sided.check.PAUSES_S", (0.0, 0.0, 0.0))
    flow = begin_both(rig, "outbox", 20)
    hold = rig.redis_proxy.hold_request(b"syncd_merge", flow.key(0).encode() + b"\r\n")
    flow.collection.update_one({"_id": 0}, {"$set": {"a": "held"}})
    hold.wait()
    flow.collection.update_many({}, {"$set": {"a": "waits"}})
    report = look(rig, flow)
    hold.release()
    assert (report.found, report.unsettled) == (0, 20)
    wait_alike(flow)
    hold = rig.redis_proxy.hold_request(b"syncd_apply", flow.key(0).encode() + b"\r\n")
    flow.collection.update_many({}, {"$set": {"a": "is on its way"}})
    hold.wait()
    report = look(rig, flow, wait_s=0.5)
    hold.release()
    assert (report.found, report.unsettled) == (0, 20)
    wait_alike(flow)


def test_what_a_lane_has_not_heard_and_not_judged(rig: Rig) -> None:
    """nothing_silent: events that are on their way, and a key that is gone and of which the lane waits for a word, are
    no drift: the check waits, or says that it cannot tell."""
    flow = begin_state(rig, "keyspace", 20)
    gone = flow.key(1)
    unheard(flow, ("DEL", gone), ("CONFIG", "SET", OPTION, "Kg$lshzxed"), ("HSET", gone, "n", 1),
            ("CONFIG", "SET", OPTION, ""), ("DEL", gone))  # fmt: skip
    report = look(rig, flow)
    assert (report.result, report.found) == ("clean", 0)
    assert not flow.collection.count_documents({"_id": 1})
    hold = rig.redis_proxy.hold_reply(b"PING")  # of the subscription: no other client asks that
    hold.wait()
    for number in range(2, 20):
        set_state(flow, number, 7)
    report = look(rig, flow, wait_s=1.5)
    hold.release()
    assert (report.result, report.found, report.unsettled) == ("incomplete", 0, 18)
    wait_states(flow)


def test_a_daemon_that_is_killed_while_it_repairs(rig: Rig) -> None:
    """nothing_lost, never_backwards: what was asked of a daemon that dies is done by the next; the check waits."""
    flow = begin_state(rig, "outbox", 20)
    planted = set()
    for number in range(5):
        unheard(flow, ("HSET", flow.key(number), "n", 5))
        planted.add(("card", flow.key(number), "content"))
    hold = rig.mongo_proxy.hold_request(flow.command("update"))
    found: list[ReconcileReport] = []
    thread = threading.Thread(target=lambda: found.append(look(rig, flow, repair=True)))
    thread.start()
    with killed_at(rig, hold):
        change(flow, 0, ("HSET", "n", 6))
    thread.join(60)
    assert (drift_of(found[0]), found[0].left) == (planted, 0)
    wait_until(lambda: look(rig, flow).result == "clean", 20)
    assert {document["_id"]: document["n"] for document in flow.collection.find({"n": {"$gt": 0}})} == {
        0: 6, 1: 5, 2: 5, 3: 5, 4: 5,
    }  # fmt: skip
