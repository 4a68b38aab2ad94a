"""Contracts of every direction are paused and resumed, by the command line and over HTTP."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support import cli
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.ways.keyspace import add_keyspace
from tests.support.ways.keyspace import write as write_hashes
from tests.support.ways.outbox import add_outbox, put, wait_functions
from tests.support.ways.stream import add_series, add_stream, append, append_timed
from tests.support.ways.twoway import add_two_way


@pytest.fixture(scope="module")
def daemon_scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Servers of this module's own: a capture changes options of Redis."""
    from syncd.embedded import RedisServer, ReplicaSet

    with (
        ReplicaSet() as mongo,
        RedisServer() as redis,
        Scene(
            tmp_path_factory.mktemp("paused"), "paused", mongo.uri, redis.url, env={"SYNCD_TOKEN": "secret"}
        ) as scene,
    ):
        yield scene


def post(scene: Scene, path: str, body: object = None, token: str = "secret") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"{scene.daemon.url}/api/v1{path}", method="POST", headers={"Authorization": f"Bearer {token}"},
        data=b"" if body is None else json.dumps(body).encode(),
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


Write = Callable[[Flow, int], object]


def _two_way(flow: Flow, n: int) -> None:
    flow.redis.hset(flow.key(n), mapping={"n": n, "a": "from redis"})


KINDS: dict[str, tuple[Callable[[Scene], Flow], Write]] = {
    "append": (lambda scene: add_stream(scene, "append"), lambda flow, n: append(flow, [n])),
    "series": (lambda scene: add_series(scene, "series"), lambda flow, n: append_timed(flow, [n])),
    "outbox": (lambda scene: add_outbox(scene, "outbox"), lambda flow, n: put(flow, [n], n)),
    "keyspace": (lambda scene: add_keyspace(scene, "keyspace"), lambda flow, n: write_hashes(flow, [n], n)),
    "both": (lambda scene: add_two_way(scene, "both", "keyspace"), _two_way),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_application_writes_meanwhile_arrives_afterwards(daemon_scene: Scene, kind: str) -> None:
    """nothing_lost: of a contract from Redis nothing reaches MongoDB while it is paused, and everything afterwards."""
    scene = daemon_scene
    add, write = KINDS[kind]
    flow = add(scene)
    if not scene.daemon.process.alive:
        scene.start()
    flow.wait_live()
    if kind == "outbox":
        wait_functions(flow)
    write(flow, 1)
    wait_until(lambda: flow.collection.count_documents({}) == 1, 30, flow.lane)
    done = cli.syncd("pause", flow.contract, SYNCD_REDIS_URL=scene.reach["redis_url"])
    assert done.returncode == 0, done.stderr
    flow.wait_state("paused")
    write(flow, 2)
    marker = scene.add(f"marker-{kind}", projection(["title"]), documents=[{"_id": 1, "title": "a"}])
    marker.wait_live()
    assert flow.collection.count_documents({}) == 1
    assert post(scene, f"/contracts/{flow.contract}/resume") == (202, {"accepted": [flow.contract]})
    wait_until(lambda: flow.collection.count_documents({}) == 2, 30, flow.lane)
    flow.wait_live()


def test_over_http(daemon_scene: Scene) -> None:
    """Who has the token pauses, resumes, copies, replays and drops; the answer says why something is not done, and the
    log who asked."""
    scene = daemon_scene
    documents: list[dict[str, Any]] = [{"_id": 1, "n": 1}, {"_id": 2, "n": "odd"}]
    flow = scene.run("films", projection({"n": {"from": "n", "type": "int"}}), documents=documents)
    at = f"/contracts/{flow.contract}"
    assert post(scene, f"{at}/pause", token="wrong")[0] == 401
    assert post(scene, f"{at}/pause", {"why": "a\nb"})[0] == 202
    lane = flow.wait_state("paused")
    assert lane["paused"]["why"] == "a\\nb" and "HTTP from 127.0.0.1" in lane["complaint"]
    assert post(scene, f"{at}/pause", {"reason": "no such member"})[0] == 400
    assert post(scene, "/contracts/nothing/pause")[0] == 404
    assert post(scene, f"{at}/resume")[0] == 202
    flow.wait_live()
    code, said = post(scene, f"{at}/resume")
    assert code == 409 and "not paused" in said["error"]
    copies = len(scene.daemon.logs(event="snapshot started", contract=flow.contract))
    assert post(scene, f"{at}/snapshot", {"allow": "removal"})[0] == 202
    wait_until(lambda: len(scene.daemon.logs(event="snapshot started", contract=flow.contract)) == copies + 1)
    flow.wait_live()
    assert post(scene, f"{at}/reconcile", {"mode": "report"})[0] == 202
    (dead,) = flow.redis.xrange(flow.names.control("dead"))
    assert post(scene, f"{at}/deadletters/replay", {"entries": [dead[0].decode()], "all": True})[0] == 400
    assert post(scene, f"{at}/deadletters/replay", {"all": True}) == (202, {"requested": 1})
    wait_until(lambda: not flow.redis.exists(flow.names.control("replay")))
    assert post(scene, f"{at}/deadletters/drop", {"all": True}) == (200, {"dropped": 1})
    assert post(scene, f"{at}/deadletters/drop", {"entries": ["1-1"]}) == (200, {"dropped": 0})
    asked = [line["action"] for line in scene.daemon.logs(event="asked for", contract=flow.contract)]
    assert asked[:4] == ["pause", "resume", "snapshot", "reconcile"] and "deadletters/drop" in asked
    assert post(scene, f"{at}/pause", {"why": "x" * 70_000})[0] == 413
    http = scene.daemon.url.partition("//")[2]
    lines = cli.syncd("logs", flow.contract, "--lines", "200", SYNCD_HTTP=http).stdout.splitlines()
    assert any("lane paused" in line for line in lines) and any(
        "action=snapshot" in line for line in lines
    ), lines
    assert not any("odd" in line for line in lines), "no values"
    assert cli.syncd("logs", "nothing", SYNCD_HTTP=http).returncode == 2
    assert flow.contract in cli.syncd("status", flow.contract, "-o", "wide", SYNCD_HTTP=http).stdout


def test_a_contract_over_several_collections(daemon_scene: Scene) -> None:
    """A pause of the whole counts for each collection, also for one that comes later; one collection may be paused
    alone."""
    scene = daemon_scene
    database = scene.mongo["paused_many"]
    database.a.insert_one({"_id": 1, "title": "a"})
    card = projection(["title"], key="{$collection}:{_id}")
    scene.contracts.write("many", card, collection="paused_many.*")
    if not scene.daemon.process.alive:
        scene.start()
    name = f"{scene.token}-many"

    def states() -> dict[str, str]:
        lanes = scene.daemon.status()["lanes"]
        return {
            lane["contract"].partition("@")[2]: lane["state"]
            for lane in lanes
            if lane["contract"].startswith(f"{name}@")
        }

    wait_until(lambda: states() == {"paused_many.a": "live"}, 60, states)
    assert post(scene, f"/contracts/{name}/pause")[0] == 202
    database.b.insert_one({"_id": 1, "title": "b"})
    wait_until(lambda: states() == dict.fromkeys(["paused_many.a", "paused_many.b"], "paused"), 60, states)
    assert post(scene, f"/contracts/{name}@paused_many.a/resume")[0] == 409, "the whole is paused"
    assert post(scene, f"/contracts/{name}/resume")[0] == 202
    wait_until(lambda: states() == dict.fromkeys(["paused_many.a", "paused_many.b"], "live"), 60, states)
    assert post(scene, f"/contracts/{name}@paused_many.a/pause")[0] == 202
    wait_until(lambda: states() == {"paused_many.a": "paused", "paused_many.b": "live"}, 60, states)
    assert post(scene, f"/contracts/{name}/resume")[0] == 202
    wait_until(lambda: states() == dict.fromkeys(["paused_many.a", "paused_many.b"], "live"), 60, states)


def test_where_a_part_can_be_copied(daemon_scene: Scene) -> None:
    """Documents that match a filter are copied in a contract that goes both ways too. A request is refused, with the
    reason, where no document is read, where nothing is to copy, and where all would be swept."""
    scene = daemon_scene
    append_only = add_stream(scene, "refused")
    documents = [{"_id": at, "n": at} for at in range(3)]
    feed = scene.add("feed", projection(["n"], type="stream", key="feed", name="feed"), documents=documents)
    both = add_two_way(scene, "part", "keyspace")
    both.collection.insert_many([{"_id": str(at), "n": at, "a": "of mongo"} for at in range(3)])
    if not scene.daemon.process.alive:
        scene.start()
    for flow in (append_only, feed, both):
        flow.wait_live()

    def copy(flow: Flow, **body: object) -> tuple[int, dict[str, Any]]:
        return post(scene, f"/contracts/{flow.contract}/snapshot", body)

    assert "from Redis to MongoDB" in copy(append_only, where={})[1]["error"]
    assert "change feed" in copy(feed, where={})[1]["error"]
    assert copy(both, where={}, allow="removal")[0] == 400
    odd: list[dict[str, Any]] = [{"$text": {"$search": "a"}}, {"n": 2**70}, {"a\0": 1}]
    odd += [{"$expr": {"$lt": ["$n", "$$NOW"]}}, {"n": {"$numberDecimal": "x"}}, {"_id": {"$oid": "x"}}]
    for refused in odd:
        assert copy(both, where=refused)[0] == 409, refused
    wait_until(lambda: len(both.keys()) == 3, 30, both.lane)
    assert copy(both, where={"n": {"$lt": 2}})[0] == 202
    wait_until(
        lambda: both.lane()["partial"] == {"copied": 2, "under_way": False, "error": ""}, 30, both.lane
    )
    both.wait_live()
    assert both.lane()["dead_letters"] == 0
    assert copy(both, where={"$expr": {"$divide": [1, 0]}})[0] == 202
    wait_until(lambda: "$divide by zero" in both.lane()["partial"]["error"], 30, both.lane)
