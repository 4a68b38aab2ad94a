"""Documents mutated at the level of bytes, and mutated keys and entries, at lanes of every kind, beside healthy ones.

Some hundred of each that the stores take; with SYNCD_TEST_SCALE=25 ten thousand.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from syncd.contract.model.redis.template import KeyTemplate
from syncd.embedded import RedisServer
from syncd.plan.keys.templates import encode_key_value, key_reader
from syncd.stores.mongo.reads.replies import RAW_CODEC, document_in
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Flow, Scene
from tests.support.shapes.odd_bson import int32, is_sound, odd_ids, put_all, raw, text
from tests.support.shapes.odd_keys import ODD_ENDS, is_read
from tests.support.ways.outbox import add_outbox
from tests.support.ways.reconcile import check
from tests.support.ways.stream import SYNC, key
from tests.support.ways.twoway import add_two_way

COUNT = 400 * SCALE
HEALTHY = 50
LONG_S = 60.0 + COUNT / 5
LIMIT_S = 180 + COUNT // 2

VALUES: list[Any] = [
    None, True, 0, -1, 2**31 - 1, Int64(-(2**63)), 0.1, float("nan"), float("inf"), -0.0, 5e-324, "", "text",
    "größe", "\0",
    "a" * 300, b"", b"bytes", Binary(b"0" * 16, 4), Binary(b"x", 2), Binary(b"\x27\0abcd", 9), Binary(b"y", 128),
    ObjectId(b"0" * 12),
    DatetimeMS(0), DatetimeMS(2**63 - 1), DatetimeMS(-(2**63)), Decimal128("NaN"), Decimal128("1E+6144"),
    Decimal128("-0"),
    Regex("a|b", "imsx"), Code("f()"), Code("f()", {"x": 1}), Timestamp(1, 2), Timestamp(2**32 - 1, 2**32 - 1),
    MinKey(), MaxKey(),
    [], [[]], [1, "a", None], {}, {"a": {"b": {"c": 1}}}, {"a.b": 1}, {"$ref": "c", "$id": 1}, {"": 1}, {"$x": 1},
]  # fmt: skip
OF_NO_DRIVER = [
    ("v", 0x06, b""), ("v", 0x0C, text(b"films") + b"0" * 12), ("v", 0x0E, text(b"symbol")), ("v", 0x02,
    text(b"\xff")),
    ("v", 0x05, int32(3) + b"\x02abc"), ("v", 0x0B, b"a\0zq\0"), ("v", 0x03, raw(("a", 0x10, int32(1)), ("a", 0x10,
    int32(2)))),
]  # fmt: skip


NUMBER = b"#####"
"""Stands for the number of a document in its `_id`."""


def bases() -> list[bytes]:
    """Documents with each value of each type, as a field and as `_id`."""
    found = [bson.encode({"_id": f"v{at}-#####", "n": at, "v": value}) for at, value in enumerate(VALUES)]
    found += [
        bson.encode({"_id": {"x": value, "at": f"{at}-#####"}, "n": at}) for at, value in enumerate(VALUES)
    ]
    found += [bson.encode({"_id": value, "n": 1}) for value in VALUES if not isinstance(value, list | Regex)]
    found += [raw(one, n=at, _id=f"o{at}-#####") for at, one in enumerate(OF_NO_DRIVER)]
    return found + [raw(one, n=1) for one in odd_ids(7).values()]


def mutated(rng: random.Random, whole: list[bytes]) -> Iterator[bytes]:
    """First as they are, then with a few other bytes behind the length."""
    yield from whole
    for number in count():
        document = bytearray(rng.choice(whole).replace(NUMBER, b"%05d" % (number % 100_000)))
        for _ in range(rng.randint(1, 4)):
            if len(document) > 5:
                document[rng.randrange(4, len(document) - 1)] = rng.choice(
                    (rng.randrange(256), 0, 0xFF, 0x24)
                )
        if is_sound(bytes(document)):
            yield bytes(document)


def put_many(flow: Flow, odd: Iterator[bytes]) -> None:
    """Half of what MongoDB has to take."""
    taken = 0
    while taken < COUNT // 2:
        taken += put_all(flow.collection, [next(odd) for _ in range(COUNT // 8)])


@pytest.mark.timeout(LIMIT_S)
def test_documents(scene: Scene, mongo_uri: str, redis_url: str) -> None:
    """nothing_lost, nothing_silent: every BSON type with its edge cases, and documents mutated as far as MongoDB takes
    them, in snapshot, stream and update: the healthy ones arrive, each odd one is right or has one dead letter."""
    shapes = [
        projection(["n"], type="json"),
        projection("all", name="doc", type="json"),
        projection("all", name="flat"),
    ]
    flow = scene.add("film", *shapes, sync={"dead_letters": {"keep": 100_000}})
    odd = mutated(random.Random(20261129), bases())
    put_many(flow, odd)
    scene.daemon = scene.another_daemon(SYNCD_CHUNK_DOCUMENTS="50")
    scene.start()
    flow.wait_live(LONG_S)
    put_many(flow, odd)
    flow.collection.insert_many({"_id": f"fine-{number}", "n": -5} for number in range(HEALTHY))
    for number in range(0, HEALTHY, 5):
        flow.collection.update_one({"_id": f"fine-{number}"}, {"$set": {"n": -6}})
    check_documents(flow)
    assert check(scene, flow, mongo_uri, redis_url).found == 0
    assert flow.metric("syncd_lane_restarts_total") == 0


def check_documents(flow: Flow) -> None:
    documents: Any = flow.collection.with_options(codec_options=RAW_CODEC)
    idents = {encode_key_value(document_in(one)["_id"]) for one in documents.find()}
    for name in ("card", "doc", "flat"):

        def parked(name: str = name) -> list[str]:
            return [one["id"] for one in flow.dead_letters() if one["projection"] == name]

        def is_done(name: str = name, parked: Any = parked) -> bool:
            return bool(flow.keys(name) | set(parked()) == idents)

        wait_until(is_done, LONG_S, lambda name=name: (flow.lane(), flow.keys(name) ^ idents))  # type: ignore[misc]
        assert len(parked()) == len(set(parked()))
        assert not flow.keys(name) & set(parked())
        assert flow.keys(name) >= {f"fine-{number}" for number in range(HEALTHY)}


def ends_of_keys(rng: random.Random) -> list[bytes]:
    """Ends of keys, each another."""
    found = dict.fromkeys(ODD_ENDS)
    while len(found) < COUNT:
        end = bytearray(rng.choice(ODD_ENDS)[:200])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(end) + 1)
            end[at : at + rng.randint(0, 1)] = rng.choice(
                (bytes([rng.randrange(256)]), b"%", b"~", b"A", b"=")
            )
        found[bytes(end)] = None
    return list(found)


@pytest.mark.timeout(LIMIT_S)
def test_keys(scene: Scene, mongo_uri: str, tmp_path: Path) -> None:
    """nothing_lost, nothing_silent: mutated keys for an outbox, keyspace events and both ways: each is a document or
    has one dead letter."""
    fields = {"n": {"from": "n", "type": "int"}}
    with RedisServer() as server, Scene(tmp_path / "own", scene.token, mongo_uri, server.url) as own:
        dead_letters = {"dead_letters": {"keep": 100_000}}
        flows = [
            add_outbox(own, "outbox", fields, sync=dead_letters),
            add_outbox(own, "events", fields, sync={"capture": "keyspace", **dead_letters}),
            add_two_way(own, "both", "outbox", fields, sync=dead_letters),
        ]
        own.start()
        for flow in flows:
            flow.wait_live()
        ends = ends_of_keys(random.Random(7))
        for flow in flows:
            pipe = flow.redis.pipeline(transaction=False)
            for end in [*ends, *(f"fine-{number}".encode() for number in range(HEALTHY))]:
                name = flow.key("").encode() + end
                pipe.hset(name, mapping={"n": 2 if end.startswith(b"fine") else 1})
                if flow.contract.endswith(("outbox", "both")):
                    pipe.xadd(flow.names.control("outbox"), {"key": name})
            pipe.execute()
        for flow in flows:
            check_keys(flow, ends)


def check_keys(flow: Flow, ends: list[bytes]) -> None:
    read = key_reader(KeyTemplate.parse(flow.key("{_id}")), stored=True)
    known = [end for end in ends if is_read(read, flow.key("").encode() + end)]
    told = len(known if flow.contract.endswith("events") else ends)

    def is_done() -> bool:
        fine = flow.collection.count_documents({"n": 2})
        return (
            fine == HEALTHY and flow.collection.count_documents({"n": 1}) + len(flow.dead_letters()) == told
        )

    wait_until(is_done, LONG_S, lambda: (flow.lane(), told, len(flow.dead_letters())))
    assert len({one["id"] for one in flow.dead_letters()}) == len(flow.dead_letters())
    assert flow.metric("syncd_lane_restarts_total") == 0
    assert flow.lane()["state"] == "live"


TYPED = {
    name: {"from": name, "type": name}
    for name in (
        "string",
        "int",
        "long",
        "double",
        "decimal",
        "bool",
        "date",
        "epoch_ms",
        "objectId",
        "uuid",
        "json",
    )
}
TEXTS = [
    b"", b"0", b"-1", b"1e400", b"9" * 40, b"nan", b"true", b"{}", b"[1,2", b"[" * 300 + b"]" * 300,
    b'{"$ref":"c"}', b"\xff", b"\0",
    b"2026-01-02T03:04:05Z", b"65a1b2c3d4e5f60718293a4b", b"null", b'"\\ud800"', b'{"a":{"$x":1}}',
    b"1795909780.2428308", b'{"":1}',
]  # fmt: skip


@pytest.mark.timeout(LIMIT_S)
def test_entries(scene: Scene) -> None:
    """nothing_lost, nothing_silent: mutated entries of a stream: each is a document or has one dead letter."""
    shape = projection(TYPED, name="event", type="stream", key="in")
    flow = scene.add("turns", shape, sync={**SYNC, "dead_letters": {"keep": 100_000}})
    scene.start()
    flow.wait_live()
    rng = random.Random(11)
    pipe = flow.redis.pipeline(transaction=False)
    for number in range(COUNT):
        said: dict[Any, Any] = {}
        for name in rng.sample(list(TYPED), rng.randint(1, 4)):
            value = bytearray(rng.choice(TEXTS))
            if rng.random() < 0.5 and value:
                value[rng.randrange(len(value))] = rng.randrange(256)
            said[name] = bytes(value)
        pipe.xadd(key(flow), said)
        if number % (COUNT // HEALTHY) == 0:
            pipe.xadd(key(flow), {"string": "fine", "int": 7})
    pipe.execute()
    total = flow.redis.xlen(key(flow))

    def is_done() -> bool:
        return bool(flow.collection.count_documents({}) + len(flow.dead_letters()) == total)

    wait_until(is_done, LONG_S, lambda: (flow.lane(), flow.collection.count_documents({}), total))
    assert flow.collection.count_documents({"string": "fine", "int": 7}) == HEALTHY
    assert flow.metric("syncd_lane_restarts_total") == 0
