"""A contract that is gone is removed, while another one works (no_ghosts, nothing_lost)."""

from __future__ import annotations

import json
import threading
import urllib.request
from typing import Any

from tests.faults.conftest import Rig, again
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection({"title": "title", "n": "n"})
COUNT = 2500


def films() -> list[dict[str, Any]]:
    return [{"_id": at, "title": f"film {at}", "n": 0} for at in range(COUNT)]


def call(rig: Rig, path: str, body: object = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{rig.scene.daemon.url}/api/v1{path}", headers={"Authorization": "Bearer secret"},
        data=None if body is None else json.dumps(body).encode(), method="GET" if body is None else "POST",
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as reply:
        answer: dict[str, Any] = json.load(reply)
    return answer


def orphans(rig: Rig) -> list[str]:
    return [one["contract"] for one in call(rig, "/orphans")["orphans"]]


def test_a_removal_that_is_killed_under_load(rig: Rig) -> None:
    """no_ghosts: keys and records of a contract without a file go, by two requests, of which the first dies with its
    daemon. Another contract, whose documents change all the time, loses nothing, and the one that comes back copies."""
    env = {"SYNCD_TOKEN": "secret"}
    gone = rig.scene.run("gone", CARD, documents=films(), env=env)
    other = rig.scene.run("other", CARD, documents=films())
    stop = threading.Event()
    load = threading.Thread(target=_write, args=(other, stop))
    load.start()
    try:
        rig.scene.contracts.remove("gone")
        wait_until(lambda: orphans(rig) == [gone.contract], 60)
        hold = rig.redis_proxy.hold_request(b"syncd_remove_keys", nth=2)
        assert call(rig, f"/contracts/{gone.contract}/remove", {"keys": True}) == {
            "accepted": [gone.contract]
        }
        hold.wait()
        assert 0 < len(gone.keys()) < COUNT
        again(rig)
        wait_until(lambda: orphans(rig) == [gone.contract], 60)
        call(rig, f"/contracts/{gone.contract}/remove", {"keys": True})
        wait_until(lambda: not orphans(rig), 60)
    finally:
        stop.set()
        load.join()
    assert not gone.keys() and not list(gone.redis.scan_iter(gone.names.control("*")))
    (told,) = rig.scene.daemon.logs(event="contract removed")
    assert 0 < told["keys"] < COUNT and told["records"] > 0
    other.catch_up()
    other.assert_same()
    gone.write(CARD)
    gone.wait_live()
    gone.assert_same()


def _write(flow: Flow, stop: threading.Event) -> None:
    n = 0
    while not stop.wait(0.02):
        n += 1
        flow.collection.update_many({"_id": {"$mod": [50, n % 50]}}, {"$set": {"n": n}})
