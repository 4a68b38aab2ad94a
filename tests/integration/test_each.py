"""One document, many keys: a key for each element of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from syncd.reconcile.report import ReconcileReport
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.ways.reconcile import check, drift_of

FIELDS = {"title": "title", "text": "passages.text"}
PASSAGES = projection(FIELDS, name="passage", type="json", each="passages", key="{_id}:{passages.id}")
BY_POSITION = projection(FIELDS, name="position", each="passages", key="{_id}:{passages.#}")
MOVING = projection(FIELDS, name="moving", each="passages", key="{passages.id}")
UNIQUE = [["passages.id"]]
Look = Callable[..., ReconcileReport]


def passage(name: object, text: str | None = None) -> dict[str, Any]:
    return {"id": f"p{name}", "text": text or f"text {name}"}


def book(number: int, *names: object) -> dict[str, Any]:
    return {"_id": number, "title": f"book {number}", "passages": [passage(name) for name in names]}


def books(count: int) -> list[dict[str, Any]]:
    return [book(number, *(3 * number + n for n in range(3))) for number in range(count)]


@pytest.fixture(scope="module", autouse=True)
def started(shared: Scene) -> None:
    shared.run("first", PASSAGES, documents=books(1))


@pytest.fixture
def look(shared: Scene, mongo_uri: str, redis_url: str) -> Look:
    def once(flow: Flow, **more: Any) -> ReconcileReport:
        return check(shared, flow, mongo_uri, redis_url, chunk=50, **more)

    return once


@contextmanager
def written(flow: Flow) -> Iterator[list[str]]:
    """The keys of a contract that Redis sees written or deleted meanwhile, without their prefix."""
    names: list[str] = []
    prefix = flow.key("", "")[:-1]
    with flow.redis.monitor() as monitor:
        yield names
        flow.redis.echo(f"end of {prefix}")
        while (said := monitor.next_command()["command"]) != f"ECHO end of {prefix}":
            word, _, rest = said.partition(" ")
            if word in ("HSET", "HMSET", "JSON.SET", "DEL", "PEXPIRE", "PEXPIREAT", "PERSIST"):
                names += [key.removeprefix(prefix) for key in rest.split(" ")[:1] if key.startswith(prefix)]


def test_a_document_has_a_key_for_each_element(shared: Scene) -> None:
    """no_ghosts: elements come, change, move in their array and go; the array is empty, null, missing; the document
    goes. Each time Redis holds a key for each element that is there, with fields of the element and of its document."""
    flow = shared.run("books", PASSAGES, BY_POSITION, MOVING, documents=books(120), unique=UNIQUE)
    flow.wait_same()
    of = flow.collection
    of.insert_one(book(1000, "a", "b"))
    of.update_one({"_id": 3}, {"$set": {"passages.1.text": "another"}})
    of.update_one({"_id": 4}, {"$pull": {"passages": {"id": "p13"}}})
    of.update_one({"_id": 5}, {"$push": {"passages": {"$each": [passage("c")], "$position": 0}}})
    of.update_one({"_id": 6}, {"$set": {"title": "new"}})
    of.update_one({"_id": 7}, {"$set": {"passages": []}})
    of.update_one({"_id": 8}, {"$set": {"passages": None}})
    of.update_one({"_id": 9}, {"$unset": {"passages": ""}})
    of.delete_one({"_id": 10})
    of.replace_one({"_id": 11}, book(11, "d"))
    flow.wait_same()
    of.update_one({"_id": 7}, {"$set": {"passages": [passage("e")]}})
    flow.wait_same()
    assert not flow.dead_letters()


def test_an_update_writes_what_differs(shared: Scene) -> None:
    """An update of one element of 200 writes one key, and deletes none; one that is removed deletes one. A key that is
    gone from Redis comes back with the next change of its document."""
    flow = shared.run("one", PASSAGES, documents=[book(1, *range(200)), book(2, "x", "y")])
    with written(flow) as keys:
        flow.collection.update_one({"_id": 1}, {"$set": {"passages.77.text": "new"}})
        flow.wait_same()
    assert set(keys) == {"passage:1:p77"}
    with written(flow) as keys:
        flow.collection.update_one({"_id": 1}, {"$pull": {"passages": {"id": "p5"}}})
        flow.wait_same()
    assert keys == ["passage:1:p5"]
    wait_until(lambda: flow.metric("syncd_writes_total", store="redis", result="kept") == 199 + 199)
    flow.redis.delete(flow.key("2:px", "passage"))
    flow.collection.update_one({"_id": 2}, {"$set": {"passages.1.text": "new"}})
    flow.wait_same()


def test_an_element_moves_to_another_document(shared: Scene) -> None:
    """never_backwards, no_ghosts: an element goes from one document to another, in either order of the two changes, and
    in one transaction; its key shows the document that has it, and goes when that one loses it."""
    flow = shared.run("moves", MOVING, documents=books(20), unique=UNIQUE)
    of, steps = flow.collection, []
    for turn, number in enumerate(range(0, 20, 2)):
        name = 3 * number
        lose = ({"_id": number}, {"$pull": {"passages": {"id": f"p{name}"}}})
        gain = ({"_id": number + 1}, {"$push": {"passages": passage(name)}})
        steps.append((lose, gain) if turn % 2 else (gain, lose))
    for first, second in steps:
        of.update_one(*first)
        of.update_one(*second)
    with shared.mongo.start_session() as session, session.start_transaction():
        of.update_one({"_id": 0}, {"$pull": {"passages": {"id": "p1"}}}, session=session)
        of.update_one({"_id": 2}, {"$push": {"passages": passage(1)}}, session=session)
    flow.wait_same()
    of.update_one({"_id": 1}, {"$pull": {"passages": {"id": "p0"}}})
    of.delete_one({"_id": 2})
    flow.wait_same()


BAD: dict[str, tuple[str, Any, str]] = {
    "equal keys": ("equal_keys", [passage(1), passage(2), passage(1)], "elements 0 and 2 of `passages`"),
    "no key": ("key_field_missing", [passage(1), {"text": "x"}], "element 1 of `passages`"),
    "null": ("key_field_missing", [passage(1), None], "element 1 of `passages`"),
    "a number": ("key_field_missing", [5], "element 0 of `passages`"),
    "an object": ("not_an_array", passage(1), "`passages` is no array"),
    "a text": ("not_an_array", "p1", "`passages` is no array"),
    "unfit": ("cannot_convert", [passage(9), {"id": "p1", "n": "no number"}], "element 1 of `passages`: field `n`"),
    "too many": ("too_many_elements", [{"id": n} for n in range(20_001)], "more than 20000"),
}  # fmt: skip


def test_what_does_not_fit_changes_nothing(shared: Scene) -> None:
    """never_torn, nothing_silent: a document with one element that does not fit is a dead letter that names the element
    by its position and holds nothing of it, and none of its keys changes; when it fits again, a replay writes it."""
    fields = FIELDS | {"n": {"from": "passages.n", "type": "int"}}
    shape = projection(fields, name="passage", type="json", each="passages", key="{_id}:{passages.id}")
    flow = shared.run("bad", shape, documents=[book(number, 1, 2) for number in range(len(BAD))])
    before = {key: flow.json(key, "passage") for key in flow.keys("passage")}
    assert len(before) == 2 * len(BAD)
    for number, (_, passages, _) in enumerate(BAD.values()):
        flow.collection.update_one({"_id": number}, {"$set": {"title": "new", "passages": passages}})
    wait_until(lambda: len(flow.dead_letters()) == len(BAD), 20, flow.dead_letters)
    told = {int(one["id"]): (one["reason"], one["detail"]) for one in flow.dead_letters()}
    for number, (reason, _, detail) in enumerate(BAD.values()):
        assert told[number][0] == reason and detail in told[number][1], told[number]
        assert "no number" not in told[number][1]
    assert {key: flow.json(key, "passage") for key in flow.keys("passage")} == before
    flow.collection.update_many({}, {"$set": {"passages": [passage(1), passage(3)]}})
    number = len(BAD) - 1
    wait_until(lambda: flow.json(f"{number}:p3", "passage") == {"title": "new", "text": "text 3"})
    assert flow.keys("passage") == {f"{number}:{name}" for number in range(len(BAD)) for name in ("p1", "p3")}


def test_every_kind_of_difference(shared: Scene, look: Look) -> None:
    """Keys of elements that are missing, hold something else, are of no element, or are in no map: each is found once,
    and repaired."""
    flow = shared.run("drift", PASSAGES, MOVING, BY_POSITION, documents=books(60), unique=UNIQUE)
    assert look(flow).result == "clean"
    redis, key = flow.redis, flow.key
    redis.delete(key("1:p3", "passage"))
    redis.execute_command("JSON.SET", key("2:p6", "passage"), "$.text", '"another"')
    redis.execute_command("JSON.SET", key("3:p999", "passage"), "$", '{"text": "of no element"}')
    redis.hset(key("p1000", "moving"), "text", "of no document")
    redis.expire(key("p12", "moving"), 1000)
    redis.hset(key("5:17", "position"), "text", "behind the last")
    (owners,) = [name.decode() for name in redis.scan_iter(f"{flow.names.control('owners:moving')}*")]
    redis.hdel(owners, key("p18", "moving"))
    planted = {
        ("passage", key("1:p3", "passage"), "missing"), ("passage", key("2:p6", "passage"), "content"),
        ("passage", key("3:p999", "passage"), "extra"), ("moving", key("p1000", "moving"), "extra"),
        ("moving", key("p12", "moving"), "ttl"), ("position", key("5:17", "position"), "extra"),
        ("moving", key("p18", "moving"), "content"),
    }  # fmt: skip
    assert drift_of(look(flow)) == planted
    assert look(flow, repair=True).repaired == len(planted)
    assert look(flow).result == "clean"
    flow.assert_same()


def test_a_template_is_edited_and_goes(shared: Scene) -> None:
    """no_ghosts: a key of elements takes another form, becomes one of documents and of elements again, and goes with
    its projection: the keys of before go, and their maps."""
    flow = shared.run("edit", PASSAGES, documents=books(150))
    for shape in (
        PASSAGES | {"key": "of:{passages.id}:{_id}"},
        PASSAGES | {"type": "hash"},
        projection(["title"], name="passage", key="{_id}"),
        PASSAGES,
    ):
        flow.write(shape)
        wait_until(lambda: not flow.differences() and flow.position()["phase"] == b"stream", 30, flow.lane)
        maps = list(flow.redis.scan_iter(flow.names.control("*:passage:*")))
        assert len(maps) == (2 if "each" in shape else 0), maps
    flow.write(projection(["title"]))
    wait_until(lambda: not flow.keys("passage") and flow.position()["phase"] == b"stream", 30, flow.lane)
    flow.wait_same()
    assert not list(flow.redis.scan_iter(flow.names.control("*:passage:*")))


def test_time_to_live(shared: Scene) -> None:
    """A moment in an element is when its own key expires; a duration begins again for all keys of a document with each
    of its changes."""
    at = projection(
        FIELDS, name="at", each="passages", key="{_id}:{passages.id}", ttl={"field": "passages.until"}
    )
    lasting = projection(FIELDS, name="lasting", each="passages", key="{_id}:{passages.id}", ttl="1h")
    flow = shared.run("ttl", at, lasting, documents=books(1))
    flow.collection.update_one({"_id": 0}, [{"$set": {"passages": {"$map": {
        "input": "$passages", "in": {"$mergeObjects": ["$$this", {"until": {"$dateAdd": {
            "startDate": "$$NOW", "unit": "hour", "amount": {"$toInt": {"$substrBytes": ["$$this.id", 1, 1]}}}}}]},
    }}}}])  # fmt: skip
    wait_until(lambda: flow.keys("at") == {"0:p1", "0:p2"} and flow.redis.ttl(flow.key("0:p2", "at")) > 0)
    hours = [flow.redis.ttl(flow.key(f"0:p{n}", "at")) for n in range(3)]
    assert hours[0] == -2 and 3500 < hours[1] <= 3600 and 7100 < hours[2] <= 7200
    flow.redis.pexpire(flow.key("0:p1", "lasting"), 100_000)
    flow.collection.update_one({"_id": 0}, {"$set": {"passages.2.text": "new"}})
    wait_until(lambda: flow.redis.ttl(flow.key("0:p1", "lasting")) > 3000)


def test_documents_without_elements_are_copied_together(shared: Scene) -> None:
    """bounded: before the first call shows how many elements documents have, one holds a single document; where they
    have none, the next calls hold many"""
    flow = shared.run("none", PASSAGES, documents=[book(number) for number in range(600)] + [book(1000, "a")])
    flow.wait_same()
    calls = flow.metric("syncd_batch_seconds_count")
    assert 0 < calls < 100, calls
