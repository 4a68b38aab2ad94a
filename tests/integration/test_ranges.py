"""Ranges of a collection: together they hold each document exactly once."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import MongoClient

from syncd.contract.read.load import load_contract_set
from syncd.errors import FatalError, TransientError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.values.codec import CODEC
from syncd.reconcile.ranges.progress import Pace, now_ms
from syncd.stores.mongo.reads import lookup as looking
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.reads.ranges import ALL, Range, cut, ranges_between
from syncd.stores.mongo.store import MongoStore
from syncd.stores.mongo.times import ZERO
from syncd.stores.redis.store import RedisStore
from tests.support.broken.failpoint import failing
from tests.support.contracts import ContractDirectory, Names, projection
from tests.unit.plan.strategies import key_values


def stored(value: Any) -> bool:
    """MongoDB takes no regex for an `_id`."""
    return not isinstance(value, bson.Regex | list)


def plan_for(token: str, folder: Path, **more: Any) -> Plan:
    directory = ContractDirectory(folder / "contracts", token)
    directory.write("film", projection(["title"]), **more)
    return compile_contract(load_contract_set(directory.path, {}).contracts[0].contract)


def read(lookup: Lookup, which: Range) -> list[str]:
    """Idents of a range, in pages of three."""
    cursor, last = which.bounds
    found: list[str] = []
    while True:
        page, _ = lookup.chunk(cursor, 3, ZERO, last)
        if not page:
            return found
        found += [encode_key_value(document["_id"]) for document in page]
        cursor = {"_id": page[-1]["_id"]}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=st.lists(key_values.filter(stored), max_size=25), chance=st.randoms(use_true_random=False))
def test_any_bounds_over_any_ids(
    ids: list[Any],
    chance: Any,
    token: str,
    tmp_path: Path,
    mongo: MongoClient[dict[str, Any]],
    mongo_uri: str,
) -> None:
    """Documents of all types of `_id`, cut at any of them: each is in exactly one range, in MongoDB's order; also where
    a chunk reads no more than two of them."""
    plan, names = plan_for(token, tmp_path), Names(token, "film")
    films = mongo[names.database].get_collection(names.collection, codec_options=CODEC)
    films.drop()
    films.insert_one({"_id": "there is always one"})
    for document_id in ids:
        films.update_one({"_id": {"$eq": document_id}}, {"$setOnInsert": {"title": "film"}}, upsert=True)
    there = [document["_id"] for document in films.find().sort("_id")]
    bounds = [bson.encode({"_id": i}, codec_options=CODEC) for i in there if chance.random() < 0.3]
    store = MongoStore(mongo_uri)
    try:
        lookup = Lookup(store, plan)
        parts = [read(lookup, which) for which in ranges_between(bounds)]
        whole = read(lookup, ALL)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(looking, "LARGEST_STEP", 2)
            lookup.step_size = 2
            stepping = [read(lookup, which) for which in ranges_between(bounds)]
    finally:
        store.close()
    assert [ident for part in parts for ident in part] == whole
    assert stepping == parts
    assert whole == [encode_key_value(document_id) for document_id in there]


def test_a_cut_collection(
    token: str, tmp_path: Path, mongo: MongoClient[dict[str, Any]], mongo_uri: str
) -> None:
    """A collection of several types is cut into ranges of about the size asked for, which are read by the index; a
    small one is not cut."""
    plan, names = plan_for(token, tmp_path), Names(token, "film")
    films = mongo[names.database][names.collection]
    films.insert_many([{"_id": kind(n)} for kind in (int, str, lambda n: {"n": n}) for n in range(2000)])
    store = MongoStore(mongo_uri)
    try:
        bounds = cut(store, plan, 500)
        assert cut(store, plan, 6000) == []
        lookup = Lookup(store, plan)
        parts = [read(lookup, which) for which in ranges_between(bounds)]
        middle = ranges_between(bounds)[1]
        query = lookup.between(*middle.bounds)
    finally:
        store.close()
    assert Counter(ident for part in parts for ident in part) == Counter(
        encode_key_value(document["_id"]) for document in films.find()
    )
    assert 2 <= len(parts) <= 12
    assert max(map(len, parts)) < 3000
    said = films.database.command(
        "explain", {"find": films.name, "filter": query, "hint": {"_id": 1}}, verbosity="executionStats"
    )
    assert said["executionStats"]["totalKeysExamined"] <= len(parts[1]) + 10


def test_a_filter_that_lets_almost_nothing_through(
    token: str,
    tmp_path: Path,
    mongo: MongoClient[dict[str, Any]],
    mongo_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """nothing_lost: where MongoDB does not find a chunk in time, it reads so many documents at once, then at fewer,
    and more again when that is quick; nothing is left out. Where it cannot be less, the error says so."""
    for name, step in ("FIRST_STEP", 800), ("LEAST_STEP", 100), ("LARGEST_STEP", 400):
        monkeypatch.setattr(looking, name, step)
    plan, names = plan_for(token, tmp_path, filter={"title": "rare"}), Names(token, "film")
    rare = [0, 1, 2999, 4001, 4002, 4003, 4999]
    films = mongo[names.database][names.collection]
    films.insert_many([{"_id": n, "title": "rare" if n in rare else "usual"} for n in range(5000)])
    with closing(MongoStore(mongo_uri)) as store:
        lookup = Lookup(store, plan)
        with failing(films, "find", 50, times=1):
            assert read(lookup, ALL) == list(map(str, rare))
        assert lookup.step_size == 400
        films.database.command({"profile": 2})
        assert read(lookup, ALL) == list(map(str, rare))
        films.database.command({"profile": 0})
        seen = list(films.database["system.profile"].find({"command.find": films.name}))
        assert sum(command["docsExamined"] for command in seen) >= len(rare)
        assert max(command["docsExamined"] for command in seen) <= 400
        assert all(
            "maxTimeMS" in entry["command"] for entry in seen
        )  # to find the end of a step takes time too
        with failing(films, "find", 50), pytest.raises(TransientError, match="100 documents"):
            read(lookup, ALL)
        assert lookup.step_size == 100


def test_a_filter_that_fails_for_any_document(
    token: str, tmp_path: Path, mongo_uri: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    """One question more finds out, and no document is asked about alone."""
    plan, names = plan_for(token, tmp_path, filter={"$expr": {"$divide": [1, 0]}}), Names(token, "film")
    films = mongo[names.database][names.collection]
    films.insert_many({"_id": n} for n in range(200))
    films.database.command({"profile": 2})
    with closing(MongoStore(mongo_uri)) as store, pytest.raises(FatalError, match="by zero"):
        Lookup(store, plan).chunk(None, 200, ZERO)
    films.database.command({"profile": 0})
    asked = films.database["system.profile"].count_documents(
        {"ns": films.full_name, "op": {"$in": ["query", "command"]}}
    )
    assert 1 <= asked <= 4


@pytest.mark.parametrize("rate", [10.0, 1000.0])
def test_a_pace_is_shared(token: str, redis_url: str, rate: float) -> None:
    """Workers of a check wait for what all of them have read, not for their own part of it."""
    store = RedisStore(redis_url)
    try:
        begun = now_ms(store) + 10_000_000
        one, other = (Pace(store, token, "run", rate, begun) for _ in range(2))
        first, second = one.ahead(100), other.ahead(300)
        assert one.ahead(100) == 0, "nothing new"
    finally:
        store.close()
    assert 0 <= first - 10_000 <= 100 / rate + 1
    assert abs((second - first) - 300 / rate) < 5
