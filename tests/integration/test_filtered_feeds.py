"""Change feeds of contracts with a filter: readers are told once of each document that comes to match, or leaves."""

from __future__ import annotations

import random

from pymongo import DeleteOne, InsertOne, ReplaceOne, UpdateOne

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Document, Flow, Scene
from tests.support.shapes.feeds import (
    assert_told,
    changed,
    entries,
    feed,
    ids,
    matched,
    said,
    stream_of,
    wait_count,
)

PAID = {"paid": True}


def paid(ident: object, n: int = 0) -> Document:
    return {"_id": ident, "paid": True, "n": n}


def unpaid(ident: object, n: int = 0) -> Document:
    return {"_id": ident, "paid": False, "n": n}


def ops(flow: Flow, name: str = "feed") -> list[tuple[str, str]]:
    return [(one["op"], one.get("_id", "")) for one in said(flow, name=name)]


def test_documents_enter_and_leave(shared: Scene) -> None:
    """A change that makes a document match is `enter`, one that ends that `leave`, or `delete`; others are entries of
    documents that match. A feed has those that its `events` name."""
    flow = shared.run(
        "orders", projection(["n"]), feed(["n"]), feed(["n"], name="few", events=["leave", "insert"]),
        filter=PAID, documents=[paid("old"), unpaid("out"), unpaid("never")],
    )  # fmt: skip
    orders = flow.collection
    steps = [
        lambda: orders.update_one({"_id": "old"}, {"$inc": {"n": 1}}),
        lambda: orders.update_one({"_id": "old"}, {"$set": {"paid": False}}),
        lambda: (orders.update_one({"_id": "out"}, {"$inc": {"n": 1}}), orders.insert_one(paid(1, 5))),
        lambda: orders.update_one({"_id": "old"}, {"$set": {"paid": True}}),
        lambda: orders.replace_one({"_id": 1}, paid(1, 6)),
        lambda: orders.replace_one({"_id": 1}, unpaid(1, 7)),
        lambda: (orders.delete_one({"_id": 1}), orders.delete_one({"_id": "old"})),
        lambda: (orders.delete_one({"_id": "never"}), orders.replace_one({"_id": "out"}, paid("out", 8))),
    ]
    for number, step in enumerate(steps, 1):
        step()
        wait_count(flow, number)
    assert said(flow, "time", "changed") == [
        {"op": "update", "_id": "old", "n": "1"}, {"op": "leave", "_id": "old"},
        {"op": "insert", "_id": "1", "n": "5"}, {"op": "enter", "_id": "old", "n": "1"},
        {"op": "replace", "_id": "1", "n": "6"}, {"op": "leave", "_id": "1"}, {"op": "delete", "_id": "old"},
        {"op": "enter", "_id": "out", "n": "8"},
    ]  # fmt: skip
    assert [changed(one) for one in said(flow) if "changed" in one] == [["n"], ["paid"], ["paid"]]
    assert ops(flow, "few") == [("leave", "old"), ("insert", "1"), ("leave", "1")]
    assert ids(flow) == sorted(set(ids(flow)))
    assert flow.metric("syncd_writes_total", store="redis", result="entry") == len(steps) + 3
    flow.wait_same()


def test_changes_that_come_together(shared: Scene) -> None:
    """applied_once: hundreds of changes at a time, of the same documents, in transactions and not: a reader who follows
    knows what matches; a document that was deleted while it matched is `delete`, also behind an update."""
    flow = shared.run("together", feed(["n"]), filter=PAID)
    chance, done = random.Random(5), 0
    for _ in range(8):
        some = [
            chance.choice(
                [
                    UpdateOne({"_id": ident}, {"$set": {"paid": chance.random() < 0.5}, "$inc": {"n": 1}}),
                    UpdateOne({"_id": ident}, {"$inc": {"n": 1}}),
                    ReplaceOne({"_id": ident}, paid(ident, chance.randrange(9)), upsert=True),
                    DeleteOne({"_id": ident}),
                ]
            )
            for ident in [chance.randrange(15) for _ in range(100)]
        ]
        with flow.collection.database.client.start_session() as session, session.start_transaction():
            flow.collection.bulk_write(some[:50], session=session)
        flow.collection.bulk_write(some[50:])
        done += len(some)
    flow.collection.bulk_write(
        [InsertOne(paid("last")), UpdateOne({"_id": "last"}, {"$inc": {"n": 1}}), DeleteOne({"_id": "last"})]
    )
    flow.collection.insert_one(paid("end"))
    wait_until(lambda: ops(flow)[-1:] == [("insert", "end")], 60, "the last change")
    assert_told(flow)
    assert [op for op, ident in ops(flow) if ident == "last"] in ([], ["insert", "update", "delete"])


def test_an_edit_of_the_filter(shared: Scene) -> None:
    """The copy says of documents that match by an edit `enter`, and `leave` or `delete` of those that match no more. A
    feed that is new begins with the next change, and knows what matched before."""
    shared.add("stays", projection(["n"]))  # a daemon keeps its last contract
    flow = shared.run(
        "edit", feed(["n"]), filter=PAID, documents=[paid(1, 1), paid(2, 2), unpaid(3, 3), unpaid(4, 1)]
    )
    flow.contracts.remove("edit")
    wait_until(lambda: not flow.lane(), 60, "the lane is gone")
    flow.collection.delete_one({"_id": 2})
    flow.write(feed(["n"]), feed(["n"], name="late"), filter={"n": {"$gt": 1}})
    flow.wait_live()
    wait_count(flow, 3)
    assert sorted(ops(flow)) == [("delete", "2"), ("enter", "3"), ("leave", "1")]
    flow.collection.update_one({"_id": 3}, {"$set": {"n": 0}})
    flow.collection.update_one({"_id": 4}, {"$set": {"n": 2}})
    wait_count(flow, 5)
    wait_count(flow, 2, "late")
    assert ops(flow, "late") == ops(flow)[3:] == [("leave", "3"), ("enter", "4")]
    flow.write(feed(["n"]), feed(["n"], name="late"))
    wait_until(lambda: not matched(flow), 60, "without a filter nothing is kept")
    flow.wait_live()
    flow.collection.insert_one({"_id": 5, "n": 0})
    wait_count(flow, 6)
    assert ops(flow)[-1] == ("insert", "5")


def test_a_lost_position(shared: Scene) -> None:
    """nothing_lost: behind the gap a reader is told what came to match meanwhile, and what left or was deleted."""
    shared.add("stays", projection(["n"]))
    flow = shared.run("gap", feed(["n"]), filter=PAID, documents=[paid(1), paid(2), paid(3), unpaid(4)])
    flow.contracts.remove("gap")
    wait_until(lambda: not flow.lane(), 60, "the lane is gone")
    flow.redis.delete(flow.names.control("position"))
    flow.collection.delete_one({"_id": 1})
    flow.collection.update_one({"_id": 2}, {"$set": {"paid": False}})
    flow.collection.update_one({"_id": 4}, {"$set": {"paid": True}})
    flow.write(feed(["n"]), filter=PAID)
    wait_count(flow, 4)
    flow.wait_live()
    assert ops(flow)[0] == ("gap", "")
    assert sorted(ops(flow)[1:]) == [("delete", "1"), ("enter", "4"), ("leave", "2")]
    assert flow.metric("syncd_feed_gaps_total") == 1
    flow.collection.drop()
    wait_until(lambda: len(ops(flow)) == 7, 60, "the gap, and what was deleted with the collection")
    assert ops(flow)[4:] == [("gap", ""), *sorted(ops(flow)[5:])]
    assert sorted(ops(flow)[5:]) == [("delete", "3"), ("delete", "4")]


def test_a_set_that_is_lost(shared: Scene) -> None:
    """nothing_silent: where what readers know was evicted, the next change is not judged without it: all is copied
    again, then an entry `op gap` says to reload, and from there on each `enter` and `leave` is told."""
    documents = [paid(1), paid(2), unpaid(3)]
    flow = shared.run("lost", projection(["n"]), feed(["n"]), filter=PAID, documents=documents)
    assert matched(flow) == {"1", "2", ":"}
    flow.redis.delete(flow.names.control(f"matched:{stream_of(flow)}"))
    flow.collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
    wait_until(lambda: ("gap", "") in ops(flow), 60, "the gap")
    flow.wait_live()
    assert matched(flow) == {"1", "2", ":"}
    before = len(ops(flow))
    flow.collection.update_one({"_id": 2}, {"$set": {"paid": False}})
    flow.collection.update_one({"_id": 3}, {"$set": {"paid": True}})
    wait_count(flow, before + 2)
    assert ops(flow)[before:] == [("leave", "2"), ("enter", "3")]
    assert said(flow)[before - 1]["why"] == "matching documents not known"
    assert flow.metric("syncd_feed_gaps_total") == 1


def test_a_copy_where_asked(shared: Scene) -> None:
    """`copy: true` gives each document that matches an entry `op read`."""
    documents = [paid(n) if n % 2 else unpaid(n) for n in range(50)]
    flow = shared.run("read", feed(["n"], copy=True), filter=PAID, documents=documents)
    wait_count(flow, 25)
    flow.collection.update_one({"_id": 1}, {"$set": {"paid": False}})
    wait_count(flow, 26)
    assert ops(flow) == [("read", str(n)) for n in range(1, 50, 2)] + [("leave", "1")]


def test_a_change_that_does_not_fit(shared: Scene) -> None:
    """A document that came to match by a change which is a dead letter enters with the next that fits, or by a replay;
    one that left meanwhile needs none."""
    flow = shared.run("unfit", feed({"n": {"from": "n", "type": "int"}}), filter=PAID)
    flow.collection.insert_many([{**paid(ident), "n": "five"} for ident in (1, 2, 3)])
    wait_until(lambda: len(flow.dead_letters()) == 3, 60, "dead letters")
    flow.collection.update_one({"_id": 1}, {"$set": {"n": 5}})
    flow.collection.update_one({"_id": 3}, {"$set": {"paid": False}})
    wait_count(flow, 1)
    assert ops(flow) == [("enter", "1")]
    letters = [entry for entry, _ in flow.redis.xrange(flow.names.control("dead"))]
    flow.collection.update_one({"_id": 2}, {"$set": {"n": 6, "paid": True}})
    wait_count(flow, 2)
    flow.redis.rpush(flow.names.control("replay"), *letters)
    wait_until(lambda: not flow.dead_letters(), 60, "no dead letter")
    flow.collection.delete_one({"_id": 1})
    wait_until(lambda: ops(flow)[-1] == ("delete", "1"), 60, "the deletion")
    assert ops(flow)[:2] == [("enter", "1"), ("enter", "2")]
    assert sorted(ops(flow)[2:-1]) == [("replay", "1"), ("replay", "2")]
    assert len(entries(flow)) == 5
