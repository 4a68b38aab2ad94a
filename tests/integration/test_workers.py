"""`syncd run --workers N`: the lanes of one daemon in several processes."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import Names, projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import Servers

FILMS: list[dict[str, Any]] = [{"_id": n, "title": f"film {n}"} for n in range(60)]
NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def workers(
    servers: Servers, mongo_uri: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """A daemon with two workers and three contracts, for all tests that leave it running."""
    token = f"t{secrets.token_hex(4)}"
    env = {"SYNCD_WORKERS": "2"}
    with Scene(tmp_path_factory.mktemp("workers"), token, mongo_uri, redis_url, env=env) as scene:
        for name in NAMES:
            scene.add(name, projection(["title"]), documents=FILMS)
        scene.start()
        scene.daemon.wait_ready()
        yield scene
        scene.daemon.terminate()
    servers.forget(token)


def flow_of(scene: Scene, name: str) -> Flow:
    flow = Flow(scene, Names(scene.token, name), scene.mongo[scene.token][name])
    flow.projections = (projection(["title"]),)
    return flow


def children(scene: Scene) -> list[int]:
    return [worker["pid"] for worker in scene.daemon.status()["workers"]]


def test_contracts_are_spread(workers: Scene) -> None:
    """Each contract runs in one worker, each worker has about as many, and all are in sync with MongoDB."""
    lanes = workers.daemon.status()["lanes"]
    assert sorted(lane["worker"] for lane in lanes) == [1, 1, 2]
    assert len(set(children(workers)) | {workers.daemon.process.pid}) == 3
    for name in NAMES:
        flow = flow_of(workers, name)
        flow.collection.update_one({"_id": 1}, {"$set": {"title": f"new {name}"}})
        flow.wait_hash(1, {"title": f"new {name}"})
        flow.assert_same()
    owners = {
        workers.redis.get(flow_of(workers, name).names.control("lease")).decode().split("/")[2]
        for name in NAMES
    }
    assert owners == {str(pid) for pid in children(workers)}
    code, body = workers.daemon.get(f"/api/v1/contracts/{flow_of(workers, NAMES[0]).contract}/logs")
    assert code == 200 and "lane live" in body


def test_one_page_of_metrics(workers: Scene) -> None:
    """/metrics is one page: every family once, every series of every contract once, and those of the daemon."""
    page = workers.daemon.get("/metrics")[1]
    families = list(text_string_to_metric_families(page))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    samples = [
        (sample.name, *sorted(sample.labels.items())) for family in families for sample in family.samples
    ]
    assert len(samples) == len(set(samples))
    for name in NAMES:
        contract = flow_of(workers, name).contract
        wait_until(
            lambda c=contract: workers.daemon.metric("syncd_lane_state", contract=c, state="live") == 1
        )
        assert workers.daemon.metric("syncd_writes_total", contract=contract) >= len(FILMS)
    assert workers.daemon.metric("syncd_build_info") == 1
    assert "syncd_oplog_window_seconds" in names


def test_a_reload_reaches_the_workers(workers: Scene) -> None:
    """A contract that comes, changes and goes does so in its worker; the others are left alone, and every edit is one
    line and one count. A broken one changes nothing."""
    daemon = workers.daemon
    since = {lane["contract"]: lane["since"] for lane in daemon.status()["lanes"]}
    applied = daemon.metric("syncd_contract_reload_total", result="applied")
    guest = workers.add("guest", projection(["title"]), documents=FILMS)
    guest.wait_live()
    assert guest.lane()["worker"] == 2, "the one with the fewest"
    guest.write(projection({"name": "title"}))
    guest.wait_same()
    workers.contracts.write_text("guest", "broken: true")
    wait_until(lambda: not daemon.status()["contracts"]["valid"])
    guest.wait_live()
    workers.contracts.remove("guest")
    wait_until(lambda: not guest.lane())
    wait_until(lambda: guest.contract not in daemon.get("/metrics")[1])
    wait_until(lambda: daemon.metric("syncd_contract_reload_total", result="applied") == applied + 3)
    (started,) = (line for line in daemon.logs(event="contracts reloaded") if line["started"])
    assert started["started"] == [guest.contract]
    assert {lane["contract"]: lane["since"] for lane in daemon.status()["lanes"]} == since


def test_a_worker_that_is_killed(workers: Scene) -> None:
    """kill -9 of a worker: not ready, a log line and a metric; another takes its place, goes on at the position at
    once, and loses nothing. The other worker's lanes notice nothing."""
    daemon = workers.daemon
    lanes = daemon.status()["lanes"]
    victims = [lane["contract"] for lane in lanes if lane["worker"] == 1]
    since = {lane["contract"]: lane["since"] for lane in lanes if lane["worker"] == 2}
    os.kill(children(workers)[0], signal.SIGKILL)
    for name in NAMES:
        flow_of(workers, name).collection.update_many({}, {"$set": {"title": "while it was gone"}})
    _, body = wait_until(lambda: (answer := daemon.get("/readyz"))[0] == 503 and answer)
    assert all(victim in body for victim in victims)
    assert daemon.is_live()
    daemon.wait_ready()
    for name in NAMES:
        flow_of(workers, name).wait_same()
    (line,) = daemon.logs(event="worker died")
    assert (line["worker"], line["exit_code"]) == (1, -9)
    assert daemon.metric("syncd_worker_restarts_total") == 1
    now = {lane["contract"]: lane["since"] for lane in daemon.status()["lanes"] if lane["worker"] == 2}
    assert now == since
    assert all(len(daemon.logs(event="snapshot started", contract=victim)) == 1 for victim in victims)


def test_a_worker_that_hangs(workers: Scene) -> None:
    """A worker that answers nothing makes the daemon not alive, so that a platform restarts it."""
    pid = children(workers)[1]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert wait_until(lambda: workers.daemon.get("/livez"))[0] == 500
        code, body = workers.daemon.get("/readyz")
        assert (code, "worker 2 does not answer" in body) == (503, True)
        up = [workers.daemon.metric("syncd_worker_up", worker=worker) for worker in "12"]
        assert up == [1, 0]
    finally:
        os.kill(pid, signal.SIGCONT)
    workers.daemon.wait_ready()
    assert workers.daemon.is_live()
    assert workers.daemon.metric("syncd_worker_up") == 2


def test_asked_to_stop(scene: Scene) -> None:
    """SIGTERM to the whole group, as systemd sends it: everything is committed, leases are given back, no process
    stays."""
    flows = [scene.add(name, projection(["title"]), documents=FILMS) for name in NAMES]
    daemon = scene.another_daemon(SYNCD_WORKERS="2")
    daemon.start()
    daemon.wait_ready()
    family = [daemon.process.pid, *(worker["pid"] for worker in daemon.status()["workers"])]
    for flow in flows:
        flow.collection.insert_many([{"_id": n, "title": "late"} for n in range(100, 400)])
    for flow in flows:
        flow.wait_hash(399, {"title": "late"})
    os.killpg(daemon.process.pid, signal.SIGTERM)
    assert daemon.wait_exit() == 0
    assert not [pid for pid in family if psutil.pid_exists(pid)]
    assert not daemon.logs(event="worker died")
    for flow in flows:
        assert not flow.redis.exists(flow.names.control("lease"))
        flow.assert_same()


def test_asked_to_stop_while_it_starts(scene: Scene) -> None:
    """SIGTERM to the whole group before a worker can ignore it: all end in order, and none is said to have died."""
    scene.add("film", projection(["title"]), documents=FILMS)
    daemon = scene.another_daemon(SYNCD_WORKERS="2")
    daemon.launch()
    parent = psutil.Process(daemon.process.pid)
    wait_until(lambda: len(parent.children()) >= 3, message="two workers and the tracker of Python")
    os.killpg(parent.pid, signal.SIGTERM)
    assert daemon.wait_exit() == 0
    assert not daemon.logs(event="worker died")


def test_the_parent_is_killed(scene: Scene) -> None:
    """kill -9 of the daemon takes all its processes with it; the next one goes on at once."""
    flow = scene.add("film", projection(["title"]), documents=FILMS)
    daemon = scene.another_daemon(SYNCD_WORKERS="2")
    daemon.start()
    daemon.wait_ready()
    family = psutil.Process(daemon.process.pid).children(recursive=True)
    assert len(family) >= 2
    daemon.kill()
    wait_until(lambda: not any(alive(process) for process in family), 10, lambda: family)
    flow.collection.update_many({}, {"$set": {"title": "new"}})
    daemon.start()
    daemon.wait_ready()
    flow.wait_same()
    assert len(daemon.logs(event="snapshot started")) == 1


def alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_workers_that_split_a_contract(scene: Scene) -> None:
    """With --split every worker takes its part of every contract; the series carry the partition."""
    flow = scene.add("film", projection(["title"]), documents=FILMS)
    daemon = scene.another_daemon(SYNCD_WORKERS="2", SYNCD_SPLIT="1")
    daemon.start()
    daemon.wait_ready()
    flow.assert_same()
    lanes = daemon.status()["lanes"]
    assert [(lane["partition"], lane["worker"]) for lane in lanes] == [("1/2", 1), ("2/2", 2)]
    flow.collection.update_many({}, {"$set": {"title": "new"}})
    flow.wait_same()
    for partition in ("1/2", "2/2"):
        wait_until(lambda p=partition: daemon.metric("syncd_changes_total", op="update", partition=p) > 10)
    wait_until(lambda: daemon.metric("syncd_changes_total", op="update") == len(FILMS))
    assert daemon.metric("syncd_lease_held", contract=flow.contract) == 2
    os.kill(daemon.status()["workers"][0]["pid"], signal.SIGKILL)
    _, body = wait_until(lambda: (answer := daemon.get("/readyz"))[0] == 503 and answer)
    assert f"{flow.contract} 1/2" in body
    flow.collection.update_many({}, {"$set": {"title": "newer"}})
    flow.wait_same()


@pytest.mark.parametrize(
    "wrong", [("--split",), ("--split", "--workers", "2", "--partition", "1/2"), ("--workers", "0")], ids=str
)
def test_settings_that_do_not_go_together(scene: Scene, wrong: tuple[str, ...], tmp_path: Path) -> None:
    """They end the daemon with exit code 2 and the name of the setting."""
    run = syncd("run", "--contracts", tmp_path, *wrong)
    assert run.returncode == 2
    assert "SYNCD_SPLIT" in run.stderr or "SYNCD_WORKERS" in run.stderr
    assert "Value error" not in run.stderr, "pydantic's word, not ours"
