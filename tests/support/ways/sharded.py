"""Collections of a sharded cluster: by what they are sharded, chunks that move, and documents that move meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from tests.support.scene import Flow, Scene
from tests.support.ways.outbox import put, remove

UNIQUE = {"unique": [["_id"]]}


def shard(flow: Flow, **key: Any) -> None:
    flow.collection.database.client.admin.command("shardCollection", flow.collection.full_name, key=key)


def shards(flow: Flow) -> list[str]:
    found = flow.collection.database.client["config"]["shards"].find().sort("_id", 1)
    return [one["_id"] for one in found]


def move(flow: Flow, to: str, **start: Any) -> None:
    """What begins there goes to another shard."""
    flow.collection.database.client.admin.command(
        "moveRange", flow.collection.full_name, toShard=to, min=start
    )


def by_region(scene: Scene, short: str, *projections: Any, **more: Any) -> Flow:
    """A collection of two shards: `eu` is on one, `us` on the other."""
    flow = scene.add(short, *projections, **{**UNIQUE, **more})
    shard(flow, region=1)
    films = [{"_id": n, "region": ("eu", "us")[n % 2], "title": f"t{n}"} for n in range(10)]
    flow.collection.insert_many(films)
    move(flow, shards(flow)[1], region="u")
    return flow


def pass_through(flow: Flow) -> None:
    """Until everything written before this call has gone through the stream: a document was written behind it."""
    end = f"end{flow.collection.count_documents({})}-{time.monotonic_ns()}"
    flow.collection.insert_one({"_id": end, "region": "eu", "title": end})
    flow.wait_hash(end, {"title": end})


def refine(flow: Flow, field: str) -> None:
    """The shard key is no longer `_id` alone."""
    flow.collection.create_index([("_id", 1), (field, 1)])
    key = {"_id": 1, field: 1}
    flow.collection.database.client.admin.command(
        "refineCollectionShardKey", flow.collection.full_name, key=key
    )


@contextmanager
def load(flow: Flow, target: Flow) -> Iterator[None]:
    """Documents are made, change, change shards and go, and keys of an outbox as well. MongoDB may refuse what meets a
    chunk on its way."""
    over, rng = threading.Event(), random.Random(18)

    def write_one(number: int) -> None:
        document_id = rng.randrange(16)
        found = flow.collection.find_one({"_id": document_id}, {"region": 1})
        if found is None:
            flow.collection.insert_one({"_id": document_id, "region": "eu", "title": f"n{number}"})
        elif rng.random() < 0.1:
            flow.collection.delete_one(found)
        else:
            other = {"eu": "us", "us": "eu"}[found["region"]]
            flow.collection.update_one(found, {"$set": {"region": other, "title": f"n{number}"}})

    def write() -> None:
        number = 0
        while not over.wait(0.01):
            number += 1
            put(target, rng.sample(range(40), 3), number)
            remove(target, [rng.randrange(40)])
            with suppress(OperationFailure):
                write_one(number)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def documents_left_behind(shards: Iterable[MongoClient[Any]]) -> Iterator[None]:
    """Each shard keeps the documents of chunks that it has given away."""
    shards = list(shards)

    def set_all(mode: str) -> None:
        for one in shards:
            one.admin.command({"configureFailPoint": "suspendRangeDeletion", "mode": mode})

    set_all("alwaysOn")
    try:
        yield
    finally:
        set_all("off")
