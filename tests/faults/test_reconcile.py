"""Checks beside a daemon under load, ended in the middle: no false alarm, nothing harmed (nothing_lost,
never_backwards, no_ghosts, nothing_silent).
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from syncd.reconcile.report import ReconcileReport
from tests.faults.conftest import Rig
from tests.support.broken.recorder import Recorder
from tests.support.check import PATIENCE_S, wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Flow
from tests.support.ways.reconcile import add_every_kind, changing, check, drift_of, plant, running

"""50: a hundred thousand documents with 550 differences. Takes minutes."""
COUNT, PLANTED = 1_000 * SCALE, 110 if SCALE == 1 else 550
SMALL = 300
CHUNKS = b"hint"


def begin(rig: Rig, count: int) -> Flow:
    flow = add_every_kind(rig.scene, count)
    rig.scene.start()
    flow.wait_live(60.0 * SCALE)
    return flow


def look(rig: Rig, flow: Flow, **more: Any) -> ReconcileReport:
    return check(rig.scene, flow, rig.mongo.uri, rig.redis.url, **more)


@pytest.mark.timeout(180 * SCALE)
def test_planted_differences_under_load(rig: Rig) -> None:
    """never_backwards, no_ghosts, nothing_silent: while documents change, with values that go back and forth and keys
    that move, a check finds every planted difference and nothing else; a repair corrects them all, and no key goes
    back."""
    flow = begin(rig, COUNT)
    planted = plant(flow, range(PLANTED))
    busy = range(PLANTED, COUNT)
    with Recorder(rig.redis.url, busy[:20], flow, may_vanish=True) as recorder:
        with changing(flow, busy, per_second=200) as load:
            found = look(rig, flow)
            repaired = look(rig, flow, repair=True)
            again = look(rig, flow)
        flow.wait_same()
    print(
        f"{load.writes} writes, {load.writes / load.seconds:.0f} a second; {found.as_dict() | {'examples': ''}}"
    )
    assert drift_of(found) == planted
    assert (found.documents > COUNT - 50, found.result, found.unsettled) == (True, "drift", 0)
    assert drift_of(repaired) == planted
    assert (repaired.result, repaired.repaired) == ("repaired", PLANTED)
    assert (again.result, again.found) == ("clean", 0)
    assert not recorder.wrong, recorder.wrong[:5]
    assert not flow.dead_letters()


def test_a_lane_that_is_behind(rig: Rig) -> None:
    """nothing_silent: what a lane has yet to apply is no drift, and the check says that it does not know."""
    flow = begin(rig, SMALL)
    hold = rig.redis_proxy.hold_request(b"syncd_apply", flow.key(1).encode() + b"\r\n")
    flow.collection.update_many({}, {"$inc": {"a": 1, "b.deep": 1}})
    hold.wait()
    report = look(rig, flow, wait_s=0.5)
    hold.release()
    assert (report.result, report.found, report.unsettled) == ("incomplete", 0, SMALL)
    flow.wait_same()
    assert look(rig, flow).result == "clean"


def test_a_check_while_a_copy_runs(rig: Rig) -> None:
    """nothing_silent: what a copy has yet to bring is no drift: the check says that there is nothing to compare."""
    flow = add_every_kind(rig.scene, SMALL)
    hold = rig.mongo_proxy.hold_request(b"\x02find\x00", CHUNKS)
    rig.scene.daemon.launch()
    hold.wait()
    report = look(rig, flow)
    assert (report.result, report.documents) == ("incomplete", 0)
    assert "copies" in report.ended
    hold.release()
    flow.wait_live()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_S) == -signal.SIGKILL


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.at_scale("check-kill", "repair-interrupt")
@pytest.mark.parametrize("end", [kill, interrupt])
@pytest.mark.parametrize("words", [(), ("--repair",)], ids=["check", "repair"])
def test_an_end_in_the_middle(
    rig: Rig, words: tuple[str, ...], end: Callable[[subprocess.Popen[str]], None]
) -> None:
    """never_backwards, no_ghosts: killed or interrupted in the middle of a check or of a repair, the command harms
    nothing; the next one finds what is left, and repairs it."""
    flow = begin(rig, SMALL)
    planted = plant(flow, range(22))
    if words:
        hold = rig.redis_proxy.hold_request(b"\r\nSADD\r\n", flow.names.control("repair").encode())
    else:
        hold = rig.mongo_proxy.hold_request(b"\x02find\x00", CHUNKS, nth=3)
    env = {
        "SYNCD_MONGO_URI": rig.mongo_proxy.mongo_uri, "SYNCD_REDIS_URL": rig.redis_proxy.redis_url,
        "SYNCD_CONTRACTS": str(rig.scene.contracts.path), "SYNCD_CHUNK_DOCUMENTS": "50",
    }  # fmt: skip
    with running(flow.contract, *words, **env) as process:
        hold.wait()
        end(process)
        hold.release()
        if end is interrupt:
            out, _ = process.communicate(timeout=20)
            assert process.returncode == 1
            assert "not finished: stopped" in out
    if not words:
        assert drift_of(look(rig, flow)) == planted
    assert look(rig, flow, repair=True).left == 0
    assert look(rig, flow).result == "clean"
    flow.assert_same()


def test_a_daemon_that_is_killed_while_it_repairs(rig: Rig) -> None:
    """nothing_lost, no_ghosts: what was asked of a daemon that dies is done by the next; the check waits for it."""
    flow = begin(rig, SMALL)
    planted = plant(flow, range(22))
    hold = rig.redis_proxy.hold_reply(b"syncd_apply", flow.key(0).encode() + b"\r\n")
    found: list[ReconcileReport] = []
    thread = threading.Thread(target=lambda: found.append(look(rig, flow, repair=True)))
    thread.start()
    hold.wait()
    rig.scene.daemon.kill()
    assert flow.redis.scard(flow.names.control("repair")) == len(planted)
    rig.scene.start()
    thread.join(PATIENCE_S)
    assert (drift_of(found[0]), found[0].repaired, found[0].left) == (planted, len(planted), 0)
    assert look(rig, flow).result == "clean"


def test_a_daemon_that_is_stopped_while_it_checks(rig: Rig) -> None:
    """nothing_silent: a stop does not wait for a check to come to its end, and leaves nothing unrepaired permanently:
    the next daemon checks again."""
    checks = {"every": "1s", "mode": "repair", "max_documents_per_second": 50}
    films = [{"_id": n, "title": f"film {n}"} for n in range(SMALL)]
    flow = rig.scene.run("film", projection(["title"]), documents=films, reconcile=checks)
    daemon = rig.scene.daemon
    flow.redis.delete(flow.key(SMALL - 1))
    wait_until(lambda: daemon.logs(event="check started"), 20)
    wait_until(lambda: flow.metric("syncd_reconcile_documents_total") > 0, 20)
    assert daemon.terminate() == 0
    (line,) = daemon.logs(event="check finished")
    assert (line["ended"], line["result"], line["documents"] < SMALL) == ("stopped", "incomplete", True)
    flow.write(projection(["title"]), reconcile={**checks, "max_documents_per_second": 10_000})
    rig.scene.start()
    flow.wait_same()
