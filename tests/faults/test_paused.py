"""A contract that a person has paused (nothing_lost, fenced, nothing_silent)."""

from __future__ import annotations

from subprocess import CompletedProcess
from typing import Any

from syncd.stores.redis.functions import PROTOCOL
from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow

CARD = projection({"title": "title", "n": "n"})
COUNT = 200


def films(n: int = 0) -> list[dict[str, Any]]:
    return [{"_id": at, "title": f"film {at}", "n": n} for at in range(COUNT)]


def ask(rig: Rig, *words: str) -> CompletedProcess[str]:
    return cli.syncd(
        *words, SYNCD_REDIS_URL=rig.redis.url, SYNCD_HTTP=rig.scene.daemon.url.partition("//")[2]
    )


def shown(flow: Flow) -> dict[str, dict[str, str]]:
    return flow.hashes()


def test_a_pause_outlives_kills(rig: Rig) -> None:
    """nothing_lost: a contract is paused, the daemon is killed and started again, and a second one starts: nothing is
    written, and the other contract goes on. Once it is resumed every change shows, and nothing was copied again."""
    flow = rig.scene.run("film", CARD, documents=films())
    other = rig.scene.run("other", CARD, documents=films())
    done = ask(rig, "pause", flow.contract, "--why", "we move the shop")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert not rig.scene.redis.exists(flow.names.control("lease"))
    before, position = shown(flow), flow.position()
    flow.collection.update_many({}, {"$set": {"n": 1}})
    flow.collection.delete_many({"_id": {"$lt": 10}})
    other.collection.update_many({}, {"$set": {"n": 1}})
    other.catch_up()
    for _ in range(2):
        lane = flow.wait_state("paused")
        assert (
            "we move the shop" in lane["complaint"] and f"syncd resume {flow.contract}" in lane["complaint"]
        )
        assert lane["paused"]["why"] == "we move the shop" and not lane["ready"]
        assert flow.metric("syncd_paused") == 1 and flow.metric("syncd_lease_held") == 0
        code, body = rig.scene.daemon.get("/readyz")
        assert code == 503 and flow.contract in body and other.contract not in body
        rig.scene.daemon.kill()
        with rig.scene.another_daemon() as second:
            wait_until(lambda: {lane["state"] for lane in second.status()["lanes"]} == {"paused", "live"}, 30)
        rig.scene.start()
        other.catch_up()
    assert (shown(flow), flow.position()) == (before, position), "something was written"
    assert ask(rig, "snapshot", flow.contract).returncode == 1, "a request waits"
    rig.scene.redis.delete(flow.names.control("requests"))
    assert ask(rig, "status").returncode == 1
    assert ask(rig, "resume", flow.contract).returncode == 0
    flow.catch_up()
    flow.assert_same()
    assert flow.metric("syncd_paused") == 0
    assert len(rig.scene.daemon.logs(event="snapshot started", contract=flow.contract)) == 1
    assert ask(rig, "resume", flow.contract).returncode == 1, "it is not paused"


def test_no_lease_is_given_while_a_contract_is_paused(rig: Rig) -> None:
    """fenced: a lane that had not heard of the pause yet when it asked for its lease gets none, in the same step."""
    flow = rig.scene.run("film", CARD, documents=films())
    assert ask(rig, "pause", flow.contract).returncode == 0
    reply = rig.scene.redis.execute_command(
        "FCALL", "syncd_lease", 2, flow.names.control("lease"), flow.names.control("position"),
        PROTOCOL, "someone", 10_000, 1, 1,
        '{"seen": "0", "taken": [], "dropped": [], "draw": 5, "force": true, "claims": [], "version": "v"}',
    )  # fmt: skip
    assert reply[0] == b"paused" and not rig.scene.redis.exists(flow.names.control("lease"))
