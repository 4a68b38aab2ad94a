"""What a node of a cluster says of a key."""

from __future__ import annotations

from syncd.stores.redis.cluster.nodes import HOME, ClusterStore, Seen
from syncd.stores.redis.cluster.slots import SLOTS, Master, map_of
from syncd.to_mongo.keyspace.subscribers import HINT, note_of


def test_how_a_key_went_says_the_node_that_has_it() -> None:
    """A node also sends `del` for a key that its slot has taken to another: from that one it is a hint alone. No key
    expires so."""
    half = SLOTS // 2
    masters = [Master("one", 1, ((0, half - 1),)), Master("two", 2, ((half, SLOTS - 1),))]
    slots, store = map_of(masters, [], HOME), ClusterStore("redis+cluster://one:1")
    store = store.as_seen(Seen(slots, tuple(store._node(one, "") for one in slots.masters), (), {}, 1))
    here, there = (next(f"k{n}".encode() for n in range(99) if slots.node_of(f"k{n}") == at) for at in (0, 1))
    heard: list[tuple[bytes, bytes]] = []
    note = note_of(store, 0, lambda key, event: heard.append((key, event)))
    note(here, b"del")
    note(there, b"del")
    note(there, b"expired")
    assert heard == [(here, b"del"), (there, HINT), (there, b"expired")]
