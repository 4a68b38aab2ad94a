"""What both directions share of an outbox and of keyspace events, each part by itself, on a server of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from syncd.plan.claims import claims_of
from syncd.plan.to_mongo.state import StatePlan, compile_state
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.keyspace.listening import Listening
from syncd.to_mongo.outbox.queue import MOST_ENTRIES, Entry, OutboxQueue, without_key
from syncd.to_mongo.state.comparison import Comparison
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys
from syncd.to_mongo.state.store import StateStore
from tests.support.contracts import from_redis, model, projection

MOST_KEYS = 2
"""Changed keys that are remembered: one more is a gap."""


@pytest.fixture
def redis(store: RedisStore) -> RedisStore:
    store.connect()
    return store


def plan(capture: str, **sync: Any) -> StatePlan:
    shape = projection({"n": "n"}, name="user", key="user:{_id}")
    return compile_state(model(shape, sync=from_redis(capture, **sync)))


@pytest.fixture
def listening(redis: RedisStore, client: Redis) -> Iterator[Listening]:
    """It begins with a gap: there was no event of these keys."""
    for number in range(300):
        client.hset(f"user:{number}", "n", number)
    listening = Listening(redis, plan("keyspace"), MOST_KEYS)
    listening.begin(redis)
    yield listening
    listening.stop()


def comparison_of(redis: RedisStore, listening: Listening) -> Comparison:
    return Comparison(redis, plan("keyspace"), listening, UnfitKeys(redis, plan("keyspace")))


def all_pages(comparison: Comparison) -> set[bytes]:
    found = set(comparison.page())
    while not comparison.page_is_done():
        found |= set(comparison.page())
    return found


KEYS = {f"user:{number}".encode() for number in range(300)}


def test_all_keys_are_compared_behind_a_gap(redis: RedisStore, listening: Listening) -> None:
    """Once; then nothing is owed, until a person asks for all keys."""
    comparison = comparison_of(redis, listening)
    assert comparison.begin_if_due()
    assert all_pages(comparison) == KEYS
    assert not comparison.is_under_way
    assert not comparison.begin_if_due()
    comparison.ask_for_everything()
    assert comparison.begin_if_due()
    assert all_pages(comparison) == KEYS
    assert not comparison.everything


def test_a_gap_meanwhile_compares_once_more(redis: RedisStore, listening: Listening) -> None:
    """From the first key, for those that were compared may have changed unheard. Two gaps are one more comparison."""
    comparison = comparison_of(redis, listening)
    assert comparison.begin_if_due()
    found = set(comparison.page())
    for _ in range(2):
        for number in range(MOST_KEYS + 1):
            listening.changed.note(b"user:%d" % number, b"hset")
        assert comparison.begin_if_due()
    assert found | all_pages(comparison) == KEYS
    assert comparison.is_under_way
    assert not comparison.begin_if_due()
    assert all_pages(comparison) == KEYS
    assert not comparison.is_under_way


def test_a_run_that_ends_in_between_leaves_it_owed(redis: RedisStore, listening: Listening) -> None:
    """What the last page gave may not be in MongoDB: the next run compares again."""
    first = comparison_of(redis, listening)
    assert first.begin_if_due()
    while first.page():
        pass  # the end is never told
    listening.begin(redis)
    assert comparison_of(redis, listening).begin_if_due()


def queue_of(redis: RedisStore, of: StatePlan) -> OutboxQueue:
    keys = ControlKeys(of.name)
    lease = Lease(redis, keys, "host/1", 10.0, claims_of(of))
    return OutboxQueue(redis, of, StateStore(redis, of, lease, keys.outbox))


def test_entries_stay_until_they_are_done(redis: RedisStore, client: Redis) -> None:
    """From the first one, each time; one without a key is reported."""
    queue = queue_of(redis, plan("outbox"))
    assert queue.take(0.01) == []
    client.xadd(queue.name, {"key": "user:1"}, id="1-1")
    client.xadd(queue.name, {"key": "user:1", "op": "del"}, id="1-2")
    client.xadd(queue.name, {"kye": "user:1"}, id="1-3")
    entries = queue.take()
    assert entries == queue.take()
    assert entries == [
        Entry("1-1", b"user:1", False),
        Entry("1-2", b"user:1", True),
        Entry("1-3", None, False),
    ]
    assert list(without_key(entries)) == [b"entry 1-3"]
    assert queue.take(behind="1-1") == entries[1:]
    assert queue.backlog("0-9").entries == 3


def test_a_read_has_an_end(redis: RedisStore, client: Redis) -> None:
    """What is behind it comes with the next."""
    queue = queue_of(redis, plan("outbox"))
    pipe = client.pipeline(transaction=False)
    for number in range(MOST_ENTRIES + 1):
        pipe.xadd(queue.name, {"key": f"user:{number}"}, id=f"{number + 1}-0")
    pipe.execute()
    entries = queue.take()
    assert len(entries) == MOST_ENTRIES
    assert [entry.key for entry in queue.take(behind=entries[-1].id)] == [b"user:%d" % MOST_ENTRIES]


def test_a_full_memory_lets_the_outbox_be_emptied(redis: RedisStore, client: Redis) -> None:
    """Where the functions know how many entries may wait, a run writes nothing at its start."""
    queue = queue_of(redis, plan("outbox", outbox_max=5))
    queue.begin()
    assert client.get(ControlKeys("users").outbox_max) == b"5"
    client.config_set("maxmemory", 1)
    queue.begin()
    client.config_set("maxmemory", 0)
    queue_of(redis, plan("outbox")).begin()
    assert client.get(ControlKeys("users").outbox_max) is None
