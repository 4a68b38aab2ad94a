"""Every type of BSON through every way, bit by bit: what comes out is what went in, or what the page of types says."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Iterable
from operator import ne
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from redis import Redis

from syncd.plan.values.codec import CODEC, dump_json, from_hash, from_json, to_hash, to_json
from syncd.plan.values.redisjson import as_read, double_read
from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scale import SCALE
from tests.support.scene import Document, Flow, Scene
from tests.support.ways.twoway import add_two_way, conflicts

VALUES = 100 * SCALE
"""Of each type."""
Make = Callable[[random.Random], Any]

_LETTERS = "abc xyz0189.,:;-_/\\\"'{}[]%~äöü€日本\U0001f600\n\t"


def a_text(chance: random.Random) -> str:
    return "".join(chance.choices(_LETTERS, k=chance.randrange(12)))


def a_double(chance: random.Random) -> float:
    bits: float = struct.unpack("<d", chance.randbytes(8))[0]
    of_32_bits: float = struct.unpack("<f", struct.pack("<f", chance.gauss(0, 1)))[0]
    odd = chance.choice(
        [0.0, -0.0, 5e-324, 1.7976931348623157e308, 1e16, 1e22, 1e23, 2.0**53, 0.1, 3.0, 1e-7]
    )
    whole = chance.uniform(-180, 180), chance.random(), round(chance.uniform(0, 1e4), 2), of_32_bits, odd
    found = chance.choice((bits, *whole))
    return found if math.isfinite(found) else 1.5


def a_decimal(chance: random.Random) -> Decimal128:
    digits = chance.randrange(10 ** chance.randrange(1, 35))
    said = (
        f"{chance.choice(['', '-'])}{digits}E{chance.randrange(-6100, 6000)}",
        "NaN",
        "Infinity",
        "-0",
        "19.90",
    )
    return Decimal128(chance.choices(said, weights=[9, 1, 1, 1, 1])[0])


def an_integer(chance: random.Random) -> int:
    return chance.choice([chance.randrange(-(2**63), 2**63), chance.randrange(-9, 9), 2**53 + 1, 2**63 - 1])


def an_int(chance: random.Random) -> Any:
    found = an_integer(chance)
    return found if -(2**31) <= found < 2**31 else Int64(found)


def a_date(chance: random.Random) -> DatetimeMS:
    return DatetimeMS(chance.randrange(-62_135_596_800_000, 253_402_300_799_999))


def a_point(chance: random.Random) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [chance.uniform(-180, 180), chance.uniform(-85, 85)]}


def a_tree(chance: random.Random, depth: int = 3) -> Any:
    """What JSON can say: doubles, integers, texts, bools, null, arrays, objects with names of any kind."""
    kind = chance.randrange(8 if depth else 5)
    if kind > 4:
        items = [a_tree(chance, depth - 1) for _ in range(chance.randrange(4))]
        names = (chance.choice(["a", "b c", 'd"e', "f\\g", "ä", "h'i"]) for _ in items)
        return items if kind == 5 else dict(zip(names, items, strict=True))
    return (a_double, an_int, a_text, lambda c: c.random() < 0.5, lambda c: None)[kind](chance)


BOTH: dict[str, tuple[str, Make]] = {
    "double": ("double", a_double),
    "string": ("string", a_text),
    "json": ("json", lambda chance: {"x": a_tree(chance), "y": [a_tree(chance)]}),
    "binary": ("binary", lambda chance: chance.randbytes(chance.randrange(20))),
    "uuid": ("uuid", lambda chance: Binary(chance.randbytes(16), 4)),
    "object_id": ("objectId", lambda chance: ObjectId(chance.randbytes(12))),
    "bool": ("bool", lambda chance: chance.random() < 0.5),
    "date": ("date", a_date),
    "epoch_ms": ("epoch_ms", a_date),
    "int": ("int", an_int),
    "long": ("long", lambda chance: Int64(an_integer(chance))),
    "decimal": ("decimal", a_decimal),
    "geo": ("geo", a_point),
}
"""Types that come back as they were: the `type:` that says so, and a value."""
ONE_WAY: dict[str, Make] = {
    "regex": lambda chance: Regex(a_text(chance), "".join(sorted(chance.sample("imsux", 2)))),
    "timestamp": lambda chance: Timestamp(chance.randrange(2**32), chance.randrange(2**32)),
    "code": lambda chance: Code(a_text(chance)),
    "scoped": lambda chance: Code(a_text(chance), {"x": chance.randrange(9)}),
    "user_binary": lambda chance: Binary(chance.randbytes(9), chance.choice([1, 3, 5, 128])),
    "min": lambda chance: MinKey(),
    "max": lambda chance: MaxKey(),
    "odd_double": lambda chance: chance.choice([math.nan, math.inf, -math.inf]),
    "tree": a_tree,
    "mixed": lambda chance: [a_double(chance), {"d": a_date(chance), "r": Regex("a", "i")}, a_decimal(chance)],
    "vector": lambda chance: [a_double(chance) for _ in range(20)],
    "vector_binary": lambda chance: Binary(b"\x27\0" + struct.pack("<2f", chance.random(), chance.gauss(0, 9)), 9),
}  # fmt: skip
"""Types that only Redis shows."""


def made(kinds: dict[str, Make], seed: int, ids: range) -> list[Document]:
    chance = random.Random(seed)
    return [{"_id": at, **{name: make(chance) for name, make in kinds.items()}} for at in ids]


def bits(value: Any) -> bytes:
    return bson.encode({"": value}, codec_options=CODEC)


def stored(flow: Flow) -> dict[Any, Document]:
    """Documents as they are, by `_id`."""
    found = flow.collection.with_options(codec_options=CODEC).find()
    return {document.pop("_id"): document for document in found}


def of_redisjson(value: Any, field_type: str) -> Any:
    """What is left of a value that came through RedisJSON: of a double in a thousand the neighbour."""
    return as_read(value) if field_type == "double" else value


def contents(flow: Flow, projection: str, ids: Iterable[int]) -> list[Any]:
    pipe = flow.redis.pipeline(transaction=False)
    for at in ids:
        read = {"h": "HGETALL", "j": "JSON.GET", "s": "GET"}[projection]
        pipe.execute_command(read, flow.key(at, projection))
    return [reply if projection == "h" else json.loads(reply) for reply in pipe.execute()]


def test_mongodb_to_redis(shared: Scene) -> None:
    """nothing_silent: what a copy, the stream and its deltas make of every type, in a hash, in JSON and in a string:
    each value comes back from Redis as it was, or is the text that the page of types names."""
    fields = {"mark": "mark", **{name: {"from": name, "type": kind} for name, (kind, _) in BOTH.items()}}
    fields |= {name: name for name in ONE_WAY}
    kinds = {name: make for name, (_, make) in BOTH.items()} | ONE_WAY
    shapes = [projection(fields, name=name, type=kind) for name, kind in SHAPES.items()]
    documents = made(kinds, 1, range(VALUES))
    flow = shared.run("values", *shapes, documents=documents[: VALUES // 2])
    flow.collection.insert_many(documents[VALUES // 2 :])
    mark(flow)
    look(flow, documents)
    documents = made(kinds, 2, range(VALUES))
    for document in documents:
        flow.collection.update_one({"_id": document["_id"]}, {"$set": document})
    mark(flow)
    look(flow, documents)
    assert flow.dead_letters() == []


def mark(flow: Flow) -> None:
    """Until all that was written before has arrived."""
    flow.collection.update_one({"_id": "marker"}, {"$inc": {"mark": 1}}, upsert=True)
    wanted = str(flow.collection.find_one({"_id": "marker"}, {"mark": 1})["mark"])  # type: ignore[index]
    wait_until(lambda: flow.hash("marker", "h").get("mark") == wanted, 60, flow.lane)


def look(flow: Flow, documents: list[Document]) -> None:
    ids = [document["_id"] for document in documents]
    for document, said in zip(documents, contents(flow, "h", ids), strict=True):
        for name, (kind, _) in BOTH.items():
            assert bits(from_hash(said[name.encode()], kind)) == bits(document[name]), (name, document[name])
        for name in ONE_WAY:
            wanted = None if document[name] is None else to_hash(document[name])
            wanted = wanted.encode() if isinstance(wanted, str) else wanted
            assert said.get(name.encode()) == wanted, (name, document[name])
    for where, made_of in (("j", as_read), ("s", lambda value: value)):
        for document, said in zip(documents, contents(flow, where, ids), strict=True):
            for name, (kind, _) in BOTH.items():
                assert bits(from_json(said[name], kind)) == bits(
                    of_redisjson(document[name], kind) if where == "j" else document[name]
                ), (where, name, document[name])
            for name in ONE_WAY:
                assert repr(said[name]) == repr(made_of(to_json(document[name]))), (where, name)


SHAPES = {"h": "hash", "j": "json", "s": "string"}


@pytest.mark.parametrize("kind", ["hash", "json", "string"])
def test_both_ways(shared: Scene, kind: str) -> None:
    """no_echo: MongoDB's own values stay bit by bit, also when another field of their key changes; what an application
    writes, here copies of what syncd wrote, becomes the same values in MongoDB. Nothing is a conflict."""
    fields: dict[str, Any] | None = {name: {"from": name, "type": said} for name, (said, _) in BOTH.items()}
    shape, kinds = {}, {name: make for name, (_, make) in BOTH.items()}
    if kind == "string":
        fields, shape, kinds = None, {"value": {"from": "json", "type": "json"}}, {"json": BOTH["json"][1]}
    else:
        fields["note"] = "note"
    documents = made(kinds, 3, range(VALUES))
    flow = add_two_way(shared, f"both-{kind}", "outbox", fields, type=kind, shape=shape, documents=documents)
    if not shared.daemon.process.alive:
        shared.start()
    flow.wait_live()
    wait_until(lambda: len(flow.keys()) == VALUES, 60, flow.lane)
    change(flow, [[("COPY", flow.key(VALUES + at))] for at in range(VALUES)], VALUES)
    if kind != "string":
        note = ("HSET", "note", "n") if kind == "hash" else ("JSON.SET", "$.note", '"n"')
        change(flow, [[note] for _ in range(VALUES)], 0)
    noted = {"note": "n"} if kind != "string" else {}

    def is_done() -> bool:
        return flow.collection.count_documents(noted) == VALUES * (1 if noted else 2) and (
            flow.collection.count_documents({}) == 2 * VALUES
        )

    wait_until(is_done, 60, flow.lane)
    found = stored(flow)
    for document in documents:
        at = document.pop("_id")
        for name, value in document.items():
            assert bits(found[at][name]) == bits(value), (name, value)
            written = of_redisjson(value, BOTH[name][0]) if kind == "json" else value
            assert bits(found[VALUES + at][name]) == bits(written), (name, value)
    assert conflicts(flow) == []
    assert flow.dead_letters() == []


def change(flow: Flow, commands: list[list[tuple[Any, ...]]], noted: int) -> None:
    """Commands on keys, and an entry for each; `noted`: so much further."""
    pipe = flow.redis.pipeline(transaction=True)
    for at, said in enumerate(commands):
        for name, *args in said:
            pipe.execute_command(name, flow.key(at), *args)
        pipe.xadd(flow.names.control("outbox"), {"key": flow.key(at + noted)})
    pipe.execute()


def test_doubles_in_redisjson(redis: Redis, prefix: str) -> None:
    """RedisJSON reads each double as `double_read` says: nearly always as it is."""
    chance, key = random.Random(5), f"{prefix}doubles"
    values = [a_double(chance) for _ in range(40 * VALUES)]
    redis.execute_command("JSON.SET", key, "$", dump_json(values))
    found = json.loads(redis.execute_command("JSON.GET", key))  # type: ignore[arg-type]
    assert bits(found) == bits([double_read(value) for value in values])
    assert sum(map(ne, found, values)) < len(values) / 200
