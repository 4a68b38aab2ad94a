"""Keys that an application notes in an outbox become documents."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from bson.int64 import Int64
from bson.objectid import ObjectId
from redis import Redis, ResponseError
from redis import asyncio as asyncio_redis
from starlette.responses import JSONResponse

from syncd.ops.console import dead_letters as console
from syncd.outbox import Outbox
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.records.dead_letters import EVERY_KIND
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.session import ContractSession
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Flow, Scene
from tests.support.ways.outbox import (
    add_outbox,
    call,
    documents,
    outbox,
    put,
    remove,
    wait_documents,
    wait_empty,
    wait_functions,
)


def live(scene: Scene, short: str, *args: Any, **more: Any) -> Flow:
    flow = add_outbox(scene, short, *args, **more)
    if not scene.daemon.process.alive:
        scene.start()
    flow.wait_live()
    wait_functions(flow)
    return flow


def wait_dead_letters(flow: Flow, reasons: list[str]) -> None:
    wait_until(
        lambda: [dead_letter["reason"] for dead_letter in flow.dead_letters()] == reasons,
        20,
        flow.dead_letters,
    )


def test_a_hash(shared: Scene) -> None:
    """Types and nested paths; a field that goes is taken out of the document, what others wrote there stays."""
    fields = {
        "user": {"from": "user.id", "type": "objectId"},
        "n": {"from": "n", "type": "long"},
        "zip": "address.zip",
    }
    flow = live(shared, "hash", fields)
    user = ObjectId()
    assert call(flow, "hset", 42, "user", str(user), "n", 1, "secret", "x") == 3
    wait_documents(flow, {42: {"user": {"id": user}, "n": 1}})
    found = flow.collection.find_one({"_id": 42})
    assert found is not None
    assert type(found["n"]) is Int64
    assert found["_syncd"]["site"] == ""
    flow.collection.update_one({"_id": 42}, {"$set": {"of_others": True}})
    assert call(flow, "hincrby", 42, "n", 5) == 6
    assert call(flow, "hset", 42, "zip", "10115") == 1
    assert call(flow, "hdel", 42, "user") == 1
    wait_documents(flow, {42: {"user": {}, "n": 6, "address": {"zip": "10115"}, "of_others": True}})
    wait_empty(flow)
    assert flow.lane()["stream"] == "outbox"
    wait_until(lambda: flow.metric("syncd_outbox_entries") == 0, 20)


def test_json(shared: Scene) -> None:
    """Members keep the types of JSON, or get those of the contract; null is null."""
    flow = live(shared, "json", {"at": {"from": "at", "type": "date"}, "tags": "tags"}, type="json")
    call(flow, "json_set", "a", "$", '{"at": "2026-01-02T03:04:05Z", "tags": ["x", null]}')
    wait_until(lambda: documents(flow).get("a", {}).get("tags") == ["x", None], 20, flow.lane)
    call(flow, "json_arrappend", "a", "$.tags", '{"y": 1}')
    call(flow, "json_del", "a", "$.at")
    wait_documents(flow, {"a": {"tags": ["x", None, {"y": 1}]}})


@pytest.mark.parametrize(
    ("type", "commands", "wanted"),
    [
        ("string", [("set", "7"), ("incrby", "5")], 12),
        ("set", [("sadd", "1", "2", "3"), ("srem", "2")], [1, 3]),
        ("list", [("rpush", "1", "2"), ("lpush", "0"), ("rpop",)], [0, 1]),
        ("zset", [("zadd", "2.5", "9", "1", "8")], [{"member": 8, "score": 1.0}, {"member": 9, "score": 2.5}]),
    ],
)  # fmt: skip
def test_other_types(shared: Scene, type: str, commands: list[tuple[str, ...]], wanted: Any) -> None:
    """One path holds the value, or the elements."""
    flow = live(shared, type, None, type=type, shape={"value": {"from": "all.of", "type": "int"}})
    for command, *args in commands:
        call(flow, command, 1, *args)
    wait_documents(flow, {1: {"all": {"of": wanted}}})


@pytest.mark.parametrize("on_delete", ["delete", "tombstone", "ignore"])
def test_deletions(shared: Scene, on_delete: str) -> None:
    """The document goes, or stays with the date, or stays as it was; a key that comes again takes that date away."""
    flow = live(shared, f"gone-{on_delete}", sync={"on_delete": on_delete})
    put(flow, [1, 2], 1)
    whole = {n: {"n": 1, "say": {"text": f"version 1 of {n}"}} for n in (1, 2)}
    wait_documents(flow, whole)
    call(flow, "del", 1)
    call(flow, "hdel", 2, "n", "text")  # the last fields: the key is gone
    wait_empty(flow)
    wait_documents(flow, {} if on_delete == "delete" else whole)
    marked = flow.collection.count_documents({"_syncd.deleted": {"$type": "date"}})
    assert marked == (2 if on_delete == "tombstone" else 0)
    put(flow, [1], 2)
    wait_until(lambda: documents(flow)[1]["n"] == 2 if 1 in documents(flow) else False, 20, flow.lane)
    assert not flow.collection.count_documents({"_id": 1, "_syncd.deleted": {"$exists": True}})


def test_expiry(shared: Scene) -> None:
    """The moment at which a key expires stands in its document; that it has expired is no deletion."""
    flow = live(shared, "expiry", shape={"ttl": {"field": "expires_at"}})
    put(flow, [1, 2], 1)
    wait_until(lambda: len(documents(flow)) == 2, 20, flow.lane)
    call(flow, "pexpire", 1, "60000")
    wait_until(lambda: "expires_at" in documents(flow)[1], 20, flow.lane)
    (found,) = flow.collection.find({"_id": 1})
    assert found["expires_at"].timestamp() * 1000 == flow.redis.pexpiretime(flow.key(1))
    call(flow, "persist", 1)
    wait_until(lambda: "expires_at" not in documents(flow)[1], 20, flow.lane)
    pipe = flow.redis.pipeline(transaction=True)
    pipe.xadd(outbox(flow), {"key": flow.key(2)})
    pipe.pexpire(flow.key(2), 0)
    pipe.execute()
    wait_until(lambda: flow.metric("syncd_writes_total", store="mongo", result="gone") == 1, 20, flow.lane)
    assert 2 in documents(flow)


def test_dead_letters_and_replay(shared: Scene, redis_url: str) -> None:
    """What cannot be converted, what MongoDB refuses, keys of others and entries without a key are parked, each once
    and without values; a later state that fits, or a replay, removes the dead letter."""
    flow = live(shared, "letters")
    database = flow.collection.database
    schema = {"$jsonSchema": {"properties": {"n": {"maximum": 100}}}}
    database.create_collection(flow.collection.name, validator=schema)
    call(flow, "hset", 1, "n", "many secrets")
    wait_dead_letters(flow, ["cannot_convert"])
    call(flow, "hset", 1, "n", "more secrets")
    put(flow, [2], 101)
    flow.redis.xadd(outbox(flow), {"key": "no:key:of:ours"})
    flow.redis.xadd(outbox(flow), {"mine": "1"})
    flow.redis.rpush(flow.key(3), "a list")
    flow.redis.xadd(outbox(flow), {"key": flow.key(3)})
    put(flow, [4], 4)
    wait_until(lambda: 4 in documents(flow), 20, flow.lane)
    wait_empty(flow)
    reasons = sorted(dead_letter["reason"] for dead_letter in flow.dead_letters())
    assert reasons == ["cannot_convert", "document_refused", "foreign_key", "foreign_key", "wrong_type"]
    assert "secret" not in str(flow.dead_letters())
    call(flow, "hset", 1, "n", 1)
    wait_until(lambda: len(flow.dead_letters()) == 4, 20, flow.dead_letters)
    database.command({"collMod": flow.collection.name, "validator": {}})
    flow.redis.delete(flow.key(3))
    ran = syncd("deadletters", "replay", flow.contract, "--all", SYNCD_REDIS_URL=redis_url)
    assert ran.stdout.strip() == "2 written, 2 still failing, 0 not found", ran.stderr
    assert {n: found["n"] for n, found in documents(flow).items()} == {1: 1, 2: 101, 4: 4}


def test_dead_letters_of_keys_that_are_not_utf8(shared: Scene, redis_url: str) -> None:
    """nothing_silent: a key that is not UTF-8 has a dead letter, which a replay tries by that very key: it stays, and
    is not taken for one of the key that it looks like. People can read it, and drop it."""
    flow = live(shared, "bytes")
    odd, like = flow.key("a:").encode() + b"\xff", flow.key("a:\\xff").encode()
    for key in (odd, like):
        flow.redis.xadd(outbox(flow), {"key": key})
    wait_dead_letters(flow, ["foreign_key", "foreign_key"])
    at = {"SYNCD_REDIS_URL": redis_url}
    ran = syncd("deadletters", "replay", flow.contract, "--all", **at)
    assert ran.stdout.strip() == "0 written, 2 still failing, 0 not found", ran.stderr
    said = json.loads(syncd("deadletters", "list", flow.contract, "-o", "json", **at).stdout)
    by_key = {one["key"].encode(errors="surrogateescape"): one["entry"] for one in said}
    assert by_key.keys() == {odd, like}
    shown = syncd("deadletters", "show", flow.contract, by_key[odd], "-o", "text", **at).stdout
    assert "key: " + flow.key("a:") + r"\udcff" in shown
    on_the_console = JSONResponse(console.shown(RedisStore(redis_url), flow.contract, EVERY_KIND))
    assert len(json.loads(on_the_console.body)) == 2
    dropped = syncd("deadletters", "drop", flow.contract, by_key[odd], **at)
    assert dropped.stdout.strip() == "dropped 1"
    assert [one["key"].encode() for one in flow.dead_letters()] == [like]


def test_functions_change_all_or_nothing(shared: Scene) -> None:
    """A command that fails notes nothing, and at the bound of the outbox no key is changed."""
    add_outbox(shared, "beside")  # a set without any contract would be refused
    flow = live(shared, "functions", sync={"outbox_max": 5})
    flow.redis.set(flow.key(1), "a string")
    with pytest.raises(Exception, match="WRONGTYPE"):
        call(flow, "hset", 1, "n", 1)
    assert call(flow, "hdel", 2, "n") == 0
    assert flow.redis.xlen(outbox(flow)) == 0
    shared.contracts.remove("functions")
    wait_until(lambda: not flow.lane(), 20)
    for n in range(2, 7):
        call(flow, "hset", n, "n", n)
    with pytest.raises(Exception, match="OUTBOXFULL"):
        call(flow, "hset", 7, "n", 7)
    assert not flow.redis.exists(flow.key(7))


@pytest.mark.parametrize("count", [3999, 4000, 4001, 7001, 20_001])
def test_functions_with_very_many_arguments(redis: Redis, token: str, shared: Scene, count: int) -> None:
    """What takes its arguments one after the other takes as many as the command itself, and replies what that replies;
    any other refuses more than 7,000, and changes nothing."""
    wait_functions(live(shared, f"many-{count}"))
    noted = f"{token}:outbox-{count}"

    def call(command: str, key: str, *args: object) -> Any:
        return redis.fcall(f"syncd_{command}", 2, f"{token}:{key}-{count}", noted, *args)

    pairs = [part for n in range(count) for part in (f"f{n}", n)]
    assert call("hset", "hash", *pairs) == count
    assert redis.hgetall(f"{token}:hash-{count}") == {f"f{n}".encode(): str(n).encode() for n in range(count)}
    assert call("hset", "hash", *pairs, "more", 1) == 1
    assert call("hdel", "hash", *pairs[::2]) == count
    assert call("sadd", "set", *range(count)) == count
    assert call("srem", "set", *range(count)) == count
    assert call("rpush", "list", *range(count)) == count
    assert call("lpush", "list", *range(count)) == 2 * count
    middle = redis.lrange(f"{token}:list-{count}", 0, -1)
    assert [int(one) for one in middle] == [*reversed(range(count)), *range(count)]
    before = redis.xlen(noted)
    with pytest.raises(ResponseError):
        call("hset", "hash", *pairs, "no value")
    scores = [part for n in range(count) for part in (n, f"m{n}")]
    if len(scores) > 7000:
        with pytest.raises(ResponseError, match="takes 7000 arguments of ZADD at once"):
            call("zadd", "zset", *scores)
        assert redis.xlen(noted) == before
    assert not redis.exists(f"{token}:zset-{count}")
    assert redis.hlen(f"{token}:hash-{count}") == 1


def test_a_snapshot_takes_keys_that_were_not_noted(shared: Scene, redis_url: str) -> None:
    """As those that were there before the contract; also behind entries that another client trimmed."""
    flow = add_outbox(shared, "before")
    for n in range(300):
        flow.redis.hset(flow.key(n), mapping={"n": n})
    if not shared.daemon.process.alive:
        shared.start()
    flow.wait_live()
    assert documents(flow) == {}
    assert syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_url).returncode == 0
    wait_documents(flow, {n: {"n": n} for n in range(300)})
    wait_until(lambda: flow.lane()["snapshot"]["copied"] == 300, 20, flow.lane)


def test_the_functions_are_brought_back(shared: Scene) -> None:
    """After a person removed them from the server."""
    flow = live(shared, "forgotten")
    flow.redis.execute_command("FUNCTION DELETE", "syncd_outbox")
    wait_functions(flow)
    call(flow, "hset", 1, "n", 1)
    wait_documents(flow, {1: {"n": 1}})


def test_a_burst_on_one_key_is_one_write(scene: Scene) -> None:
    """Thousands of entries of a key are read once: it is the present state that counts."""
    flow = add_outbox(scene, "burst")
    put(flow, [1] * 3000, 1)
    put(flow, [1], 2)
    scene.start()
    wait_documents(flow, {1: {"n": 2, "say": {"text": "version 2 of 1"}}})
    wait_empty(flow)
    assert flow.metric("syncd_changes_total", op="update") == 3001
    assert flow.metric("syncd_writes_total", store="mongo", result="put") < 10
    remove(flow, [1])
    wait_documents(flow, {})


def test_the_helper_for_applications(shared: Scene, redis_url: str) -> None:
    """Functions by their commands, several keys in a MULTI, and the same with a client of asyncio."""
    flow = live(shared, "helper")
    box = Outbox(flow.redis, flow.contract)
    assert box.hset(flow.key(1), mapping={"n": 1, "text": "one"}) == 2
    assert box.hincrby(flow.key(1), "n") == 2
    assert box.run("HSETNX", flow.key(2), "n", 7) == 1
    box.delete(flow.key(2))
    pipe = flow.redis.pipeline(transaction=True)
    pipe.hset(flow.key(3), "n", 3)
    pipe.hset(flow.key(4), "n", 4)
    box.note(pipe, flow.key(3), flow.key(4))
    pipe.execute()

    async def write() -> int:
        async with asyncio_redis.Redis.from_url(redis_url) as client:
            return int(await Outbox(client, flow.contract).hset(flow.key(5), "n", 5))

    assert asyncio.run(write()) == 1
    wait_documents(flow, {1: {"n": 2, "say": {"text": "one"}}, 3: {"n": 3}, 4: {"n": 4}, 5: {"n": 5}})


@pytest.mark.parametrize("server", ["redis70_url", "valkey_url"])
def test_other_servers(
    server: str, request: pytest.FixtureRequest, token: str, mongo_uri: str, tmp_path: Path
) -> None:
    """The oldest Redis and Valkey: functions, a deletion, a dead letter, entries that another client trimmed."""
    with Scene(tmp_path, token, mongo_uri, request.getfixturevalue(server)) as scene:
        flow = live(scene, "other", shape={"ttl": {"field": "expires_at"}})
        for n in range(5):
            call(flow, "hset", n, "n", n)
        wait_documents(flow, {n: {"n": n} for n in range(5)})
        call(flow, "del", 0)
        call(flow, "hset", 1, "n", "none")
        wait_dead_letters(flow, ["cannot_convert"])
        wait_empty(flow)
        scene.daemon.terminate()
        put(flow, [9], 9)
        scene.redis.xtrim(outbox(flow), maxlen=0)
        scene.start()
        wait_until(lambda: documents(flow).keys() == {1, 2, 3, 4, 9}, 20, flow.lane)
        assert flow.metric("syncd_outbox_trimmed_total") == 1


def test_a_clock_that_was_ahead(scene: Scene, mongo_uri: str) -> None:
    """A daemon before counted its commands from a time that this Redis has not reached: the next one goes beyond."""
    flow = add_outbox(scene, "ahead")
    put(flow, [1], 1)
    about = ("state", flow.contract, "", flow.collection.full_name)
    store = MongoStore(mongo_uri)
    nothing = {"q": {"_id": 0}, "u": {"$set": {"n": 0}}}
    ahead = round((time.time() + 40) * 1_000_000)
    ContractSession(store, *about).write(
        flow.names.database, {"update": flow.names.collection, "updates": [nothing]}, ahead
    )
    store.close()
    scene.start()
    wait_documents(flow, {1: {"n": 1, "say": {"text": "version 1 of 1"}}})
    (entry,) = scene.daemon.logs(event="lane interrupted")
    assert "later number" in entry["error"]


def test_workers_that_split_contracts(scene: Scene) -> None:
    """A contract of keys is not split: one worker has it, the other stands by, and both are ready."""
    scene.daemon = scene.another_daemon(SYNCD_WORKERS="2", SYNCD_SPLIT="true")
    flow = add_outbox(scene, "split")
    scene.start()
    scene.daemon.wait_ready()
    put(flow, range(20), 1)
    wait_documents(flow, {n: {"n": 1, "say": {"text": f"version 1 of {n}"}} for n in range(20)})
    lanes = [lane for lane in scene.daemon.status()["lanes"] if lane["contract"] == flow.contract]
    assert sorted(lane["state"] for lane in lanes) == ["live", "standby"]
