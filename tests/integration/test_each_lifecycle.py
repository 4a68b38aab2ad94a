"""Contracts with a key for each element: how they begin, what they hand over, how they are split, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from syncd.reconcile.report import ReconcileReport
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.shapes.digests import wait_known
from tests.support.ways.reconcile import check

COUNT = 60
FIELDS = {"title": "title", "text": "parts.text"}
OWN = projection(FIELDS, name="own", each="parts", key="{_id}:{parts.id}")
MOVING = projection(FIELDS, name="moving", type="json", each="parts", key="{parts.id}")
UNIQUE = [["parts.id"]]
Look = Callable[..., ReconcileReport]


def books(count: int = COUNT) -> list[dict[str, Any]]:
    return [
        {"_id": n, "title": f"book {n}", "parts": [{"id": f"p{3 * n + at}", "text": "x"} for at in range(3)]}
        for n in range(count)
    ]


def say(scene: Scene, *words: str) -> str:
    reach = {"SYNCD_REDIS_URL": scene.reach["redis_url"], "SYNCD_MONGO_URI": scene.reach["mongo_uri"]}
    done = syncd(*words, **reach)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def again(scene: Scene, flow: Flow) -> None:
    """A copy of everything, to its end."""

    def copied() -> int:
        return len(scene.daemon.logs(event="snapshot finished", contract=flow.contract))

    before = copied()
    say(scene, "snapshot", flow.contract)
    wait_until(lambda: copied() > before, 20, flow.lane)
    flow.wait_live()


def test_keys_of_an_application_stay(shared: Scene) -> None:
    """nothing_lost: keys that were there before the contract stay through copies, changes and repairs; an element with
    such a key takes it over; one of another type makes its document a dead letter, and none of its keys is written"""
    prefix = f"{shared.token}:before:own:"
    shared.redis.hset(f"{prefix}900:mine", "cart", "7")
    shared.redis.hset(f"{prefix}1:p3", "cart", "8")
    shared.redis.rpush(f"{prefix}2:p7", "theirs")
    flow = shared.run("before", OWN, documents=books(5))
    wait_until(flow.dead_letters)
    found = [(one["id"], one["reason"], one["key"]) for one in flow.dead_letters()]
    assert found == [("2", "wrong_type", f"{prefix}2:p7")]

    def assert_there() -> None:
        assert flow.hash("900:mine", "own") == {"cart": "7"}
        assert {end for end in flow.keys("own") if end.startswith("2:")} == {"2:p7"}
        assert flow.hash("1:p3", "own") == {"title": "book 1", "text": "x"}

    assert_there()
    again(shared, flow)
    say(shared, "reconcile", flow.contract, "--repair", "--contracts", str(shared.contracts.path))
    assert_there()
    flow.redis.delete(flow.key("2:p7", "own"))
    flow.collection.update_one({"_id": 2}, {"$set": {"title": "again"}})
    wait_until(lambda: {"2:p6", "2:p7", "2:p8"} <= flow.keys("own"), 20, flow.lane)


def test_a_template_passes_to_another_contract(shared: Scene) -> None:
    """nothing_lost, no_ghosts: a contract gives its keys of elements to another one over the same documents: no key is
    gone at any moment, and what has gone since goes by the other's hand"""
    giver = shared.run("giver", OWN, MOVING, documents=books(), unique=UNIQUE)
    giver.wait_same()
    prefix = giver.names.prefix("moving")
    taker = shared.add("taker", projection(["title"]), source=giver)
    taker.wait_live()
    moving = {**MOVING, "fields": {**FIELDS, "id": "parts.id"}, "key": f"{prefix}{{parts.id}}"}
    with giver.redis.monitor() as monitor:
        giver.write(OWN, unique=UNIQUE)
        text = shared.contracts.text(
            taker.names, [moving], unique=UNIQUE, collection=giver.collection.full_name
        )
        own = f"{taker.names.prefix('moving')}{prefix}"
        shared.contracts.write_text("taker", text.replace(own, prefix))
        wait_until(lambda: (giver.json("p0", "moving") or {}).get("id") == "p0", 20, taker.lane)
        taker.wait_live()
        giver.redis.echo("end")
        said = []
        while (line := monitor.next_command()["command"]) != "ECHO end":
            said.append(line)
    assert not [line for line in said if line.startswith((f"DEL {prefix}", f"UNLINK {prefix}"))]
    giver.collection.update_many({"_id": {"$lt": 20}}, {"$pop": {"parts": 1}})
    giver.collection.delete_many({"_id": {"$gte": 40}})
    wanted = {part["id"] for one in giver.collection.find() for part in one["parts"]}
    wait_until(lambda: giver.keys("moving") == wanted, 20, taker.lane)
    giver.wait_same()
    assert not giver.redis.keys(giver.names.control("*:moving:*"))


def test_a_contract_that_left(shared: Scene) -> None:
    """no_ghosts: of a contract that is gone `syncd orphans` counts the keys of elements and names its search indexes,
    and `syncd remove` removes them"""
    shared.run("stays", projection(["title"]), documents=books(1))
    index = {"name": "left-books", "fields": [{"name": "title", "type": "text"}]}
    found = projection(["title"], name="found", key="found:{_id}", index=index)
    flow = shared.run("left", OWN, MOVING, found, documents=books(10), unique=UNIQUE)
    flow.wait_same()
    shared.contracts.remove("left")
    wait_until(lambda: not flow.lane(), 20)
    left = syncd("orphans", "-o", "json", SYNCD_REDIS_URL=shared.reach["redis_url"]).stdout
    (told,) = [one for one in json.loads(left) if one["contract"] == flow.contract]
    assert sorted(one["keys"] for one in told["templates"]) == [10, 30, 30]
    (index_name,) = told["indexes"]
    shown = say(shared, "remove", flow.contract, "--keys", "--yes")
    assert f"  index {index_name}\n" in shown and index_name.startswith("left-books")
    assert index_name.encode() not in flow.redis.execute_command("FT._LIST")
    assert not flow.keys("own") and not flow.keys("moving")
    assert not flow.redis.keys(flow.names.control("*"))


def test_digests(shared: Scene, mongo_uri: str, redis_url: str) -> None:
    """A contract with keys of elements can be compared by digests; an element that changed without the daemon is copied
    alone when its position is lost"""
    flow = shared.run("digests", MOVING, documents=books(), unique=UNIQUE, reconcile={"check": "digest"})
    flow.wait_same()
    wait_known(flow, redis_url)
    assert check(shared, flow, mongo_uri, redis_url, by_digest=True).result == "clean"


def test_partitions(scene: Scene) -> None:
    """never_backwards, no_ghosts: two daemons have a part of the documents each; elements move between documents of
    both, documents go, and a copy finds keys of no document"""
    flow = scene.add("parts", OWN, MOVING, documents=books(), unique=UNIQUE)
    daemons = [scene.another_daemon(SYNCD_PARTITION=part, SYNCD_LEASE_TTL="3") for part in ("1/2", "2/2")]
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        daemon.wait_ready()
    flow.wait_same()
    of = flow.collection
    for number in range(0, COUNT, 3):
        part = {"id": f"p{3 * number}", "text": "moved"}
        of.update_one({"_id": number}, {"$pull": {"parts": {"id": part["id"]}}})
        of.update_one({"_id": number + 1}, {"$push": {"parts": part}})
        of.delete_one({"_id": number + 2})
    flow.wait_same()
    flow.redis.execute_command("JSON.SET", flow.key("p9999", "moving"), "$", "{}")
    flow.redis.hset(flow.key("0:p9999", "own"), "text", "of no document")
    say(scene, "snapshot", flow.contract)
    flow.wait_same()


def test_many_collections(scene: Scene) -> None:
    """no_ghosts: one contract over collections of several databases has a key for each element of their documents; one
    goes with its element, and all of a collection with it"""
    shape = projection(
        {"tenant": "$db", "text": "parts.text"}, name="part", each="parts", key="{$db}:{_id}:{parts.id}"
    )
    databases = [f"{scene.token}-{name}" for name in "ab"]
    for name in databases:
        scene.mongo[name]["books"].insert_many(books(3))
    scene.contracts.write("books", shape, collection=f"{scene.token}-*.books")
    scene.daemon = scene.another_daemon(SYNCD_DISCOVER_EVERY="0.3")
    scene.start()
    prefix = f"{scene.token}:books:part:"

    def held() -> set[str]:
        return {key.decode().removeprefix(prefix) for key in scene.redis.scan_iter(f"{prefix}*", count=1000)}

    def wanted(*names: str) -> set[str]:
        return {
            f"{name}:{one['_id']}:{part['id']}"
            for name in names for one in scene.mongo[name]["books"].find() for part in one["parts"]
        }  # fmt: skip

    wait_until(lambda: len(held()) == 18 and held() == wanted(*databases), 30, held)
    scene.mongo[databases[0]]["books"].update_one({"_id": 1}, {"$pop": {"parts": 1}})
    wait_until(lambda: len(held()) == 17 and held() == wanted(*databases), 30, held)
    scene.mongo.drop_database(databases[1])
    wait_until(lambda: held() == wanted(databases[0]), 30, held)
