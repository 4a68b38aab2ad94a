"""Values as applications write them: what fits arrives, and what does not becomes what the contract says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from bson.decimal128 import Decimal128

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene
from tests.support.ways.keyspace import add_keyspace
from tests.support.ways.stream import add_stream
from tests.support.ways.stream import key as stream_key
from tests.support.ways.twoway import add_two_way

NOW = "1795909780.2428308"
"""`time.time()` of Python."""
MOMENTS = {
    "seconds": {"from": "seconds", "type": "epoch"},
    "millis": {"from": "millis", "type": "epoch_ms"},
    "micros": {"from": "micros", "type": "epoch_us"},
    "number": {"from": "number", "type": "date"},
    "iso": {"from": "iso", "type": "date"},
    "now": {"from": "now", "type": "date"},
    "early": {"from": "early", "type": "date"},
    "place": {"from": "place", "type": "geo"},
    "n": {"from": "n", "type": "int", "on_error": "null"},
    "left": {"from": "left", "type": "int", "on_error": "omit"},
}
ENTRY = {
    "seconds": NOW,
    "millis": "1795909780242.8",
    "micros": "1795909780242830",
    "number": "1795909780242",
    "iso": "2026-11-28 23:49:40.242830+00",
    "now": NOW,
    "early": "1795909780",
    "place": '{"type": "Point", "coordinates": [13.4, 52.5, 34]}',
    "n": "",
    "left": "5.0",
}
DATE = datetime(2026, 11, 28, 23, 49, 40, 242_000)
DOCUMENT = {
    **dict.fromkeys(("seconds", "millis", "micros", "number", "iso", "now"), DATE),
    "early": datetime(1970, 1, 21, 18, 51, 49, 780_000),
    "place": {"type": "Point", "coordinates": [13.4, 52.5, 34.0]},
    "n": None,
}


def document(flow: Flow) -> dict[str, Any]:
    """The one of the collection, without what syncd needs there."""
    found = wait_until(
        flow.collection.find_one, 40, lambda: f"a document; {flow.lane()} {flow.dead_letters()}"
    )
    return {name: value for name, value in found.items() if name not in ("_id", "_syncd")}


def wait_counted(flow: Flow, became: str, count: int) -> None:
    """At least so often: what is read again counts again."""
    name = "syncd_field_misfits_total"
    wait_until(
        lambda: flow.metric(name, became=became) >= count, 40, lambda: f"{count} {became}; {flow.lane()}"
    )


@pytest.mark.parametrize("way", ["append", "hash", "json", "both"])
def test_towards_mongodb(shared: Scene, way: str) -> None:
    """nothing_lost, nothing_silent: moments, a point with an altitude, and values that do not fit, by every way into
    MongoDB: no dead letter, and what was left out, made null, or taken for milliseconds is counted and logged."""
    if way == "append":
        flow = add_stream(shared, "in-append", MOMENTS)
    elif way == "both":
        flow = add_two_way(shared, "in-both", "keyspace", MOMENTS)
    else:
        flow = add_keyspace(shared, f"in-{way}", MOMENTS, type=way)
    if not shared.daemon.process.alive:
        shared.start()
    flow.wait_live()
    if way == "append":
        shared.redis.xadd(stream_key(flow), ENTRY)
    elif way == "json":
        said = {
            **ENTRY,
            "seconds": float(NOW),
            "number": 1795909780242,
            "now": float(NOW),
            "early": 1795909780,
            "place": json.loads(ENTRY["place"]),
            "n": "x",
        }
        shared.redis.execute_command("JSON.SET", flow.key(1), "$", json.dumps(said))
    else:
        shared.redis.hset(flow.key(1), mapping=ENTRY)
    wanted = {name: value for name, value in DOCUMENT.items() if way != "both" or name != "n"}
    assert document(flow) == wanted
    assert flow.dead_letters() == []
    wait_counted(flow, "omitted", 1)
    wait_counted(flow, "null", 1)
    wait_counted(flow, "1970", 1)
    assert {entry["field"] for entry in shared.daemon.logs(event="values did not fit", contract=flow.contract)} == {
        "n", "left", "early"
    }  # fmt: skip


def test_mongodb_agrees(shared: Scene) -> None:
    """What is finer than a millisecond is cut off as MongoDB's `$toDate` does, on either side of 1970."""
    flow = add_stream(
        shared, "agree", {"iso": {"from": "iso", "type": "date"}, "ms": {"from": "ms", "type": "epoch_ms"}}
    )
    if not shared.daemon.process.alive:
        shared.start()
    flow.wait_live()
    texts = ["2026-11-28T10:00:00.123999Z", "1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:58.0009+00:00"]
    numbers = [1795909780242.9, -1795909780242.9, -100000000000.5]
    for text, number in zip(texts, numbers, strict=True):
        shared.redis.xadd(stream_key(flow), {"iso": text, "ms": repr(number)})
    wait_until(lambda: flow.collection.count_documents({}) == len(texts), 40, flow.lane)
    said = [
        {"iso": {"$toDate": text}, "ms": {"$toDate": number}}
        for text, number in zip(texts, numbers, strict=True)
    ]
    wanted = [
        next(flow.collection.aggregate([{"$limit": 1}, {"$project": {"_id": 0, **one}}])) for one in said
    ]
    assert list(flow.collection.find({}, {"_id": 0}).sort("_id", 1)) == wanted


@pytest.mark.parametrize("kind", ["hash", "json"])
def test_towards_redis(shared: Scene, kind: str) -> None:
    """nothing_lost, nothing_silent: under an index each document is found though values do not fit, by the snapshot and
    by the stream; labels of an array are found one by one, and points by the distance of each."""
    alias = f"{shared.token}-{kind}-out"
    names = {"tags": "tag", "price": "numeric", "n": "numeric"} | (
        {"places": "geo"} if kind == "json" else {}
    )
    path = {"tags": "$.tags[*]"} if kind == "json" else {}
    entries = [
        {"name": name, "type": type, **({"path": path[name]} if name in path else {})}
        for name, type in names.items()
    ]
    fields = {
        "tags": "tags",
        "price": {"from": "price", "on_error": "null"},
        "n": {"from": "n", "type": "int", "on_error": "omit"},
    } | ({"places": {"from": "places", "type": "geo"}} if kind == "json" else {})
    said = projection(fields, type=kind, index={"name": alias, "fields": entries})
    spoilt = [float("nan"), datetime(2026, 1, 1, tzinfo=UTC), "cheap", True]
    if kind == "json":
        spoilt.append(Decimal128("19.90"))
    places = {"places": [[13.4, 52.5], {"type": "Point", "coordinates": [2.35, 48.85, 35]}]}
    documents = [
        {"_id": n, "tags": ["war", "love"], "price": price, "n": "x", **places}
        for n, price in enumerate(spoilt)
    ]
    flow = shared.run(f"out-{kind}", said, documents=documents[:-1])
    flow.collection.insert_one({"_id": "late", **{k: v for k, v in documents[-1].items() if k != "_id"}})
    flow.collection.update_one({"_id": 0}, {"$set": {"tags": ["war", "a,b"], "n": 1.5}})

    def found(query: str) -> int:
        return int(shared.redis.execute_command("FT.SEARCH", alias, query, "LIMIT", 0, 0)[0])

    wait_until(lambda: found("*") == len(documents) and found("@tags:{war}") == len(documents), 40, flow.lane)
    wait_until(lambda: found("@tags:{love}") == len(documents) - 1, 40, flow.lane)
    if kind == "json":
        assert found("@places:[2.35 48.85 1 km]") == found("@places:[13.4 52.5 1 km]") == len(documents)
        assert found(r"@tags:{a\,b}") == 1
    else:
        assert flow.redis.hget(flow.key(1), "tags") == b"war,love"
        wait_counted(flow, "split", 1)
    assert flow.dead_letters() == []
    wait_counted(flow, "null", len(documents))
    wait_counted(flow, "omitted", len(documents) + 1)
