"""What passes with a template from one contract to another: maps, indexes, names, several processes
(nothing_lost, no_ghosts, no_echo, applied_once, nothing_silent)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from syncd.embedded import RedisServer, ReplicaSet
from tests.faults.test_handover import COUNT, FILM, SESS, TOGETHER, WAYS, check, daemon, edit, found, run
from tests.support.check import wait_until
from tests.support.ways.handover import (
    BOTH_KEYSPACE,
    FIELDS,
    KEYSPACE,
    Node,
    World,
    contract,
    shape,
    world,
)

pytestmark = pytest.mark.at_scale(all_but_one_of=10)


@pytest.fixture
def both(replica_set: ReplicaSet, redis_server: RedisServer) -> Iterator[World]:
    with world(replica_set.uri, redis_server.url) as found:
        found.fill("films", range(COUNT))
        yield found


@pytest.fixture
def node(both: World, replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path) -> Iterator[Node]:
    with daemon(tmp_path / "contracts", replica_set.uri, redis_server.url) as one:
        yield one


UNIQUE: dict[str, Any] = {"unique": [["slug"]]}


APART = {"films": contract("films", FILM), "sessions": contract("films", SESS)}


@pytest.mark.parametrize("way", WAYS)
def test_keys_that_are_no_function_of_the_id(both: World, node: Node, way: str) -> None:
    """nothing_lost, no_ghosts: a template by another field moves to another contract, which then knows which key each
    document had: documents that move, before and behind, leave no old key."""
    film, slug = shape("film:{_id}"), shape("slug:{slug}", name="slug")
    run(node, both, {"films": contract("films", film, slug, **UNIQUE)})
    both.set("films", [1], slug="moved1")
    apart = {"films": contract("films", film), "slugs": contract("films", slug, **UNIQUE)}
    edit(node, apart, way)
    both.set("films", [2], slug="moved2")
    both.delete("films", [3])
    check(both, apart, "films")
    together = {"films": contract("films", film, slug, **UNIQUE)}
    edit(node, together, way)
    both.set("films", [2], slug="moved3")
    check(both, together, "films")


def test_keys_by_a_field_go_to_another_collection(both: World, node: Node) -> None:
    """no_ghosts: a template by another field passes to a contract of another collection: keys of the first that no
    document of the second has are gone."""
    both.fill("people", range(50, 50 + COUNT), 5)
    slug = shape("slug:{slug}", name="slug")
    run(node, both, {"films": contract("films", FILM, slug, **UNIQUE)})
    after = {"films": contract("films", FILM), "people": contract("people", slug, **UNIQUE)}
    edit(node, after)
    check(both, after, "films", "people")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a:{_id}", "a:{slug}"),
        ("a:{slug}", "a:{_id}"),
        ("a:film:{_id}", "a:{kind}:{_id}"),
        ("a:{kind}:{_id}", "a:film:{_id}"),
    ],
    ids=["id to field", "field to id", "one to many", "many to one"],
)
def test_templates_that_meet(both: World, node: Node, first: str, second: str, way: str) -> None:
    """nothing_lost, no_ghosts: a contract gives up a template, and another takes one that is not the same but may have
    the same keys: each key that both may have is there, and none of the first alone is left."""
    both.set("films", range(COUNT), kind="film")
    both.set("films", range(40, COUNT), kind="show")
    for number in range(30):  # a text of digits is escaped in keys; these look like other documents' numbers
        both.set("films", [number], slug=number + 10)
    film = shape("movie:{_id}")
    run(node, both, {"films": contract("films", film, shape(first, name="other"), **UNIQUE)})
    apart = {
        "films": contract("films", film),
        "others": contract("films", shape(second, name="other"), **UNIQUE),
    }
    edit(node, apart, way)
    both.wait_rest(apart)
    both.set("films", range(60, 80), n=8)
    both.delete("films", range(5, 9))
    both.wait_rest(apart)


def test_two_contracts_take_what_one_had(both: World, node: Node) -> None:
    """nothing_lost, no_ghosts: two contracts begin at once with templates that a third one's meets, which goes: what it
    wrote counts as theirs, whichever of them is first, and what an application had before it stays."""
    both.set("films", range(COUNT), kind="film")
    both.set("films", range(40, COUNT), kind="show")
    both.fill("people", range(20, 70))
    both.redis.hset("a:film:app", "n", 1)
    both.redis.hset("a:show:app", "n", 1)
    node.start({"films": contract("films", shape("a:{kind}:{_id}"))})
    node.wait_serves()
    after = {
        kind: contract("people", shape(f"a:{kind}:{{_id}}"), sync={"sweep_limit": "100%"})
        for kind in ("film", "show")
    }
    edit(node, after)
    theirs = {"a:film:app", "a:show:app"}
    wait_until(
        lambda: both.keys().keys() == {*both.wanted(after), *theirs}, 20, lambda: both.differences(after)
    )


def test_keys_that_documents_share_from_now_on(both: World, node: Node) -> None:
    """no_ghosts: keys that followed from a field go, where another contract takes a template under which documents
    share keys."""
    both.set("films", range(COUNT), kind="film")
    own = shape("x:{slug}", name="own", type="json")
    run(node, both, {"films": contract("films", FILM, own, **UNIQUE)})
    kinds = {"projection": "kinds", "type": "set", "key": "x:{kind}", "member": "{_id}"}
    edit(node, {"films": contract("films", FILM), "kinds": contract("films", kinds)})
    wait_until(lambda: both.redis.keys("x:*") == [b"x:film"], 20, lambda: both.redis.keys("x:*")[:5])
    assert both.redis.scard("x:film") == COUNT


@pytest.mark.parametrize("way", WAYS)
def test_an_index_moves_with_its_projection(both: World, node: Node, way: str) -> None:
    """nothing_lost: a projection with an index moves to another contract and back: the alias finds every document all
    the time that all is live, and no index is left behind it."""
    index = {
        "name": "sessions-idx",
        "fields": [{"name": "text", "type": "text"}, {"name": "n", "type": "numeric"}],
    }
    sess = {**SESS, "index": index}
    together = {"films": contract("films", FILM, sess)}
    apart = {"films": contract("films", FILM), "sessions": contract("films", sess)}
    run(node, both, together)
    for now in (apart, together):
        edit(node, now, way)
        check(both, now, "films")
        wait_until(lambda: found(both) == len(both.documents["films"]), 20, lambda: f"{found(both)} found")


def test_an_index_changes_with_the_move(both: World, node: Node) -> None:
    """nothing_lost: a projection moves, and its index gets another field on the way: the alias finds every document,
    also by the new field."""
    text, number = {"name": "text", "type": "text"}, {"name": "n", "type": "numeric"}
    old = {**SESS, "index": {"name": "sessions-idx", "fields": [text]}}
    new = {**SESS, "index": {"name": "sessions-idx", "fields": [text, number]}}
    run(node, both, {"films": contract("films", FILM, old)})
    apart = {"films": contract("films", FILM), "sessions": contract("films", new)}
    edit(node, apart)
    check(both, apart, "films")
    asked = ("FT.SEARCH", "sessions-idx", "@n:[0 1000]", "LIMIT", 0, 0)
    wait_until(lambda: both.redis.execute_command(*asked)[0] == len(both.documents["films"]), 20)


def test_on_delete_ignore(both: World, node: Node) -> None:
    """nothing_lost: contracts that leave keys of deleted documents alone give and take templates; no key goes."""
    ignore = {"on_delete": "ignore"}
    run(node, both, {"films": contract("films", FILM, SESS, sync=ignore)})
    apart = {
        "films": contract("films", FILM, sync=ignore), "sessions": contract("films", SESS, sync=ignore),
    }  # fmt: skip
    edit(node, apart)
    both.wait_rest(apart)
    both.mongo.get_database("faults").films.delete_many({"_id": {"$lt": 10}})
    both.set("films", range(20, 30), n=3)
    wait_until(lambda: both.keys() == both.wanted(apart), 20)


def test_a_taker_that_cannot_work(both: World, node: Node) -> None:
    """nothing_lost, nothing_silent: the contract that takes a template fails: its keys stay as they were, and the one
    that gave it up works on. When the taker can work, it takes them over."""
    both.mongo["faults"].command("create", "view", viewOn="films", pipeline=[])
    run(node, both, TOGETHER)
    node.edit({"films": contract("films", FILM), "sessions": contract("view", SESS)})
    node.wait_state("sessions", "failed")
    node.wait_state("films", "live")
    both.wait_rest(TOGETHER)
    edit(node, APART)
    check(both, APART, "films")


def test_a_projection_gets_another_name(both: World, node: Node) -> None:
    """nothing_lost: a projection gets another name, and so does one whose keys follow another field; keys stay."""
    slug = shape("slug:{slug}", name="slug")
    run(node, both, {"films": contract("films", FILM, slug, **UNIQUE)})
    after = {"films": contract("films", {**FILM, "projection": "b"}, {**slug, "projection": "c"}, **UNIQUE)}
    edit(node, after)
    both.set("films", [2], slug="moved")
    check(both, after, "films")


def test_a_key_template_that_was_text_with_variables(
    both: World, replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path
) -> None:
    """nothing_lost: a template with the name of the site and the same one written out are one template; a masked field
    goes with it."""
    masked = {"n": {"from": "n", "type": "int"}, "text": {"from": "text", "mask": "hmac"}}
    with_site = shape("${SYNCD_SITE}:sess:{_id}", name="sess", fields=masked)
    written = shape("berlin:sess:{_id}", name="sess", fields=masked)
    settings = {"SYNCD_SITE": "berlin", "SYNCD_HMAC_KEY": "k" * 32}
    with daemon(tmp_path / "contracts", replica_set.uri, redis_server.url, **settings) as node:
        node.start({"films": contract("films", FILM, with_site)})
        node.wait_serves()
        before = both.keys()
        assert sum(key.startswith("berlin:sess:") for key in before) == COUNT
        apart = {"films": contract("films", FILM), "sessions": contract("films", written)}
        edit(node, apart)
        both.set("films", range(50, 60), n=3)
        wait_until(lambda: both.redis.hget("berlin:sess:50", "n") == b"3", 20)
        after = both.keys()
        assert after.keys() == before.keys()
        assert all(after[f"berlin:sess:{n}"] == before[f"berlin:sess:{n}"] for n in range(50))


def test_two_contracts_read_one_stream(both: World, node: Node) -> None:
    """applied_once: a stream is no template with one owner: two contracts append its entries, one of them goes and
    comes back under another name; each collection has every entry once."""
    stream = {
        "projection": "event",
        "type": "stream",
        "key": "events",
        "fields": {"n": {"from": "n", "type": "int"}},
    }
    sync = {"direction": "redis_to_mongo", "capture": "append"}
    one, two = contract("one", stream, sync=sync), contract("two", stream, sync=sync)
    node.start({"one": one, "two": two})
    node.wait_serves()
    for number in range(50):
        both.redis.xadd("events", {"n": number})
    entries = both.mongo["faults"]
    wait_until(lambda: entries.one.count_documents({}) == entries.two.count_documents({}) == 50, 20)
    edit(node, {"one": one})
    for number in range(50, 80):
        both.redis.xadd("events", {"n": number})
    edit(node, {"one": one, "second": two})
    for collection in (entries.one, entries.two):
        wait_until(
            lambda c=collection: sorted(d["n"] for d in c.find()) == list(range(80)),  # type: ignore[misc]
            20,
            lambda c=collection: f"{c.name}: {c.count_documents({})}",  # type: ignore[misc]
        )


PROCESSES: dict[str, dict[str, str]] = {
    "workers": {"SYNCD_WORKERS": "2"},
    "split": {"SYNCD_WORKERS": "2", "SYNCD_SPLIT": "true"},
    "executors": {"SYNCD_SNAPSHOT_PROCESSES": "2", "SYNCD_CHUNK_DOCUMENTS": "10"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", PROCESSES)
def test_several_processes(
    both: World, replica_set: ReplicaSet, redis_server: RedisServer, tmp_path: Path, how: str, way: str
) -> None:
    """nothing_lost, no_echo: templates pass between contracts of several worker processes, of contracts in partitions,
    and while processes read for a copy: to a file of their own, to another collection, to an application, and back."""
    both.fill("people", range(50, 50 + COUNT), 5)
    people = contract("people", shape("person:{_id}"))
    with daemon(tmp_path / "contracts", replica_set.uri, redis_server.url, **PROCESSES[how]) as node:
        run(node, both, {**TOGETHER, "people": people})
        edit(node, {**APART, "people": people}, way)
        check(both, {**APART, "people": people}, "films")
        swapped = {"films": contract("films", SESS), "people": contract("people", FILM)}
        edit(node, swapped, way)
        check(both, swapped, "films", "people")
        keys = {"people": swapped["people"], "sessions": contract("films", SESS, sync=KEYSPACE)}
        edit(node, keys, way)
        both.wait_rest(keys)


def test_both_ways_take_over_what_differs(both: World, node: Node) -> None:
    """nothing_lost: keys that differ from their documents pass to a contract both ways: it meets them without a base
    and decides by its rule; nothing is deleted on either side."""
    run(node, both, TOGETHER)
    for number in range(10):
        both.redis.hset(f"sess:{number}", "n", 99)
    both.redis.delete(*(f"sess:{number}" for number in range(20, 30)))
    apart = {"films": contract("films", FILM), "sessions": contract("films", SESS, sync=BOTH_KEYSPACE)}
    edit(node, apart)
    both.wait_rest(apart)


@pytest.mark.parametrize(
    ("name", "template"),
    [("feeds", "x:{_id}"), ("people", "x:{_id}"), ("feeds", "y:{_id}")],
    ids=["one name", "two names", "another template"],
)
def test_the_stream_of_a_feed_that_goes_stays(both: World, node: Node, name: str, template: str) -> None:
    """nothing_lost: a change feed goes, and its contract, or another one, takes a template that could have a key of the
    stream's name: no copy removes the stream, whose entries nothing makes again."""
    both.fill("people", range(10))
    feed = {"projection": "feed", "type": "stream", "key": "x:feed", "fields": FIELDS}
    node.start({"films": contract("films", FILM), "feeds": contract("films", feed)})
    node.wait_serves()
    both.set("films", range(5), n=1)
    wait_until(lambda: both.redis.xlen("x:feed") == 5, 20)
    edit(node, {"films": contract("films", FILM), name: contract("people", shape(template))})
    both.delete("people", range(5))
    own = template.removesuffix("{_id}") + "[0-9]*"
    wait_until(lambda: len(both.redis.keys(own)) == 5, 20, lambda: both.redis.keys(own))
    assert both.redis.xlen("x:feed") == 5
