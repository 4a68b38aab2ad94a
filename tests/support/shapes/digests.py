"""Digests that a lane keeps, against those that MongoDB gives now; and changes that a lane never saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pymongo.collection import Collection
from redis.cluster import RedisCluster

from syncd.contract.read.load import load_contract_set
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.plan.to_redis.digest import SOURCE, bucket_of
from syncd.stores.redis.cluster.nodes import HOME, ClusterStore, is_cluster
from syncd.stores.redis.records.keys.digests import Digests
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from tests.support.check import wait_until
from tests.support.scene import Flow


def _plan(directory: Path, contract: str) -> Plan:
    found = load_contract_set(directory, {}).contracts
    return compile_contract(next(e.contract for e in found if e.contract.name == contract))


def unknown(flow: Flow, redis_url: str, query: Any = None) -> str:
    """What is wrong with the digests in Redis; empty where they are those of all documents."""
    return unknown_of(flow.contracts.path, flow.contract, flow.collection, redis_url, query)


def unknown_of(
    directory: Path, contract: str, collection: Collection[Any], redis_url: str, query: Any = None
) -> str:
    """The same of a contract in a directory."""
    plan = _plan(directory, contract)
    wanted: dict[int, dict[str, int]] = {}
    for found in collection.find(query or {}, {SOURCE: [plan.source, bucket_of("$_id")]}):
        digest, bucket = found[SOURCE]
        wanted.setdefault(bucket, {})[encode_key_value(found["_id"])] = digest
    store = (ClusterStore if is_cluster(redis_url) else RedisStore)(redis_url)
    try:
        kept = Digests(store, ControlKeys(contract, place=store.place))
        there = {bucket: entries for bucket, entries in kept.of_buckets(kept.buckets).items() if entries}
        changed = kept.some_changed(10)
    finally:
        store.close()
    if changed:
        return f"changed: {changed}"
    return (
        ""
        if there == wanted
        else f"{sum(map(len, there.values()))} digests of {sum(map(len, wanted.values()))}"
    )


def assert_known(flow: Flow, redis_url: str) -> None:
    """Redis has the digest of every document, and no other."""
    assert not (what := unknown(flow, redis_url)), what


def wait_known(flow: Flow, redis_url: str, query: Any = None) -> None:
    """The same, soon."""
    wait_until(lambda: not unknown(flow, redis_url, query), 20, lambda: unknown(flow, redis_url, query))


def lose(flow: Flow, redis_url: str, changes: Mapping[int, Callable[[], object]]) -> None:
    """Keys and digests of these documents as if the lane had never seen their changes."""
    wait_known(flow, redis_url)
    before = {number: (flow.redis.dump(flow.key(number)), _digest_of(flow, number)) for number in changes}
    for change in changes.values():
        change()
    flow.catch_up()
    flow.collection.delete_one({"_id": "marker"})
    wait_known(flow, redis_url)
    for number, (content, kept) in before.items():
        flow.redis.delete(flow.key(number))
        if content:
            flow.redis.restore(flow.key(number), 0, content)
        if (now := _digest_of(flow, number)) is not None:
            flow.redis.hdel(now[0], str(number))
        if kept is not None:
            flow.redis.hset(kept[0], str(number), kept[1])


def _digest_of(flow: Flow, number: int) -> tuple[bytes, bytes] | None:
    """Where it is, and what it is."""
    place = HOME if isinstance(flow.redis, RedisCluster) else ""
    for name in flow.redis.scan_iter(place + flow.names.control("digest:*"), count=10_000):
        if (digest := flow.redis.hget(name, str(number))) is not None:
            return name, digest
    return None
