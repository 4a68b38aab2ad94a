"""Snapshots that several workers read, which die, hang or are the wrong ones (nothing_lost, never_backwards, no_ghosts,
nothing_silent, bounded).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any, NamedTuple

import psutil
import pytest

from syncd.executors.pool import Pool
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.partition import WHOLE
from syncd.stores.mongo.reads import lookup as looking
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.reads.ranges import ALL
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.records.position import SNAPSHOT, Position
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.watermarks import Coverage, Watermarks
from syncd.to_redis.copy import copier as copying
from syncd.to_redis.copy import piece as pieces
from syncd.to_redis.copy.copier import Chunk, Copier, Cut, Reads, Ready
from syncd.to_redis.copy.units import units_of
from tests.faults.conftest import Rig
from tests.support.broken.proxy import Proxy
from tests.support.broken.recorder import FIELDS, Recorder, counting_up, state
from tests.support.check import PATIENCE_S, wait_until
from tests.support.contracts import projection
from tests.support.daemon import Daemon
from tests.support.programs.dask import dask_cluster, dask_worker
from tests.support.scene import Flow
from tests.support.ways.reconcile import plan_of

COUNT, FEW = 2400, 800
STEP = 20
WATCHED = tuple(range(5, COUNT, 250))
CHUNKS = b"\x02find\x00", b"hint"
LOCAL = {"SYNCD_SNAPSHOT_PROCESSES": "2", "SYNCD_CHUNK_DOCUMENTS": "100", "SYNCD_BATCH_WRITES": "60"}
SHAPES = projection(FIELDS, name="card"), projection(FIELDS, name="doc", type="json")


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]


def are_gone(processes: list[psutil.Process]) -> bool:
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def until_workers_are_ready(rig: Rig, daemon: Daemon) -> Iterator[None]:
    """Starts the daemon. The body comes before anything is read by a worker, and almost all is copied after it."""
    hold = rig.redis_proxy.hold_request(b"syncd_apply", nth=3)
    daemon.start()
    hold.wait(30)
    wait_until(lambda: daemon.logs(event="snapshot workers are ready"), 30)
    yield
    hold.release()


def test_kills_of_workers_and_daemon(rig: Rig) -> None:
    """nothing_lost, never_backwards: while local processes read for a snapshot and the stream writes the same keys, a
    worker is killed, and then the daemon: no key goes back, and what was copied is not read again. No process stays."""
    flow = rig.scene.add("film", *SHAPES, documents=(state(n, 0) for n in range(COUNT)))
    rig.scene.daemon = daemon = rig.scene.another_daemon(**LOCAL)
    rig.redis_proxy.delay(0.02)

    def read() -> float:
        return daemon.metric("syncd_snapshot_pieces_total")

    with Recorder(rig.redis.url, WATCHED, flow) as recorder:
        with counting_up(flow.collection, WATCHED, seed=5, ways="spr"):
            with until_workers_are_ready(rig, daemon):
                pass
            wait_until(lambda: read() > 2, 30)
            process = psutil.Process(daemon.process.pid)
            os.kill(workers_of(process)[0].pid, signal.SIGKILL)
            wait_until(lambda: daemon.metric("syncd_snapshot_worker_failures_total") > 0, 20)
            [failed, *_] = daemon.logs(event="snapshot worker failed; the lane reads by itself")
            assert "terminated abruptly" in failed["why"]
            before = read()
            rig.redis_proxy.delay(0.3)  # or the lane copies the rest while new workers start
            wait_until(lambda: len(daemon.logs(event="snapshot workers are ready")) == 2, 30)
            rig.redis_proxy.delay(0.02)
            wait_until(lambda: read() > before, 30)
            children = process.children(recursive=True)
            daemon.kill()
            wait_until(partial(are_gone, children), 20)
            assert flow.position()["phase"] == b"snapshot"
            copied = flow.copied()
            rig.redis_proxy.delay(0.001)
            daemon.start()
            wait_until(lambda: flow.position()["phase"] == b"stream", 60, flow.position)
        rig.redis_proxy.restore()
        wait_until(lambda: not flow.differences(), 40, flow.lane)
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    assert recorder.steps > 100
    assert [said["copied"] for said in daemon.logs(event="snapshot started")] == [0, copied]
    assert 0 < copied < COUNT
    assert flow.copied() == COUNT
    wait_until(lambda: not workers_of(psutil.Process(daemon.process.pid)), 20)


def test_a_piece_that_comes_late(rig: Rig) -> None:
    """never_backwards, no_ghosts: what a worker has read, and the stream then changes or removes, is left out of what
    the worker brings, also when pieces that were read later came first."""
    flow = rig.scene.add("film", *SHAPES, documents=(state(n, 0) for n in range(FEW)))
    rig.scene.daemon = daemon = rig.scene.another_daemon(**LOCAL | {"SYNCD_CHUNK_DOCUMENTS": "20"})
    with until_workers_are_ready(rig, daemon):
        late = rig.mongo_proxy.hold_reply(*CHUNKS, nth=3)
        rig.redis_proxy.delay(0.02)
    late.wait(30)
    with Recorder(rig.redis.url, range(0, FEW, 10), flow, may_vanish=True) as recorder:
        flow.collection.delete_many({"_id": {"$mod": [9, 0]}})
        flow.collection.update_many({}, {"$set": {"a": 1, "b.deep": 1}})
        flow.wait_hash(FEW - 2, {"a": "1", "b": "1", "title": f"film {FEW - 2}"})
        late.release()
        wait_until(lambda: flow.position()["phase"] == b"stream", 60, flow.position)
    wait_until(lambda: daemon.metric("syncd_snapshot_pieces_total") > 10)
    assert not recorder.wrong, f"{len(recorder.wrong)} times: {recorder.wrong[:5]}"
    flow.catch_up()
    flow.assert_same()


def test_workers_that_hang_when_the_daemon_stops(rig: Rig) -> None:
    """bounded: a daemon that is asked to stop does not wait for workers that do not answer, and leaves none behind; the
    copy goes on where it was."""
    flow = rig.scene.add("film", *SHAPES, documents=(state(n, 0) for n in range(COUNT)))
    rig.scene.daemon = daemon = rig.scene.another_daemon(**LOCAL)
    rig.redis_proxy.delay(0.02)
    with until_workers_are_ready(rig, daemon):
        workers = workers_of(psutil.Process(daemon.process.pid))
        assert workers
        for worker in workers:
            worker.suspend()
    assert daemon.terminate() == 0
    wait_until(partial(are_gone, workers), 10)
    assert 0 < flow.copied() < COUNT
    rig.redis_proxy.restore()
    daemon.start()
    flow.catch_up()
    flow.assert_same()


@pytest.mark.at_scale
def test_a_dask_worker_dies(rig: Rig) -> None:
    """nothing_lost: one of two Dask workers is killed while it reads a piece; the other reads it, and all is copied.
    What was deleted while a piece was on its way stays away."""
    flow = rig.scene.add("film", *SHAPES, documents=(state(n, 0) for n in range(COUNT)))
    with ExitStack() as stack:
        cluster = stack.enter_context(dask_cluster())
        link = stack.enter_context(Proxy(rig.mongo.members[0].port))
        piece = link.hold_request(*CHUNKS, nth=3)
        victim = stack.enter_context(dask_worker(cluster, SYNCD_MONGO_URI=link.mongo_uri))
        stack.enter_context(dask_worker(cluster, SYNCD_MONGO_URI=rig.mongo_proxy.mongo_uri))
        cluster.wait_for(2)
        rig.scene.daemon = daemon = rig.scene.another_daemon(
            SYNCD_DASK=cluster.address, SYNCD_CHUNK_DOCUMENTS="20"
        )
        with until_workers_are_ready(rig, daemon):
            pass
        piece.wait(40)
        flow.collection.delete_many({"_id": {"$mod": [9, 0]}})
        flow.collection.update_many({"_id": {"$mod": [9, 1]}}, {"$set": {"a": 1, "b.deep": 1}})
        victim.kill()
        victim.wait(20)
        piece.release()
        wait_until(lambda: flow.position()["phase"] == b"stream", 60, flow.position)
        wait_until(lambda: daemon.metric("syncd_snapshot_pieces_total") > 5)
    flow.catch_up()
    flow.assert_same()


class Parts(NamedTuple):
    """A copier, and what it works with."""

    copier: Copier
    builder: KeyBuilder
    reads: Reads


@contextmanager
def new_copier(rig: Rig, flow: Flow, pool: Pool | None, watermarks: Watermarks) -> Iterator[Parts]:
    with closing(MongoStore(rig.mongo.uri)) as store:
        plan, reads = plan_of(rig.scene, flow), Reads(watermarks)
        lookup = Lookup(store, plan)
        copier = Copier(plan, store, lookup, WHOLE, watermarks, reads, pool, 20, digests=False)
        yield Parts(copier, KeyBuilder(plan, lookup, watermarks), reads)


def idents(items: list[Any]) -> list[str]:
    """Of all documents that were handed over."""
    found: list[str] = []
    for item in items:
        if isinstance(item, Chunk):
            found += (encode_key_value(document["_id"]) for document in item.documents)
        elif isinstance(item, Ready):
            found += item.encoded_writes
    return sorted(found)


@pytest.fixture
def here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of this process are workers."""
    monkeypatch.setenv("SYNCD_MONGO_URI", rig.mongo_proxy.mongo_uri)
    monkeypatch.setenv("SYNCD_REDIS_URL", rig.redis_proxy.redis_url)
    readers = pieces.Readers()
    monkeypatch.setattr(pieces, "READERS", readers)
    yield
    readers.close()


def test_a_worker_that_hangs(rig: Rig, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_lost, bounded: pieces that do not come back, or while which the stream writes very much, are taken back
    and read again; what comes of them later is not used. Each document is handed over once."""
    flow = rig.scene.add("film", projection(["n"]), documents=({"_id": n, "n": n} for n in range(COUNT)))
    wanted = sorted(encode_key_value(n) for n in range(COUNT))
    monkeypatch.setattr("syncd.executors.pool.FIRST_PAUSE_S", 0.1)
    for crowded in False, True:
        monkeypatch.setattr(copying, "LATE_S", 60.0 if crowded else 0.5)
        watermarks, hold = Watermarks(copying=True), rig.mongo_proxy.hold_request(*CHUNKS, nth=4)
        pool, items = Pool(partial(ThreadPoolExecutor, 2)), []
        with new_copier(rig, flow, pool, watermarks) as (copier, *_):
            end = time.monotonic() + PATIENCE_S
            for item in copier.items({0: ALL}):
                items.append(item)
                assert time.monotonic() < end, "the piece is not taken back"
                if isinstance(item, Ready) and hold.arrived.is_set() and crowded:
                    monkeypatch.setattr("syncd.to_redis.apply.watermarks.CROWDED", 0)
                    watermarks.sent(Coverage(["n"], "0" * 15 + "1"))
                if isinstance(item, Chunk) and hold.arrived.is_set():  # taken back: all may go on
                    hold.release()
                    monkeypatch.setattr("syncd.to_redis.apply.watermarks.CROWDED", 200_000)
                    time.sleep(0.01)
        pool.close()
        assert isinstance(items[0], Cut)
        assert len(items[0].ranges) > 4
        assert [item for item in items if isinstance(item, Ready)]
        assert [item for item in items if isinstance(item, Chunk)]
        assert idents(items) == wanted


@pytest.mark.parametrize("workers", [0, 2])
def test_a_filter_that_lets_nothing_through(
    rig: Rig, here: None, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """bounded, nothing_lost: where a filter lets almost nothing through, the copy gets on step by step: no worker is
    late, and what is remembered is what the stream wrote since a step, not since the last document that was found."""
    monkeypatch.setattr(looking, "LARGEST_STEP", STEP)
    monkeypatch.setattr(pieces, "lookup_of", in_steps)
    documents, wanted = ({"_id": n, "n": n} for n in range(COUNT)), COUNT - 5
    flow = rig.scene.add("film", projection(["n"]), documents=documents, filter={"n": wanted})
    pool = Pool(partial(ThreadPoolExecutor, workers)) if workers else None
    log, items, most = ApplyLog(Position(phase=SNAPSHOT)), [], 0
    watermarks = log.watermarks
    with new_copier(rig, flow, pool, watermarks) as (copier, builder, reads):
        builder.lookup.step_size = STEP
        for item in copier.items({0: ALL}):
            items.append(item)
            watermarks.sent(Coverage([str(len(items))], reads.after()))
            if isinstance(item, Chunk | Ready):
                list(units_of(builder, item, log, lambda: 10))
            most = max(most, len(watermarks._written))
            time.sleep(0.005)
    if pool is not None:
        pool.close()
    assert idents(items) == [encode_key_value(wanted)]
    assert len([item for item in items if isinstance(item, Chunk)]) > COUNT / STEP / 2
    assert most < COUNT / STEP / 2


def in_steps(*args: Any) -> Lookup:
    found = Lookup(*args)
    found.step_size = STEP
    return found


def test_a_lane_that_hangs(rig: Rig, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: where pieces that are done wait for the lane, as for a slow Redis, no worker is blamed."""
    flow = rig.scene.add("film", projection(["n"]), documents=({"_id": n, "n": n} for n in range(800)))
    monkeypatch.setattr(copying, "LATE_S", 2.0)
    pool, blamed, waited = Pool(partial(ThreadPoolExecutor, 2)), [], False
    monkeypatch.setattr(pool, "failed", lambda *said, **_: blamed.append(said))
    with new_copier(rig, flow, pool, Watermarks()) as (copier, *_):
        for item in copier.items({0: ALL}):
            if isinstance(item, Chunk):
                time.sleep(0.02)  # before workers are there
            elif isinstance(item, Ready) and not waited:
                wait_until(lambda: copier._waiting and all(future.done() for future in copier._waiting))
                time.sleep(copying.LATE_S)
                waited = True
    pool.close()
    assert waited
    assert not blamed
