"""Change feeds: a stream that gets an entry for each change of a contract's documents, in order."""

from __future__ import annotations

import bson
from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from bson.raw_bson import RawBSONDocument

from syncd.plan.keys.encode import encode_key_value
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import Names, projection
from tests.support.scene import Scene
from tests.support.shapes.feeds import changed, entries, feed, ids, said, stream_of, wait_count

COUNT = 3000


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


def test_an_edit_loses_no_change(shared: Scene) -> None:
    """applied_once: a feed that is edited, gets a hash beside it or is asked for a copy has each change once, also
    those that came meanwhile; the entries to come have the new fields."""
    shared.add("stays", projection(["n"]))  # a daemon keeps its last contract
    flow = shared.run("edit", feed(["n"]), documents=[{"_id": n, "n": 0, "m": n} for n in range(20)])
    flow.contracts.remove("edit")
    wait_until(lambda: not flow.lane(), 60, "the lane is gone")
    flow.collection.insert_one({"_id": "away", "n": 1})
    flow.write(feed(["n", "m"]), projection(["n"]))
    flow.wait_live()
    flow.collection.insert_one({"_id": "back", "n": 2, "m": 3})
    wait_count(flow, 2)
    flow.redis.rpush(flow.names.control("requests"), "snapshot")
    flow.collection.insert_one({"_id": "copied", "n": 4})
    wait_until(lambda: not flow.redis.exists(flow.names.control("requests")), 60, "the copy began")
    flow.collection.delete_one({"_id": 1})
    flow.wait_live()
    wait_count(flow, 4)
    assert said(flow, "time", "op") == [
        {"_id": "away", "n": "1"}, {"_id": "back", "n": "2", "m": "3"}, {"_id": "copied", "n": "4"}, {"_id": "1"},
    ]  # fmt: skip
    flow.wait_same()


def test_a_copy_writes_entries_where_asked(shared: Scene) -> None:
    """`copy: true` gives each document an entry `op read`, in chunks beside the changes; ids go on increasing."""
    flow = shared.run("read", feed(["n"], copy=True), documents=[{"_id": n, "n": n} for n in range(300)])
    wait_count(flow, 300)
    flow.collection.update_one({"_id": 5}, {"$set": {"n": 7}})
    wait_count(flow, 301)
    assert [one["_id"] for one in said(flow)[:300]] == sorted(map(str, range(300)), key=int)
    assert [one["op"] for one in said(flow)] == ["read"] * 300 + ["update"]
    assert ids(flow) == sorted(set(ids(flow)))
    assert flow.metric("syncd_feed_entries_shifted_total") == 0


def test_a_copy_where_there_are_workers(scene: Scene) -> None:
    """nothing_lost: the lane itself reads for a copy that writes entries, whatever workers there are."""
    documents = [{"_id": n, "n": n} for n in range(COUNT)]
    workers = {"SYNCD_SNAPSHOT_PROCESSES": "2", "SYNCD_CHUNK_DOCUMENTS": "20"}
    flow = scene.run("read", projection(["n"]), feed(["n"], copy=True), documents=documents, env=workers)
    wait_count(flow, COUNT)
    assert {one["op"] for one in said(flow)} == {"read"}
    flow.wait_same()


def test_a_lost_position_is_a_gap(shared: Scene) -> None:
    """nothing_silent: where nothing says from which change to go on, an entry `op gap` says that changes are missing,
    and so do a metric and the log; a collection that was dropped is one too."""
    flow = shared.run("gap", feed(["n"]), documents=[{"_id": 1, "n": 0}])
    flow.collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
    wait_count(flow, 1)
    flow.redis.delete(flow.names.control("position"))
    wait_count(flow, 2)
    flow.wait_live()
    flow.collection.update_one({"_id": 1}, {"$inc": {"n": 1}})
    wait_count(flow, 3)
    flow.collection.drop()
    wait_count(flow, 4)
    flow.wait_live()
    flow.collection.insert_one({"_id": 2})
    wait_count(flow, 5)
    assert said(flow, "time", "changed") == [
        {"op": "update", "_id": "1", "n": "1"}, {"op": "gap", "why": "position lost"},
        {"op": "update", "_id": "1", "n": "2"}, {"op": "gap", "why": "collection gone"},
        {"op": "insert", "_id": "2"},
    ]  # fmt: skip
    assert ids(flow) == sorted(set(ids(flow)))
    assert flow.metric("syncd_feed_gaps_total") == 2
    assert flow.metric("syncd_feed_entries_shifted_total") == 0


def test_what_others_do_to_the_stream(shared: Scene) -> None:
    """An application may trim, empty and delete the stream: entries go on. Where it writes an entry that is ahead of
    MongoDB's time, entries get the next ids, and that is counted."""
    flow = shared.run("others", feed(["n"]))
    flow.collection.insert_many([{"_id": n} for n in range(10)])
    wait_count(flow, 10)
    flow.redis.xtrim(stream_of(flow), maxlen=0, approximate=False)
    flow.collection.insert_one({"_id": "trimmed"})
    wait_count(flow, 1)
    flow.redis.delete(stream_of(flow))
    flow.collection.insert_one({"_id": "deleted"})
    wait_count(flow, 1)
    flow.redis.xadd(stream_of(flow), {"by": "another"}, id="99999999999999-7")
    flow.collection.insert_many([{"_id": f"ahead{n}"} for n in range(3)])
    wait_count(flow, 5)
    assert ids(flow)[2:] == [(99999999999999, n) for n in (8, 9, 10)]
    assert flow.metric("syncd_feed_entries_shifted_total") == 3


def test_a_key_that_is_another_ones(shared: Scene) -> None:
    """A stream with entries of an application, and a key of another type, stop the lane: nothing is written there and
    nothing is lost. It goes on when the key is gone, or where the contract adopts the stream."""
    shared.run("beside", projection(["n"]))
    flow = shared.add("taken", feed(["n"]))
    flow.redis.xadd(stream_of(flow), {"by": "another"})
    flow.wait_state("failed")
    assert "entries that syncd did not write" in flow.lane()["error"]
    flow.write(feed(["n"]), sync={"adopt": True})
    flow.wait_live()
    flow.collection.insert_one({"_id": 1})
    wait_count(flow, 2)
    flow.redis.rename(stream_of(flow), stream_of(flow) + ":old")
    flow.redis.set(stream_of(flow), "text")
    flow.collection.insert_one({"_id": 2})
    flow.wait_state("failed")
    assert "no stream" in flow.lane()["error"]
    assert flow.redis.get(stream_of(flow)) == b"text"
    flow.redis.delete(stream_of(flow))
    wait_count(flow, 1)
    assert said(flow, "time") == [{"op": "insert", "_id": "2"}]


def test_a_stream_that_no_feed_has_written_to(shared: Scene) -> None:
    """A feed that an edit turns to a stream of an application stops, and writes nothing; a check says so before, and
    `syncd remove --keys` leaves that stream alone."""
    shared.add("keeps", projection(["n"]))  # a daemon keeps its last contract
    flow = shared.run("edited", feed(["n"]), documents=[{"_id": 1}])
    flow.collection.insert_one({"_id": 2})
    wait_count(flow, 1)
    theirs = flow.key("orders", "feed")
    flow.redis.xadd(theirs, {"by": "another"})
    flow.write(feed(["n"]) | {"key": "orders", "keep": {"entries": 1}})
    flow.wait_state("failed")
    assert "entries that syncd did not write" in flow.lane()["error"]
    env = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
    checked = syncd("check", "--contracts", str(shared.contracts.file("edited")), "--connect", **env)
    assert f"`{theirs}` holds 1 entries that syncd did not write" in checked.stdout, checked.stdout
    assert checked.returncode == 1
    flow.contracts.remove("edited")
    wait_until(lambda: not flow.lane(), 60, "the lane is gone")
    wait_until(lambda: syncd("remove", flow.contract, "--keys", "--yes", **env).returncode == 0)
    assert [said for _, said in flow.redis.xrange(theirs)] == [{b"by": b"another"}]
    assert not flow.redis.exists(stream_of(flow))


def test_a_check_of_a_feed_alone(shared: Scene) -> None:
    """A contract that is only a feed passes `syncd check --connect`, before it has run and afterwards."""
    env = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
    shared.run("first", projection(["n"]))
    flow = shared.add("alone", feed(["n"]), documents=[{"_id": 1, "n": 1}])
    words = ("check", "--contracts", str(shared.contracts.file("alone")), "--connect")
    found = syncd(*words, **env)
    assert found.returncode == 0, found.stdout
    flow.wait_live()
    flow.collection.insert_one({"_id": 2, "n": 2})
    wait_count(flow, 1)
    found = syncd(*words, **env)
    assert found.returncode == 0, found.stdout
    flow.redis.delete(stream_of(flow))
    flow.redis.set(stream_of(flow), "text")
    found = syncd(*words, **env)
    assert "is a string, and a change feed has to write there" in found.stdout, found.stdout


def test_a_change_that_does_not_fit(shared: Scene) -> None:
    """A change whose entry cannot be made is a dead letter, and the others go on; a replay writes what the document
    holds then at the end, as `op replay`."""
    flow = shared.run("unfit", feed({"n": {"from": "n", "type": "int"}}), projection({"n": "n"}))
    flow.collection.insert_many([{"_id": 1, "n": "five"}, {"_id": 2, "n": 2}])
    wait_count(flow, 1)
    wait_until(lambda: len(flow.dead_letters()) == 1, 60, "a dead letter")
    (dead,) = flow.dead_letters()
    assert (dead["projection"], dead["id"], dead["reason"], dead["key"]) == (
        "feed",
        "1",
        "cannot_convert",
        "",
    )
    flow.collection.update_one({"_id": 1}, {"$set": {"n": 5}})
    wait_count(flow, 2)
    ((entry, _),) = flow.redis.xrange(flow.names.control("dead"))
    flow.redis.rpush(flow.names.control("replay"), entry)
    wait_count(flow, 3)
    assert said(flow, "time", "changed") == [
        {"op": "insert", "_id": "2", "n": "2"}, {"op": "update", "_id": "1", "n": "5"},
        {"op": "replay", "_id": "1", "n": "5"},
    ]  # fmt: skip
    wait_until(lambda: not flow.dead_letters(), 60, "no dead letter")
    assert flow.hash(1) == {"n": "5"}


def test_what_is_left_of_a_feed(shared: Scene) -> None:
    """A check says that it does not compare the feed; a projection, and a contract, that goes leaves the stream;
    `syncd remove --keys` takes it."""
    shared.add("stays", projection(["n"]))  # a daemon keeps its last contract
    flow = shared.run("left", projection(["n"]), feed(["n"]), documents=[{"_id": 1, "n": 1}])
    flow.collection.insert_one({"_id": 2, "n": 2})
    wait_count(flow, 1)
    env = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
    found = syncd("reconcile", flow.contract, "--contracts", str(shared.contracts.path), **env)
    assert "not compared, for a stream has no state: `feed`" in found.stdout, found.stdout + found.stderr
    assert found.returncode == 0
    flow.write(projection(["n"]))
    flow.wait_live()
    flow.collection.insert_one({"_id": 3, "n": 3})
    flow.wait_hash(3, {"n": "3"})
    assert flow.redis.exists(stream_of(flow))
    flow.contracts.remove("left")
    wait_until(lambda: not flow.lane(), 60, "the lane is gone")
    removed = wait_until(
        lambda: (one := syncd("remove", flow.contract, "--keys", "--yes", **env)).returncode == 0 and one
    )
    assert not flow.redis.exists(stream_of(flow), flow.key(1)), removed.stdout


def test_odd_documents(shared: Scene) -> None:
    """Ids of any type, text that is no Unicode and long values: each change is an entry or a dead letter, and the hash
    beside them is as it would be alone."""
    flow = shared.run("odd", projection(["n"]), feed(["n"]))
    odd_ids = ["a:b", "", "1", 1, 2.5, None, True, {"a": 1}, b"x", Decimal128("7.25"), "\u00e4 {}%"]
    flow.collection.insert_many([{"_id": one, "n": "x"} for one in odd_ids])
    wait_count(flow, len(odd_ids))
    assert [one["_id"] for one in said(flow)] == [encode_key_value(one) for one in odd_ids]
    flow.collection.insert_many([{"_id": f"long{n}", "n": "x" * 5_000_000} for n in range(3)])
    wait_count(flow, len(odd_ids) + 3)
    no_unicode = bson.encode({"_id": "bad", "n": "xx"}).replace(b"xx", b"\xff\xfe")
    flow.collection.with_options(CodecOptions(RawBSONDocument)).insert_one(RawBSONDocument(no_unicode))
    flow.collection.insert_one({"_id": "last", "n": None, "m": {"deep": [1, {"a": 2}]}})
    flow.collection.update_one({"_id": "last"}, {"$set": {"m.deep.1.a": 3}, "$push": {"k": 5}})
    wait_count(flow, len(odd_ids) + 5)
    assert said(flow, "time")[-1] == {"op": "update", "_id": "last", "changed": '["k","m.deep.1.a"]'}
    assert {(one["projection"], one["id"]) for one in flow.dead_letters()} >= {("feed", "bad")}


def test_a_feed_a_collection(shared: Scene) -> None:
    """A contract over several collections has a stream for each."""
    names = Names(shared.token, "shop")
    database = shared.mongo[names.database]
    for name in ("shop_a", "shop_b"):
        database[name].insert_one({"_id": 1})
    one = projection(["n"], name="feed", type="stream", key="{$collection}")
    flow = shared.add("shop", one, collection=f"{names.database}.shop_*")
    started = [f"{flow.contract}@{names.database}.shop_{end}" for end in "ab"]
    wait_until(
        lambda: (
            {lane["contract"]: lane["state"] for lane in shared.daemon.status()["lanes"]}.items()
            >= dict.fromkeys(started, "live").items()
        ),
        60,
        shared.daemon.status,
    )
    for name in ("shop_a", "shop_b"):
        database[name].insert_one({"_id": name, "n": 1})
    for name in ("shop_a", "shop_b"):
        stream = flow.key(name, "feed")
        wait_until(lambda stream=stream: flow.redis.xlen(stream) == 1, 60, stream)
        ((_, found),) = flow.redis.xrange(stream)
        assert found[b"_id"] == name.encode()
