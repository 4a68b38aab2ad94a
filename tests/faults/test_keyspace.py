"""Keys that Redis says have changed, while everything on the way breaks (nothing_lost, never_backwards, no_ghosts,
fenced, applied_once, no_echo, nothing_silent, bounded).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import OutOfMemoryError

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.conftest import Rig, killed_at
from tests.support.broken.failpoint import failing
from tests.support.broken.turns import Turns
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.ways.keyspace import (
    add_keyspace,
    compared,
    digests,
    wait_compared,
    wait_known,
    wait_like_keys,
    write,
)
from tests.support.ways.outbox import documents, wait_documents

COUNT = 150
"""What MongoDB gets of them is one read of the proxy, which can tell then that a killed client is gone."""
LEASE_S = 2
OPTION = "notify-keyspace-events"


def live(rig: Rig, short: str, **more: object) -> Flow:
    flow = add_keyspace(rig.scene, short, **more)  # type: ignore[arg-type]
    if not rig.scene.daemon.process.alive:
        rig.scene.start()
    flow.wait_live()
    return flow


@pytest.mark.parametrize("point", ["write", "remember"])
def test_kill_at_every_point(rig: Rig, point: str) -> None:
    """nothing_lost, applied_once: kill -9 before MongoDB gets the states, and before Redis learns that it has them.
    While no daemon listens keys change, go, and go back to what was last remembered of them; behind it every document
    is as its key."""
    flow = live(rig, "point")
    write(flow, range(COUNT), 1)
    wait_like_keys(flow)
    wait_known(flow, range(COUNT))
    hold = {
        "write": lambda: rig.mongo_proxy.hold_request(flow.command("update")),
        "remember": lambda: rig.redis_proxy.hold_request(b"syncd_synced"),
    }[point]()
    write(flow, range(40), 2)
    with killed_at(rig, hold):
        write(flow, range(20), 1)
        write(flow, range(20, 30), 3)
        flow.redis.delete(*map(flow.key, range(5)), *map(flow.key, range(50, 60)))
    wait_like_keys(flow)
    wait_known(flow, flow.keys())
    assert flow.dead_letters() == []


def test_kill_at_a_deletion(rig: Rig) -> None:
    """nothing_lost: kill -9 when documents are deleted and Redis does not know it; a key that is there again by then,
    as it was before, has its document again."""
    flow = live(rig, "deletion")
    write(flow, range(20), 1)
    wait_known(flow, range(20))
    hold = rig.redis_proxy.hold_request(b"syncd_synced")
    flow.redis.delete(*map(flow.key, range(10)))
    with killed_at(rig, hold):
        assert 0 not in documents(flow)
        write(flow, [0], 1)
    wait_like_keys(flow)
    wait_known(flow, [0, *range(10, 20)])


def writing(flow: Flow) -> Turns:
    """An application that changes, deletes, renames and copies keys."""
    client, key = flow.redis, flow.key

    def turn(number: int) -> None:
        first = 7 * number % 200
        write(flow, range(first, first + 20), number)
        client.delete(key(first + 3))
        client.rename(key(first + 5), key(first + 1000))
        client.copy(key(first + 6), key(first + 2000), replace=True)
        client.hincrby(key(first + 7), "n", 1)

    return Turns(turn)


def test_two_daemons_that_are_killed_in_turn(rig: Rig) -> None:
    """nothing_lost, no_ghosts: of two daemons the one that works is killed again and again while keys change, go and
    move; in the end every document is as its key."""
    flow = live(rig, "turns")
    second = rig.scene.another_daemon()
    second.start()
    with writing(flow) as writer:
        for turn in range(3):
            daemon = (rig.scene.daemon, second)[turn % 2]
            writer.wait_turns(10)
            daemon.kill()
            daemon.start()
    wait_like_keys(flow)
    assert flow.dead_letters() == []


@pytest.mark.parametrize("way", ["killed", "cut", "mute", "overflown"])
def test_a_subscription_that_breaks(rig: Rig, way: str) -> None:
    """nothing_lost, nothing_silent: Redis closes the subscription in one step with a change; the network breaks; it
    goes mute without an error; it is too slow for Redis, which gives it up. What changed meanwhile is found, and
    counted as a comparison."""
    flow = live(rig, "broken")
    client, proxy = flow.redis, rig.redis_proxy
    write(flow, range(50), 1)
    wait_like_keys(flow)
    if way == "killed":
        pipe = client.pipeline(transaction=True)
        pipe.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        pipe.hset(flow.key(1), "n", 7)
        pipe.delete(flow.key(2))
        pipe.execute()
    elif way == "cut":
        proxy.cut()
        client.hset(flow.key(1), "n", 7)
        client.delete(flow.key(2))
        proxy.restore()
    elif way == "mute":
        hold = proxy.hold_reply(b"PING")
        hold.wait()
        client.hset(flow.key(1), "n", 7)
        client.delete(flow.key(2))
    else:
        client.config_set("client-output-buffer-limit", "pubsub 65536 0 0")
        rig.scene.daemon.pause()
        closed = client.info("clients")["pubsub_clients"]
        for turn in range(200):
            pipe = client.pipeline(transaction=False)
            for n in range(1000):
                pipe.hset(flow.key(n % 40), "n", turn)
            pipe.execute()
            if client.info("clients")["pubsub_clients"] < closed:
                break
        client.hset(flow.key(1), "n", 7)
        client.delete(flow.key(2))
        rig.scene.daemon.resume()
    wait_like_keys(flow)
    wait_compared(flow, "subscription")
    client.config_set("client-output-buffer-limit", "pubsub 33554432 8388608 60")
    assert rig.scene.daemon.logs(event="comparing all keys", why="subscription")
    assert compared(flow, "start") == 1


def test_the_option_is_turned_off(rig: Rig) -> None:
    """nothing_lost, nothing_silent: it is set again within seconds, with a warning, and what changed is found."""
    flow = live(rig, "option")
    pipe = flow.redis.pipeline(transaction=True)
    pipe.config_set(OPTION, "")
    pipe.hset(flow.key(1), mapping={"n": 1, "text": "unheard"})
    pipe.execute()
    wait_like_keys(flow)
    wait_compared(flow, "setting")
    assert rig.scene.daemon.logs(
        event="notify-keyspace-events was set; put it into redis.conf as well", before=""
    )


def test_mongodb_away(rig: Rig) -> None:
    """nothing_lost, bounded, nothing_silent: MongoDB takes no writes. What was heard waits, visibly, and is written
    when it takes them again; nothing has to be compared. When 5,000 keys change, of which a daemon may remember 1,000,
    it forgets them, says so, and compares all keys afterwards; each has its document."""
    rig.scene.daemon = rig.scene.another_daemon(SYNCD_DIRTY_KEYS="1000")
    flow = live(rig, "away")
    write(flow, [3], 1)
    wait_like_keys(flow)
    with failing(flow.collection, "update insert", 10107):
        write(flow, range(20), 2)
        flow.wait_state("waiting", 40)
        wait_until(lambda: flow.metric("syncd_outbox_entries") == 20, 40, flow.lane)
        assert not rig.scene.daemon.is_ready()
        assert flow.metric("syncd_lag_seconds") > 0
        flow.redis.delete(flow.key(3))
    wait_like_keys(flow)
    assert flow.metric("syncd_keyspace_catchups_total") == 1
    with failing(flow.collection, "update insert", 10107):
        write(flow, range(5000), 3)
        wait_until(lambda: 0 < flow.metric("syncd_outbox_entries") < 1000, 40, flow.lane)
    wait_until(lambda: flow.collection.count_documents({"n": 3}) == 5000, 60, flow.lane)
    wait_compared(flow, "overflow")
    assert rig.scene.daemon.logs(event="comparing all keys", why="overflow")


def test_a_daemon_that_slept(rig: Rig) -> None:
    """fenced, never_backwards, no_ghosts: a daemon is frozen while its write is on the way, for longer than its lease;
    the write arrives behind those of the next daemon, and changes nothing."""
    ttl = {"SYNCD_LEASE_TTL": str(LEASE_S)}
    rig.scene.daemon = rig.scene.another_daemon(**ttl)
    flow = live(rig, "slept")
    write(flow, [1, 2], 1)
    wait_like_keys(flow)
    second = rig.scene.another_daemon(**ttl)
    second.start()
    wait_until(lambda: second.lane_state() == "standby", 20, second.process.log_tail)
    hold = rig.mongo_proxy.hold_request(flow.command("update"))
    write(flow, [1, 2, 3], 2)
    hold.wait()
    rig.scene.daemon.pause()
    wait_until(lambda: second.lane_state() == "live", 20, second.process.log_tail)
    write(flow, [1], 3)
    flow.redis.delete(flow.key(2), flow.key(3))
    wait_like_keys(flow)
    hold.release()
    rig.scene.daemon.resume()
    wait_until(lambda: rig.scene.daemon.lane_state() == "standby", 20, rig.scene.daemon.process.log_tail)
    assert documents(flow) == {1: {"n": 3, "say": {"text": "version 3 of 1"}}}
    second.kill()
    write(flow, [4], 4)
    wait_like_keys(flow)


def test_poison_content(rig: Rig) -> None:
    """nothing_silent: a field that does not fit, and a key of another type, are dead letters, one each, however often
    they change or are compared; other keys go on. The dead letter of a key that was fixed goes by itself."""
    flow = live(rig, "poison")
    client = flow.redis
    client.hset(flow.key(1), "n", "no number")
    client.set(flow.key(2), "no hash")
    write(flow, [3], 1)
    wait_until(lambda: len(flow.dead_letters()) == 2, 20, flow.lane)
    client.expire(flow.key(1), 1000)
    client.hset(flow.key(1), "n", "still none")
    rig.scene.daemon.terminate()
    rig.scene.daemon.start()
    flow.wait_live()
    wait_until(lambda: 3 in documents(flow), 20)
    reasons = {dead_letter["key"]: dead_letter["reason"] for dead_letter in flow.dead_letters()}
    assert reasons == {flow.key(1): "cannot_convert", flow.key(2): "wrong_type"}
    assert len(flow.dead_letters()) == 2
    client.delete(flow.key(2))
    write(flow, [1], 1)
    write(flow, [2], 2)
    wait_like_keys(flow)
    wait_until(lambda: flow.dead_letters() == [], 20, flow.dead_letters)


def test_keys_that_expire(rig: Rig) -> None:
    """nothing_lost, no_ghosts: an expired key is a deletion where the contract says so, and only there, whether
    a daemon listened or not; a key that was deleted while no daemon listened is one in any case."""
    flows = {policy: live(rig, policy, sync={"on_expire": policy}) for policy in ("ignore", "delete")}
    for flow in flows.values():
        write(flow, range(6), 1)
        wait_known(flow, range(6))
        flow.redis.pexpire(flow.key(0), 1)
        flow.redis.expire(flow.key(1), 3)
        flow.redis.expire(flow.key(2), 1000)
        wait_until(lambda: all(":-1" not in digests(flow)[end] for end in "12"), 10)  # noqa: B023
    rig.scene.daemon.kill()
    for flow in flows.values():
        flow.redis.delete(flow.key(2), flow.key(3))
        wait_until(lambda: not flow.redis.exists(flow.key(0), flow.key(1)), 10)  # noqa: B023
    rig.scene.daemon.start()
    for policy, flow in flows.items():
        stay = {4, 5} if policy == "delete" else {0, 1, 4, 5}
        wait_until(lambda: documents(flow).keys() == stay, 20, lambda: documents(flow).keys())  # noqa: B023
        wait_known(flow, [4, 5])


def test_evicted_keys(tmp_path: Path, replica_set: ReplicaSet) -> None:
    """nothing_lost: Redis evicts every key with a TTL, the lease too; no document goes, also none of a key that was
    evicted while no daemon listened, and Redis need not have room for the lane to go on."""
    config = {"maxmemory-policy": "volatile-lru"}
    with (
        RedisServer(config=config) as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        scene.mongo.drop_database("faults")
        flow = add_keyspace(scene, "evicted", sync={"on_expire": "delete"})
        scene.start()
        flow.wait_live()
        for turn in range(2):
            ends = range(20 * turn, 20 * turn + 20)
            for end in ends:
                flow.redis.hset(flow.key(end), "n", end)
                flow.redis.expire(flow.key(end), 1000)
            wait_until(lambda: len(documents(flow)) == 20 * turn + 20, 20, flow.lane)  # noqa: B023
            wait_until(
                lambda: all(":-1" not in text and "?" not in text for text in digests(flow).values()), 20
            )
            if turn:
                scene.daemon.kill()
            flow.redis.config_set("maxmemory", 1)
            with pytest.raises(OutOfMemoryError):
                flow.redis.set("other", 1)
            wait_until(lambda: not flow.keys(), 20)
            flow.redis.config_set("maxmemory", 0)
            if turn:
                scene.daemon.start()
            flow.wait_live()
            wait_known(flow, [])
        assert len(documents(flow)) == 40


def test_redis_restarts(tmp_path: Path, replica_set: ReplicaSet) -> None:
    """nothing_lost: a Redis that keeps its data is killed and comes back, and what changed before a daemon listened
    again is found; its option is set again. One that is emptied takes no document with it."""
    with (
        RedisServer(appendonly=True, config={"appendfsync": "always"}) as server,
        Scene(tmp_path, "faults", replica_set.uri, server.url) as scene,
    ):
        scene.mongo.drop_database("faults")
        flow = add_keyspace(scene, "restart")
        scene.start()
        flow.wait_live()
        write(flow, range(100), 1)
        wait_like_keys(flow)
        server.kill()
        server.start()
        write(flow, range(50), 2)
        flow.redis.delete(flow.key(7))
        wait_like_keys(flow)
        flow.wait_live()
        before = documents(flow)
        flow.redis.flushall()
        write(flow, [200], 1)
        wait_documents(flow, before | {200: {"n": 1, "say": {"text": "version 1 of 200"}}})
        flow.wait_live()
        write(flow, [201], 1)
        wait_until(lambda: 201 in documents(flow), 20, flow.lane)


def test_what_syncd_writes_is_not_captured(rig: Rig) -> None:
    """no_echo: a contract that copies into the same Redis, with control keys of its own, and one that listens there;
    whatever the first one writes, the second hears of nothing but its own keys. Events come in order: what it hears of
    last was written last."""
    flow = live(rig, "listens")
    copies = rig.scene.add(
        "copies", projection({"a": "a"}), documents=[{"_id": n, "a": n} for n in range(200)]
    )
    wait_until(lambda: len(copies.keys()) == 200, 30, copies.lane)
    write(flow, range(5), 1)
    wait_like_keys(flow)
    copies.collection.update_many({}, {"$set": {"a": 7}})
    wait_until(lambda: copies.hash(199) == {"a": "7"}, 30)
    write(flow, [5], 1)
    wait_like_keys(flow)
    wait_known(flow, range(6))
    assert flow.metric("syncd_changes_total") == 6
