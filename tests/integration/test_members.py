"""Documents as members of keys that they share: sorted sets, sets, geo sets, vector sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Scene
from tests.support.shapes.members import BOARD, NEAR, RECALL, TAGS, members_of, player, wait_members
from tests.support.ways.reconcile import check


@pytest.fixture
def scene(redis_url: str, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, redis_url) as scene:
        yield scene


def test_a_life_of_a_member(scene: Scene) -> None:
    """nothing_lost, no_ghosts: a document is a member of exactly what it says, as it comes, changes its score, its key
    and its tags, loses its score, and goes; members are never those of two keys."""
    flow = scene.add("life", BOARD, TAGS, NEAR, RECALL, documents=[player(1), player(2), player(3)])
    scene.start()
    flow.wait_live()
    wait_members(flow)
    assert members_of(flow, "tags").keys() == {"a", "b"}
    flow.collection.insert_one(player(4, tags=[], points=7.5))
    flow.collection.update_one({"_id": 1}, {"$set": {"points": Int64(70)}})
    flow.collection.update_one({"_id": 2}, {"$set": {"game": "go", "tags": ["b", "c"]}})
    flow.collection.update_one({"_id": 3}, {"$unset": {"points": "", "at": "", "v": ""}})
    wait_members(flow)
    assert members_of(flow, "board") == {"chess": {"1": 70.0, "4": 7.5}, "go": {"2": 2.0}}
    flow.collection.update_one({"_id": 3}, {"$set": {"points": None, "at": None, "tags": None}})
    flow.collection.delete_one({"_id": 1})
    flow.collection.delete_one({"_id": 4})
    wait_members(flow)
    assert members_of(flow, "board") == {"go": {"2": 2.0}}
    assert flow.redis.hlen(flow.names.control(f"members:board:{flow.names.prefix('board')}{{game}}")) == 2


def test_what_is_no_member(scene: Scene) -> None:
    """nothing_silent: a score that Redis cannot hold, or that is none, is a dead letter, and the document stays the
    member that it was; one whose key cannot be made is no member, until its next change."""
    odd = {
        "large": 2**53 + 1, "huge": Decimal128("9007199254740993"), "nan": float("nan"), "text": "x", "list": [1],
        "digits": Decimal128("0.12345678901234567891"),
    }  # fmt: skip
    flow = scene.add("odd", BOARD, TAGS, documents=[player(name, points=1) for name in odd])
    fine = {"edge": 2**53, "less": -(2**53), "part": Decimal128("0.5"), "none": float("inf")}
    flow.collection.insert_many([player(name, points=points) for name, points in fine.items()])
    scene.start()
    flow.wait_live()
    wait_until(lambda: len(members_of(flow, "board")["chess"]) == len(odd) + len(fine), 60)
    assert {name: members_of(flow, "board")["chess"][name] for name in fine} == {
        "edge": 2.0**53, "less": -(2.0**53), "part": 0.5, "none": float("inf"),
    }  # fmt: skip
    for name, points in odd.items():
        flow.collection.update_one({"_id": name}, {"$set": {"points": points, "game": "go"}})
    wait_until(lambda: len(flow.dead_letters()) == len(odd), 60, flow.lane)
    assert {one["reason"] for one in flow.dead_letters()} == {"cannot_convert"}
    assert {one["key"] for one in flow.dead_letters()} == {flow.key("go", "board")}
    assert members_of(flow, "board").keys() == {"chess"}
    assert all(members_of(flow, "board")["chess"][name] == 1.0 for name in odd)
    assert flow.redis.scard(flow.names.control("stale")) == len(odd)
    flow.collection.update_one({"_id": "large"}, {"$set": {"points": 5}})
    wait_until(lambda: members_of(flow, "board").get("go") == {"large": 5.0}, 60)
    assert "large" not in members_of(flow, "board")["chess"]
    flow.collection.update_one({"_id": "edge"}, {"$unset": {"game": ""}})
    flow.collection.update_one({"_id": "less"}, {"$set": {"tags": "a"}})
    wait_until(lambda: "edge" not in members_of(flow, "board")["chess"], 60)
    wait_until(lambda: "less" not in members_of(flow, "tags")["a"], 60)
    flow.collection.delete_one({"_id": "less"})
    flow.collection.update_many({}, {"$set": {"game": "chess", "points": 3, "tags": ["a"]}})
    wait_members(flow)
    wait_until(lambda: not flow.redis.exists(flow.names.control("stale")), 60)


def test_a_key_of_another_type(scene: Scene) -> None:
    """nothing_silent: where one of the keys of a document holds another type, its dead letter names that key, and no
    other changes."""
    flow = scene.add("kinds", TAGS, documents=[player(1, tags=["a", "b", "c"]), player(2, tags=["a"])])
    key = f"{flow.names.prefix('tags')}b"
    flow.redis.set(key, "an application's")
    scene.start()
    flow.wait_live()
    wait_until(flow.dead_letters)
    found = [(one["id"], one["reason"], one["key"]) for one in flow.dead_letters()]
    assert found == [("1", "wrong_type", key)]
    there = members_of(flow, "tags")
    assert (list(there["a"]), "c" in there) == (["2"], False)


def test_a_copy_removes_members_and_no_keys(scene: Scene) -> None:
    """no_ghosts: what went while no daemon ran, and members that no map knows, are gone after a copy; what an
    application had in a key before the contract stays beside the documents, and so does a key of another type."""
    redis, names = scene.redis, f"{scene.token}:sweep"
    redis.zadd(f"{names}:board:chess", {"app": 5, "2": 1})
    redis.set(f"{names}:board:poker", "an application's")
    documents = [player(number) for number in range(200)] + [player("p", game="poker", points=1)]
    flow = scene.add("sweep", BOARD, TAGS, documents=documents)
    scene.start()
    flow.wait_live()
    board = members_of(flow, "tags")["a"]
    assert len(board) == 201
    assert redis.zscore(f"{names}:board:chess", "app") == 5
    assert redis.zscore(f"{names}:board:chess", "2") == 2
    assert [one["reason"] for one in flow.dead_letters()] == ["wrong_type"]
    scene.daemon.kill()
    flow.collection.delete_many({"_id": {"$lt": 20}})
    flow.collection.update_one({"_id": 20}, {"$set": {"game": "go"}})
    redis.sadd(flow.key("a", "tags"), "stranger", "20")
    redis.sadd(flow.key("x", "tags"), "20", b"\xff")
    redis.delete(flow.names.control("position"))
    flow.collection.delete_one({"_id": "p"})
    scene.daemon = scene.another_daemon()
    scene.start()
    flow.wait_live()
    wait_until(lambda: members_of(flow, "tags").keys() == {"a", "b"}, 60, lambda: members_of(flow, "tags"))
    assert members_of(flow, "tags")["a"] == dict.fromkeys(map(str, range(20, 200)))
    assert members_of(flow, "board")["go"] == {"20": 20.0}
    assert len(redis.zrange(f"{names}:board:chess", 0, -1)) == 180  # 21 to 199, and the application's
    assert redis.zscore(f"{names}:board:chess", "app") == 5


def test_planted_differences(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """A check finds members that are missing, too many, or of another score, position, vector or attribute, and entries
    of the map that are lost; with a repair all is as the documents say, and the next check is clean."""
    flow = scene.add("drift", BOARD, TAGS, NEAR, RECALL, documents=[player(number) for number in range(30)])
    scene.start()
    flow.wait_live()
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"
    redis, chess, near, recall = (
        flow.redis,
        *(flow.key("chess", name) for name in ("board", "near", "recall")),
    )
    redis.zrem(chess, 1)
    redis.zadd(chess, {"2": 99, "nobody": 1, "3 ": 3})
    redis.zadd(flow.key("go", "board"), {"4": 4})
    redis.hdel(flow.names.control(f"members:board:{flow.names.prefix('board')}{{game}}"), "5")
    redis.srem(flow.key("a", "tags"), 6)
    redis.sadd(flow.key("c", "tags"), 6, "stranger", b"\xfe")
    redis.geoadd(near, (1, 1, "7"))
    redis.zrem(near, 8)
    redis.execute_command("VADD", recall, "VALUES", 3, 3, 2, 1, "9", "NOQUANT")
    redis.execute_command("VSETATTR", recall, "10", '{"kind":"y"}')
    redis.execute_command("VREM", recall, "11")
    redis.execute_command("VADD", recall, "VALUES", 3, 3, 2, 1, "12b", "NOQUANT")
    report = check(scene, flow, mongo_uri, redis_url)
    assert {kind: count for kind, count in report.drift.items() if count} == {
        "missing": 4, "extra": 7, "content": 5,
    }, report  # fmt: skip
    repaired = check(scene, flow, mongo_uri, redis_url, repair=True)
    assert (repaired.found, repaired.left) == (16, 0)
    wait_members(flow)
    assert check(scene, flow, mongo_uri, redis_url).result == "clean"


def test_a_vector_that_stays_is_not_added_again(scene: Scene, redis_url: str) -> None:
    """A copy, another attribute and another score leave the vectors of a set where they are; one that changed is added
    again, and what another client made of a member is put right. How each form holds a vector makes no difference."""
    forms = [{**RECALL, "projection": name, "quantisation": name} for name in ("none", "int8", "binary")]
    flow = scene.add(
        "still", *forms, documents=[player(number, v=[number, 2.0, -1.0]) for number in range(9)]
    )
    scene.start()
    flow.wait_live()
    keys = [flow.key("chess", form["projection"]) for form in forms]

    def added() -> list[int]:
        """Every vector that a set takes has the next number."""
        said = [flow.redis.execute_command("VINFO", key) for key in keys]
        return [one[one.index(b"hnsw-max-node-uid") + 1] for one in said]

    def attributes(key: str, member: int) -> Any:
        return json.loads(flow.redis.execute_command("VGETATTR", key, member) or b"{}")

    assert added() == [9, 9, 9]
    flow.collection.update_one({"_id": 1}, {"$set": {"kind": "y"}})
    flow.collection.update_one({"_id": 2}, {"$unset": {"kind": "", "points": ""}})
    flow.collection.update_one({"_id": 3}, {"$set": {"tags": ["c"]}})
    assert syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_url).returncode == 0
    wait_until(lambda: scene.daemon.logs(event="snapshot finished")[1:], 60, flow.lane)
    flow.wait_live()
    for key in keys:
        assert (attributes(key, 1), attributes(key, 2)) == ({"kind": "y", "points": 1}, {})
    assert added() == [9, 9, 9]
    flow.collection.update_one({"_id": 4}, {"$set": {"v": [4.0, 2.0, 100.0]}})
    flow.redis.execute_command("VADD", keys[0], "VALUES", 3, 3, 2, 1, "5", "NOQUANT")
    flow.collection.update_one({"_id": 5}, {"$set": {"kind": "y"}})
    wait_until(lambda: all(attributes(key, 5)["kind"] == "y" for key in keys), 60, flow.lane)
    assert added() == [12, 10, 10]
    assert not [*flow.redis.scan_iter("syncd:{*}:vector")]


def test_an_update_of_a_score_needs_no_read(scene: Scene) -> None:
    """nothing_lost: another score or position goes to all keys of a document as it came with the change; a change of
    the key, or of a member that is not there any more, reads the document. Hundreds of tags are as many memberships."""
    many = [f"t{number}" for number in range(300)]
    ranked = {**BOARD, "projection": "ranked", "key": "{tags[]}"}
    documents = [player(number, tags=many if number == 1 else ["a"]) for number in range(20)]
    flow = scene.run("delta", BOARD, TAGS, NEAR, ranked, documents=documents)
    wait_members(flow)
    flow.count_reads()
    flow.collection.update_many({}, {"$inc": {"points": 100}, "$set": {"at": [2.0, 3.0], "other": 1}})
    flow.collection.update_one({"_id": 2}, {"$inc": {"points": 1}})
    wait_until(lambda: members_of(flow, "board")["chess"]["2"] == 103, 60)
    assert flow.documents_read() == 0
    wait_members(flow)
    assert members_of(flow, "ranked")["t299"] == {"1": 101.0}
    flow.redis.delete(flow.key("chess", "board"))
    flow.collection.update_many({}, {"$inc": {"points": 1}})
    wait_members(flow)
    flow.collection.update_one({"_id": 1}, {"$pop": {"tags": 1}, "$unset": {"at": ""}})
    flow.collection.update_one({"_id": 2}, {"$unset": {"points": ""}})
    flow.collection.update_one({"_id": 3}, {"$push": {"tags": "b"}})
    wait_members(flow)
    assert "t299" not in members_of(flow, "ranked")
    flow.collection.delete_many({})
    wait_members(flow)
    assert not list(flow.redis.scan_iter(f"{scene.token}:delta:*", count=1000))


def test_a_member_is_unique_by_its_id(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """`check --connect` asks for no unique index over the fields of a key that documents share."""
    scene.add("unique", BOARD, TAGS, documents=[player(1)])
    env = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
    done = syncd("check", str(scene.contracts.path), "--connect", **env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("more", [{"type": "set"}, {"type": "zset", "score": "n"}], ids=["set", "zset"])
def test_keys_that_become_whole_ones(scene: Scene, more: dict[str, Any]) -> None:
    """no_ghosts: after an edit the keys are sets by themselves, and a name may be that of a key that documents shared:
    it holds what its document says, also where that is a member of before. What else was shared is gone."""
    key = f"whole-{more['type']}:"
    flow = scene.run(
        f"whole-{more['type']}",
        {"projection": "shared", "key": f"/{key}{{kind}}", "member": "{_id}", **more},
        documents=[
            {"_id": "a", "kind": "k", "slug": "k", "n": 1, "tags": ["a", "b"]},
            {"_id": "b", "kind": "m", "slug": "z", "n": 2, "tags": ["q"]},
        ],
    )
    whole = {"projection": "whole", "type": "set", "key": f"/{key}{{slug}}", "value": "tags"}
    flow.write(whole, unique=[["slug"]], sync={"sweep_limit": "100%"})
    prefix = f"{scene.token}:{key}"
    there = {f"{prefix}k".encode(): {b"a", b"b"}, f"{prefix}z".encode(): {b"q"}}

    def held() -> dict[bytes, Any]:
        names = [name for name in scene.redis.keys(f"{prefix}*") if scene.redis.type(name) == b"set"]
        return {name: scene.redis.smembers(name) for name in names}

    wait_until(lambda: held() == there and len(scene.redis.keys(f"{prefix}*")) == 2, 60, held)
    flow.wait_live()
    assert held() == there, "when the copy has ended"
