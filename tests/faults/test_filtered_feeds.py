"""Change feeds of contracts with a filter while everything breaks: each `enter` and `leave` once (nothing_lost,
applied_once)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pymongo import DeleteOne, ReplaceOne, UpdateOne

from tests.faults.conftest import Rig, again
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.shapes.feeds import assert_told, entries, feed, ids, matched, said, wait_count

ROUNDS = 6 * SCALE
PAID = {"paid": True}


@pytest.mark.parametrize("reply", [False, True], ids=["before", "after"])
def test_killed_at_the_call(rig: Rig, reply: bool) -> None:
    """applied_once: kill -9 when Redis has yet to get the entries, or has them and the daemon does not know; documents
    enter and leave once, under the same ids."""
    rig.keep_own_streams()
    documents = [{"_id": n, "n": 0, "paid": n < 10} for n in range(20)]
    flow = rig.scene.run("order", feed(["n"]), projection(["n"]), filter=PAID, documents=documents)
    hold = (rig.redis_proxy.hold_reply if reply else rig.redis_proxy.hold_request)(b"syncd_apply", b"update")
    with flow.collection.database.client.start_session() as session, session.start_transaction():
        for n in range(20):
            flow.collection.update_one({"_id": n}, {"$set": {"paid": n >= 10}}, session=session)
    hold.wait()
    before = entries(flow)
    assert len(before) == (20 if reply else 0)
    again(rig)
    wait_count(flow, 20)
    assert entries(flow)[: len(before)] == before
    assert [one["op"] for one in said(flow)] == ["leave"] * 10 + ["enter"] * 10
    assert matched(flow) == {*map(str, range(10, 20)), ":"}
    flow.wait_same()


@pytest.mark.at_scale("-json.set")
@pytest.mark.parametrize("right", ["-json.set", "-srem", "-xtrim"])
def test_a_call_that_fails_in_the_middle(rig: Rig, narrow: Callable[..., None], right: str) -> None:
    """applied_once: Redis fails before the entries of a call, between them, or behind them, again and again; when it
    has stopped failing, documents have entered and left once."""
    shapes = feed(["n"], keep={"entries": 1000}), projection(["n"], name="doc", type="json")
    documents = [{"_id": n, "n": n, "paid": True} for n in range(4)]
    flow = rig.scene.run("order", *shapes, filter=PAID, documents=documents)
    narrow(right)
    with flow.collection.database.client.start_session() as session, session.start_transaction():
        flow.collection.insert_one({"_id": "new", "n": 1, "paid": True}, session=session)
        flow.collection.update_one({"_id": 1}, {"$set": {"paid": False}}, session=session)
        flow.collection.update_one({"_id": 2}, {"$inc": {"n": 1}}, session=session)
    for _ in range(2):
        flow.wait_state("failed")
        again(rig)
    flow.wait_state("failed")
    narrow(f"+{right[1:]}")
    again(rig)
    flow.wait_live()
    flow.collection.update_one({"_id": 1}, {"$set": {"paid": True}})
    wait_until(lambda: said(flow)[-1:] and said(flow)[-1]["op"] == "enter", 20, "the last change")
    assert [(one["op"], one["_id"]) for one in said(flow)] == [
        ("insert", "new"), ("leave", "1"), ("update", "2"), ("enter", "1"),
    ]  # fmt: skip
    flow.wait_same()


def test_documents_come_and_go_while_the_daemon_is_killed(rig: Rig) -> None:
    """nothing_lost, applied_once: the daemon is killed again and again, Redis once, while documents enter and leave at
    random; a reader hears of each once."""
    flow = rig.scene.run("order", feed(["n"]), projection(["n"]), filter=PAID)
    chance = random.Random(11)
    for turn in range(ROUNDS):
        some = [
            chance.choice(
                [
                    UpdateOne(
                        {"_id": n}, {"$set": {"paid": chance.random() < 0.5}, "$inc": {"n": 1}}, upsert=True
                    ),
                    ReplaceOne({"_id": n}, {"n": turn, "paid": chance.random() < 0.5}, upsert=True),
                    DeleteOne({"_id": n}),
                ]
            )
            for n in [chance.randrange(40) for _ in range(150)]
        ]
        flow.collection.bulk_write(some, ordered=False)
        rig.scene.daemon.kill()
        if turn == 2:
            rig.redis.kill()
            rig.redis.start()
        rig.scene.daemon.start()
    flow.collection.insert_one({"_id": "end", "n": 1, "paid": True})
    wait_until(lambda: said(flow)[-1:] and said(flow)[-1]["_id"] == "end", 60, "the last change")
    assert ids(flow) == sorted(set(ids(flow)))
    assert_told(flow)
    flow.wait_same()
    assert flow.metric("syncd_feed_gaps_total") == 0
