"""MongoDB's digests of documents: what they distinguish, how the lane keeps them, and checks by them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection

from syncd.errors import TransientError
from syncd.plan.partition import Partition
from syncd.plan.to_redis.digest import BUCKETS, bucket_of, digest_of
from syncd.reconcile.report import ReconcileReport
from syncd.stores.redis.records.keys.digests import Digests
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from tests.support.broken.failpoint import failing
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.shapes.digests import assert_known, lose, wait_known
from tests.support.ways.reconcile import changing, check, drift_of

DIGEST = {"check": "digest"}
FILMS: list[dict[str, Any]] = [{"_id": n, "title": f"film {n}", "score": n + 0.5} for n in range(120)]
FIELDS = {"title": "title", "score": "score"}

DIFFERENT: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 5, "5", 5.5, 5.25, 0.1, 0.1 + 2**-56, 0.30000000000000004, 0.3, 1e-20, 1.5e-20,
    1e300, 2e300, 2.0**53 + 2, Int64(2**62), Int64(2**62 + 1), math.inf, -math.inf, math.nan,
    Decimal128("5.00"), Decimal128("5.0"), Decimal128("3.5"), Decimal128("NaN"),
    "", "text", b"text", Binary(b"text", 4), ObjectId("65a1b2c3d4e5f60718293a4b"), datetime(2026, 1, 2, tzinfo=UTC),
    [], {}, [[]], [{}], ["a", "b"], ["b", "a"], ["ab"], ["a", None], [1, 2], [2, 1], [1.5, 2], [1.25, 2], [0.1], 0.125,
    {"a": 1}, {"b": 1}, {"a": 1.5}, {"a": {"b": 1.5}}, {"a": {"b": 1.25}}, {"a": 1, "b": 2}, {"b": 2, "a": 1},
    [{"x": 1.5}], [{"x": 1.25}], [{"x": [1.5]}], [{"x": [1.25]}], {"k": "a", "v": 1}, [{"k": "a", "v": 1}],
]  # fmt: skip


@pytest.fixture
def collection(mongo_uri: str) -> Iterator[Collection[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_uri)
    yield client["digests"]["of_values"]
    client.drop_database("digests")
    client.close()


def digests(collection: Collection[dict[str, Any]], *paths: str, vectors: Any = ()) -> dict[Any, int]:
    found = collection.find({}, {"digest": digest_of(paths or None, vectors)})
    return {entry["_id"]: entry["digest"] for entry in found}


@pytest.mark.parametrize("paths", [("a",), ("a", "b"), ()], ids=["one path", "two paths", "all"])
def test_values_that_look_different_have_different_digests(
    collection: Collection[dict[str, Any]], paths: tuple[str, ...]
) -> None:
    """Fractions too, at any of the first levels, numbers of another type, and a field that is missing; and a second
    read gives the same."""
    cases = [*({"a": value} for value in DIFFERENT), {}]
    collection.insert_many([{"_id": n, **case} for n, case in enumerate(cases)])
    found = digests(collection, *paths)
    if paths:
        by_digest: dict[int, list[Any]] = {}
        for n, digest in found.items():
            by_digest.setdefault(digest, []).append(cases[n])
        assert not [same for same in by_digest.values() if len(same) > 1]
    assert digests(collection, *paths) == found


def test_the_same_value_at_another_path(collection: Collection[dict[str, Any]]) -> None:
    """Counts as another document."""
    collection.insert_many([{"_id": 1, "a": 1}, {"_id": 2, "b": 1}, {"_id": 3, "a": {"b": 1}}])
    assert len(set(digests(collection, "a", "b").values())) == 3


def test_what_lies_too_deep(collection: Collection[dict[str, Any]]) -> None:
    """Gets another digest with every read, so that it never passes for known."""
    deep: Any = 1.5
    for _ in range(6):
        deep = {"a": deep}
    collection.insert_one({"_id": 1, "a": deep})
    assert digests(collection, "a") != digests(collection, "a")


def test_vectors(collection: Collection[dict[str, Any]]) -> None:
    """A component counts with its fraction and its place; what is no vector does no harm."""
    vectors: list[Any] = [[0.5, 0.25], [0.25, 0.5], [0.5, 0.25 + 2**-40], [0.5], "none", None, [0.5, "x"]]
    collection.insert_many([{"_id": n, "v": vector} for n, vector in enumerate(vectors)])
    assert len(set(digests(collection, "v", vectors=("v",)).values())) == len(vectors)


def test_buckets(collection: Collection[dict[str, Any]]) -> None:
    """Each document is in one of them, and they are about as large; numbers of two types that are equal share one."""
    collection.insert_many([{"_id": n} for n in range(3 * BUCKETS)])
    found = [entry["b"] for entry in collection.find({}, {"b": bucket_of("$_id")})]
    assert 0 <= min(found) <= max(found) < BUCKETS
    assert len(set(found)) > 0.9 * BUCKETS


@pytest.fixture
def look(shared: Scene, mongo_uri: str, redis_url: str) -> Any:
    def once(flow: Flow, **more: Any) -> ReconcileReport:
        return check(shared, flow, mongo_uri, redis_url, **{"by_digest": True, **more})

    return once


def test_a_lane_keeps_digests(shared: Scene, redis_url: str) -> None:
    """Those of a copy come with it; those of documents that changed, came or went, soon after."""
    flow = shared.run("kept", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    assert_known(flow, redis_url)
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$inc": {"score": 0.25}})
    flow.collection.delete_many({"_id": {"$gte": 100}})
    flow.collection.insert_many([{"_id": n, "title": "new"} for n in range(200, 220)])
    flow.catch_up()
    wait_known(flow, redis_url)


def test_while_changes_go_on(shared: Scene, redis_url: str) -> None:
    """MongoDB is asked for digests once a second, not whenever some are not known; at rest all are soon."""
    flow = shared.run("busy", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    assert_known(flow, redis_url)
    database = flow.collection.database
    database.command("profile", 2, filter={"command.projection._syncd_source": {"$exists": True}})
    with changing(flow, range(120), per_second=200) as load:
        wait_until(lambda: load.seconds > 4, 20)
    database.command("profile", 0)
    of_ours = {"ns": flow.collection.full_name, "command.find": flow.collection.name}
    assert 1 <= database["system.profile"].count_documents(of_ours) <= load.seconds + 3
    wait_known(flow, redis_url)
    flow.wait_same()


@pytest.mark.parametrize(
    ("short", "shape", "more"),
    [
        ("whole", projection("all", type="json"), {}),
        ("keyed", projection({**FIELDS, "slug": {"expr": "join('-', [title, 'x'])"}}, key="{title}"), {}),
        ("some", projection(FIELDS), {"filter": {"score": {"$lt": 60}}}),
        ("vector", projection({**FIELDS, "v": {"from": "v", "type": "vector", "dims": 2}}), {}),
    ],
)
def test_other_shapes(shared: Scene, redis_url: str, look: Any, short: str, shape: Any, more: Any) -> None:
    """Whole documents, keys by a map, a filter, vectors: the same."""
    films = [{**film, "v": [film["score"], 0.5]} for film in FILMS]
    unique = {"unique": [["title"]]} if short == "keyed" else {}
    flow = shared.run(short, shape, documents=films, reconcile=DIGEST, **more, **unique)
    flow.collection.update_many({"_id": {"$lt": 20}}, {"$inc": {"score": 30.25}})
    flow.collection.delete_one({"_id": 50})
    wait_known(flow, redis_url, {"score": {"$lt": 60}} if short == "some" else None)
    report = look(flow)
    assert (report.result, report.check, report.compared, report.note) == ("clean", "digest", 0, "")
    assert report.documents == flow.collection.count_documents(more.get("filter", {}))


def test_a_change_that_was_lost(shared: Scene, redis_url: str, look: Any) -> None:
    """Is found, by its document alone, and repaired."""
    flow = shared.run("lost", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    films = flow.collection
    changes: dict[int, Any] = {
        7: lambda: films.update_one({"_id": 7}, {"$inc": {"score": 0.25}}),
        8: lambda: films.delete_one({"_id": 8}),
        999: lambda: films.insert_one({"_id": 999, "title": "came"}),
    }
    lose(flow, redis_url, changes)
    lost = {
        ("card", flow.key(7), "content"),
        ("card", flow.key(8), "extra"),
        ("card", flow.key(999), "missing"),
    }
    found = look(flow)
    assert (drift_of(found), found.compared, found.documents) == (lost, 3, 120)
    repaired = look(flow, repair=True)
    assert (repaired.result, repaired.repaired) == ("repaired", 3)
    flow.assert_same()
    wait_known(flow, redis_url)
    assert look(flow).result == "clean"


def test_what_only_a_full_check_finds(shared: Scene, look: Any) -> None:
    """A key that a person changed by hand: digests say which state was applied, not what the key holds."""
    flow = shared.run("hand", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    flow.redis.hset(flow.key(3), "title", "by hand")
    assert look(flow).result == "clean"
    assert drift_of(look(flow, by_digest=False)) == {("card", flow.key(3), "content")}


def test_digests_that_are_wrong(shared: Scene, redis_url: str, look: Any) -> None:
    """Cost a comparison, are no drift, and the lane asks for them again."""
    flow = shared.run("wrong", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    assert_known(flow, redis_url)
    for bucket in Digests(RedisStore(redis_url), ControlKeys(flow.contract)).buckets:
        name = flow.names.control(f"digest:{bucket}")
        for ident in flow.redis.hkeys(name)[:1]:
            flow.redis.hset(name, ident, 1)
    report = look(flow)
    assert (report.result, report.compared > 50) == ("clean", True)
    wait_known(flow, redis_url)
    assert look(flow).compared == 0


def test_without_digests(shared: Scene, look: Any) -> None:
    """Everything is compared in full, and the report says so."""
    flow = shared.run("none", projection(FIELDS), documents=FILMS)
    flow.redis.hset(flow.key(3), "title", "by hand")
    report = look(flow)
    assert (report.check, report.documents, report.drift["content"]) == ("full", 120, 1)
    assert "no digests are kept" in report.note


def test_too_much_that_differs(shared: Scene, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all of it is compared in full."""
    flow = shared.run("much", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    monkeypatch.setattr("syncd.stores.mongo.reads.differing.AT_ONCE", 1)
    for key in flow.redis.scan_iter(flow.names.control("digest:*")):
        flow.redis.delete(key)
    report = look(flow)
    assert (report.check, report.documents, report.result) == ("full", 120, "clean")
    assert "too many" in report.note


def test_several_passes_and_ranges(
    shared: Scene, redis_url: str, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is cut, each document is read once."""
    flow = shared.run("cut", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    monkeypatch.setattr("syncd.stores.mongo.reads.differing.AT_ONCE", 2)
    monkeypatch.setattr("syncd.stores.mongo.reads.differing.RANGE_DOCUMENTS", 20)
    assert (look(flow).documents, look(flow).compared) == (120, 0)
    films = flow.collection
    lose(
        flow,
        redis_url,
        {n: partial(films.update_one, {"_id": n}, {"$set": {"title": "x"}}) for n in (3, 60, 110)},
    )
    assert drift_of(look(flow)) == {("card", flow.key(n), "content") for n in (3, 60, 110)}


def test_ranges_that_take_too_long(shared: Scene, look: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """nothing_lost: where MongoDB does not add a range up in time, ranges get smaller, and the check begins again;
    where they cannot, it says so instead of trying for ever."""
    flow = shared.run("toolong", projection(FIELDS), documents=FILMS, reconcile=DIGEST)
    with failing(flow.collection, "aggregate", 50, times=1):
        report = look(flow)
    assert (report.check, report.result, report.documents) == ("digest", "clean", len(FILMS))
    monkeypatch.setattr("syncd.stores.mongo.reads.differing.FEWEST_DOCUMENTS", 100_000)
    with failing(flow.collection, "aggregate", 50), pytest.raises(TransientError):
        look(flow)


def test_turned_off_again(shared: Scene, redis_url: str) -> None:
    """Leaves nothing behind."""
    flow = shared.run("off", projection(FIELDS), documents=FILMS[:5], reconcile=DIGEST)
    assert_known(flow, redis_url)
    flow.write(projection(FIELDS))
    wait_until(lambda: not list(flow.redis.scan_iter(flow.names.control("digest:*"))))
    flow.wait_live()
    flow.assert_same()


def test_partitions_of_a_contract(redis_url: str) -> None:
    """Each bucket belongs to one of them, where their number is a power of two."""
    store = RedisStore(redis_url)
    parts = [Digests(store, ControlKeys("c", Partition(n, 4))).buckets for n in (1, 2, 3, 4)]
    assert sorted(bucket for part in parts for bucket in part) == list(range(BUCKETS))
