"""`share: true`: several contracts have fields in one hash, each its own."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.support.check import wait_until
from tests.support.cli import syncd
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.shapes.sharing import People
from tests.support.ways.reconcile import check

COUNTED = {"visits": {"$gte": 0}}


def two(scene: Scene, name: str) -> tuple[People, Flow, Flow]:
    """Users with name and city, and their numbers."""
    people = People(scene, name)
    users = scene.run(f"{name}-users", people.part(["name", "city"]))
    return people, users, scene.run(f"{name}-numbers", people.part(["visits"]), filter=COUNTED)


def test_each_contract_has_its_fields(shared: Scene) -> None:
    """Inserts, updates, unset fields, a deletion and a document that leaves the filter change the fields of their own
    contract; those of the other contract stay, and so do an application's, and the time to live that it set."""
    shared.redis.hset(People(shared, "own").key(1), "theirs", "x")
    people, users, numbers = two(shared, "own")
    users.collection.insert_one({"_id": 1, "name": "Ada", "city": "Rome"})
    numbers.collection.insert_many([{"_id": 1, "visits": 3}, {"_id": 2, "visits": 5}])
    people.wait(1, {"name": "Ada", "city": "Rome", "visits": "3", "theirs": "x"})
    shared.redis.expire(people.key(1), 5000)
    users.collection.update_one({"_id": 1}, {"$unset": {"city": ""}, "$set": {"name": "Bea"}})
    people.wait(1, {"name": "Bea", "visits": "3", "theirs": "x"})
    numbers.collection.update_one({"_id": 1}, {"$set": {"visits": -1}})
    people.wait(1, {"name": "Bea", "theirs": "x"})
    users.collection.delete_one({"_id": 1})
    people.wait(1, {"theirs": "x"})
    assert shared.redis.ttl(people.key(1)) > 4000
    users.collection.insert_one({"_id": 2, "name": "Cid"})
    people.wait(2, {"name": "Cid", "visits": "5"})
    numbers.collection.delete_one({"_id": 2})
    people.wait(2, {"name": "Cid"})
    users.collection.update_one({"_id": 2}, {"$set": {"name": None}})
    wait_until(lambda: not shared.redis.exists(people.key(2)), 20, "a hash without fields is gone")


def test_what_a_copy_finds(shared: Scene) -> None:
    """no_ghosts: documents that were deleted while no daemon ran lose their fields by the sweep, and no others do;
    where the map was evicted as well, too."""
    shared.add("stays", projection(["n"]))
    people, users, numbers = two(shared, "copied")
    users.collection.insert_many([{"_id": n, "name": f"n{n}"} for n in range(5)])
    numbers.collection.insert_many([{"_id": n, "visits": n} for n in range(5)])
    shared.redis.hset(people.key("app"), "theirs", "x")
    wait_until(lambda: len(people.all()) == 6 and people.all()["4"] == {"name": "n4", "visits": "4"}, 20)
    for lose_map in (False, True):
        shared.contracts.remove("copied-users")
        wait_until(lambda: not users.lane(), 60, "the lane is gone")
        users.collection.delete_one({"_id": int(lose_map)})
        shared.redis.delete(users.names.control("position"))
        if lose_map:
            (maps,) = shared.redis.keys(users.names.control("members:*"))
            shared.redis.delete(maps)
        users.write(people.part(["name", "city"]))
        users.wait_live()
        people.wait(int(lose_map), {"visits": str(int(lose_map))})
    people.wait_all({users: ["name"], numbers: ["visits"]}, {"app": {"theirs": "x"}})


def test_fields_that_were_there_before_an_edit(shared: Scene) -> None:
    """A contract gains a field that an application keeps in hashes of no document: it stays there, and in the hashes of
    documents it is the contract's from now on."""
    people = People(shared, "gained")
    flow = shared.run(
        "gained", people.part(["name"]), documents=[{"_id": n, "name": f"n{n}"} for n in range(3)]
    )
    people.wait(2, {"name": "n2"})
    shared.redis.hset(people.key("app"), mapping={"plan": "x", "theirs": "y"})
    shared.redis.hset(people.key(1), "plan", "x")
    flow.write(people.part(["name", "plan"]))
    people.wait(1, {"name": "n1"})
    flow.collection.update_one({"_id": 2}, {"$set": {"plan": "pro"}})
    people.wait(2, {"name": "n2", "plan": "pro"})
    flow.wait_live()
    flow.collection.delete_one({"_id": 0})
    people.wait_all({flow: ["name", "plan"]}, {"app": {"plan": "x", "theirs": "y"}})


def test_fields_change_hands(shared: Scene) -> None:
    """no_ghosts: an edit drops a field, of as many documents as there are, another contract takes it over; a contract
    that goes and is removed takes its fields along. What no contract has any more is gone, the rest stays."""
    shared.add("stays", projection(["n"]))
    people, users, numbers = two(shared, "hands")
    users.collection.insert_many([{"_id": n, "name": f"n{n}", "city": "Rome"} for n in range(150)])
    numbers.collection.insert_many([{"_id": n, "visits": n, "city": "Oslo"} for n in range(2)])
    people.wait(1, {"name": "n1", "city": "Rome", "visits": "1"})
    users.write(people.part(["name"]))
    people.wait(2, {"name": "n2"})
    numbers.write(people.part(["visits", "city"]), filter=COUNTED)
    people.wait(1, {"name": "n1", "city": "Oslo", "visits": "1"})
    users.write(people.part(["name", "city"]))
    numbers.write(people.part(["visits"]), filter=COUNTED)
    people.wait(2, {"name": "n2", "city": "Rome"})
    people.wait(1, {"name": "n1", "city": "Rome", "visits": "1"})
    for flow in (users, numbers):
        flow.wait_live()
    people.wait_all({users: ["name", "city"], numbers: ["visits"]})
    shared.contracts.remove("hands-users")
    wait_until(lambda: not users.lane(), 60, "the lane is gone")
    env = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
    wait_until(
        lambda: syncd("remove", users.contract, "--keys", "--yes", **env).returncode == 0, 60, "it is removed"
    )
    people.wait_all({numbers: ["visits"]})


def test_a_field_of_a_contract_that_has_left(shared: Scene) -> None:
    """nothing_lost, no_ghosts: who takes one field of a contract that has left takes that alone: the others stay, with
    what says whose they are, until a person removes them. Of the one that was taken stays what its documents have."""
    people, users, numbers = two(shared, "gone")
    users.collection.insert_many([{"_id": n, "name": f"n{n}", "city": "Rome"} for n in range(3)])
    numbers.collection.insert_many([{"_id": n, "visits": n, "city": "Oslo"} for n in range(2)])
    people.wait(1, {"name": "n1", "city": "Rome", "visits": "1"})
    shared.contracts.remove("gone-users")
    env = {"SYNCD_REDIS_URL": shared.reach["redis_url"], "SYNCD_MONGO_URI": shared.reach["mongo_uri"]}
    wait_until(lambda: users.contract in syncd("orphans", **env).stdout, 60, "it has left")
    numbers.write(people.part(["visits", "city"]), filter=COUNTED)
    numbers.wait_live()
    people.wait(1, {"name": "n1", "city": "Oslo", "visits": "1"})
    people.wait(2, {"name": "n2"})
    numbers.collection.delete_one({"_id": 1})
    people.wait(1, {"name": "n1"})
    numbers.write(people.part(["visits"]), filter=COUNTED)
    people.wait(0, {"name": "n0", "visits": "0"})
    shared.redis.hset(people.key(2), "city", "Bonn")
    assert syncd("remove", users.contract, "--keys", "--yes", **env).returncode == 0
    people.wait_all({numbers: ["visits"]}, {"2": {"city": "Bonn"}})


@pytest.mark.parametrize("kind", ["hash", "json"])
def test_keys_that_are_not_shared_any_more(shared: Scene, kind: str) -> None:
    """no_ghosts: a projection for whole keys, of which some could be those of the hashes before, takes their place: the
    fields in all other hashes go, and an application's stay."""
    name = f"whole-{kind}"
    people = People(shared, name)
    shared.redis.hset(people.key(2), "theirs", "x")
    users = shared.run(
        name, people.part(["name"]), documents=[{"_id": n, "name": f"n{n}", "n": n} for n in range(12)]
    )
    whole = projection(["name"], name="whole", type=kind, key=f"/{name}:1{{n}}")
    users.write(whole, unique=[["n"]])
    keys = {people.key(f"1{n}").encode() for n in range(12)} | {people.key(2).encode()}
    wait_until(lambda: set(shared.redis.keys(people.key("*"))) == keys, 60, people.all)
    assert people.one(2) == {"theirs": "x"}
    assert shared.redis.type(people.key(10)) == {"hash": b"hash", "json": b"ReJSON-RL"}[kind]


def test_a_check_knows_whose_a_field_is(shared: Scene, mongo_uri: str) -> None:
    """A check finds hashes without any of the fields, fields that differ or are too many, and fields of no document,
    and repairs them; fields of others are no difference."""
    people, users, numbers = two(shared, "checked")
    users.collection.insert_many([{"_id": n, "name": f"n{n}", "city": "Rome"} for n in range(4)])
    numbers.collection.insert_many([{"_id": n, "visits": n} for n in range(4)])
    people.wait(3, {"name": "n3", "city": "Rome", "visits": "3"})
    shared.redis.hset(people.key(0), "theirs", "x")
    url = shared.reach["redis_url"]
    assert not any(check(shared, users, mongo_uri, url).drift.values())
    shared.redis.hdel(people.key(0), "name", "city")
    shared.redis.hset(people.key(1), "city", "Paris")
    shared.redis.hdel(people.key(2), "city")
    shared.redis.hset(people.key("ghost"), mapping={"name": "y", "visits": "7"})
    report = check(shared, users, mongo_uri, url, repair=True)
    assert report.drift == {"missing": 1, "content": 2, "extra": 1, "ttl": 0}
    check(shared, numbers, mongo_uri, url, repair=True)
    foreign = {"0": {"theirs": "x"}}
    people.wait_all({users: ["name", "city"], numbers: ["visits"]}, foreign)


def test_two_projections_of_one_contract(shared: Scene) -> None:
    """They share a hash as two contracts do; one that is gone takes its fields along. A field that does not fit is a
    dead letter of its projection, and the fields of the other are written."""
    people = People(shared, "pair")
    flow = shared.run(
        "pair", people.part(["name"]), people.part({"age": {"from": "age", "type": "int"}}, name="more"),
        documents=[{"_id": 1, "name": "Ada", "age": 5}],
    )  # fmt: skip
    people.wait(1, {"name": "Ada", "age": "5"})
    flow.collection.update_one({"_id": 1}, {"$set": {"name": "Bea", "age": "five"}})
    people.wait(1, {"name": "Bea", "age": "5"})
    wait_until(lambda: [one["projection"] for one in flow.dead_letters()] == ["more"], 20, "a dead letter")
    flow.collection.update_one({"_id": 1}, {"$set": {"age": 6}})
    people.wait(1, {"name": "Bea", "age": "6"})
    flow.write(people.part(["name"]))
    people.wait(1, {"name": "Bea"})


def test_fields_that_expire(shared: Scene) -> None:
    """A field of a shared hash has its own moment; a write of another contract does not change that."""
    soon = datetime.fromtimestamp(time.time() + 3, UTC)
    ttl = {"offer": {"from": "offer", "ttl": {"field": "until"}}, "name": "name"}
    people = People(shared, "soon")
    users = shared.run("soon-users", people.part(ttl))
    numbers = shared.run("soon-numbers", people.part(["visits"]))
    users.collection.insert_one({"_id": 1, "name": "Ada", "offer": "o", "until": soon})
    people.wait(1, {"name": "Ada", "offer": "o"})
    numbers.collection.insert_one({"_id": 1, "visits": 1})
    people.wait(1, {"name": "Ada", "offer": "o", "visits": "1"})
    people.wait(1, {"name": "Ada", "visits": "1"})
    assert people.one(1).keys() == {"name", "visits"}


def test_odd_values(shared: Scene) -> None:
    """Names of fields and ids of any kind."""
    names = {"a,b": "a", "{c}": "b", "ä %": "c"}
    people = People(shared, "odd")
    flow = shared.run("odd", people.part(names))
    flow.collection.insert_many([{"_id": "x y", "a": 1, "b": True, "c": "ü"}, {"_id": {"k": 1}, "a": "z"}])
    people.wait("x%20y", {"a,b": "1", "{c}": "true", "ä %": "ü"})
    wait_until(lambda: len(people.all()) == 2, 20, people.all)
    flow.collection.delete_one({"_id": "x y"})
    wait_until(lambda: len(people.all()) == 1, 20, people.all)
    assert not flow.dead_letters()


def test_a_contract_that_begins_to_share(shared: Scene) -> None:
    """no_ghosts: `share` comes and goes by an edit; the hashes stay, and a document that goes takes its own along."""
    people = People(shared, "begin")
    whole = projection(["name"], key="/begin:{_id}")
    flow = shared.run("begin", whole, documents=[{"_id": n, "name": f"n{n}"} for n in range(3)])
    people.wait(2, {"name": "n2"})
    flow.write(people.part(["name"]))
    flow.wait_live()
    wait_until(lambda: shared.redis.keys(flow.names.control("members:*")), 20, "a map")
    shared.redis.hset(people.key(0), "theirs", "x")
    flow.collection.delete_many({"_id": {"$lt": 2}})
    people.wait_all({flow: ["name"]}, {"0": {"theirs": "x"}})
    flow.write(whole)
    wait_until(lambda: not shared.redis.keys(flow.names.control("members:*")), 20, "no map any more")
    flow.wait_live()
    assert people.one(2) == {"name": "n2"}
    flow.collection.delete_one({"_id": 2})
    people.wait(2, {})
