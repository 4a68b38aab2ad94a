"""What is different where a mongos answers: documents that have a shard key beside `_id`, and several servers that take
writes and each have a history of their own.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import bson
from bson.min_key import MinKey
from pymongo import timeout

from syncd.errors import CapabilityError, FatalError, TransientError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.paths import MISSING, walk
from syncd.plan.values.codec import CODEC
from syncd.stores.mongo import codes
from syncd.stores.mongo.idle_shards import ask_every_shard
from syncd.stores.mongo.store import Document, MongoStore, translated
from syncd.stores.mongo.times import Moment

if TYPE_CHECKING:
    from syncd.stores.mongo.reads.lookup import Lookup

ANSWER_S = 10.0
"""How long a person who asks whether all shards are there waits for the answer."""
SAMPLE = 4096
"""Ids among which one is looked for that belongs to a shard; a shard with less than a thousandth may have none."""


def is_stated_unique(unique: Sequence[Sequence[str]]) -> bool:
    """Whether a contract says that no two documents have one `_id`."""
    return ["_id"] in map(list, unique)


def require_same_key(mongo: MongoStore, unique: Sequence[Sequence[str]], events: Sequence[Document]) -> None:
    """Raises TransientError where changes name their documents by more than `_id`, which the contract does not say to
    be unique: the collection has got another shard key, and whether that will do is checked at the start of a run."""
    if not mongo.is_sharded or is_stated_unique(unique):
        return
    if any(len(event.get("documentKey", ())) > 1 for event in events):
        raise other_key_now()


def other_key_now() -> TransientError:
    """Of a collection that was sharded by `_id`, or not at all, when the run began."""
    return TransientError(
        "mongo", "the collection is sharded by another key than `_id` now; checking it again"
    )


def require_every_shard(mongo: MongoStore, namespace: tuple[str, str]) -> None:
    """Raises TransientError where a shard gives no answer: no stream shows a change until it does. A collection that
    this user may not follow says nothing of that."""
    if not mongo.is_sharded:
        return
    try:
        with timeout(ANSWER_S), translated():
            ask_every_shard(mongo.client, *namespace, {})
    except TransientError as error:
        said = str(error).partition("; ")[0]
        what = f"a shard gives no answer, and no change shows until it does ({said})"
        raise TransientError("mongo", f"{what}; see `sh.status()`, and start it again") from error
    except (CapabilityError, FatalError):
        return


def require_unique(mongo: MongoStore, namespace: tuple[str, str], documents: Sequence[Document]) -> None:
    """Raises CapabilityError where two documents that were read together have one `_id`."""
    if not mongo.is_sharded or len(documents) < 2:
        return
    if len({encode_key_value(one["_id"]) for one in documents}) < len(documents):
        raise CapabilityError(
            "mongo",
            f"two documents of {'.'.join(namespace)} have one `_id`, though mongo.unique says that none have; give one "
            "of them another `_id`, or shard the collection by `_id`",
        )


def moved(lookup: Lookup, keys: Sequence[Document], after: Moment) -> list[bool]:
    """Of documents that were deleted, by their whole keys: whether each is there under another one."""
    paths = {path: 1 for key in keys for path in key}
    there = lookup.by_ids([key["_id"] for key in keys], after, wanted=paths, every=True).documents
    found = [there.get(encode_key_value(key["_id"])) for key in keys]
    return [
        one is not None and any(not _is_same(walk(one, tuple(path.split("."))), key[path]) for path in key)
        for one, key in zip(found, keys, strict=True)
    ]


def _is_same(value: Any, other: Any) -> bool:
    """As a part of a shard key, in which a field that is not there counts as null."""
    one, second = (None if each is MISSING else each for each in (value, other))
    return bson.encode({"": one}, codec_options=CODEC) == bson.encode({"": second}, codec_options=CODEC)


def ids_of_shards(mongo: MongoStore, namespace: tuple[str, str]) -> dict[str, Any]:
    """For each shard that has a part of a collection an `_id` that belongs there. The collection is sharded by `_id`,
    or not at all: then it is on one shard, which may be another one tomorrow. Raises TransientError where it is sharded
    by another key."""
    if not mongo.is_sharded:
        return {"": MinKey()}
    config = mongo.client["config"]
    try:
        with translated():
            found = config["collections"].find_one({"_id": ".".join(namespace)})
            if found is None:
                database = config["databases"].find_one({"_id": namespace[0]}, {"primary": 1})
                return {database["primary"] if database else "": MinKey()}
            if list(found["key"]) != ["_id"]:
                raise other_key_now()
            chunks = list(
                config["chunks"].find({"uuid": found["uuid"]}, {"min": 1, "shard": 1}).sort("min", 1)
            )
    except FatalError as error:
        if getattr(error.__cause__, "code", None) not in codes.AUTHENTICATION:
            raise
        what = "config.collections, config.databases and config.chunks"
        raise FatalError("mongo", f"grant this user `find` on {what}") from error
    if found["key"] != {"_id": "hashed"}:
        return {one["shard"]: one["min"]["_id"] for one in chunks}
    return _by_hash(mongo, namespace, chunks)


def _by_hash(
    mongo: MongoStore, namespace: tuple[str, str], chunks: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    said = {"$map": {"input": {"$range": [0, SAMPLE]}, "in": {"$toHashedIndexKey": "$$this"}}}
    pipeline: list[Document] = [
        {"$match": {"$expr": False}},
        {"$facet": {"none": [{"$limit": 1}]}},
        {"$project": {"said": said}},
    ]
    with translated():
        hashes = next(mongo.client[namespace[0]][namespace[1]].aggregate(pipeline))["said"]
    starts = [-(2**63) if isinstance(one["min"]["_id"], MinKey) else one["min"]["_id"] for one in chunks]
    ids = {chunks[bisect.bisect_right(starts, hashed) - 1]["shard"]: at for at, hashed in enumerate(hashes)}
    if missing := {one["shard"] for one in chunks} - ids.keys():
        what = f"no `_id` is found that belongs to shard {min(missing)}"
        raise TransientError(
            "mongo", f"{what}, which has a very small part of the collection; move more to it"
        )
    return ids
