"""Change feeds: a stream that gets an entry for each change of a contract's documents, in order."""

from __future__ import annotations

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.feeds import changed, entries, feed, ids, said, stream_of, wait_count
from tests.support.scene import Scene


def test_each_change_is_an_entry(shared: Scene) -> None:
    """An insert, updates, a replacement and a deletion are entries in their order, with what the document holds and
    which fields changed; the hash beside it has the last state."""
    flow = shared.run(
        "order", projection(["status", "total"]), feed(["status", "total"]),
        documents=[{"_id": "old", "status": "x", "total": 1}],
    )  # fmt: skip
    orders = flow.collection
    orders.insert_one({"_id": 1, "status": "new", "total": 5, "secret": "s"})
    wait_count(flow, 1)
    orders.update_one({"_id": 1}, {"$set": {"status": "paid", "a.b": 1}, "$unset": {"secret": ""}})
    wait_count(flow, 2)
    orders.replace_one({"_id": 1}, {"_id": 1, "status": "sent"})
    wait_count(flow, 3)
    orders.delete_one({"_id": 1})
    orders.update_one({"_id": "old"}, {"$set": {"list": [1, 2, 3]}})
    wait_count(flow, 5)
    assert said(flow, "time", "changed") == [
        {"op": "insert", "_id": "1", "status": "new", "total": "5"},
        {"op": "update", "_id": "1", "status": "paid", "total": "5"},
        {"op": "replace", "_id": "1", "status": "sent"},
        {"op": "delete", "_id": "1"},
        {"op": "update", "_id": "old", "status": "x", "total": "1"},
    ]
    found = said(flow)
    assert [set(changed(one)) for one in found if "changed" in one] == [{"status", "a", "secret"}, {"list"}]
    assert ids(flow) == sorted(set(ids(flow)))
    for (entry, one), (ms, _) in zip(entries(flow), ids(flow), strict=True):
        assert ms // 1000 == int(one["time"]) // 1000 or abs(ms - int(one["time"])) < 1500, entry
    flow.wait_gone(1)
    assert flow.hash("old") == {"status": "x", "total": "1"}


def test_nothing_is_coalesced(shared: Scene) -> None:
    """Hundreds of changes of one document that come together are as many entries; so are those of a transaction, which
    share one time of MongoDB."""
    flow = shared.run("many", feed({"n": "n"}))
    numbers = flow.collection
    numbers.insert_one({"_id": 1, "n": 0})
    with numbers.database.client.start_session() as session, session.start_transaction():
        for n in range(300):
            numbers.update_one({"_id": 1}, {"$set": {"n": n + 1}}, session=session)
        numbers.insert_many([{"_id": f"x{n}", "n": n} for n in range(200)], session=session)
    for _ in range(100):
        numbers.update_one({"_id": 1}, {"$inc": {"n": 1}})
    wait_count(flow, 601)
    found = entries(flow)
    assert [one["op"] for _, one in found] == ["insert"] + ["update"] * 300 + ["insert"] * 200 + [
        "update"
    ] * 100
    assert [one["_id"] for _, one in found[301:501]] == [f"x{n}" for n in range(200)]
    assert len({entry for entry, _ in found}) == 601
    assert len({entry.partition("-")[0] for entry, _ in found[1:501]}) == 1


def test_which_changes_and_how_many(shared: Scene) -> None:
    """`events` chooses, `keep` bounds: about so many entries stay, the newest."""
    flow = shared.run(
        "few", feed(["n"], events=["insert", "delete"], keep={"entries": 200}),
        feed(["n"], name="day", events=["update"], keep={"age": "1d"}),
    )  # fmt: skip
    flow.collection.insert_many([{"_id": n, "n": n} for n in range(3000)])
    flow.collection.update_many({"_id": {"$lt": 5}}, {"$set": {"n": 7}})
    flow.collection.delete_one({"_id": 1})
    wait_until(lambda: said(flow)[-1:] and said(flow)[-1]["op"] == "delete", 60, "the deletion")
    assert 200 <= len(entries(flow)) < 600
    assert {one["op"] for one in said(flow)} == {"insert", "delete"}
    wait_count(flow, 5, "day")
    assert flow.redis.xinfo_stream(stream_of(flow))["entries-added"] == 3001
