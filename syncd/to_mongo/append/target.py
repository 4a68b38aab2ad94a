"""The collection that a contract appends to: what kind it is, and the time series that a contract asks for."""

from __future__ import annotations

from typing import Any

from pymongo import errors as driver

from syncd.errors import CapabilityError
from syncd.plan.to_mongo.append import AppendPlan
from syncd.stores.mongo.collections import other_shard_key
from syncd.stores.mongo.store import Document, MongoStore, translated

_EXISTS = 48


def find_series(mongo: MongoStore, plan: AppendPlan) -> str | None:
    """The time field of a time series, None of an ordinary collection or where there is none yet.

    Raises CapabilityError where the collection is not what the contract says, or nothing can be written to it.
    """
    database, name = plan.namespace
    with translated():
        found = list(mongo.client[database].list_collections(filter={"name": name}))
    collection_type = found[0].get("type") if found else None
    if collection_type == "view":
        raise CapabilityError("mongo", f"{database}.{name} is a view; name a collection")
    asked = plan.contract.mongo.timeseries
    if asked is not None and collection_type == "collection":
        what = f"{database}.{name} is there and is no time series"
        raise CapabilityError("mongo", f"{what}; name another collection, or leave out `timeseries`")
    if collection_type != "timeseries":
        return None
    if mongo.is_sharded and (key := other_shard_key(mongo, (database, f"system.buckets.{name}"))):
        what = f"{database}.{name} is a time series that is sharded by {key}, whose shards may take late writes twice"
        raise CapabilityError("mongo", f"{what}; name one that is not sharded")
    there = found[0]["options"]["timeseries"]
    if asked is not None:
        wanted = {"timeField": asked.time_field, "metaField": asked.meta_field}
        for option, value in wanted.items():
            if there.get(option) != value:
                what = f"the {option} of {database}.{name} is {there.get(option)}, the contract says {value}"
                raise CapabilityError("mongo", f"{what}; fix the contract, or name another collection")
    return str(there["timeField"])


def make_series(mongo: MongoStore, plan: AppendPlan) -> str | None:
    """The same, behind making the time series that the contract asks for."""
    found = find_series(mongo, plan)
    if found is not None or plan.contract.mongo.timeseries is None:
        return found
    database, name = plan.namespace
    with translated():
        try:
            mongo.client[database].command({"create": name, **_options(plan)})
        except driver.OperationFailure as error:
            if error.code != _EXISTS:  # another daemon was faster
                raise
    return find_series(mongo, plan)


def _options(plan: AppendPlan) -> Document:
    asked = plan.contract.mongo.timeseries
    assert asked is not None
    series: dict[str, Any] = {"timeField": asked.time_field}
    if asked.meta_field is not None:
        series["metaField"] = asked.meta_field
    if asked.granularity is not None:
        series["granularity"] = asked.granularity
    expiry = {} if asked.expire_after is None else {"expireAfterSeconds": max(1, asked.expire_after // 1000)}
    return {"timeseries": series, **expiry}
