"""Members of shared keys that expire, by a date in their document."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd.stores.redis.functions import PROTOCOL
from tests.support.check import wait_until
from tests.support.scene import Flow, Scene
from tests.support.shapes.members import BOARD, NEAR, RECALL, TAGS, members_of, player
from tests.support.ways.reconcile import check

EXPIRE = {"expire": {"field": "until"}}
ONLINE, TAGGED, PLACE, MEMORY = ({**one, **EXPIRE} for one in (BOARD, TAGS, NEAR, RECALL))


@pytest.fixture
def scene(redis_url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


def after(seconds: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)


def wait_members(flow: Flow, *members: int) -> None:
    """Until these are on the board, and have their tags."""
    names = {str(member) for member in members}

    def found() -> list[set[str]]:
        return [
            {member for board in members_of(flow, said["projection"]).values() for member in board}
            for said in flow.projections
        ]

    wait_until(
        lambda: all(one == names for one in found()), 60, lambda: f"{found()}, not {names}; {flow.lane()}"
    )


def test_a_member_until_a_date(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """no_ghosts: a document is a member until its date, of whatever type the key is; the date moves and goes with the
    document, and what is past already, or passed while no daemon ran, is no member. A check finds no difference."""
    documents = [
        player(1, until=after(3600)),
        player(2),
        player(3, until=after(-1)),
        player(4, until=after(1.5)),
    ]
    flow = scene.run("until", ONLINE, TAGGED, PLACE, MEMORY, documents=documents)
    wait_members(flow, 1, 2)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    flow.collection.update_one({"_id": 1}, {"$set": {"until": after(1)}})
    flow.collection.update_one({"_id": 2}, {"$set": {"until": after(3600), "points": 7}})
    flow.collection.update_one({"_id": 3}, {"$unset": {"until": ""}})
    flow.collection.update_one({"_id": 4}, {"$set": {"until": after(2), "game": "go"}})
    wait_members(flow, 2, 3)
    flow.collection.update_one({"_id": 4}, {"$set": {"until": None, "points": 9}})
    flow.collection.update_one({"_id": 3}, {"$set": {"until": after(1)}})
    wait_until(lambda: members_of(flow, "board").get("go") == {"4": 9.0}, 60)
    scene.daemon.kill()
    flow.collection.update_one({"_id": 2}, {"$set": {"until": after(0.5)}})
    flow.collection.delete_one({"_id": 4})
    scene.start()
    wait_members(flow)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    assert flow.redis.zcard(deadlines(flow, "board")) == 1
    assert scene.daemon.logs(event="members expired", contract=flow.contract)
    flow.collection.update_one({"_id": 2}, {"$set": {"points": 8}})
    flow.collection.insert_one(player(5))
    wait_members(flow, 5)


def test_what_another_client_does(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """A check finds members that are missing before their date, members of a document that is past it, and deadlines
    that differ; and repairs them. Deadlines that are lost as a whole are noticed, and made again."""
    flow = scene.run("drift", ONLINE, documents=[player(n, until=after(3600)) for n in range(5)])
    board, names = flow.key("chess", "board"), deadlines(flow, "board")
    flow.collection.update_one({"_id": 0}, {"$set": {"until": after(-3600)}})
    wait_members(flow, 1, 2, 3, 4)
    flow.redis.zadd(board, {"0": 0})
    flow.redis.zrem(board, 1)
    flow.redis.zadd(names, {"2": 1e15})
    flow.redis.zrem(names, 3)
    report = check(scene, flow, mongo_uri, redis_url, repair=True)
    assert {kind: n for kind, n in report.drift.items() if n} == {"missing": 1, "extra": 1, "ttl": 2}, report
    assert report.left == 0
    wait_members(flow, 1, 2, 3, 4)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    flow.redis.delete(names)
    wait_until(lambda: flow.redis.zcard(names) == 5, 60, flow.lane)


def test_what_is_no_date(scene: Scene) -> None:
    """nothing_silent: what is no date is a dead letter, and the document stays the member that it was, until then."""
    flow = scene.run("odd", ONLINE, documents=[player(1, until=after(2)), player(2, until="soon")])
    wait_until(lambda: [one["reason"] for one in flow.dead_letters()] == ["ttl_not_a_date"], 60, flow.lane)
    flow.collection.update_one({"_id": 1}, {"$set": {"until": "later", "game": "go"}})
    wait_until(lambda: len(flow.dead_letters()) == 2, 60, flow.lane)
    assert "go" not in members_of(flow, "board")
    wait_members(flow)
    flow.collection.update_many({}, {"$set": {"until": datetime.datetime(9999, 1, 1)}})
    wait_members(flow, 1, 2)


def test_a_daemon_without_the_lease_removes_nothing(scene: Scene) -> None:
    """fenced: what removes members checks the lease."""
    flow = scene.run("fence", ONLINE, documents=[player(1, until=after(3600))])
    names = [flow.names.control(name) for name in ("lease", "position")]
    map_of = f"members:board:{flow.names.prefix('board')}{{game}}"
    args = [flow.names.control(map_of), deadlines(flow, "board"), 500]
    said: Any = flow.redis.execute_command("FCALL", "syncd_take_due", 2, *names, PROTOCOL, "another:1", *args)
    assert said[0] == b"fenced"


def test_an_edit(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """no_ghosts: `expire` comes, moves to another template and goes by edits of the contract, and the deadlines of
    the template before go with it."""
    flow = scene.run(
        "edit", BOARD, documents=[player(n, until=after(3600), past=after(-9)) for n in range(9)]
    )
    flow.write({**BOARD, "expire": {"field": "past"}}, version="2.0.0")
    wait_members(flow)
    flow.write({**ONLINE, "key": "again:{game}"}, version="3.0.0")
    wait_members(flow, *range(9))
    wait_until(lambda: len([*flow.redis.scan_iter(flow.names.control("deadlines:*"), count=1000)]) == 1, 60)
    flow.write({**BOARD, "key": "again:{game}"}, version="4.0.0")
    wait_members(flow, *range(9))
    wait_until(lambda: check(scene, flow, mongo_uri, redis_url).result == "clean", 60)


def deadlines(flow: Flow, projection: str) -> str:
    return flow.names.control(f"deadlines:{projection}:{flow.names.prefix(projection)}{{game}}")
