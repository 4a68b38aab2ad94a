"""A contract whose edits wait for approval (nothing_lost, nothing_silent)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import closing
from typing import Any

from syncd.stores.redis.records.claims import read_contracts
from syncd.stores.redis.records.requests.approvals import approve
from syncd.stores.redis.store import RedisStore
from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

PLANNED = {"apply": "planned"}
OLD, NEW = projection({"title": "title"}), projection({"title": "title", "n": "n"})
FILMS: list[dict[str, Any]] = [{"_id": at, "title": f"film {at}", "n": 0} for at in range(50)]


def approve_over_http(rig: Rig, flow: Flow, plan: str) -> int:
    request = urllib.request.Request(
        f"{rig.scene.daemon.url}/api/v1/contracts/{flow.contract}/approve", method="POST",
        headers={"Authorization": "Bearer secret"}, data=json.dumps({"plan": plan}).encode(),
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def waiting(rig: Rig) -> dict[str, str]:
    found: dict[str, str] = rig.scene.daemon.status()["contracts"]["waiting"]
    return found


def wait_waiting(rig: Rig, flow: Flow) -> str:
    wait_until(lambda: set(waiting(rig)) == {flow.contract}, 30, rig.scene.daemon.process.log_tail)
    return waiting(rig)[flow.contract]


def test_an_edit_waits_through_kills(rig: Rig) -> None:
    """nothing_lost: an edit waits, also one that takes the need for an approval away, while the contract goes on as it
    was, through a kill, and other contracts take theirs up. Only the very edit that was approved is taken up."""
    servers = {"SYNCD_REDIS_URL": rig.redis.url, "SYNCD_MONGO_URI": rig.mongo.uri}
    other = rig.scene.run("other", OLD, documents=FILMS, env={"SYNCD_TOKEN": "secret"})
    flow = rig.scene.add("film", OLD, documents=FILMS, sync=PLANNED)
    first = wait_waiting(rig, flow)
    assert not rig.scene.daemon.is_ready() and flow.contract in rig.scene.daemon.status()["unknown"]
    assert not flow.keys()
    with closing(RedisStore(rig.redis.url)) as store:
        wait_until(lambda: other.contract in read_contracts(store), 30, message="others are known")
    said = cli.syncd("plan", "--contracts", rig.scene.contracts.path, **servers)
    assert f"syncd approve {flow.contract} {first}" in said.stdout, said
    done = cli.syncd("approve", flow.contract, "--contracts", rig.scene.contracts.path, "--yes", **servers)
    assert done.returncode == 0, done
    flow.wait_live()
    rig.scene.daemon.wait_ready()

    flow.write(NEW)  # without `apply: planned`
    other.write(NEW)
    second = wait_waiting(rig, flow)
    other.wait_same()
    rig.scene.daemon.kill()
    flow.collection.update_one({"_id": 1}, {"$set": {"title": "changed"}})
    rig.scene.start()
    rig.scene.daemon.wait_ready()
    flow.wait_hash(1, {"title": "changed"})
    assert wait_waiting(rig, flow) == second
    text = cli.syncd("status", SYNCD_HTTP=rig.scene.daemon.url.partition("//")[2]).stdout
    assert f"{flow.contract}: an edit waits for approval" in text and second in text
    assert approve_over_http(rig, flow, first) == 409

    flow.write(NEW, sync=PLANNED)
    third = wait_until(lambda: (found := wait_waiting(rig, flow)) != second and found, 30)
    for typo in ("", third[:-1], "films"):
        refused = cli.syncd("approve", flow.contract, typo, **servers)
        assert refused.returncode == 2 and "no plan has this name" in refused.stderr, refused
    old = cli.syncd("approve", flow.contract, second, **servers)
    assert old.returncode == 1 and f"`syncd approve {flow.contract} {third}`" in old.stderr, old
    assert approve_over_http(rig, flow, second) == 409
    approve(RedisStore(rig.redis.url), flow.contract, second, "a release before")
    other.catch_up()
    assert flow.hash(1) == {"title": "changed"}, "that edit is not what the file says now"
    assert approve_over_http(rig, flow, third) == 202
    flow.wait_same()
    wait_until(lambda: not waiting(rig), 30)
    rig.scene.daemon.kill()
    rig.scene.start()
    rig.scene.daemon.wait_ready()
    flow.assert_same()
    assert not waiting(rig)
    for plan, why in ((third, "is what runs already"), (second, "no daemon waits for plan")):
        refused = cli.syncd("approve", flow.contract, plan, **servers)
        assert refused.returncode == 1 and why in refused.stderr, refused

    flow.write(OLD, sync=PLANNED)
    assert wait_waiting(rig, flow) == first
    rig.scene.contracts.write_text(
        "film", rig.scene.contracts.file("film").read_text() + "\n# only a comment\n"
    )
    wait_waiting(rig, flow)
    flow.write(NEW, sync=PLANNED)
    wait_until(lambda: not waiting(rig), 30)


def test_an_edit_while_redis_is_away(rig: Rig) -> None:
    """nothing_silent: whether an edit may run is not known then; it is taken up when Redis answers again."""
    flow = rig.scene.run("film", OLD, documents=FILMS)
    rig.redis.kill()
    flow.write(NEW)
    wait_until(
        lambda: rig.scene.daemon.logs(event="contracts reloaded"), 30, rig.scene.daemon.process.log_tail
    )
    rig.redis.start()
    flow.wait_same()
