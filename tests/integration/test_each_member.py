"""Members that an application notes in an outbox become documents."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from syncd.reconcile.report import ReconcileReport
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Scene
from tests.support.shapes.each_member import live_board, members, note, wait_members
from tests.support.ways.outbox import add_outbox, call, documents, outbox, wait_documents
from tests.support.ways.reconcile import check


@pytest.fixture
def look(shared: Scene, mongo_uri: str, redis_url: str) -> Callable[..., ReconcileReport]:
    return lambda flow, **more: check(shared, flow, mongo_uri, redis_url, **more)


def test_planted_differences(shared: Scene, look: Callable[..., ReconcileReport]) -> None:
    """A score is any double. A check finds members without a document, documents without a member and with another
    score; a repair puts all of that right. A key that is gone as a whole may have expired: its documents stay."""
    flow = live_board(shared, "planted")
    call(flow, "zadd", "go", *(part for n in range(40) for part in (n, f"u{n}")))
    call(flow, "zadd", "chess", 1179132892590020.2, "u1", "-inf", "u2")
    wait_members(flow)
    assert look(flow).result == "clean"
    go = flow.key("go")
    flow.collection.delete_one({"_id": f"{go}:u1"})
    flow.collection.update_one({"_id": f"{go}:u2"}, {"$set": {"points.best": 99.0}})
    flow.redis.zrem(go, "u3")
    flow.redis.zadd(go, {"u4": 44, "more": 1})
    report = look(flow)
    assert {kind: count for kind, count in report.drift.items() if count} == {
        "missing": 2,
        "content": 2,
        "extra": 1,
    }
    assert look(flow, repair=True).left == 0
    assert documents(flow) == members(flow)
    flow.redis.delete(flow.key("chess"))
    report = look(flow)
    assert (report.found, report.expired) == (0, 2)


def test_what_is_no_member(shared: Scene, redis_url: str) -> None:
    """nothing_silent: a member that does not fit its template, a key of another type, however many members it had, and
    a key of another template are dead letters, which name them; the others arrive, and what fits later arrives by a
    replay or by its next change."""
    flow = live_board(shared, "odd")
    call(flow, "zadd", "chess", 1, "bob", 2, "cid")
    wait_members(flow)
    flow.redis.zadd(flow.key("go"), {"fits": 1, "with space": 2, b"\xff": 3})
    flow.redis.set(flow.key("chess"), "no board")
    note(flow, "go")
    note(flow, "chess")
    note(flow, "a:b")
    wait_until(lambda: len(flow.dead_letters()) == 4, 60, flow.dead_letters)
    reasons = sorted((one["reason"], one["key"].removeprefix(flow.key(""))) for one in flow.dead_letters())
    assert reasons == [
        ("foreign_key", "a:b"), ("foreign_key", "go:with space"), ("foreign_key", "go:\udcff"), ("wrong_type", "chess"),
    ]  # fmt: skip
    stay = {f"{flow.key('chess')}:{user}" for user in ("bob", "cid")}
    assert set(documents(flow)) == {f"{flow.key('go')}:fits", *stay}
    flow.redis.delete(flow.key("chess"))
    flow.redis.zadd(flow.key("chess"), {"ada": 7})
    done = syncd("deadletters", "replay", flow.contract, "--all", SYNCD_REDIS_URL=redis_url)
    assert "still failing" in done.stdout, done
    wait_until(lambda: f"{flow.key('chess')}:ada" in documents(flow), 60, flow.dead_letters)
    wait_until(lambda: not stay & documents(flow).keys(), 60, flow.lane)
    assert "wrong_type" not in [one["reason"] for one in flow.dead_letters()]


@pytest.mark.parametrize("between", [0, 2_500])
def test_a_lane_that_is_late_when_the_last_member_goes(shared: Scene, between: int) -> None:
    """no_ghosts: members go one by one, by rank and by name, and the key with the last of them, before the lane has
    read of any, also where the last entry is in a later batch; all their documents go, those of other keys stay."""
    flow = live_board(shared, f"late{between}")
    for game in ("go", "go2"):
        call(flow, "zadd", game, *(part for n in range(5) for part in (n, f"u{n}")))
    wait_members(flow)
    with flow.redis.pipeline(transaction=True) as pipe:
        for command, *args in (("zrem", "u4"), ("zremrangebyrank", 0, 1), ("zrem", "u2"), ("zrem", "u3")):
            if args == ["u3"]:
                for _ in range(between):
                    pipe.xadd(outbox(flow), {"key": flow.key("go2"), "member": "u1"})
            pipe.fcall(f"syncd_{command}", 2, flow.key("go"), outbox(flow), *args)
        pipe.execute()
    wait_members(flow)
    assert len(documents(flow)) == 5
    assert not flow.metric("syncd_writes_total", result="gone"), "what was deleted has not expired"


def test_one_key_whose_members_are_ids(shared: Scene, redis_url: str) -> None:
    """A key without a placeholder may have `{_id}` as its member: 42 is a number. Members that were there before the
    contract come with `syncd snapshot`; a tombstone stays where a member goes, and is none when it comes again."""
    shape = {"each": "member", "key": "online", "member": "{_id}"}
    flow = add_outbox(shared, "ids", None, type="set", shape=shape, sync={"on_delete": "tombstone"})
    key = f"{flow.names.prefix('card')}online"
    flow.redis.sadd(key, 42, "ada")
    flow.wait_live()
    assert not documents(flow)
    assert syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_url).returncode == 0
    wait_documents(flow, {42: {}, "ada": {}})
    call(flow, "srem", "online", 42)
    wait_until(lambda: "deleted" in flow.collection.find_one({"_id": 42})["_syncd"], 60, flow.lane)
    call(flow, "sadd", "online", 42, "bob")
    wait_until(lambda: "deleted" not in flow.collection.find_one({"_id": 42})["_syncd"], 60, flow.lane)
    wait_documents(flow, {42: {}, "ada": {}, "bob": {}})
