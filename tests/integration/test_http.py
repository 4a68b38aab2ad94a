"""Probes, metrics and status: what a platform sees of the daemon, and how it ends."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncd import telemetry
from syncd.embedded import LOOPBACK, RedisServer
from tests.support.broken.proxy import Proxy
from tests.support.check import SOON_S, wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

FILMS: list[dict[str, Any]] = [{"_id": n, "title": f"film {n}"} for n in range(20)]


@pytest.fixture(scope="module")
def flow(shared: Scene) -> Flow:
    return shared.run("films", projection(["title"]), documents=FILMS, slo={"freshness": "5s"})


def test_probes_of_a_daemon_at_work(shared: Scene, flow: Flow) -> None:
    """/livez and /readyz answer 200 when every lane is live; readiness names no lane."""
    code, body = shared.daemon.get("/livez")
    assert (code, body) == (200, '{"alive":true}')
    code, body = shared.daemon.get("/readyz")
    assert (code, body) == (200, '{"ready":true,"waiting_for":{}}')


def test_status_tells_every_lane(shared: Scene, flow: Flow) -> None:
    """/status says for each contract in what state it is, how far it got, and how fresh it is."""
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "new"}})
    flow.wait_hash(1, {"title": "new"})
    wait_until(lambda: flow.lane()["changes"] >= 1)
    status = shared.daemon.status()
    assert status["ready"] is True
    assert status["contracts"] == {"valid": True, "problems": [], "waiting": {}}
    lane = flow.lane()
    assert (lane["contract"], lane["collection"]) == (flow.contract, flow.collection.full_name)
    assert (lane["state"], lane["ready"], lane["error"]) == ("live", True, "")
    assert lane["snapshot"] == {"phase": "stream", "copied": 20}
    assert lane["freshness_seconds"] == 5
    assert lane["lag_seconds"] < 5


def test_every_series_exists_from_the_start(shared: Scene, flow: Flow) -> None:
    """Every metric that a contract may ever have is on the first page already, and nothing carries an open label."""
    page = shared.daemon.get("/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert all(name.startswith("syncd_") for name in families)
    series = {
        (sample.name, *sorted(sample.labels.items()))
        for family in families.values()
        for sample in family.samples
        if sample.labels.get("contract") == flow.contract
    }
    for name, label, values in [
        ("syncd_changes_total", "op", telemetry.CHANGE_OPS),
        ("syncd_dead_letters_total", "reason", telemetry.DEAD_REASONS),
        ("syncd_lane_state", "state", telemetry.LANE_STATES),
        ("syncd_writes_total", "result", ("put", "patch", "delete", "dead")),
        ("syncd_lane_restarts_total", "why", ("transient", "fatal", "fenced", "position_lost", "bug")),
    ]:
        for value in values:
            assert any(found[0] == name and (label, value) in found[1:] for found in series), (
                f"{name} {label}={value}"
            )
    for name in (
        "syncd_lag_seconds", "syncd_batch_seconds_count", "syncd_end_to_end_seconds_bucket", "syncd_lease_held",
        "syncd_dead_letters_waiting", "syncd_position_age_seconds", "syncd_slo_freshness_seconds",
        "syncd_snapshot_documents",
    ):  # fmt: skip
        assert any(found[0] == name for found in series), name
    samples = {sample.name for family in families.values() for sample in family.samples}
    assert {"syncd_build_info", "syncd_contracts_valid", "syncd_contract_reload_total"} <= samples
    assert not [name for name in samples if name.endswith("_created")]
    assert all(family.documentation for family in families.values())


def test_metrics_move(shared: Scene, flow: Flow) -> None:
    """Changes, writes, states and lag are counted where they happen."""
    before = {
        (op, result): flow.metric("syncd_changes_total", op=op)
        + flow.metric("syncd_writes_total", result=result)
        for op, result in [("insert", "put"), ("update", "patch"), ("delete", "delete")]
    }
    flow.collection.insert_one({"_id": 100, "title": "x"})
    flow.wait_hash(100, {"title": "x"})
    flow.collection.update_one({"_id": 100}, {"$set": {"title": "y"}})
    flow.wait_hash(100, {"title": "y"})
    flow.collection.delete_one({"_id": 100})
    flow.wait_gone(100)
    for (op, result), count in before.items():
        wait_until(
            lambda op=op, result=result, count=count: (
                flow.metric("syncd_changes_total", op=op) + flow.metric("syncd_writes_total", result=result)
                == count + 2
            )
        )
    assert flow.metric("syncd_lane_state", state="live") == 1
    assert flow.metric("syncd_lane_state") == 1
    assert flow.metric("syncd_lease_held") == 1
    assert flow.metric("syncd_slo_freshness_seconds") == 5
    assert 0 <= flow.metric("syncd_lag_seconds") < 5
    assert flow.metric("syncd_end_to_end_seconds_count") >= 3


def test_the_page_for_people(shared: Scene, flow: Flow) -> None:
    """/ is a page; what does not exist is 404."""
    code, body = shared.daemon.get("/")
    assert code == 200
    assert "<html" in body.lower()
    assert shared.daemon.get("/nothing")[0] == 404


def test_a_broken_lane_does_not_stop_another(shared: Scene, flow: Flow) -> None:
    """A contract that MongoDB refuses fails alone: it makes the daemon not ready, and says why."""
    flow.collection.database.command("create", "seen", viewOn="films", pipeline=[])
    broken = shared.add("seen", projection(["title"]))
    lane = broken.wait_state("failed")
    assert "view" in lane["error"]
    code, body = shared.daemon.get("/readyz")
    assert code == 503
    assert broken.contract in body
    assert "view" in body
    assert flow.contract not in body
    assert shared.daemon.get("/livez")[0] == 200
    flow.collection.update_one({"_id": 2}, {"$set": {"title": "goes on"}})
    flow.wait_hash(2, {"title": "goes on"})
    assert flow.lane()["state"] == "live"
    shared.contracts.remove("seen")
    wait_until(shared.daemon.is_ready)


def test_not_ready_while_it_copies(scene: Scene) -> None:
    """/readyz is 503 and names the lane until the snapshot is done and the stream has caught up; /livez is 200."""
    flow = scene.add("slow", projection(["title"]), documents=({"_id": n, "title": "x"} for n in range(5000)))
    daemon = scene.another_daemon(SYNCD_BATCH_WRITES="5", SYNCD_CHUNK_DOCUMENTS="100")
    daemon.start()
    code, body = wait_until(
        lambda: (answer := daemon.get("/readyz"))[0] and "snapshot" in answer[1] and answer
    )
    assert code == 503
    assert body == f'{{"ready":false,"waiting_for":{{"{flow.contract}":"snapshot"}}}}'
    assert daemon.is_live()
    assert len(flow.keys()) < 5000
    daemon.wait_ready()
    flow.assert_same()


def test_alive_while_a_lane_is_exchanged(token: str, mongo_uri: str, redis_url: str, tmp_path: Path) -> None:
    """A reload that waits for one lane to stop does not make the daemon look dead for those that have."""
    port = urlsplit(redis_url).port
    assert port
    with (
        Proxy(port) as proxy,
        Scene(tmp_path, token, mongo_uri, redis_url, daemon_redis=proxy.redis_url) as scene,
    ):
        slow, quick = (scene.add(name, projection(["title"]), documents=FILMS) for name in ("slow", "quick"))
        scene.start()
        scene.daemon.wait_ready()
        hold = proxy.hold_request(b"syncd_release", slow.names.control("lease").encode())
        for flow in (slow, quick):
            flow.write(projection(["title"]), version="2.0.0")
        hold.wait()
        wait_until(lambda: quick.lane()["state"] == "stopped")
        assert scene.daemon.get("/livez")[0] == 200
        hold.release()
        scene.daemon.wait_ready()


def test_asked_to_stop(scene: Scene) -> None:
    """SIGTERM and SIGINT end the daemon with 0 within seconds; what it had read is committed, the lease given back."""
    flow = scene.run("stop", projection(["title"]), documents=FILMS)
    flow.collection.insert_many([{"_id": n, "title": "late"} for n in range(100, 1100)])
    flow.wait_hash(1099, {"title": "late"})
    for number in (signal.SIGTERM, signal.SIGINT):
        if not scene.daemon.process.alive:
            scene.start()
            flow.wait_live()
            assert flow.metric("syncd_changes_total") == 0, "nothing is read a second time"
        began = time.monotonic()
        scene.daemon.process.signal(number)
        assert scene.daemon.wait_exit() == 0
        assert time.monotonic() - began < SOON_S
        assert not flow.redis.exists(flow.names.control("lease"))
        flow.assert_same()
    assert len(scene.daemon.logs(event="stopped")) == 2


def test_a_server_that_is_not_there(token: str, mongo_uri: str, tmp_path: Path) -> None:
    """Without Redis the daemon lives, is not ready, says why and where to read more; it begins by itself, and can
    end."""
    with RedisServer() as server, Proxy(server.port) as proxy:
        proxy.cut()
        with Scene(tmp_path, token, mongo_uri, server.url, daemon_redis=proxy.redis_url) as scene:
            flow = scene.add("wait", projection(["title"]), documents=FILMS)
            scene.start()
            lane = flow.wait_state("waiting")
            assert "SYNCD_REDIS_URL" in lane["error"]
            code, body = scene.daemon.get("/readyz")
            assert code == 503
            assert "no connection to Redis" in body
            proxy.restore()
            flow.wait_live()
            flow.assert_same()
            proxy.cut()
            flow.wait_state("waiting")
            began = time.monotonic()
            assert scene.daemon.terminate() == 0
            assert time.monotonic() - began < SOON_S


def test_a_taken_port(scene: Scene) -> None:
    """An HTTP address that is taken ends the daemon at once, with exit code 2 and the name of the setting."""
    scene.add("port", projection(["title"]), documents=FILMS)
    with RedisServer() as server:
        daemon = scene.another_daemon(SYNCD_HTTP=f"{LOOPBACK}:{server.port}")
        daemon.launch()
        assert daemon.wait_exit() == 2
        assert "SYNCD_HTTP" in daemon.process.log_tail()
