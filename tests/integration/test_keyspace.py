"""Events of changed keys, and the comparison that makes up for those that were missed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from syncd.contract.model.redis.template import KeyTemplate
from syncd.embedded import RedisServer, ValkeyServer
from syncd.errors import CapabilityError
from syncd.plan.keys.templates import scan_pattern
from syncd.plan.types import TYPES
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.keyspace import notifications
from syncd.to_mongo.keyspace.notifications import Setting
from syncd.to_mongo.keyspace.subscriber import Subscriber
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.scene import Flow, Scene
from tests.support.servers import redis70
from tests.support.ways.keyspace import add_keyspace, compared, digests, wait_known, wait_like_keys, write
from tests.support.ways.outbox import documents, wait_documents
from tests.support.ways.twoway import add_two_way

Heard = list[tuple[bytes, bytes]]

WRITES: dict[str, list[tuple[Any, ...]]] = {
    "hash": [("HSET", "k", "a", 1), ("HINCRBY", "k", "a", 1), ("HDEL", "k", "a")],
    "json": [("JSON.SET", "k", "$", '{"a": 1}'), ("JSON.NUMINCRBY", "k", "$.a", 1), ("JSON.DEL", "k", "$.a")],
    "string": [
        ("SET", "k", 1),
        ("APPEND", "k", 1),
        ("SETRANGE", "k", 0, 7),
        ("INCR", "k"),
        ("GETSET", "k", 2),
    ],
    "set": [("SADD", "k", 1, 2), ("SREM", "k", 1), ("SPOP", "k")],
    "zset": [("ZADD", "k", 1, 1), ("ZINCRBY", "k", 1, 1), ("ZPOPMIN", "k")],
    "list": [("RPUSH", "k", 1), ("LSET", "k", 0, 2), ("LPUSH", "k", 1), ("LTRIM", "k", 0, 0), ("LPOP", "k")],
}


@contextmanager
def listening(store: RedisStore, pattern: str = "k*") -> Iterator[tuple[Subscriber, Heard]]:
    heard: Heard = []
    subscriber = Subscriber(store, ControlKeys("c"), pattern, lambda key, event: heard.append((key, event)))
    subscriber.start()
    try:
        subscriber.wait_up(10)
        yield subscriber, heard
    finally:
        subscriber.stop()
        subscriber.join()


@pytest.mark.parametrize("kind", WRITES)
def test_every_write_is_heard(store: RedisStore, client: Redis, kind: str) -> None:
    """nothing_lost: with the flags that syncd adds to those of others, each command on each type has an event."""
    client.config_set("notify-keyspace-events", "Et")
    assert notifications.ensure(store, "c")
    assert set(client.config_get("notify-keyspace-events")["notify-keyspace-events"]) == set("KEA")
    assert not notifications.ensure(store, "c")
    with listening(store) as (subscriber, heard):
        subscriber.probe(TYPES[kind].sample)
        for number, command in enumerate(WRITES[kind], 1):
            before = len(heard)
            client.execute_command(*command)
            wait_until(lambda: len(heard) > before, message=f"{command}: {heard}")  # noqa: B023
            assert {key for key, _ in heard} == {b"k"}, number


def test_what_happens_to_whole_keys_is_heard(store: RedisStore, client: Redis) -> None:
    """nothing_lost: TTLs, renames, copies, restores and removals; and nothing of other keys or other databases."""
    notifications.ensure(store, "c")
    with listening(store, scan_pattern(KeyTemplate.parse("k[1]*{_id}"))) as (_, heard):
        client.set("k[1]*a", 1)
        client.expire("k[1]*a", 100)
        client.persist("k[1]*a")
        client.copy("k[1]*a", "k[1]*b")
        client.rename("k[1]*b", "k[1]*c")
        client.restore("k[1]*d", 0, client.dump("k[1]*a"))
        client.set("k1x", 1)
        client.unlink("k[1]*c")
        client.pexpire("k[1]*d", 1)
        client.execute_command("SELECT", 1)
        client.set("k[1]*other", 1)
        client.execute_command("SELECT", 0)
        wait_until(lambda: client.get("k[1]*d") is None)
        wanted = [
            (b"a", b"set"), (b"a", b"expire"), (b"a", b"persist"), (b"b", b"copy_to"), (b"b", b"rename_from"),
            (b"c", b"rename_to"), (b"d", b"restore"), (b"c", b"del"), (b"d", b"expire"), (b"d", b"expired"),
        ]  # fmt: skip
        wait_until(lambda: heard == [(b"k[1]*" + key, event) for key, event in wanted], message=lambda: heard)


def test_another_database_has_channels_of_its_own(server: RedisServer, client: Redis) -> None:
    """nothing_lost: a contract on database 3 hears its own keys, not those of database 0."""
    store = RedisStore(server.url.removesuffix("/0") + "/3")
    notifications.ensure(store, "c")
    with listening(store) as (_, heard):
        client.set("k0", 1)
        store.client.set("k3", 1)
        wait_until(lambda: heard == [(b"k3", b"set")], message=lambda: heard)
    store.close()


def test_a_subscription_that_is_cut_is_made_again(store: RedisStore, client: Redis) -> None:
    """nothing_lost: its number shows that there was a gap."""
    notifications.ensure(store, "c")
    with listening(store) as (subscriber, heard):
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        wait_until(lambda: subscriber.generation == 2 and subscriber.is_up)
        client.set("k1", 1)
        wait_until(lambda: heard == [(b"k1", b"set")])


def narrow(server: RedisServer, client: Redis, *rights: str) -> RedisStore:
    client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">secret", "~*", "&*", "+@all", *rights)
    return RedisStore(server.url.replace("//", "//narrow:secret@"))


def test_no_right_to_set_the_option(server: RedisServer, client: Redis) -> None:
    """nothing_silent: where events are off and may not be turned on, the error says so and what to do."""
    store = narrow(server, client, "-config|set")
    for attempt in (notifications.check, lambda store: notifications.ensure(store, "c")):
        with pytest.raises(CapabilityError, match=r"lacks .*; set it to .*, or grant \+config\|set"):
            attempt(store)
    client.config_set("notify-keyspace-events", "KEA")
    assert notifications.check(store).missing == ""
    store.close()


def test_no_right_to_see_the_option(server: RedisServer, client: Redis) -> None:
    """nothing_silent: where the option is hidden a scratch key shows whether events arrive, of this type too."""
    store = narrow(server, client, "-config")
    assert notifications.check(store) == Setting(None, "")
    client.config_set("notify-keyspace-events", "Kgx$")
    with listening(store) as (subscriber, _):
        subscriber.probe(TYPES["string"].sample)
        with pytest.raises(CapabilityError, match="no event hset of a scratch key"):
            subscriber.probe(TYPES["hash"].sample)
    assert not client.exists("syncd:{c}:probe")
    store.close()


SHAPES: dict[str, dict[str, Any]] = {
    "hash": {"fields": {"n": {"from": "n", "type": "int"}, "zip": "address.zip"}},
    "json": {"fields": {"n": {"from": "n", "type": "int"}, "tags": "tags"}},
    "string": {"value": {"from": "n", "type": "double"}},
    "set": {"value": {"from": "items", "type": "string"}},
    "zset": {"value": {"from": "board", "type": "string"}},
    "list": {"value": {"from": "steps", "type": "int"}},
}
FIRST: dict[str, tuple[Any, ...]] = {
    "hash": ("HSET", "n", 1, "zip", "8000"),
    "json": ("JSON.SET", "$", '{"n": 1, "tags": ["a", {"b": 2}]}'),
    "string": ("SET", "1.5"),
    "set": ("SADD", "b", "a"),
    "zset": ("ZADD", 1, "a", 2.5, "b"),
    "list": ("RPUSH", 3, 1, 2),
}
CHANGE: dict[str, tuple[Any, ...]] = {
    "hash": ("HDEL", "zip"),
    "json": ("JSON.NUMINCRBY", "$.n", 1),
    "string": ("INCRBYFLOAT", 1),
    "set": ("SADD", "c"),
    "zset": ("ZINCRBY", 5, "a"),
    "list": ("LSET", 0, 7),
}
BEFORE: dict[str, Any] = {
    "hash": {"n": 1, "address": {"zip": "8000"}},
    "json": {"n": 1, "tags": ["a", {"b": 2}]},
    "string": {"n": 1.5},
    "set": {"items": ["a", "b"]},
    "zset": {"board": [{"member": "a", "score": 1.0}, {"member": "b", "score": 2.5}]},
    "list": {"steps": [3, 1, 2]},
}
BEHIND: dict[str, Any] = {
    "hash": {"n": 1, "address": {}},
    "json": {"n": 2, "tags": ["a", {"b": 2}]},
    "string": {"n": 2.5},
    "set": {"items": ["a", "b", "c"]},
    "zset": {"board": [{"member": "b", "score": 2.5}, {"member": "a", "score": 6.0}]},
    "list": {"steps": [7, 1, 2]},
}


@pytest.fixture
def scene(server: RedisServer, client: Redis, mongo_uri: str, token: str, tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, token, mongo_uri, server.url) as scene:
        yield scene


def test_every_type_heard_and_unheard(scene: Scene) -> None:
    """nothing_lost: keys of six types that were there before, that change while a daemon listens, and while none
    does; behind a pause exactly those are written that differ, and a new comparison of the same keys writes nothing."""
    flows = {
        kind: add_keyspace(
            scene,
            kind,
            shape.get("fields"),
            type=kind,
            shape={key: value for key, value in shape.items() if key != "fields"},
        )
        for kind, shape in SHAPES.items()
    }
    run = scene.redis.execute_command

    def write(kind: str, end: int, said: tuple[Any, ...]) -> None:
        run(said[0], flows[kind].key(end), *said[1:])

    def wait(wanted: dict[int, dict[str, Any]]) -> None:
        for kind, flow in flows.items():
            wait_documents(flow, {end: of[kind] for end, of in wanted.items()})

    for kind in flows:
        for end in (1, 2):
            write(kind, end, FIRST[kind])
    scene.start()
    wait({1: BEFORE, 2: BEFORE})
    for kind in flows:
        write(kind, 3, FIRST[kind])
        write(kind, 2, CHANGE[kind])
    wait({1: BEFORE, 2: BEHIND, 3: BEFORE})
    for flow in flows.values():
        wait_known(flow, [1, 2, 3])
    scene.daemon.terminate()
    for kind, flow in flows.items():
        write(kind, 1, CHANGE[kind])
        run("DEL", flow.key(2))
        run("EXPIRE", flow.key(3), 1000)
        run("RENAME", flow.key(3), flow.key(4))
    scene.daemon.start()
    wait({1: BEHIND, 4: BEFORE})
    for flow in flows.values():
        wait_known(flow, [1, 4])
        assert flow.metric("syncd_writes_total", result="put") == 2
        assert flow.metric("syncd_writes_total", result="delete") == 2
    scene.daemon.terminate()
    scene.daemon.start()
    for flow in flows.values():
        flow.wait_live()
        assert flow.metric("syncd_changes_total") == 0


def test_what_does_not_change_is_not_written(scene: Scene) -> None:
    """A TTL that moves on and on is no change, unless the contract keeps it; a snapshot writes everything all the same,
    and brings back what another client changed in MongoDB."""
    flow = add_keyspace(scene, "sliding")
    keeping = add_keyspace(scene, "keeping", shape={"ttl": {"field": "until"}})
    scene.start()
    for one in (flow, keeping):
        one.wait_live()
        one.redis.hset(one.key(1), mapping={"n": 1, "text": "one"})
        wait_until(lambda: 1 in documents(one), 20, one.lane)  # noqa: B023
        wait_known(one, [1])
        for seconds in (1000, 2000):
            before = digests(one)["1"]
            one.redis.expire(one.key(1), seconds)
            wait_until(lambda: digests(one)["1"] not in (before, "?"), 20)  # noqa: B023
    wait_until(lambda: "?" not in digests(keeping)["1"], 20)
    assert "until" in documents(keeping)[1]
    assert keeping.metric("syncd_writes_total", result="put") > 1
    assert flow.metric("syncd_writes_total", result="put") == 1
    flow.collection.update_one({"_id": 1}, {"$set": {"n": 7}})
    assert syncd("snapshot", flow.contract, SYNCD_REDIS_URL=redis_of(flow)).returncode == 0
    wait_until(lambda: documents(flow)[1]["n"] == 1, 20, flow.lane)
    assert compared(flow, "request") == 1


def test_keys_of_another_template(scene: Scene) -> None:
    """nothing_silent: keys that match the pattern, and are no key of the template, are left out, counted, reported
    once."""
    flow = add_keyspace(scene, "foreign")
    scene.start()
    flow.wait_live()
    scene.redis.set(flow.key("2:items"), "heard")
    write(flow, [1], 1)
    wait_until(lambda: documents(flow).keys() == {1}, 20, flow.lane)
    wait_until(lambda: flow.metric("syncd_changes_total", op="other") == 1, 20)
    assert (
        len(scene.daemon.logs(event="keys match the pattern and do not reach MongoDB; status shows one")) == 1
    )
    assert flow.dead_letters() == []


def redis_of(flow: Flow) -> str:
    said = flow.redis.connection_pool.connection_kwargs
    return f"redis://{said['host']}:{said['port']}/0"


@pytest.mark.parametrize("name", ["valkey", "redis70"])
def test_servers_without_modules(
    name: str, mongo_uri: str, token: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """nothing_lost: heard, unheard and gone, on the oldest Redis and on Valkey."""
    request.getfixturevalue(f"{name}_url")  # skips, or fails, where that server cannot be had
    found = redis70.find() if name == "redis70" else None
    server = RedisServer(binary=found.binary, env=found.env) if found else ValkeyServer()
    with server, Scene(tmp_path, token, mongo_uri, server.url) as scene:
        flow = add_keyspace(scene, "old")
        write(flow, [1, 2], 1)
        scene.start()
        wait_like_keys(flow)
        write(flow, [2, 3], 2)
        wait_like_keys(flow)
        wait_known(flow, [1, 2, 3])
        scene.daemon.terminate()
        flow.redis.delete(flow.key(1))
        write(flow, [3], 3)
        scene.start()
        wait_like_keys(flow)


def test_an_edit_of_the_contract(scene: Scene) -> None:
    """nothing_lost: under another form of the contract every key is written again, though none has changed."""
    flow = add_keyspace(scene, "edited")
    scene.start()
    flow.wait_live()
    write(flow, [1, 2], 1)
    wait_known(flow, [1, 2])
    (said,) = flow.projections
    edited = {**said, "fields": {**said["fields"], "text": "said"}}
    flow.write(edited, sync={"direction": "redis_to_mongo", "capture": "keyspace"}, version="2.0.0")
    wait_until(lambda: all(found.get("said") for found in documents(flow).values()), 20, flow.lane)
    write(flow, [3], 3)
    wait_until(lambda: documents(flow).get(3) == {"n": 3, "said": "version 3 of 3"}, 20, flow.lane)


def test_fields_that_expire(scene: Scene) -> None:
    """nothing_lost: a hash whose last fields expire has expired, one way and both ways, heard or unheard; a field that
    expires beside others goes from the document; who deletes such a hash later deletes the document."""
    fields = {"n": {"from": "n", "type": "int"}, "text": "text"}
    flows = {policy: add_keyspace(scene, policy, fields, sync={"on_expire": policy}) for policy in GONE_BY}
    flows["both"] = add_two_way(scene, "both", "keyspace", fields)
    scene.start()
    for name, flow in flows.items():
        flow.wait_live()
        if name == "both":  # what MongoDB reports of a document later would bring its key back
            flow.collection.insert_many([{"_id": end, "n": end, "text": "x"} for end in range(7)])
        else:
            for end in range(7):
                flow.redis.hset(flow.key(end), mapping={"n": end, "text": "x"})
        wait_until(lambda: len(documents(flow)) == 7, 20, flow.lane)  # noqa: B023
        wait_known(flow, range(7))
        run = flow.redis.execute_command
        run("HPEXPIRE", flow.key(0), 1, "FIELDS", 2, "n", "text")
        run("HPEXPIRE", flow.key(1), 1, "FIELDS", 1, "text")
        run("HPEXPIRE", flow.key(2), 1, "FIELDS", 1, "text")
        run("HGETEX", flow.key(3), "PX", 1, "FIELDS", 1, "n")
        run("HGETEX", flow.key(3), "PX", 300, "FIELDS", 1, "text")
        run("HGETDEL", flow.key(4), "FIELDS", 2, "n", "text")
        run("HPEXPIRE", flow.key(5), 4000, "FIELDS", 2, "n", "text")
        wait_until(lambda: "text" not in documents(flow)[2], 20, lambda: documents(flow))  # noqa: B023
        flow.redis.delete(flow.key(2))
        wait_lost(flow, [0, 3], [1, 5, 6])
        wait_until(lambda: not digests(flow)["5"].partition(" ")[0].endswith(":-1"), 20)  # noqa: B023
    scene.daemon.kill()
    for flow in flows.values():
        wait_until(lambda: not flow.redis.exists(flow.key(5)), 20)  # noqa: B023
    scene.daemon.start()
    for name, flow in flows.items():
        wait_lost(flow, [0, 3, 5], [1, 6])
        left = documents(flow)
        assert left.keys() == ({1, 6} if name == "delete" else {0, 1, 3, 5, 6}), name
        assert left[1] == {"n": 1}, name
        assert left[6] == {"n": 6, "text": "x"}, name


GONE_BY = ("ignore", "delete")


def wait_lost(flow: Flow, lost: list[int], there: list[int]) -> None:
    """Until syncd knows that these keys have expired. Of a contract both ways it knows them still."""
    if flow.sync["direction"] != "both":
        wait_known(flow, there)
        return

    def is_known() -> bool:
        found = digests(flow)
        are_lost = all('"l":true' in found.get(str(end), "") for end in lost)
        return are_lost and found.keys() == {str(end) for end in lost + there}

    wait_until(is_known, 20, lambda: digests(flow))
