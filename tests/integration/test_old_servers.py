"""Servers without modules: what they can do works, and what they cannot do is said, by name."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.servers.shared import Servers
from tests.support.shapes.members import (
    BOARD,
    NEAR,
    RECALL,
    TAGS,
    members_of,
    player,
    wait_best,
    wait_members,
)

CAST = [{"member": "m", "score": 0.1}]
FILMS: list[dict[str, Any]] = [
    {"_id": n, "title": f"film {n}", "tags": ["a", f"t{n}"], "cast": CAST} for n in range(50)
]
INDEX = [{"name": "title", "type": "text"}]


@pytest.fixture(scope="module", params=["valkey", "redis70"])
def old(
    request: pytest.FixtureRequest, servers: Servers, mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """One daemon with a contract that the server can hold, and two that it cannot."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    token = f"t{secrets.token_hex(4)}"
    with Scene(tmp_path_factory.mktemp("old"), token, mongo_uri, url) as scene:
        scene.add("json", projection(["title"], type="json"), documents=FILMS)
        index = {"name": f"{token}-films", "fields": INDEX}
        scene.add("index", projection(["title"], index=index), documents=FILMS)
        scene.add("recall", {**RECALL, "projection": "card"}, documents=[player(1)])
        yield scene
    servers.forget(token)


@pytest.fixture(scope="module")
def hashes(old: Scene) -> Flow:
    return old.run(
        "hash",
        projection(["title"], ttl="1h"),
        projection(["title"], name="text", type="string"),
        projection(name="tags", type="set", value={"from": "tags"}),
        projection({"title": "title", "tag": "tags"}, name="tag", each="tags", key="{_id}:{tags.#}"),
        projection(name="cast", type="zset", value={"from": "cast"}),
        documents=FILMS,
    )


def test_hashes_and_strings_work(hashes: Flow) -> None:
    """Snapshot and changes, with TTL, need no module."""
    hashes.wait_same()
    hashes.collection.update_one({"_id": 1}, {"$set": {"title": "changed"}})
    hashes.collection.delete_one({"_id": 2})
    hashes.collection.replace_one({"_id": 3}, {"_id": 3, "title": "replaced"})
    hashes.collection.insert_one({"_id": 100, "title": "new"})
    hashes.wait_same()
    assert 0 < hashes.redis.pttl(hashes.key(100)) <= 3_600_000


def test_members_work(old: Scene, hashes: Flow) -> None:
    """Sorted sets, sets and geo sets that documents share need no module."""
    flow = old.run("members", BOARD, TAGS, NEAR, documents=[player(number) for number in range(50)])
    wait_members(flow)
    flow.collection.update_many(
        {"_id": {"$lt": 9}}, {"$set": {"game": "go", "tags": ["c"]}, "$inc": {"points": 1}}
    )
    flow.collection.update_one({"_id": 10}, {"$inc": {"points": 1}})
    flow.collection.delete_many({"_id": {"$gt": 40}})
    wait_members(flow)


def test_limited_members_work(old: Scene, hashes: Flow) -> None:
    """Nor do sorted sets of the best members, and members that expire."""
    best = {**BOARD, "projection": "best", "keep": {"highest": 5}}
    flow = old.run("best", best, documents=[player(number) for number in range(30)])
    due = old.run("due", {**TAGS, "expire": {"field": "until"}}, documents=[player(1), player(2)])
    flow.collection.delete_many({"_id": {"$gt": 26}})
    wait_best(flow)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    due.collection.update_one({"_id": 2}, {"$set": {"until": soon}})
    wait_until(lambda: members_of(due, "tags") == {"a": {"1": None}, "b": {"1": None}}, 60, due.lane)


def test_a_deleted_key_becomes_whole_again(hashes: Flow) -> None:
    """A partial update of a key that is not there is refused in one step also here, and answered by a read."""
    hashes.redis.delete(hashes.key(7))
    hashes.collection.update_one({"_id": 7}, {"$set": {"title": "back"}})
    hashes.wait_hash(7, {"title": "back"})


@pytest.mark.parametrize(
    ("short", "needs"), [("json", "JSON"), ("index", "search module"), ("recall", "vector sets")]
)
def test_what_is_missing_is_said(old: Scene, hashes: Flow, short: str, needs: str) -> None:
    """A contract that needs a module fails alone, and names itself, the capability and the server."""
    name = f"{old.token}-{short}"
    lane = wait_until(
        lambda: next((x for x in old.daemon.status()["lanes"] if x["contract"] == name and x["error"]), None)
    )
    assert lane["state"] == "failed"
    assert not lane["ready"]
    for word in (name, needs, "card", "lacks"):
        assert word in lane["error"]
    assert "valkey" in lane["error"] or "redis 7.0" in lane["error"]
    (line,) = old.daemon.logs(event="lane interrupted", contract=name)
    assert (line["level"], line["error"]) == ("error", lane["error"])
    assert hashes.lane()["state"] == "live"
    code, body = old.daemon.get("/readyz")
    assert code == 503
    assert name in body
    assert hashes.contract not in body
