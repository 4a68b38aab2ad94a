"""One contract over many collections, as they come and go."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from redis.exceptions import ResponseError

from syncd.contract.read.load import load_contract_set
from syncd.daemon.discovery import Discovery
from syncd.settings import Settings
from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Scene


def users(scene: Scene, tenant: str) -> Any:
    return scene.mongo[f"{scene.token}-{tenant}"]["users"]


def keys_of(scene: Scene, tenant: str) -> dict[str, dict[str, str]]:
    prefix = f"{scene.token}:users:user:{scene.token}-{tenant}:"
    return {
        key.decode().removeprefix(prefix): {
            n.decode(): v.decode() for n, v in scene.redis.hgetall(key).items()
        }
        for key in scene.redis.scan_iter(match=f"{prefix}*", count=1000)
    }


def wait_keys(scene: Scene, tenant: str, wanted: dict[str, dict[str, str]]) -> None:
    wait_until(
        lambda: keys_of(scene, tenant) == wanted, 60, lambda: (keys_of(scene, tenant), scene.daemon.status())
    )


def names(scene: Scene) -> set[str]:
    lanes = scene.daemon.status()["lanes"]
    return {lane["contract"].partition("@")[2].removeprefix(f"{scene.token}-") for lane in lanes}


def shown(tenant: str, scene: Scene, **fields: str) -> dict[str, str]:
    return {"tenant": f"{scene.token}-{tenant}", "kind": "users", **fields}


def test_tenants_come_and_go(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_lost, no_ghosts: each collection of the pattern has its keys, also one that is made, dropped, or dropped
    while no daemon runs; a deletion or an update in one does not touch the others. One command removes the keys of all
    when the contract is gone."""
    shape = projection(
        {"name": "name", "tenant": "$db", "kind": "$collection"}, name="user", key="{$db}:{_id}"
    )
    try:
        for tenant in ("a", "b"):
            users(scene, tenant).insert_many([{"_id": n, "name": f"{tenant}{n}"} for n in range(3)])
        scene.contracts.write("users", shape, collection=f"{scene.token}-*.users")
        scene.daemon = scene.another_daemon(SYNCD_DISCOVER_EVERY="0.3")
        scene.start()
        for tenant in ("a", "b"):
            wait_keys(scene, tenant, {str(n): shown(tenant, scene, name=f"{tenant}{n}") for n in range(3)})
        users(scene, "a").update_one({"_id": 0}, {"$set": {"name": "new"}})
        users(scene, "a").delete_one({"_id": 1})
        wait_keys(
            scene,
            "a",
            {"0": shown("a", scene, name="new"), "2": shown("a", scene, name="a2")},
        )
        assert len(keys_of(scene, "b")) == 3
        scene.contracts.write_text("bad", "no contract")
        wait_until(lambda: not scene.daemon.status()["contracts"]["valid"], 60)
        users(scene, "c").insert_one({"_id": "x", "name": "c"})
        scene.mongo[f"{scene.token}-d"]["orders"].insert_one({"_id": 1})
        wait_keys(scene, "c", {"x": shown("c", scene, name="c")})
        assert names(scene) == {"a.users", "b.users", "c.users"}
        assert not scene.daemon.status()["contracts"]["valid"], "the edit is still refused"
        scene.contracts.remove("bad")
        scene.mongo.drop_database(f"{scene.token}-b")
        wait_keys(scene, "b", {})
        wait_until(lambda: names(scene) == {"a.users", "c.users"}, 60, lambda: names(scene))
        wait_until(lambda: not list(scene.redis.scan_iter(f"syncd:{{*{scene.token}-b*")), 60)
        at = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
        contract = scene.daemon.status()["lanes"][0]["contract"]
        checked = syncd("reconcile", contract, "--contracts", scene.contracts.path, **at)
        assert checked.returncode == 0, checked.stderr
        told = syncd("check", "--connect", "--contracts", scene.contracts.path, **at)
        assert told.returncode == 0, told.stderr
        asked = syncd("snapshot", contract.partition("@")[0], **at)
        assert asked.returncode == 2
        assert f"is over 2 collections: name one, such as {contract}" in asked.stderr
        scene.daemon.kill()
        users(scene, "c").drop()
        users(scene, "e").insert_one({"_id": 1, "name": "e"})
        scene.start()
        wait_keys(scene, "e", {"1": shown("e", scene, name="e")})
        wait_keys(scene, "c", {})
        assert len(keys_of(scene, "a")) == 2
        assert not scene.daemon.logs(event="unexpected error")
        name = contract.partition("@")[0]
        assert "has not left" in syncd("remove", name, "--keys", "--yes", **at).stderr
        scene.contracts.write("other", projection(["name"]))
        scene.contracts.remove("users")
        left = '"left"'
        wait_until(lambda: str(scene.redis.hgetall("syncd:contracts")).count(left) >= 2, 60)
        removed = syncd("remove", name, "--keys", "--yes", **at)
        assert removed.stdout.count("removed 2 keys, ") == removed.stdout.count("removed 1 key, ") == 1, (
            removed
        )
        assert keys_of(scene, "a") == keys_of(scene, "e") == {}
    finally:
        for tenant in "abcde":
            scene.mongo.drop_database(f"{scene.token}-{tenant}")


def test_each_collection_has_an_index(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """no_ghosts: a search in the index of one tenant meets its documents alone, also where the name of another begins
    the same; the index of a tenant that is dropped goes with what is recorded of it."""
    index = {"name": f"{scene.token}-{{$db}}", "fields": [{"name": "name", "type": "text"}]}
    shape = projection(["name"], name="user", key="{$db}:{_id}", index=index)

    def found(tenant: str) -> int:
        name = f"{scene.token}-{scene.token}-{tenant}"
        with suppress(ResponseError):  # the name comes when the index is complete
            return int(scene.redis.execute_command("FT.SEARCH", name, "ann", "NOCONTENT")[0])
        return -1

    def indexes() -> int:
        return sum(scene.token.encode() in name for name in scene.redis.execute_command("FT._LIST"))

    try:
        for tenant, count in (("a", 2), ("ab", 3)):
            users(scene, tenant).insert_many([{"_id": n, "name": "ann"} for n in range(count)])
        scene.contracts.write("users", shape, collection=f"{scene.token}-*.users")
        scene.daemon = scene.another_daemon(SYNCD_DISCOVER_EVERY="0.3")
        scene.start()
        wait_until(lambda: names(scene) == {"a.users", "ab.users"} and indexes() == 2, 60)
        wait_until(lambda: (found("a"), found("ab")) == (2, 3), 60, lambda: (found("a"), found("ab")))
        at = {"SYNCD_MONGO_URI": mongo_uri, "SYNCD_REDIS_URL": redis_url}
        told = syncd("check", "--connect", "--contracts", scene.contracts.path, **at)
        assert told.returncode == 0, told.stderr
        users(scene, "a").insert_one({"_id": "x", "name": "ann"})
        wait_until(lambda: found("a") == 3, 60)
        scene.mongo.drop_database(f"{scene.token}-a")
        wait_until(lambda: scene.daemon.logs(event="collection gone"), 60, scene.daemon.status)
        assert (indexes(), found("ab")) == (1, 3)
        (gone,) = scene.daemon.logs(event="collection gone")
        assert gone["indexes_dropped"] == [f"{scene.token}-{scene.token}-a:1"]
    finally:
        for tenant in ("a", "ab"):
            scene.mongo.drop_database(f"{scene.token}-{tenant}")


def test_keys_that_are_left_keep_their_records(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_silent: a collection that is missing while its keys are there, as for a user who may not see it any more,
    keeps what syncd knows of them, for a person to decide."""
    shape = projection(["name"], name="user", key="{$db}:{_id}")
    try:
        users(scene, "a").insert_one({"_id": 1, "name": "a"})
        scene.contracts.write("users", shape, collection=f"{scene.token}-*.users")
        scene.daemon = scene.another_daemon(SYNCD_DISCOVER_EVERY="0.3")
        scene.start()
        wait_keys(scene, "a", {"1": {"name": "a"}})
        scene.daemon.kill()
        name = f"{scene.token}-users@{scene.token}-a.users"
        scene.redis.hset("syncd:contracts", name, json.dumps({"place": "x", "set": "y", "left": 1}))
        scene.redis.delete(f"syncd:{{{name}}}:lease", "syncd:claims")
        scene.mongo.drop_database(f"{scene.token}-a")
        contracts = [one.contract for one in load_contract_set(scene.contracts.path, {}).contracts]
        discovery = Discovery(Settings(mongo_uri=mongo_uri, redis_url=redis_url), list)
        discovery.ask(contracts)
        discovery.forget(contracts)
        assert scene.redis.exists(f"syncd:{{{name}}}:position")
        scene.redis.delete(*scene.redis.scan_iter(match=f"{scene.token}:users:user:*"))
        discovery.close()
        discovery = Discovery(Settings(mongo_uri=mongo_uri, redis_url=redis_url), list)
        discovery.ask(contracts)
        discovery.forget(contracts)
        discovery.close()
        assert not scene.redis.exists(f"syncd:{{{name}}}:position")
    finally:
        scene.mongo.drop_database(f"{scene.token}-a")
