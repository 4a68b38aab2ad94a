"""Workers of a snapshot that hang, are too few or cannot be had (bounded, nothing_lost, nothing_silent)."""

from __future__ import annotations

import errno
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from syncd.executors.places import dask
from syncd.executors.pool import Pool
from syncd.executors.proof import identity
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.partition import WHOLE
from syncd.settings import Settings
from syncd.stores.mongo.reads.ranges import ALL
from syncd.stores.mongo.store import MongoStore
from syncd.stores.mongo.times import ZERO
from syncd.to_redis.apply.watermarks import Watermarks
from syncd.to_redis.copy import copier as copying
from syncd.to_redis.copy import piece as pieces
from syncd.to_redis.copy.copier import Chunk, Copier, Ready
from syncd.to_redis.copy.piece import Made, Piece, make
from tests.faults.conftest import Rig
from tests.faults.test_snapshot_workers import idents, new_copier
from tests.support.check import PATIENCE_S, wait_until
from tests.support.contracts import projection
from tests.support.programs.dask import dask_cluster, dask_worker
from tests.support.ways.reconcile import plan_of


@pytest.fixture
def here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Threads of this process are workers."""
    monkeypatch.setenv("SYNCD_MONGO_URI", rig.mongo_proxy.mongo_uri)
    monkeypatch.setenv("SYNCD_REDIS_URL", rig.redis_proxy.redis_url)
    readers = pieces.Readers()
    monkeypatch.setattr(pieces, "READERS", readers)
    yield
    readers.close()


def slowly_all(copier: Copier) -> list[Any]:
    """All items, at a pace at which workers are there before the end."""
    items: list[Any] = []
    for item in copier.items({0: ALL}):
        items.append(item)
        time.sleep(0.02)
    return items


def test_one_worker_for_many_pieces(rig: Rig, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: a piece that waits for its turn, while the only worker brings one after another, is not late."""
    flow = rig.scene.add("film", projection(["n"]), documents=({"_id": n, "n": n} for n in range(800)))
    monkeypatch.setattr(copying, "LATE_S", 2.5)

    def slowly(piece: Piece) -> Made:
        time.sleep(0.4)
        return make(piece)

    monkeypatch.setattr(copying, "make", slowly)
    pool, blamed, read = Pool(partial(ThreadPoolExecutor, 1)), [], 0
    monkeypatch.setattr(pool, "failed", lambda *said, **_: blamed.append(said))
    with new_copier(rig, flow, pool, Watermarks()) as (copier, *_):
        for item in copier.items({0: ALL}):
            read += isinstance(item, Ready)
            if isinstance(item, Chunk):
                time.sleep(0.02)  # before the worker is there
            elif read > 8:
                break
    pool.close()
    assert read > 8
    assert not blamed


def test_what_a_worker_needs(rig: Rig, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: a piece carries no address and no key. A worker that reaches another MongoDB, has another key of
    masks or another version says so and reads nothing, and opens no further connection for it; then the lane reads
    everything by itself."""
    flow = rig.scene.add("film", projection(["n"]), documents=({"_id": n, "n": n} for n in range(200)))
    plan = plan_of(rig.scene, flow)
    with closing(MongoStore(rig.mongo.uri)) as store:
        piece = Piece(0, ALL, 50, ZERO, plan.contract, plan.fingerprint, identity(store), WHOLE, False)
    opened: list[str] = []
    of = MongoStore.of

    def opening(settings: Settings) -> MongoStore:
        opened.append(settings.mongo_uri.get_secret_value())
        return of(settings)

    monkeypatch.setattr(MongoStore, "of", opening)
    made = make(piece)
    assert (made.size, made.trouble) == (50, "")
    held = pickle.dumps(piece).decode(errors="replace") + str(piece)
    assert not [said for said in (rig.mongo_proxy.mongo_uri, rig.redis_proxy.redis_url) if said in held]
    refused = [
        make(replace(piece, **changed))
        for changed in ({"mongo": "other localhost:1"}, {"fingerprint": "other"}, {"version": "0.0.1"})
    ]
    assert [made.size for made in refused] == [0, 0, 0]
    assert opened == [rig.mongo_proxy.mongo_uri]
    assert [made.passes for made in refused] == [True, False, False]
    words = "SYNCD_MONGO_URI", "SYNCD_HMAC_KEY", "one version"
    assert all(word in made.trouble for word, made in zip(words, refused, strict=True))
    given: list[Piece] = []

    def wrong(piece: Piece) -> Made:
        given.append(piece)
        return make(replace(piece, version="0.0.1"))

    monkeypatch.setattr(copying, "make", wrong)
    pool = Pool(partial(ThreadPoolExecutor, 2))
    with new_copier(rig, flow, pool, Watermarks()) as (copier, *_):
        items = slowly_all(copier)
    pool.close()
    assert given
    assert not [item for item in items if isinstance(item, Ready)]
    assert idents(items) == sorted(encode_key_value(n) for n in range(200))


def test_a_place_that_takes_no_more(rig: Rig, here: None) -> None:
    """nothing_lost: where no piece can be given out, as on a machine that has no room for another process, the lane
    reads everything by itself."""
    flow = rig.scene.add("film", projection(["n"]), documents=({"_id": n, "n": n} for n in range(200)))
    tried: list[Any] = []

    class Full(ThreadPoolExecutor):
        def submit(self, work: Any, /, *args: Any, **more: Any) -> Any:
            if work is not make:
                return super().submit(work, *args, **more)
            tried.append(args)
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    pool = Pool(partial(Full, 1))
    with new_copier(rig, flow, pool, Watermarks()) as (copier, *_):
        items = slowly_all(copier)
    pool.close()
    assert tried
    assert idents(items) == sorted(encode_key_value(n) for n in range(200))


def test_a_pool_that_is_closed_while_its_workers_start() -> None:
    """bounded: a pool that closes does not wait for workers that are starting, and starts no others."""
    never, opened, closed = threading.Event(), threading.Event(), threading.Event()

    @contextmanager
    def stuck() -> Iterator[Executor]:
        executor = ThreadPoolExecutor(1)
        executor.submit(never.wait)
        opened.set()
        yield executor
        closed.set()

    pool = Pool(stuck)
    with pool.used():
        with pool.used():
            assert pool.executor() is None
            assert opened.wait(PATIENCE_S)
            pool.close()
            assert closed.wait(PATIENCE_S)
        assert pool.executor() is None
        assert pool._keeper is None
    never.set()


def test_a_dask_worker_that_hangs() -> None:
    """bounded: workers that are let go are not waited for, also while they work: no thread and no connection stays."""
    with dask_cluster() as cluster, dask_worker(cluster):
        cluster.wait_for(1)
        pool = Pool(partial(dask, cluster.address))
        with pool.used():
            executor = wait_until(pool.executor, 40)
            hangs = executor.submit(time.sleep, 600)
        wait_until(lambda: pool._leaving and not pool._leaving.is_alive(), 20)
        wait_until(hangs.cancelled, 20)
