"""What becomes of a position from which MongoDB cannot, or does not want to, go on (nothing_lost, no_ghosts,
nothing_silent).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig
from tests.support import cli
from tests.support.broken.failpoint import failing
from tests.support.broken.hold import Hold
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Flow, Scene

FIELDS = {"title": "title", "n": "n"}
COUNT = 300
CARD = projection(FIELDS)


def film(number: int, n: int = 0) -> dict[str, Any]:
    return {"_id": number, "title": f"film {number}", "n": n}


def films(count: int = COUNT) -> list[dict[str, Any]]:
    return [film(number) for number in range(count)]


def change_everything(flow: Flow, turn: int = 1) -> None:
    """A third is deleted, a third changed, some come again; two of them in one transaction."""
    flow.collection.delete_many({"_id": {"$lt": COUNT // 3}})
    flow.collection.update_many({"_id": {"$lt": 2 * COUNT // 3}}, {"$inc": {"n": turn}})
    flow.collection.insert_many([film(1000 * turn + number) for number in range(10)])
    with flow.collection.database.client.start_session() as session, session.start_transaction():
        flow.collection.delete_one({"_id": COUNT - 1}, session=session)
        flow.collection.insert_one(film(COUNT - 1, -turn), session=session)
        flow.collection.update_one({"_id": COUNT - 1}, {"$inc": {"n": 7}}, session=session)


def hold_copy(rig: Rig, flow: Flow) -> Hold:
    """The next copy stops before it writes its last document, which no change concerns."""
    return rig.redis_proxy.hold_request(b"syncd_apply", flow.key(COUNT - 2).encode() + b"\r\n")


def snapshots(scene: Scene) -> int:
    return len(scene.daemon.logs(event="snapshot started"))


def ask_for_snapshot(flow: Flow, redis_url: str) -> None:
    done = cli.syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_url)
    assert done.returncode == 0, done.stderr


@pytest.mark.at_scale("464", "260", "50811")
@pytest.mark.parametrize("code", [280, 286, 464, 260, 50811])
def test_a_history_that_is_lost(rig: Rig, code: int) -> None:
    """no_ghosts: a position that MongoDB cannot resume costs a copy and a sweep; not ready until they are done."""
    flow = rig.scene.run("film", CARD, documents=films())
    rig.scene.daemon.wait_ready()
    rig.scene.daemon.kill()
    change_everything(flow)
    gone = COUNT // 3
    with failing(flow.collection, "aggregate", code, times=1):
        copying = hold_copy(rig, flow)
        rig.scene.start()
        copying.wait()
        assert snapshots(rig.scene) == 2
        assert flow.redis.exists(*(flow.key(n) for n in range(gone))) == gone, "the orphans are still there"
        assert rig.scene.daemon.get("/readyz")[0] == 503
        copying.release()
    flow.wait_live()
    flow.assert_same()
    rig.scene.daemon.wait_ready()
    (lost,) = rig.scene.daemon.logs(event="position lost")
    assert str(code) in lost["error"]


@pytest.mark.at_scale("280")
@pytest.mark.parametrize("code", [280, 286])
def test_a_history_that_is_lost_while_the_lane_is_live(rig: Rig, code: int) -> None:
    """nothing_lost, nothing_silent: readiness goes with the position and comes back with the copy."""
    rig.keep_own_streams()
    flow = rig.scene.run("film", CARD, documents=films())
    rig.scene.daemon.wait_ready()
    copying = hold_copy(rig, flow)
    with failing(flow.collection, "getMore", code, times=1) as point:
        change_everything(flow)
        point.wait_hits(1)
        copying.wait()
        assert not rig.scene.daemon.is_ready()
        copying.release()
    rig.scene.daemon.wait_ready()
    flow.catch_up()
    flow.assert_same()
    assert snapshots(rig.scene) == 2


@pytest.fixture(scope="module")
def small_oplog(no_child_survives: None) -> Iterator[ReplicaSet]:
    """An oplog of 1 MB, cut at every checkpoint, and a checkpoint a second."""
    server = ReplicaSet(oplog_mb=1)
    server.members[0].process.command += ["--syncdelay", "1"]
    with server:
        yield server


def roll_over(scene: Scene) -> None:
    """Other writes push everything written until now out of the oplog."""
    oplog = scene.mongo.local["oplog.rs"]
    last = oplog.find_one(sort=[("$natural", -1)])["ts"]
    turn = iter(range(1_000_000))

    def push() -> bool:
        text = str(next(turn)).ljust(400_000)
        scene.mongo[scene.token].other.replace_one({"_id": 1}, {"text": text}, upsert=True)
        return bool(oplog.find_one(sort=[("$natural", 1)])["ts"] > last)

    wait_until(push, 30)


@pytest.mark.parametrize("away", ["killed", "paused"])
def test_an_oplog_that_moved_on(
    small_oplog: ReplicaSet, redis_server: RedisServer, tmp_path: Path, away: str
) -> None:
    """no_ghosts: changes that fell out of the oplog while the daemon was down, or the contract paused, are found by a
    copy and a sweep. The status of a contract that is paused says so before."""
    redis = redis_server.url
    with Scene(tmp_path, "faults", small_oplog.uri, redis) as scene:
        scene.mongo.drop_database("faults")
        scene.redis.flushall()
        flow = scene.run("film", CARD, documents=films())
        if away == "killed":
            scene.daemon.kill()
        else:
            assert cli.syncd("pause", flow.contract, SYNCD_REDIS_URL=redis).returncode == 0
        change_everything(flow)
        roll_over(scene)
        if away == "killed":
            scene.start()
        else:
            wait_until(lambda: "no longer reaches back" in flow.lane()["complaint"], 60, flow.lane)
            assert cli.syncd("resume", flow.contract, SYNCD_REDIS_URL=redis).returncode == 0
        flow.wait_live()
        flow.assert_same()
        (lost,) = scene.daemon.logs(event="position lost")
        assert "286" in lost["error"]
        assert snapshots(scene) == 2
        flow.collection.update_many({}, {"$inc": {"n": 1}})
        flow.catch_up()
        flow.assert_same()


def reached(flow: Flow) -> int:
    """The time of the position's token, in seconds: a token begins with it, behind one byte."""
    return int(json.loads(flow.position()["token"])["_data"][2:10], 16)


def test_an_idle_lane_keeps_up_with_a_small_oplog(
    small_oplog: ReplicaSet, redis_server: RedisServer, tmp_path: Path
) -> None:
    """nothing_lost: a lane without traffic does not let its position age out of an oplog that others fill."""
    with Scene(tmp_path, "faults", small_oplog.uri, redis_server.url) as scene:
        scene.mongo.drop_database("faults")
        scene.redis.flushall()
        flow = scene.run("film", CARD, documents=films())
        for _ in range(min(SCALE, 2)):
            roll_over(scene)
            # One that was stored in the middle of it may be gone already.
            end = scene.mongo.admin.command("ping")["$clusterTime"]["clusterTime"].time
            wait_until(lambda end=end: reached(flow) > end, 30, flow.position)
        scene.daemon.kill()
        change_everything(flow)
        scene.start()
        flow.wait_live()
        flow.assert_same()
        assert snapshots(scene) == 1, scene.daemon.process.log_tail()
        assert not scene.daemon.logs(event="position lost")


def test_a_contract_that_wants_a_person(rig: Rig) -> None:
    """nothing_silent: under `on_unresumable_position: fail` a loss stays, and says so, until a person asks."""
    flow = rig.scene.run("film", CARD, documents=films(), sync={"on_unresumable_position": "fail"})
    other = rig.scene.run("other", CARD, documents=films())
    rig.scene.daemon.kill()
    change_everything(flow)
    with failing(flow.collection, "aggregate", 286) as point:
        rig.scene.start()
        lane = flow.wait_state("failed")
        other.wait_live()
        for part in ("286", f"syncd snapshot {flow.contract}"):
            assert part in lane["error"]
        code, body = rig.scene.daemon.get("/readyz")
        assert code == 503
        assert f"syncd snapshot {flow.contract}" in body
        point.wait_hits(3)
        assert flow.lane()["state"] == "failed"
        assert len(rig.scene.daemon.logs(event="position lost", level="error", action="stopped")) == 1
        assert flow.keys() == {str(number) for number in range(COUNT)}, "nothing was touched"
    ask_for_snapshot(flow, rig.redis.url)
    flow.wait_live()
    rig.scene.daemon.wait_ready()
    flow.assert_same()
    other.assert_same()
    why = "a person asked for it"
    assert rig.scene.daemon.logs(event="snapshot started", contract=flow.contract, reason=why)


def test_positions_lost_again_and_again(rig: Rig) -> None:
    """nothing_silent: after three losses without progress the lane stops and asks for a person; others run on."""
    flow = rig.scene.run("film", CARD, documents=films())
    other = rig.scene.run("other", CARD, documents=films())
    with failing(flow.collection, "aggregate", 286) as point:
        rig.mongo_proxy.cut()
        rig.mongo_proxy.restore()
        lane = flow.wait_state("failed")
        point.wait_hits(5)
        assert f"syncd snapshot {flow.contract}" in lane["error"]
        assert flow.lane()["state"] == "failed"
        losses = rig.scene.daemon.logs(event="position lost")
        assert [loss["action"] for loss in losses] == ["resnapshot"] * 3 + ["stopped"]
        assert losses[-1]["level"] == "error"
        assert not rig.scene.daemon.is_ready()
        other.collection.update_many({}, {"$set": {"n": 5}})
        other.wait_same()
        assert other.lane()["state"] == "live"
    change_everything(flow)
    ask_for_snapshot(flow, rig.redis.url)
    flow.wait_live()
    flow.assert_same()


def test_losses_that_were_repaired_are_not_counted(rig: Rig) -> None:
    """nothing_silent: a loss of which the lane recovered is not held against it, without documents too."""
    rig.keep_own_streams()
    flow = rig.scene.run("film", CARD)
    for turn in range(1, 6):
        with failing(flow.collection, "getMore", 286, times=1) as point:
            point.wait_hits(1)
        wait_until(lambda turn=turn: len(rig.scene.daemon.logs(event="position lost")) == turn, 20, flow.lane)
        flow.wait_live()
    losses = rig.scene.daemon.logs(event="position lost")
    assert {loss["action"] for loss in losses} == {"resnapshot"}
    flow.collection.insert_many(films(10))
    flow.wait_same()


def test_a_copy_that_never_ends(rig: Rig) -> None:
    """nothing_silent: a position that is lost while each copy runs stops the lane, which would copy for ever."""
    rig.redis_proxy.delay(0.01)
    env = {"SYNCD_CHUNK_DOCUMENTS": "20"}
    flow = rig.scene.add("film", CARD, documents=films())
    rig.scene.daemon = rig.scene.another_daemon(**env)
    with failing(flow.collection, "getMore", 286):
        rig.scene.start()
        lane = flow.wait_state("failed")
        assert f"syncd snapshot {flow.contract}" in lane["error"]
    assert snapshots(rig.scene) == 4
    rig.redis_proxy.restore()
    ask_for_snapshot(flow, rig.redis.url)
    flow.wait_live()
    flow.assert_same()


LOST = {
    "not-hexadecimal": ("token", '{"_data": "no token at all"}'),
    "cut-off": ("token", '{"_data": "826B0302C1000000162B022C0100296E5A100475"}'),
    "empty": ("token", '{"_data": ""}'),
    "another-type": ("token", '{"_data": 5}'),
    "no-data": ("token", '{"x": 1}'),
    "a-list": ("token", "[]"),
    "from-the-future": ("time", "4000000000:1"),
}


def test_positions_that_mongodb_cannot_know(rig: Rig) -> None:
    """no_ghosts, nothing_silent: no token at all, or a time that MongoDB has not come to, is a lost position."""
    flows = [rig.scene.add(name, CARD, documents=films()) for name in LOST]
    other = rig.scene.run("other", CARD, documents=films())
    for flow in flows:
        flow.wait_live()
    rig.scene.daemon.kill()
    for flow, (field, value) in zip(flows, LOST.values(), strict=True):
        change_everything(flow)
        flow.redis.hset(flow.names.control("position"), field, value)
    rig.scene.start()
    for flow in (*flows, other):
        flow.wait_live()
        flow.assert_same()
    losses = rig.scene.daemon.logs(event="position lost")
    assert {loss["contract"] for loss in losses} == {flow.contract for flow in flows}
    rig.scene.daemon.wait_ready()


def test_a_token_of_another_collection(rig: Rig) -> None:
    """nothing_lost, no_ghosts: a token of another collection does not make the lane skip anything."""
    other = rig.scene.add("other", CARD, documents=films(10))
    flow = rig.scene.run("film", CARD, documents=films())
    other.catch_up()
    rig.scene.daemon.kill()
    change_everything(flow)
    flow.redis.hset(flow.names.control("position"), "token", other.position()["token"])
    rig.scene.start()
    flow.catch_up()
    flow.assert_same()
    other.assert_same()


NO_POSITIONS: dict[str, tuple[str, str | bytes | None]] = {
    "not-json": ("token", "{"),
    "not-a-time": ("time", "yesterday"),
    "not-a-number": ("copied", "many"),
    "not-bson": ("left", "xyz"),
    "not-utf8": ("phase", b"\xff"),
    "not-a-list": ("owned", "5"),
    "incomplete": ("mark", None),
}


def test_positions_that_are_none(rig: Rig) -> None:
    """nothing_silent: a position hash that holds something else stops its own lane, and the message says what helps."""
    flows = [rig.scene.add(name, CARD, documents=films()) for name in NO_POSITIONS]
    no_hash = rig.scene.add("no-hash", CARD, documents=films())
    other = rig.scene.run("other", CARD, documents=films())
    for flow in (*flows, no_hash):
        flow.wait_live()
    rig.scene.daemon.kill()
    for flow, (field, value) in zip(flows, NO_POSITIONS.values(), strict=True):
        name = flow.names.control("position")
        flow.redis.hdel(name, field) if value is None else flow.redis.hset(name, field, value)
    flow.redis.delete(no_hash.names.control("position"))
    flow.redis.set(no_hash.names.control("position"), "something else")
    rig.scene.start()
    other.wait_live()
    broken = [*flows, no_hash]
    for flow in broken:
        error = flow.wait_state("failed")["error"]
        assert flow.names.control("position") in error, error
        assert "delete that key" in error, error
        (entry,) = rig.scene.daemon.logs(event="lane interrupted", contract=flow.contract)
        assert entry["level"] == "error"
    waiting = json.loads(rig.scene.daemon.get("/readyz")[1])["waiting_for"]
    assert waiting.keys() == {flow.contract for flow in broken}
    for flow in (*broken, other):
        change_everything(flow)
    other.wait_same()
    rig.scene.daemon.kill()
    other.redis.delete(*(flow.names.control("position") for flow in broken))
    rig.scene.start()
    for flow in broken:
        flow.wait_live()
        flow.assert_same()
