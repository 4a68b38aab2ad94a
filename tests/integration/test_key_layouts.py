"""Keys in the form that applications give them, from Redis to MongoDB, to Redis, and both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson.datetime_ms import DatetimeMS
from redis import Redis

from syncd.contract.read.load import load_contract_set
from syncd.embedded import RedisServer
from syncd.ops.checks.preflight import preflight
from syncd.plan.to_mongo.state import StatePlan, compile_state
from syncd.settings import Settings
from tests.support.check import wait_until
from tests.support.cli import ROOT, syncd
from tests.support.contracts import from_redis, projection, said
from tests.support.scene import Flow, Scene
from tests.support.ways.keyspace import add_keyspace
from tests.support.ways.outbox import add_outbox, outbox
from tests.support.ways.reconcile import check
from tests.support.ways.twoway import add_two_way, hset

CONTENT: dict[str, tuple[Any, ...]] = {
    "hash": ("HSET", "role", "user"),
    "json": ("JSON.SET", "$", '{"role": "user"}'),
    "string": ("SET", "user"),
    "list": ("RPUSH", "user"),
    "zset": ("ZADD", 1, "user"),
}
ROW = re.compile(r"^\| (.+?) \| (\w+) \| `(.+?)` \| `(.+?)` \| (?:`(.+?)` )?\|$", re.MULTILINE)
LAYOUTS = ROW.findall((ROOT / "docs/how-to/keys.md").read_text())


@pytest.fixture
def scene(server: RedisServer, client: Redis, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, server.url) as scene:
        yield scene


def _layout(number: int, key: str, type: str, types: str, token: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"projection": "it", "type": type, "key": key, "key_values": "text"}
    if types:
        shape["key_types"] = yaml.safe_load(types)
    has_fields = type in ("hash", "json")
    content = {"fields": {"role": "role"}} if has_fields else {"value": {"from": "role", "type": "string"}}
    names = {"name": f"{token}-{number}", "collection": f"{token}.c{number}"}
    return said(shape | content, sync=from_redis("keyspace"), **names)


def test_layouts_of_ai_clients(scene: Scene) -> None:
    """nothing_lost: every key of the table in docs/how-to/keys.md becomes a document with its parts as fields, whether
    it was there before or comes later; no key is left out."""
    assert len(LAYOUTS) >= 13
    plans: list[tuple[StatePlan, str, str]] = []
    for number, (_, type, key, template, types) in enumerate(LAYOUTS):
        said = _layout(number, template, type, types, scene.token)
        scene.contracts.write_text(str(number), json.dumps(said))
        name, *args = CONTENT[type]
        scene.redis.execute_command(name, key, *args)
        (loaded,) = (
            one for one in load_contract_set(scene.contracts.path, {}).contracts
            if one.contract.name == said["metadata"]["name"]
        )  # fmt: skip
        plans.append((compile_state(loaded.contract), key, f"{key}x"))
    scene.start()
    database = scene.mongo[scene.token]

    def arrived(number: int, plan: StatePlan, key: str) -> bool:
        found = database[f"c{number}"].find_one({"_id": plan.document_id(key.encode())})
        return found is not None and found["role"] not in (None, "")

    for number, (plan, key, _) in enumerate(plans):
        wait_until(lambda: arrived(number, plan, key), 40, scene.daemon.status)  # noqa: B023
    found = database["c0"].find_one({"session": "sess-7"}, {"_syncd": 0})
    assert found is not None
    moment = found.pop("at")
    assert found == {"_id": plans[0][1], "session": "sess-7", "nonce": "9de792cd", "role": "user"}
    assert round(moment.timestamp() * 1000) % 1_000_000 == 779_780
    for plan, _, later in plans:
        if plan.owns(later.encode()):
            name, *args = CONTENT[plan.contract.redis[0].type]
            scene.redis.execute_command(name, later, *args)
    for number, (plan, _, later) in enumerate(plans):
        if plan.owns(later.encode()):
            wait_until(lambda: arrived(number, plan, later), 40, scene.daemon.status)  # noqa: B023
    scene.redis.delete(plans[0][1])
    wait_until(lambda: database["c0"].count_documents({}) == 1, 40)
    assert [lane["unfit_keys"]["count"] for lane in scene.daemon.status()["lanes"]] == [0] * len(plans)


def test_keys_that_do_not_fit_are_told(scene: Scene, server: RedisServer, mongo_uri: str) -> None:
    """nothing_silent: a contract over keys with more parts than its template is live, and says how many arrive of none,
    one of them, and why; before it runs `doctor` does. Keys of another contract do not count."""
    flow = add_keyspace(scene, "chat", {"role": "role"})
    other = add_keyspace(scene, "other", {"role": "role"}, shape={"key": "{a}:{b}", "key_values": "text"})
    flow.redis.hset(flow.key("sess-7:1795909779.78:\n9de792cd"), "role", "user")
    flow.redis.hset(flow.key("fits"), "role", "user")
    flow.redis.hset(other.key("1:2"), "role", "user")
    settings = Settings.from_environment({"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": server.url})
    (told,) = [
        one for one in preflight(load_contract_set(scene.contracts.path, {}), settings).findings
        if one.level == "promise" and "nothing_silent" in one.promises
    ]  # fmt: skip
    assert told.contracts == (flow.contract,)
    assert "1 of 2 keys" in told.what
    assert "a value would hold a `:`" in told.what
    scene.start()
    flow.wait_live()
    wait_until(lambda: flow.collection.count_documents({}) == 1, 20)
    flow.redis.hset(flow.key("sess-8:1:2"), "role", "user")
    flow.redis.hset(flow.key("sess-8:1:2"), "role", "again")
    wait_until(lambda: flow.lane()["unfit_keys"]["count"] == 2, 20, flow.lane)
    said = flow.lane()["unfit_keys"]
    assert said["example"].startswith(flow.key("sess-"))
    assert "\n" not in said["example"]
    assert "a value would hold a `:`" in said["why"]
    assert flow.metric("syncd_keys_unfit") == 2
    assert other.lane()["unfit_keys"] == {"count": 0, "example": "", "why": ""}
    shown = syncd("status", SYNCD_HTTP=scene.daemon.url.removeprefix("http://"))
    assert "2 keys left out, such as" in shown.stdout
    (logged,) = scene.daemon.logs(event="keys match the pattern and do not reach MongoDB; status shows one")
    assert "sess" not in json.dumps(logged)


def test_an_outbox_of_keys_in_parts(scene: Scene, server: RedisServer, mongo_uri: str) -> None:
    """nothing_lost: noted keys become documents with their parts; one whose time is none is a dead letter that says so;
    a check finds what differs on either side, and repairs it; a deleted key takes its document along."""
    shape = {"key": "{who*}:{at}", "key_values": "text", "key_types": {"at": "epoch"}}
    flow = add_outbox(scene, "parts", {"role": "role"}, shape=shape)
    scene.start()
    flow.wait_live()

    def note(end: str, **entry: str) -> None:
        pipe = flow.redis.pipeline(transaction=True)
        if entry:
            pipe.delete(flow.key(end))
        else:
            pipe.hset(flow.key(end), "role", "user")
        pipe.xadd(outbox(flow), {"key": flow.key(end), **entry})
        pipe.execute()

    for end in ("a b:c:1.5", "%:2", "x:never"):
        note(end)
    wait_until(
        lambda: flow.collection.count_documents({}) == 2 and len(flow.dead_letters()) == 1, 20, flow.lane
    )
    first = flow.collection.find_one({"_id": flow.key("a b:c:1.5")})
    assert first is not None
    assert (first["who"], DatetimeMS(first["at"])) == ("a b:c", DatetimeMS(1500))
    (dead_letter,) = flow.dead_letters()
    assert dead_letter["reason"] == "foreign_key"
    assert "at: " in dead_letter["detail"]
    assert flow.lane()["unfit_keys"]["count"] == 1
    flow.collection.update_one({"_id": flow.key("%:2")}, {"$set": {"who": "another"}})
    flow.collection.delete_one({"_id": flow.key("a b:c:1.5")})
    assert check(scene, flow, mongo_uri, server.url).found == 2
    assert check(scene, flow, mongo_uri, server.url, repair=True).left == 0
    assert flow.collection.count_documents({"who": {"$in": ["a b:c", "%"]}}) == 2
    note("%:2", op="del")
    wait_until(lambda: flow.collection.count_documents({}) == 1, 20, flow.lane)


def test_text_keys_towards_redis(scene: Scene, server: RedisServer, mongo_uri: str) -> None:
    """no_ghosts: strings stand in keys as they are, a type that is named has its text, and what would meet another
    document's key is a dead letter; edits, deletions, the sweep and a check know the same keys."""
    flow = scene.add(
        "text", projection({"n": "n"}, key="{_id*}", key_values="text"),
        projection({"n": "n"}, name="typed", key="{at}:{_id}", key_values="text", key_types={"at": "epoch"}),
        documents=[
            {"_id": "a:b c%", "n": "1", "at": DatetimeMS(1500)}, {"_id": "1", "n": "1", "at": DatetimeMS(2000)},
            {"_id": 1, "n": "int", "at": DatetimeMS(2000)},
        ],
        sync={"adopt": True},
    )  # fmt: skip
    flow.redis.hset(flow.key("a ghost: {%}"), "n", "0")
    scene.start()
    flow.wait_live()
    flow.wait_hash("a:b c%", {"n": "1"})
    flow.wait_gone("a ghost: {%}")
    assert flow.keys() == {"a:b c%", "1"}
    assert flow.keys("typed") == {"2:1"}
    reasons = {(dead_letter["projection"], dead_letter["reason"]) for dead_letter in flow.dead_letters()}
    assert reasons == {("card", "key_field_type"), ("typed", "key_field_type")}
    flow.collection.update_one({"_id": 1}, {"$set": {"n": "still int"}})
    flow.collection.update_one({"_id": "a:b c%"}, {"$set": {"n": "2"}})
    flow.wait_hash("a:b c%", {"n": "2"})
    flow.redis.delete(flow.key("1"))
    assert check(scene, flow, mongo_uri, server.url, repair=True).left == 0
    flow.wait_hash("1", {"n": "1"})
    flow.collection.delete_many({"_id": {"$in": ["a:b c%", 1]}})
    flow.wait_gone("a:b c%")
    assert flow.keys() == {"1"}


@pytest.mark.parametrize("capture", ["outbox", "keyspace"])
def test_text_keys_both_ways(scene: Scene, server: RedisServer, mongo_uri: str, capture: str) -> None:
    """nothing_lost, no_echo: a key that holds `:` and spaces is its document's `_id` on both sides; a document whose
    `_id` is no string has no key, and a dead letter that says so."""
    flow = add_two_way(
        scene, "pairs", capture, shape={"key": "{_id*}", "key_values": "text"},
        documents=[{"_id": "a:b c", "n": 1}, {"_id": 5, "n": 5}],
    )  # fmt: skip
    scene.start()
    flow.wait_live()
    flow.wait_hash("a:b c", {"n": "1"})
    hset(flow, "x: %", n=2)
    wait_until(lambda: flow.collection.find_one({"_id": "x: %", "n": 2}), 20, flow.lane)
    flow.collection.update_one({"_id": "x: %"}, {"$set": {"n": 3}})
    flow.wait_hash("x: %", {"n": "3"})
    assert [(dead_letter["reason"], dead_letter["id"]) for dead_letter in flow.dead_letters()] == [
        ("key_field_type", "5")
    ]
    assert check(scene, flow, mongo_uri, server.url).result == "clean"
    flow.collection.delete_one({"_id": "x: %"})
    flow.collection.delete_one({"_id": 5})
    flow.wait_gone("x: %")
    flow.wait_live()
    assert len(flow.dead_letters()) == 1


def test_a_contract_that_changes_how_values_stand(scene: Scene) -> None:
    """no_ghosts: with `key_values: text` instead of escapes all keys get their new names, and the old ones go; then
    the other way round."""
    documents: list[dict[str, Any]] = [{"_id": "a b", "n": "1"}, {"_id": "plain", "n": "2"}]
    flow: Flow = scene.add("turns", projection({"n": "n"}), documents=documents)
    scene.start()
    flow.wait_live()
    assert flow.keys() == {"a%20b", "plain"}
    flow.write(projection({"n": "n"}, key_values="text"))
    wait_until(lambda: flow.keys() == {"a b", "plain"}, 30, lambda: str(flow.keys()))
    flow.wait_live()
    flow.write(projection({"n": "n"}))
    wait_until(lambda: flow.keys() == {"a%20b", "plain"}, 30, lambda: str(flow.keys()))
