"""never_backwards: a key always shows one real state of its document (never_torn), and never an older one after a newer
one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from syncd.plan.claims import claims_of
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.mongo.times import ZERO, token_time
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import SNAPSHOT, ControlKeys, Position
from syncd.stores.redis.store import RedisStore
from syncd.telemetry import Removals
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.calls.writer import Writer
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.apply.units import WindowUnit
from syncd.to_redis.copy.copier import Chunk
from syncd.to_redis.copy.units import units_of
from syncd.to_redis.stream.change_stream import ChangeStream
from syncd.to_redis.stream.window import Window
from tests.faults.conftest import Rig
from tests.support.broken.recorder import Recorder, add_both, counting_up
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow
from tests.support.ways.reconcile import plan_of

COUNT = 1600
WATCHED = tuple(range(5, COUNT, 200))


def phase_of(flow: Flow) -> bytes | None:
    return flow.position().get("phase")


def finish(rig: Rig, recorder: Recorder, *flows: Flow) -> None:
    rig.redis_proxy.restore()
    for flow in flows:
        wait_until(lambda flow=flow: not flow.differences(), 40, lambda flow=flow: flow.lane())
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    assert recorder.rounds > 50
    assert recorder.steps > 100


def test_a_snapshot_beside_the_stream(rig: Rig) -> None:
    """While a snapshot and the stream write the same keys, and the daemon is killed between, no version decreases."""
    rig.redis_proxy.delay(0.001)
    flows = add_both(rig.scene, COUNT)
    rig.scene.daemon = daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    with Recorder(rig.redis.url, WATCHED, *flows) as recorder:
        with counting_up(flows[0].collection, WATCHED, seed=1, ways="spr"):
            daemon.start()
            wait_until(lambda: all(flow.copied() >= COUNT // 3 for flow in flows), 30, flows[0].position)
            daemon.kill()
            assert {phase_of(flow) for flow in flows} == {b"snapshot"}
            daemon.start()
            wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flows[1].position)
            time.sleep(0.3)  # some changes more
        finish(rig, recorder, *flows)


def test_kills_while_changes_stream(rig: Rig) -> None:
    """A daemon that is killed, cut off, or does not get its replies, repeats nothing that is older."""
    flows = add_both(rig.scene, COUNT)
    rig.scene.start()
    for flow in flows:
        flow.wait_live()
    with Recorder(rig.redis.url, WATCHED, *flows) as recorder:
        with counting_up(flows[0].collection, WATCHED, seed=2, ways="spr") as counter:

            def more(count: int) -> None:
                goal = counter.version + count
                wait_until(lambda: counter.version > goal)

            for _ in range(4):
                rig.redis_proxy.close_after_next_request(containing=b"syncd_apply")
                more(50)
            rig.redis_proxy.cut()
            rig.redis_proxy.restore()
            more(50)
            rig.scene.daemon.kill()
            more(100)
            rig.scene.start()
        finish(rig, recorder, *flows)


def test_a_second_snapshot_over_what_is_there(rig: Rig) -> None:
    """A position that is lost under load costs a new snapshot, but no key goes back meanwhile."""
    flow, _ = flows = add_both(rig.scene, COUNT)
    rig.scene.daemon = daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    daemon.start()
    wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flow.position)
    rig.redis_proxy.delay(0.001)
    with Recorder(rig.redis.url, WATCHED, *flows) as recorder:
        with counting_up(flow.collection, WATCHED, seed=3, ways="spr") as counter:
            wait_until(lambda: counter.version > 100)
            rig.scene.redis.delete(*(flow.names.control("position") for flow in flows))
            for flow in flows:
                wait_until(lambda flow=flow: 0 < flow.copied() < COUNT, 20, flow.position)
            wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flow.position)
        finish(rig, recorder, *flows)
    assert len(daemon.logs(event="snapshot started")) == 4


def test_documents_deleted_and_written_again(rig: Rig) -> None:
    """A document that is deleted and inserted again may be gone for a moment, but never shows an older state."""
    rig.redis_proxy.delay(0.001)
    flows = add_both(rig.scene, COUNT)
    rig.scene.daemon = daemon = rig.scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="200", SYNCD_BATCH_WRITES="20")
    with Recorder(rig.redis.url, WATCHED, *flows, may_vanish=True) as recorder:
        with counting_up(flows[0].collection, WATCHED, seed=4, ways="dds"):
            daemon.start()
            wait_until(lambda: all(flow.copied() >= COUNT // 2 for flow in flows), 30, flows[0].position)
            daemon.kill()
            daemon.start()
            wait_until(lambda: all(phase_of(flow) == b"stream" for flow in flows), 30, flows[0].position)
        finish(rig, recorder, *flows)


# Not PEXPIRE, without which the lease could not be renewed either.
@pytest.mark.parametrize("command", ["json.set", "persist"])
def test_a_call_of_which_a_part_failed(rig: Rig, narrow: Callable[..., None], command: str) -> None:
    """never_backwards, never_torn: what was read and written before an error of Redis ended the call is remembered: the
    next run puts no older change on top of it."""
    fields = ["title", "n"]
    shapes = projection(fields), projection(fields, name="doc", type="json")
    flow = rig.scene.run("film", *shapes, documents=[{"_id": 1, "title": "first", "n": 1}])
    rig.scene.daemon.pause()
    flow.redis.delete(flow.key(1))  # then the first change is answered by a read, which sees the last
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "second"}})
    # So many that the last change is in another window.
    flow.collection.insert_many([{"_id": n, "title": "other", "n": n} for n in range(100, 2200)])
    flow.collection.replace_one({"_id": 1}, {"title": "third", "n": 3})
    narrow(f"-{command}")
    rig.scene.daemon.resume()
    flow.wait_state("failed")
    newest = {"title": "third", "n": "3"}
    assert flow.hash(1) == newest
    rig.scene.daemon.kill()
    rig.scene.start()
    flow.wait_state("failed")
    assert flow.hash(1) == newest
    rig.scene.daemon.kill()
    narrow(f"+{command}")
    rig.scene.start()
    flow.wait_same()
    assert flow.hash(1) == newest


def test_a_transaction_that_is_longer_than_a_call(rig: Rig) -> None:
    """All changes of a transaction have one time: a document that was read in its middle shows its end, and no change
    that came before that is put on top."""
    shape = projection(["n"])
    flow = rig.scene.run("film", shape, documents=[{"_id": 1, "n": 0}], env={"SYNCD_BATCH_WRITES": "50"})
    rig.redis_proxy.delay(0.02)
    flow.redis.delete(flow.key(1))  # then the first change is answered by a read
    with rig.scene.mongo.start_session() as session, session.start_transaction():
        for step in (1, 2, 3):
            flow.collection.update_one({"_id": 1}, {"$set": {"n": step}}, session=session)
            others = [{"_id": 100 * step + n, "n": n} for n in range(100)]
            flow.collection.insert_many(others, session=session)
    seen: list[dict[str, str]] = []
    wait_until(lambda: seen.append(flow.hash(1)) or flow.redis.exists(flow.key(399)))
    assert [state for state in seen if state] == [{"n": "3"}] * sum(map(bool, seen))
    flow.assert_same()


@contextmanager
def calls_of(rig: Rig, flow: Flow) -> Iterator[tuple[MongoStore, KeyBuilder, Pipeline]]:
    """What a run sends its calls with, while a snapshot runs."""
    plan, control = plan_of(rig.scene, flow), ControlKeys(flow.contract)
    with closing(MongoStore(rig.mongo.uri)) as mongo, closing(RedisStore(rig.redis.url)) as redis:
        redis.connect()
        lease = Lease(redis, control, "one", 30.0, claims_of(plan))
        lease.acquire()
        log, writer = ApplyLog(Position(phase=SNAPSHOT)), Writer(redis, control, lease)
        yield (
            mongo,
            KeyBuilder(plan, Lookup(mongo, plan), log.watermarks),
            Pipeline(plan, control, writer, log, 100, lambda _: None, Removals(plan.name)),
        )
        writer.close()


def window(event: Document) -> Window:
    return Window([event], event["_id"], token_time(event["_id"]))


def test_a_chunk_that_is_sent_again(rig: Rig) -> None:
    """What the stream wrote while a chunk was on its way is left out of it also where Redis refuses its call, and a
    chunk that was read later has passed by then."""
    flow = rig.scene.add(
        "film", projection(["title"]), documents=({"_id": n, "title": "a"} for n in (1, 2, 3))
    )
    flow.redis.rpush(flow.key(2), "of the application")
    with calls_of(rig, flow) as (mongo, builder, pipeline):
        lookup, stream = builder.lookup, ChangeStream(mongo, builder.plan)
        stream.begin()
        found, seen = lookup.chunk(None, 2, ZERO)
        chunks = [Chunk(found, seen, 0, seen)]
        flow.collection.replace_one({"_id": 1}, {"title": "b"})
        [event] = stream.next().events
        stream.close()
        found, seen = lookup.chunk({"_id": 2}, 2, token_time(event["_id"]))
        chunks.append(Chunk(found, seen, 0, seen))
        pipeline.apply(WindowUnit(window(event), builder))
        pipeline.drain()
        for unit in (unit for chunk in chunks for unit in units_of(builder, chunk, pipeline.log, lambda: 10)):
            pipeline.apply(unit)
        pipeline.drain()
    assert flow.hash(3) == {"title": "a"}
    assert [dead_letter["reason"] for dead_letter in flow.dead_letters()] == ["wrong_type"]
    assert flow.hash(1) == {"title": "b"}


def test_a_read_that_is_made_again(rig: Rig) -> None:
    """A chunk does not go over a read that Redis left out, behind a call that it refused, and that was made again later
    than the chunk."""
    flow = rig.scene.add("film", projection(["title"]), documents=[{"_id": 1, "title": "a"}])
    flow.redis.rpush(flow.key(2), "of the application")
    with calls_of(rig, flow) as (mongo, builder, pipeline):
        lookup, stream = builder.lookup, ChangeStream(mongo, builder.plan)
        stream.begin()
        flow.collection.insert_one({"_id": 2, "title": "a"})
        flow.collection.update_one({"_id": 1}, {"$set": {"title": "b"}})
        events = [event for _ in range(2) for event in stream.next(100).events]
        stream.close()
        for event in events:
            pipeline.apply(WindowUnit(window(event), builder))
        found, seen = lookup.chunk(None, 1, pipeline.log.watermarks.horizon)
        flow.collection.update_one({"_id": 1}, {"$set": {"title": "c"}})
        for unit in units_of(builder, Chunk(found, seen, 0, seen), pipeline.log, lambda: 10):
            pipeline.apply(unit)
        pipeline.drain()
    assert flow.hash(1) == {"title": "c"}
