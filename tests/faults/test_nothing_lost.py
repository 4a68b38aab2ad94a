"""nothing_lost: every change that MongoDB acknowledged is in Redis once the lane has caught up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import DeleteOne, MongoClient, ReplaceOne, UpdateOne
from pymongo.collection import Collection

from tests.faults.conftest import Rig
from tests.support.check import PATIENCE_S, wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Flow

Films = Collection[dict[str, Any]]
FIELDS = {"title": "title", "n": "n", "place": "place.name", "tags": "tags"}
PUBLIC = {"n": {"$mod": [3, 0]}}


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n, "place": {"name": "here"}, "tags": ["a", "b"]}


def some_change(chance: random.Random, ids: int, n: int) -> Any:
    """One write of any kind to any of the documents."""
    which = {"_id": chance.randrange(ids)}
    changes: list[Callable[[], Any]] = [
        lambda: UpdateOne(which, {"$set": {"n": n, "title": f"title {n}"}}),
        lambda: UpdateOne(which, {"$set": {"place.name": f"place {n}"}, "$inc": {"n": 1}}),
        lambda: UpdateOne(which, {"$unset": {"title": ""}, "$set": {"n": n}}),
        lambda: UpdateOne(which, {"$push": {"tags": {"$each": [str(n)], "$slice": -3}}}),
        lambda: UpdateOne(which, [{"$set": {"n": {"$add": ["$n", 1]}, "tags": {"$slice": ["$tags", 1]}}}]),
        lambda: ReplaceOne(which, film(which["_id"], n), upsert=True),
        lambda: UpdateOne(which, {"$set": film(which["_id"], n)}, upsert=True),
        lambda: DeleteOne(which),
    ]
    return chance.choice(changes)()


@contextmanager
def writing(films: Films, ids: int, seed: int, pause: float = 0.02) -> Iterator[Callable[[], int]]:
    """Changes of all kinds in a thread of its own until the block ends; the function returns how many so far."""
    stop = threading.Event()
    count = [0]

    def write() -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            films.bulk_write([some_change(chance, ids, count[0] + k) for k in range(50)])
            count[0] += 50
            stop.wait(pause)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: count[0]
    finally:
        stop.set()
        thread.join()


def start_two(rig: Rig, count: int = 2000) -> tuple[Flow, Flow]:
    """Two live contracts over one collection: one that takes deltas, and one that reads, for it has a filter."""
    flow = rig.scene.add(
        "delta",
        projection(FIELDS),
        projection(FIELDS, name="doc", type="json"),
        documents=[film(number) for number in range(count)],
    )
    filtered = rig.scene.add("read", projection(FIELDS), source=flow, filter=PUBLIC)
    rig.scene.start()
    flow.wait_live()
    filtered.wait_live()
    return flow, filtered


def assert_nothing_lost(*flows: Flow) -> None:
    flows[0].catch_up()
    for flow in flows:
        flow.wait_live(60)
        flow.wait_same(30)


def test_kill_in_the_middle_of_a_snapshot(rig: Rig) -> None:
    """A daemon killed while it copies goes on behind the last chunk it finished; every document arrives."""
    total, chunk = 8_000, 250
    flow = rig.scene.add("copy", projection(FIELDS), documents=[film(n) for n in range(total)])
    daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS=str(chunk), SYNCD_BATCH_WRITES="100")
    flow.count_reads()
    rig.redis_proxy.delay(0.002)
    starts = 3
    seen = [0]
    for _ in range(starts - 1):
        daemon.start()
        wait_until(lambda: flow.copied() > seen[-1] + 2000, message="the snapshot to go on")
        daemon.kill()
        assert flow.position()["phase"] == b"snapshot"
        seen.append(flow.copied())
    rig.redis_proxy.restore()
    rig.scene.start()
    flow.wait_live()
    read = flow.documents_read()
    flow.assert_same()
    assert total <= read <= total + 5 * chunk * starts
    assert flow.copied() == total
    logs = [*daemon.logs(event="snapshot started"), *rig.scene.daemon.logs(event="snapshot started")]
    assert [entry["copied"] for entry in logs] == seen
    assert [entry["reason"] for entry in logs] == ["no position", "going on", "going on"]


def test_kill_in_the_middle_of_many_updates(rig: Rig) -> None:
    """A daemon killed again and again under load, also in the middle of a large transaction, loses no change."""
    flow, filtered = start_two(rig, 2000)
    chance = random.Random(1)
    rig.scene.daemon.kill()
    with rig.scene.mongo.start_session() as session, session.start_transaction():
        flow.collection.update_many({}, {"$set": {"n": 3}}, session=session)
        flow.collection.update_many({}, {"$set": {"place.name": "there"}}, session=session)
    for start in range(0, 6_000, 3_000):
        changes = [some_change(chance, 2000, start + k) for k in range(3_000)]
        flow.collection.bulk_write(changes, ordered=False)
    rig.redis_proxy.delay(0.001)
    for _ in range(2):
        before = flow.position()["time"], filtered.position()["time"]
        rig.scene.start()
        wait_until(lambda before=before: flow.position()["time"] != before[0], message="the stream to go on")
        time.sleep(chance.uniform(0, 0.5))  # any moment will do
        rig.scene.daemon.kill()
        assert flow.differences()
    rig.redis_proxy.restore()
    rig.scene.start()
    assert_nothing_lost(flow, filtered)
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 2, "no second snapshot"


def test_connections_that_break(rig: Rig) -> None:
    """The connections to Redis and to MongoDB may be cut, lose replies, or fall silent, again and again."""
    flow, filtered = start_two(rig)
    pid = rig.scene.daemon.process.pid
    redis, mongo = rig.redis_proxy, rig.mongo_proxy

    def interruptions() -> int:
        return len(rig.scene.daemon.logs(event="lane interrupted", contract=flow.contract, why="transient"))

    with writing(flow.collection, 2000, seed=2, pause=0.005) as written:
        for trouble in (
            redis.cut,
            mongo.cut,
            redis.half_open,
            redis.cut,
            mongo.blackhole,
            redis.blackhole,
        ) * min(SCALE, 2):
            before = written()
            wait_until(lambda before=before: written() > before + 100)
            flow.wait_live()  # so that there is something to break
            seen = interruptions()
            trouble()
            time.sleep(0.1)
            redis.restore()
            mongo.restore()
            if trouble == redis.cut:  # what the others break is a matter of what was on the way
                wait_until(lambda seen=seen: interruptions() > seen)
    assert_nothing_lost(flow, filtered)
    assert rig.scene.daemon.process.pid == pid


def test_a_lost_reply(rig: Rig) -> None:
    """A call that Redis carried out but whose reply was lost is neither lost nor done twice."""
    fields = {"title": "title", "n": {"from": "n", "type": "int"}}
    flow = rig.scene.run("reply", projection(fields), documents=[film(1)])
    for number in range(10, 15):
        lost = rig.redis_proxy.close_after_next_request(containing=b"syncd_apply")
        flow.collection.insert_many([film(number), {"_id": number + 100, "n": "no number"}])
        assert lost.wait(PATIENCE_S)
        flow.wait_hash(number, {"title": f"film {number}", "n": "0"})
    flow.catch_up()
    assert sorted(dead_letter["id"] for dead_letter in flow.dead_letters()) == [
        "110",
        "111",
        "112",
        "113",
        "114",
    ]
    assert flow.metric("syncd_lane_restarts_total", why="transient") == 5


def test_a_call_behind_one_that_was_refused(rig: Rig) -> None:
    """Of two calls under way Redis leaves the second out when it refuses the first: a daemon killed right then, which
    was about to read what it lacked for the first, still brings both."""
    flow = rig.scene.run(
        "behind", projection(["title", "n"]), documents=[film(1), film(2)], env={"SYNCD_BATCH_WRITES": "1"}
    )
    rig.scene.daemon.terminate()
    for number in (1, 2):
        flow.collection.update_one({"_id": number}, {"$set": {"title": "later"}})
    flow.redis.delete(flow.key(1))
    reading = rig.mongo_proxy.hold_request(b"$in\x00", flow.collection.name.encode())
    rig.scene.start()
    reading.wait()
    assert flow.hash(2)["title"] == "film 2"
    rig.scene.daemon.kill()
    rig.scene.start()
    for number in (1, 2):
        flow.wait_hash(number, {"title": "later", "n": "0"})
    flow.catch_up()


def test_redis_killed_and_restarted(rig: Rig) -> None:
    """A Redis that takes no writes for a while, or is killed with its data, goes on where it was; one that comes back
    empty, without position and functions, is filled again."""
    flow, filtered = start_two(rig)
    snapshots = 2
    with writing(flow.collection, 2000, seed=4, pause=0.005) as written:
        rig.scene.redis.execute_command(
            "REPLICAOF", "127.0.0.1", "1"
        )  # as after a failover to the other side
        lane = flow.wait_state("waiting")
        assert "cannot take writes now" in lane["error"]
        rig.scene.redis.execute_command("REPLICAOF", "NO", "ONE")
        for _ in range(2):
            before = written()
            wait_until(lambda before=before: written() > before + 400)
            rig.redis.kill()
            rig.redis.start()
    assert_nothing_lost(flow, filtered)
    assert len(rig.scene.daemon.logs(event="snapshot started")) == snapshots
    with writing(flow.collection, 2000, seed=5, pause=0.005):
        rig.scene.redis.execute_command("FUNCTION", "FLUSH")
        rig.scene.redis.flushall()
        wait_until(lambda: flow.position().get("phase") and filtered.position().get("phase"), 20, flow.lane)
    assert_nothing_lost(flow, filtered)
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 2 * snapshots


def test_mongodb_killed_and_restarted(rig: Rig) -> None:
    """A MongoDB that is killed, or gives up being primary, delivers what was acknowledged when it is back."""
    flow, filtered = start_two(rig)
    member = rig.mongo.members[0]
    with MongoClient[dict[str, Any]](rig.mongo.uri, w="majority", journal=True) as client:
        films = client[flow.collection.database.name][flow.collection.name]
        films.update_many({}, {"$set": {"n": 3}})
        member.kill()
        rig.mongo.start()
        films.update_many({"_id": {"$lt": 1000}}, {"$set": {"n": 6}})
        films.delete_many({"_id": {"$gt": 1800}})
        rig.mongo.step_down()
        films.update_many({"_id": {"$lt": 500}}, {"$set": {"n": 9}})
    assert_nothing_lost(flow, filtered)
    assert len(rig.scene.daemon.logs(event="snapshot started")) == 2
    assert len(flow.keys()) == 1802


def test_a_change_of_every_kind_while_a_snapshot_runs(rig: Rig) -> None:
    """Documents that change while they are copied end as they are in MongoDB."""
    rig.redis_proxy.delay(0.002)
    flow = rig.scene.add("delta", projection(FIELDS), documents=[film(n) for n in range(8000)])
    filtered = rig.scene.add("read", projection(FIELDS), source=flow, filter=PUBLIC)
    daemon = rig.scene.daemon
    assert daemon.process.exit_code is None
    with writing(flow.collection, 8000, seed=6, pause=0.002):
        daemon.start()
        wait_until(lambda: flow.position().get("phase") == b"stream", 30, flow.lane)
    rig.redis_proxy.restore()
    assert_nothing_lost(flow, filtered)


def test_a_key_that_changed_hands_while_the_daemon_was_down(rig: Rig) -> None:
    """A key that one document left to another while no daemon ran holds the other one, whole, and nothing else."""
    said = projection(["title", "one", "two"], key="{slug}")
    second = {"_id": 2, "slug": "z", "title": "second", "two": 2}
    orders = ("read-first", "event-first")
    flows = [rig.scene.add(order, said, unique=[["slug"]], documents=[second]) for order in orders]
    daemon = rig.scene.daemon = rig.scene.another_daemon(SYNCD_BATCH_WRITES="2")
    daemon.start()
    for flow in flows:
        flow.wait_live()
    daemon.kill()
    for flow, order in zip(flows, orders, strict=True):
        films = flow.collection
        steps = [
            lambda films=films: films.update_one({"_id": 2}, {"$set": {"title": "changed"}}),
            lambda films=films: films.insert_one({"_id": 1, "slug": "a", "title": "first", "one": 1}),
        ]
        for step in steps if order == "read-first" else reversed(steps):
            step()
        # Two changes are one call: what follows is in the next.
        films.update_one({"_id": 1}, {"$set": {"slug": "b"}})
        films.update_one({"_id": 2}, {"$set": {"slug": "a"}})
    daemon.start()
    for flow in flows:
        flow.wait_live()
        flow.assert_same()


def some_hand_over(chance: random.Random, slugs: dict[int, str], free: list[str], turn: int) -> Any:
    """One write to a collection in which few names wander among many documents; no name is ever given twice."""
    number = chance.randrange(40)
    which, title = {"_id": number}, f"t{turn}"
    what = chance.choice(["replace", "move", "title", "delete"])
    old = slugs.get(number)
    if what == "delete" and old is not None:
        free.append(slugs.pop(number))
        return DeleteOne(which)
    if what == "title" and old is not None:
        return UpdateOne(which, {"$set": {"title": title}})
    slugs[number] = free.pop(chance.randrange(len(free)))
    if old is not None:
        free.append(old)
    if what == "move" and old is not None:
        return UpdateOne(which, {"$set": {"slug": slugs[number], "title": title}})
    return ReplaceOne(which, {"slug": slugs[number], "title": title}, upsert=True)


def test_keys_that_change_hands(rig: Rig) -> None:
    """Names that wander among documents, while the daemon is down and while it copies, end where they belong."""
    chance = random.Random(8)
    slugs, free = {n: f"s{n}" for n in range(40)}, [f"f{n}" for n in range(8)]
    documents = [{"_id": n, "slug": slug, "title": "x"} for n, slug in slugs.items()]
    said = projection(["title", "slug"], key="{slug}")
    env = {"SYNCD_BATCH_WRITES": "5", "SYNCD_CHUNK_DOCUMENTS": "10"}
    flow = rig.scene.run("hands", said, unique=[["slug"]], documents=documents, env=env)
    flow.collection.create_index("slug", unique=True)

    def hand_over(count: int) -> None:
        flow.collection.bulk_write([some_hand_over(chance, slugs, free, turn) for turn in range(count)])

    rig.scene.daemon.kill()
    hand_over(800)
    rig.scene.start()
    flow.wait_live()
    flow.wait_same()
    rig.redis_proxy.delay(0.002)
    for snapshot in range(2, 5):
        flow.redis.delete(flow.names.control("position"))
        while len(rig.scene.daemon.logs(event="snapshot finished")) < snapshot:
            hand_over(50)
    rig.redis_proxy.restore()
    flow.wait_live()
    flow.wait_same()
