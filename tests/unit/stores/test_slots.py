"""Slots of a Redis Cluster, and where syncd has its records in it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ClusterDownError, ResponseError

from syncd.errors import TransientError, UnusableUriError
from syncd.settings import Settings
from syncd.stores.redis.capabilities import Capabilities, lacks, weakest
from syncd.stores.redis.cluster.nodes import HOME
from syncd.stores.redis.cluster.slots import SLOTS, Master, map_of, place_in, slot_of
from syncd.stores.redis.cluster.views import ids_of_masters
from syncd.stores.redis.store import RedisStore, translate
from tests.support.contracts import from_redis, model, projection


@pytest.mark.parametrize(
    ("key", "like"),
    [
        ("{user1000}.following", "user1000"), ("foo{{bar}}zap", "{bar"), ("foo{bar}{zap}", "bar"),
        (b"a{\xff}b", b"\xff"),
    ],
)  # fmt: skip
def test_hash_tags(key: str | bytes, like: str | bytes) -> None:
    """As the specification of Redis Cluster has them: between the first `{` and the first `}` behind it."""
    assert slot_of(key) == slot_of(like)


def test_the_slots_of_the_specification() -> None:
    """CRC16 of "123456789" is 0x31C3; an empty tag is none."""
    assert slot_of("123456789") == 0x31C3 % SLOTS
    assert slot_of("foo{}{bar}") not in (slot_of(""), slot_of("bar"))


@given(st.sets(st.integers(1, SLOTS - 1), min_size=0, max_size=6), st.randoms())
def test_each_node_has_its_place(cuts: set[int], random: object) -> None:
    """The records of a node are in a slot of its own, the home's come first, and a place stays as long as it can."""
    bounds = [0, *sorted(cuts), SLOTS]
    masters = [
        Master("host", number, ((first, last - 1),)) for number, (first, last) in enumerate(pairwise(bounds))
    ]
    found = map_of(masters, [HOME], HOME)
    assert found.places[0] == HOME
    assert len(set(found.places)) == len(masters)
    for place, master in zip(found.places, found.masters, strict=True):
        assert slot_of(place) in master.slots
        assert str(found.masters[found.node_of(f"{place}syncd:x")]) == str(master)
    again = map_of([one.__class__("other", one.port, one.ranges) for one in masters], found.places, HOME)
    assert (again.places, again.digest) == (found.places, found.digest), "another address is no other map"


def test_a_node_in_words() -> None:
    """Slots that were moved one by one are hundreds of ranges, of which a person reads a few."""
    ranges = tuple((slot, slot) for slot in range(0, 2000, 10))
    said = Master("host", 1, ranges).shown
    assert said == "host:1, 200 slots (0, 10, 20, 30, 40, and 195 more)"


def test_a_cluster_that_is_down_is_asked_again_soon() -> None:
    """Another node takes over within seconds, and a lane that waits longer for it is late."""
    for error in (ClusterDownError("The cluster is down"), ResponseError("script: the cluster is down")):
        said = translate(error)
        assert isinstance(said, TransientError)
        assert said.soon


def test_a_node_takes_the_first_place_that_it_can_have() -> None:
    """Two daemons that see the same map choose the same place."""
    slots = frozenset(range(100))
    assert slot_of(place_in(slots)) in slots
    assert place_in(slots) == place_in(slots)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+cluster://a:1,b:2/3", "database 0 only"),
        ("redis+cluster://a:1,b:x", "no host:port"),
        ("redis+cluster://a:1,b:2?what=1", "an option that is not known"),
        ("redis+cluster://", "lacks the name of a node"),
        ("redis+cluster://u:p@a:1,", "lacks the name of a node"),
        ("redis+cluster://a:1,:7000", "lacks the name of a node"),
        ("redis-cluster://a:1", "or redis\\+cluster://"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, why: str) -> None:
    """Said before anything connects."""
    with pytest.raises(UnusableUriError, match=why):
        RedisStore.of(Settings(redis_url=url))


def test_what_is_refused_on_a_cluster() -> None:
    """nothing_silent: what one call a node cannot do, or what is not built yet, with the key that asks for it."""
    server = Capabilities("redis", (8, 2, 3), frozenset({"json", "search"}), cluster=True)
    field = {"title": "title"}
    index = {"name": "films", "fields": [{"name": "title", "type": "text"}]}
    refused = {
        ("redis", 0, "index"): model(projection(field, key="f:{_id}", index=index)),
        ("sync", "capture"): model(projection(field, key="f:{_id}"), sync=from_redis("outbox")),
    }
    for path, contract in refused.items():
        assert path in [lack.path for lack in lacks(contract, server)]
    for taken in (
        projection(field, key="f:{_id}", type="json"),
        projection(type="set", key="tags:{tag}", member="{_id}"),
        projection(field, key="f:{_id}", share=True),
        projection(field, type="stream", key="changes"),
    ):
        assert not [*lacks(model(taken), server)]
    assert not [*lacks(model(projection(field, key="f:{_id}"), reconcile={"check": "digest"}), server)]
    appended = model(projection(field, type="stream", key="in"), sync=from_redis("append"))
    assert not [*lacks(appended, server)]


def test_masters_are_known_by_all_their_names() -> None:
    """By address, by the name that they announce, and the one that was asked, which need not know its own, by the name
    under which it was; not replicas and not dead ones."""
    said = {
        ":7001": {"node_id": "a", "hostname": "", "flags": "myself,master"},
        "10.0.0.2:7002": {"node_id": "b", "hostname": "two.example", "flags": "master,fail?"},
        "10.0.0.3:7003": {"node_id": "c", "hostname": "", "flags": "master,fail"},
        "10.0.0.4:7004": {"node_id": "d", "hostname": "", "flags": "slave"},
    }
    found = ids_of_masters(said, "one.example:7001")
    assert (found["one.example:7001"], found["10.0.0.2:7002"], found["two.example:7002"]) == ("a", "b", "b")
    assert {*found.values()} == {"a", "b"}


@pytest.mark.parametrize(
    ("policies", "worst"),
    [
        (("noeviction", "volatile-ttl"), "volatile-ttl"),
        (("noeviction", "volatile-lru", "allkeys-lru"), "allkeys-lru"),
        (("noeviction", "unknown"), "unknown"),
        (("allkeys-lru", "unknown"), "allkeys-lru"),
    ],
)
def test_what_any_node_may_evict_counts(policies: tuple[str, ...], worst: str) -> None:
    """A key that one of the nodes may have evicted was not deleted, whatever the others do."""
    nodes = [Capabilities("redis", (8, 2, 3), frozenset(), maxmemory_policy=policy) for policy in policies]
    assert {weakest(some).maxmemory_policy for some in (nodes, nodes[::-1])} == {worst}
