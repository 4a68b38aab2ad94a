"""Checks in ranges by several workers, one of which is killed: the same report (never_backwards, no_ghosts,
nothing_silent).
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

import psutil
import pytest

from syncd.executors.places import OpenExecutor, dask, processes
from syncd.reconcile.ranges.bulk import Bulk, BulkOrder
from syncd.reconcile.ranges.job import Job, run_job
from syncd.reconcile.report import ReconcileReport
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.store import RedisStore
from tests.faults.conftest import Rig
from tests.support.broken.hold import Hold
from tests.support.broken.proxy import Proxy
from tests.support.check import wait_until
from tests.support.programs.dask import dask_cluster, dask_worker
from tests.support.scene import Flow
from tests.support.ways.reconcile import Drift, add_every_kind, check, drift_of, plan_of, plant, running

COUNT, PLANTED, RANGE, CHUNK = 300, 22, 50, 10
CHUNKS = b"\x02find\x00", b"hint"


def begin(rig: Rig) -> tuple[Flow, Drift]:
    flow = add_every_kind(rig.scene, COUNT)
    rig.scene.start()
    flow.wait_live()
    return flow, plant(flow, range(PLANTED))


def settings_of(rig: Rig, mongo: Proxy | None = None) -> dict[str, str]:
    return {
        "SYNCD_MONGO_URI": (mongo or rig.mongo_proxy).mongo_uri, "SYNCD_REDIS_URL": rig.redis_proxy.redis_url,
        "SYNCD_CONTRACTS": str(rig.scene.contracts.path), "SYNCD_CHUNK_DOCUMENTS": str(CHUNK),
    }  # fmt: skip


@pytest.fixture
def here(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process and those that it starts have the settings of a worker."""
    for name, value in settings_of(rig).items():
        monkeypatch.setenv(name, value)
    yield
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # it would end with us


def bulk(rig: Rig, flow: Flow, where: OpenExecutor, *, repair: bool = False) -> ReconcileReport:
    mongo, redis = MongoStore(rig.mongo.uri), RedisStore(rig.redis.url)
    try:
        order = BulkOrder(repair, range_documents=RANGE, chunk=CHUNK)
        return Bulk(plan_of(rig.scene, flow), mongo, redis, order, where, threading.Event()).run()
    finally:
        mongo.close()
        redis.close()


def says(report: ReconcileReport) -> dict[str, Any]:
    """All but times, and in any order."""
    said = report.as_dict()
    for name in ("started", "finished", "seconds"):
        del said[name]
    said["examples"] = sorted(map(str, said["examples"]))
    return said


class Running(threading.Thread):
    """A check beside the test."""

    def __init__(self, look: Callable[[], ReconcileReport]) -> None:
        super().__init__()
        self._look = look
        self.report: ReconcileReport | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.report = self._look()
        except BaseException as error:
            self.error = error

    def result(self) -> ReconcileReport:
        self.join(60)
        assert self.report is not None, self.error
        return self.report


def dask_with_a_kill(rig: Rig, flow: Flow) -> ReconcileReport:
    with ExitStack() as stack:
        cluster = stack.enter_context(dask_cluster())
        own = stack.enter_context(Proxy(rig.mongo.members[0].port))
        hold = own.hold_request(*CHUNKS, nth=3)
        victim = stack.enter_context(dask_worker(cluster, **settings_of(rig, own)))
        stack.enter_context(dask_worker(cluster, **settings_of(rig)))
        cluster.wait_for(2)
        looking = Running(lambda: bulk(rig, flow, partial(dask, cluster.address)))
        hold.wait(40)
        victim.kill()
        victim.wait(20)
        hold.release()
        return looking.result()


def processes_with_a_kill(rig: Rig, flow: Flow) -> ReconcileReport:
    opened: list[Executor] = []

    @contextmanager
    def where() -> Iterator[Executor]:
        with processes(2) as executor:
            opened.append(executor)
            yield executor

    hold = rig.mongo_proxy.hold_request(*CHUNKS, nth=8)
    looking = Running(lambda: bulk(rig, flow, where))
    hold.wait(40)
    assert isinstance(opened[0], ProcessPoolExecutor)
    os.kill(next(iter(opened[0]._processes)), signal.SIGKILL)
    report = looking.result()
    assert len(opened) == 2
    return report


KILLS = {"processes": processes_with_a_kill, "dask": dask_with_a_kill}


@pytest.mark.at_scale("dask")
@pytest.mark.parametrize("where", KILLS)
def test_a_worker_is_killed(rig: Rig, here: None, where: str) -> None:
    """nothing_silent: one of two processes, or of two workers of a Dask cluster, is killed with a range in its hands:
    another one does it, and the report is that of a check by one process."""
    flow, planted = begin(rig)
    found = KILLS[where](rig, flow)
    alone = check(rig.scene, flow, rig.mongo.uri, rig.redis.url)
    assert drift_of(alone) == planted
    assert (alone.result, alone.documents) == ("drift", COUNT)
    assert says(found) == says(alone)


def are_gone(workers: list[psutil.Process]) -> bool:
    def lives(process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(map(lives, workers))


def held_after(rig: Rig, enough: Callable[[], bool]) -> Hold:
    """A request for a chunk, kept back when `enough` is done. Where ranges end is by chance, and one may hold half of
    all documents: so requests go on one by one until then."""
    hold = rig.mongo_proxy.hold_request(*CHUNKS)
    hold.wait(40)
    while not enough():
        following = rig.mongo_proxy.hold_request(*CHUNKS)
        hold.release()
        hold = following
        hold.wait(40)
        time.sleep(0.05)  # a part that has ended is noted by another process
    return hold


def test_a_command_that_goes_on(rig: Rig, here: None) -> None:
    """nothing_silent: a command that is killed or interrupted leaves no process behind; the same call takes up the
    ranges that are left, says so, and finds all differences; nothing is kept when it has come to its end."""
    flow, planted = begin(rig)
    words = "--processes", "1", "--range", str(RANGE), "-o", "json"
    record, done = flow.names.control("bulk"), 0

    def more_than(parts: int) -> bool:
        return flow.redis.hlen(record) - 1 > parts

    for end in signal.SIGKILL, signal.SIGINT:
        with running(flow.contract, *words, **settings_of(rig)) as process:
            hold = held_after(rig, partial(more_than, done))
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(end)
            hold.release()
            out, _ = process.communicate(timeout=30)
            wait_until(partial(are_gone, workers), 20)
        done = flow.redis.hlen(record) - 1
    assert process.returncode == 1
    assert json.loads(out)["ended"].startswith("stopped")
    assert json.loads(out)["result"] == "drift"
    again = bulk(rig, flow, partial(ThreadPoolExecutor, 2))
    assert f"{done} parts were done" in again.note
    assert (again.documents, again.ended) == (COUNT, "")
    assert drift_of(again) == planted
    assert not flow.redis.keys(flow.names.control("bulk") + "*")


def test_what_a_worker_needs(rig: Rig, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_silent: any executor will do; a range whose connection is cut is tried again, and ranges are repaired
    side by side. A job carries no address and no key; a worker that reaches other servers, or is of another version,
    says so and compares nothing."""
    flow, planted = begin(rig)
    jobs: list[Job] = []

    class Threads(ThreadPoolExecutor):
        def submit(self, function: Any, /, *arguments: Any, **more: Any) -> Any:
            jobs.append(arguments[0])
            return super().submit(function, *arguments, **more)

    cut = rig.redis_proxy.close_after_next_request(b"PEXPIRETIME")
    report = bulk(rig, flow, partial(Threads, 2))
    assert drift_of(report) == planted
    assert report.documents == COUNT
    assert cut.is_set()
    assert len(jobs) == len({job.number for job in jobs}) + 1
    repaired = bulk(rig, flow, partial(Threads, 2), repair=True)
    assert (repaired.result, repaired.repaired) == ("repaired", PLANTED)
    assert bulk(rig, flow, partial(Threads, 2)).result == "clean"
    held = b"".join(map(pickle.dumps, jobs)).decode(errors="replace") + str(jobs)
    assert not [value for name, value in settings_of(rig).items() if "U" in name[-3:] and value in held]
    assert "Range()" in str(jobs[1]), "bounds are data"
    gone = run_job(jobs[1])
    assert gone.report is None
    assert gone.passes
    assert "SYNCD_REDIS_URL" in gone.trouble
    monkeypatch.setattr("syncd.reconcile.ranges.job.holds", lambda *_: True)
    monkeypatch.setattr("syncd.executors.proof.identity", lambda _: "other localhost:1")
    other = run_job(jobs[1])
    assert "SYNCD_MONGO_URI" in other.trouble
    for changed, word in ({"version": "0.0.1"}, "one version"), ({"fingerprint": "other"}, "SYNCD_HMAC_KEY"):
        refused = run_job(replace(jobs[1], **changed))
        assert (refused.report, refused.passes) == (None, False)
        assert word in refused.trouble
