"""Keys of the best members alone, and members that expire, while daemons are killed (nothing_lost, no_ghosts)."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest
from pymongo import DeleteOne, UpdateOne

from tests.faults.conftest import Rig
from tests.support.check import wait_until
from tests.support.shapes.members import BOARD, TAGS, members_of, player, wait_best

TOP = {**BOARD, "keep": {"highest": 20}}
GAMES = ("chess", "go", "shogi")


def changes(draw: random.Random, count: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(count):
        one = {"_id": draw.randrange(300)}
        change = {"points": draw.randrange(10_000), "game": draw.choice(GAMES)}
        found.append(DeleteOne(one) if draw.random() < 0.1 else UpdateOne(one, {"$set": change}, upsert=True))
    return found


def test_boards_of_the_best_under_kills(rig: Rig) -> None:
    """nothing_lost: documents move between boards that hold the best alone, get other scores and go, while the daemon
    is killed again and again; in the end each board has its best members."""
    draw = random.Random(11)
    flow = rig.scene.run("best", TOP, documents=[player(n, game=GAMES[n % 3]) for n in range(300)])
    for _ in range(3):
        for _ in range(5):
            flow.collection.bulk_write(changes(draw, 60))
        rig.scene.daemon.kill()
        flow.collection.bulk_write(changes(draw, 60))
        rig.scene.start()
        flow.wait_live()
    wait_best(flow)


def test_a_kill_while_a_board_is_filled(rig: Rig) -> None:
    """nothing_lost: the daemon is killed between the question which documents belong on a board and the answer, and
    with the answer noted and its documents not written: the next one fills the board."""
    flow = rig.scene.run("fill", TOP, documents=[player(n) for n in range(90)])
    wait_best(flow)
    board = flow.key("chess", "board").encode()
    for turn, hold in enumerate((rig.redis_proxy.hold_request, rig.redis_proxy.hold_reply)):
        held = hold(b"syncd_board", board, b"end")
        flow.collection.delete_many({"_id": {"$gte": 80 - 10 * turn}})
        held.wait()
        rig.scene.daemon.kill()
        rig.redis_proxy.restore()
        rig.scene.start()
        wait_best(flow)
    assert not flow.redis.exists(flow.names.control("short"))


@pytest.mark.parametrize("arrives", [False, True])
def test_a_kill_while_members_expire(rig: Rig, arrives: bool) -> None:
    """no_ghosts: the daemon is killed as it removes members whose date has passed, before Redis has the call or right
    behind it; the next one removes them, and none whose date has moved meanwhile."""
    expire = {"expire": {"field": "until"}}
    flow = rig.scene.run("due", BOARD | expire, TAGS | expire, documents=[player(n) for n in range(60)])
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=3)
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$set": {"until": until}})
    deadlines = flow.names.control(f"deadlines:board:{flow.names.prefix('board')}{{game}}")

    def on(name: str, key: str) -> set[int]:
        return {int(member) for member in members_of(flow, name).get(key, ())}

    # On a slow machine they may be gone by now.
    wait_until(lambda: flow.redis.zcard(deadlines) == 21 or on("board", "chess") == {*range(20, 60)}, 60)
    held = rig.redis_proxy.hold_request(b"syncd_take_due", b":members:board:")
    held.wait()
    wait_until(lambda: datetime.datetime.now(datetime.UTC) > until, 60)
    if arrives:
        held.release()
    rig.scene.daemon.kill()
    rig.redis_proxy.restore()
    flow.collection.update_one({"_id": 3}, {"$set": {"until": None}})
    rig.scene.start()
    left = {3, *range(20, 60)}
    wait_until(lambda: on("board", "chess") == left == on("tags", "a"), 60, lambda: on("board", "chess"))
