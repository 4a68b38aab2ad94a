"""Keys that documents share and that hold so many members only: those with the highest scores, or the lowest."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from bson import Decimal128, Int64

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Scene
from tests.support.shapes.members import BOARD, members_of, player, wait_best, wanted
from tests.support.ways.reconcile import check

TOP = {**BOARD, "keep": {"highest": 3}}
LAST = {**BOARD, "projection": "last", "keep": {"lowest": 3}}
RANKED = {**TOP, "projection": "ranked", "key": "{tags[]}"}


@pytest.fixture
def scene(redis_url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


def test_a_board_holds_the_best(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """no_ghosts, nothing_lost: what falls out leaves in the same call, and the map with it; those that were left out
    come back when others leave, lose their score, or move; a check is clean."""
    flow = scene.run("top", TOP, LAST, RANKED, documents=[player(n) for n in range(10)])
    wait_best(flow)
    assert members_of(flow, "board")["chess"].keys() == {"9", "8", "7"}
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    flow.collection.update_one({"_id": 1}, {"$set": {"points": 100}})
    flow.collection.update_one({"_id": 9}, {"$set": {"points": Int64(2)}})
    wait_best(flow)
    flow.collection.delete_one({"_id": 1})
    flow.collection.update_one({"_id": 8}, {"$set": {"game": "go", "tags": ["c"]}})
    flow.collection.update_one({"_id": 0}, {"$unset": {"points": ""}})
    wait_best(flow)
    flow.collection.update_one({"_id": 2}, {"$set": {"points": Decimal128("99.5")}})
    wait_best(flow)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    flow.collection.delete_many({"_id": {"$gt": 4}})
    wait_best(flow)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    assert not flow.redis.exists(flow.names.control("short"))
    flow.collection.delete_many({})
    wait_best(flow)


def test_odd_scores(scene: Scene) -> None:
    """nothing_lost: the best are the best as scores, also where MongoDB sorts them otherwise; what is no score does not
    keep others away."""
    when = datetime.datetime(1970, 1, 1, 0, 0, 5)
    odd = ["30", "4", True, 7, when, float("nan"), 2**60, "x", [50], {"a": 1}, float("-inf")]
    flow = scene.run("odd", TOP, LAST, documents=[player(n, points=one) for n, one in enumerate(odd)])
    assert members_of(flow, "board")["chess"] == {"4": 5000.0, "0": 30.0, "3": 7.0}
    assert members_of(flow, "last")["chess"] == {"10": float("-inf"), "2": 1.0, "1": 4.0}
    flow.collection.delete_many({"_id": {"$in": [4, 10]}})
    wait_until(lambda: members_of(flow, "board")["chess"] == {"0": 30.0, "3": 7.0, "1": 4.0}, 60)
    wait_until(lambda: members_of(flow, "last")["chess"] == {"2": 1.0, "1": 4.0, "3": 7.0}, 60)


def test_what_another_client_does_to_a_board(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """A check says exactly which members are missing from a board, and not that others were left out; with a repair, or
    a copy, the board is right again."""
    flow = scene.run("drift", TOP, documents=[player(n) for n in range(50)])
    board = flow.key("chess", "board")
    flow.redis.zrem(board, 48)
    report = check(scene, flow, mongo_uri, redis_url, repair=True)
    assert (report.drift["missing"], report.left) == (1, 0)
    flow.redis.zadd(board, {"stranger": 1000})
    report = check(scene, flow, mongo_uri, redis_url, repair=True)
    assert report.drift["extra"] == 1
    wait_best(flow)
    flow.redis.delete(board)
    report = check(scene, flow, mongo_uri, redis_url, repair=True)
    assert report.drift["missing"] == 3
    wait_best(flow)


def test_a_board_of_an_application(scene: Scene) -> None:
    """What an application had in a key before the contract stays there, and all documents beside it."""
    board = f"{scene.token}:app:board:chess"
    scene.redis.zadd(board, {"app": 1, "other": 2})
    flow = scene.run("app", TOP, documents=[player(n, points=10 + n) for n in range(6)])
    assert scene.redis.zcard(board) == 8
    flow.collection.delete_many({"_id": {"$lt": 5}})
    wait_until(lambda: scene.redis.zrange(board, 0, -1) == [b"app", b"other", b"5"], 60)


def test_an_edit_of_how_many(scene: Scene) -> None:
    """nothing_lost, no_ghosts: a board becomes smaller, larger and unlimited by an edit of the contract."""
    flow = scene.run("edit", BOARD, documents=[player(n) for n in range(100)])
    for keep in ({"highest": 5}, {"highest": 20}, {"lowest": 7}):
        flow.write({**BOARD, "keep": keep}, version="2.0.0")
        wait_best(flow)
    flow.write(BOARD)
    wait_until(lambda: members_of(flow, "board") == wanted(flow, BOARD), 60)


def test_random_moves(scene: Scene) -> None:
    """nothing_lost, no_ghosts: after any order of changes, and a kill, every board has its best members."""
    draw = random.Random(5)
    flow = scene.run("moves", TOP, RANKED, documents=[player(n, points=n % 13 + n / 100) for n in range(60)])
    for turn in range(3):
        for _ in range(60):
            one = {"_id": draw.randrange(70)}
            change = {
                "points": draw.randrange(9000),
                "game": draw.choice("ab"),
                "tags": draw.sample("xyz", 2),
            }
            if draw.random() < 0.2:
                flow.collection.delete_one(one)
            else:
                flow.collection.update_one(one, {"$set": change}, upsert=True)
        if turn == 1:
            scene.daemon.kill()
            scene.start()
    wait_best(flow)


def test_a_board_wants_an_index(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """`check --connect` says over which fields MongoDB needs an index, to say who comes back."""
    flow = scene.add("index", TOP, documents=[player(1)])
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    flow.collection.create_index([("points", -1), ("game", 1)])
    done = syncd("check", str(scene.contracts.path), "--connect", **env)
    assert done.returncode == 1
    assert "create one over game, points, in this order" in done.stdout + done.stderr
    flow.collection.create_index([("game", 1), ("points", -1), ("at", 1)])
    done = syncd("check", str(scene.contracts.path), "--connect", **env)
    assert done.returncode == 0, done.stdout + done.stderr
