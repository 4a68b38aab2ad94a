"""What kind of collection a name stands for, before anything is read from it or written to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pymongo import errors as driver

from syncd.errors import CapabilityError, FatalError
from syncd.stores.mongo import codes
from syncd.stores.mongo.sharding import is_stated_unique
from syncd.stores.mongo.store import CAPPED, OF_NO_STREAM, MongoStore, translated

_ID = ("_id",)


class Kind(NamedTuple):
    """Of a collection that exists. `is_capped` is False where we may not ask."""

    type: str
    """`collection`, `view` or `timeseries`."""
    is_capped: bool = False


def kind_of(mongo: MongoStore, namespace: tuple[str, str]) -> Kind | None:
    """None where there is no such collection yet."""
    database, name = namespace
    asked: dict[str, Any] = {"listCollections": 1, "filter": {"name": name}}
    with translated():
        try:
            reply = mongo.client[database].command(asked)
        except driver.OperationFailure as error:
            if error.code not in codes.AUTHENTICATION:
                raise
            # A user that may read a collection may ask for its name and type, though not for its options.
            reply = mongo.client[database].command({**asked, "nameOnly": True, "authorizedCollections": True})
    found = reply["cursor"]["firstBatch"]
    if not found:
        return None
    return Kind(found[0].get("type", "collection"), bool(found[0].get("options", {}).get("capped")))


def collections_of(mongo: MongoStore, databases: Sequence[str]) -> list[str]:
    """All collections, of any kind but views and time series, that this user may see: of these databases, or of
    all where one of them is a pattern."""
    found: list[str] = []
    with translated():
        for name in _databases(mongo) if any("*" in one for one in databases) else databases:
            asked = {"listCollections": 1, "filter": {"type": "collection"}, "nameOnly": True}
            reply = mongo.client[name].command(
                {**asked, "authorizedCollections": True, "cursor": {"batchSize": 10**6}}
            )
            names = (one["name"] for one in reply["cursor"]["firstBatch"])
            found += (f"{name}.{one}" for one in names if not one.startswith("system."))
    return found


def _databases(mongo: MongoStore) -> list[str]:
    reply = mongo.client["admin"].command({"listDatabases": 1, "nameOnly": True, "authorizedDatabases": True})
    return [one["name"] for one in reply["databases"] if one["name"] not in ("admin", "local", "config")]


def require_source(
    mongo: MongoStore, namespace: tuple[str, str], unique: Sequence[Sequence[str]] = ()
) -> None:
    """Raise CapabilityError where a collection cannot be followed by its changes. `unique`: as the contract says."""
    kind, name = kind_of(mongo, namespace), ".".join(namespace)
    if kind is not None and kind.type != "collection":
        raise CapabilityError("mongo", f"{name} is a {kind.type}; {OF_NO_STREAM}")
    if kind is not None and kind.is_capped:
        raise CapabilityError("mongo", f"{name} is capped; {CAPPED}")
    if mongo.is_sharded and not is_stated_unique(unique) and (key := other_shard_key(mongo, namespace)):
        what = f"{name} is sharded by {key}, and two of its documents may have one `_id`"
        raise CapabilityError(
            "mongo",
            f"{what}; shard it by `_id`, or state that the application keeps `_id` unique over the cluster: "
            "mongo.unique: [[_id]]",
        )


def require_joined(mongo: MongoStore, namespace: tuple[str, str]) -> None:
    """Raise CapabilityError where a joined collection cannot be followed, or this user may not read it."""
    require_source(mongo, namespace)
    database, name = mongo.client[namespace[0]], namespace[1]
    with translated():
        try:
            database.command({"find": name, "filter": {"_id": {"$in": []}}, "limit": 1, "singleBatch": True})
            reply = database.command(
                {"aggregate": name, "pipeline": [{"$changeStream": {}}], "cursor": {"batchSize": 0}}
            )
            database.command({"killCursors": name, "cursors": [reply["cursor"]["id"]]})
        except driver.OperationFailure as error:
            if error.code != codes.UNAUTHORIZED:
                raise
            what = f"this user may not read {'.'.join(namespace)}, or not follow its changes"
            raise CapabilityError("mongo", f"{what}; grant it `find` and `changeStream` on it") from error


def require_target(mongo: MongoStore, namespace: tuple[str, str]) -> None:
    """Raise CapabilityError where documents cannot be replaced, or do not stay."""
    kind, name = kind_of(mongo, namespace), ".".join(namespace)
    if kind is not None and kind.type != "collection":
        what = f"{name} is a {kind.type}, whose documents cannot be replaced"
        raise CapabilityError("mongo", f"{what}; name an ordinary collection")
    if kind is not None and kind.is_capped:
        what = f"{name} is capped, and would drop documents whose keys are there"
        raise CapabilityError("mongo", f"{what}; name an ordinary collection")
    if mongo.is_sharded and (key := other_shard_key(mongo, namespace)):
        what = f"{name} is sharded by {key}, and syncd writes documents by their `_id`"
        raise CapabilityError("mongo", f"{what}; shard it by `_id`, or name another collection")


def require_records(mongo: MongoStore, namespace: tuple[str, str]) -> None:
    """Raise CapabilityError where no records of conflicts can be kept."""
    kind, name = kind_of(mongo, namespace), ".".join(namespace)
    if kind is not None and kind.type != "collection":
        what = f"{name} is a {kind.type}, which takes no records of conflicts"
        raise CapabilityError("mongo", f"{what}; name an ordinary collection")
    if mongo.is_sharded and (key := other_shard_key(mongo, namespace)):
        what = f"{name} is sharded by {key}, and syncd writes records of conflicts by their `_id`"
        raise CapabilityError("mongo", f"{what}; shard it by `_id`, or name another collection")


def other_shard_key(mongo: MongoStore, namespace: tuple[str, str]) -> str:
    """The shard key of a collection where that is not `_id` alone; "" where `_id` is unique."""
    query = {"_id": ".".join(namespace), "dropped": {"$ne": True}, "unsplittable": {"$ne": True}}
    try:
        with translated():
            found = mongo.client["config"]["collections"].find_one(query, {"key": 1})
    except FatalError as error:
        if getattr(error.__cause__, "code", None) not in codes.AUTHENTICATION:
            raise
        return "a key that this user may not see (grant `find` on config.collections)"
    key = found["key"] if found else {"_id": 1}
    return "" if list(key) == [*_ID] else ", ".join(key)
