"""Whether all nodes of a cluster have what a lane did last.

Each node says how far it is, and a lane begins at the earliest of that. Where MongoDB cannot go on from there, the
changes behind it do not come again, and a node that lost its last writes in a failover would keep what it shows. So a
call that goes to all nodes brings a word, and any other takes it away from those that it goes to: where all say the
same word, none has done or lost anything since.
"""

from __future__ import annotations

from syncd.stores.redis.records.position import ControlKeys, read_fields
from syncd.stores.redis.store import RedisStore

LEVEL, REPLAYED = "level", "replayed"
"""Fields of a position, in a cluster. The second is the same of what no change brings again, wherever the lane begins:
replays, repairs, copies of some documents. All nodes get a word behind each."""


def have_replayed(store: RedisStore, keys: ControlKeys) -> bool:
    """Whether no node has lost such a write."""
    return len({read_fields(node, keys.at(node.place), REPLAYED)[0] for node in store.nodes}) == 1


def are_level(store: RedisStore, keys: ControlKeys) -> bool:
    """Whether each node has all that the others have. One Redis has always."""
    words = [read_fields(node, keys.at(node.place), LEVEL)[0] for node in store.nodes]
    return len(words) == 1 or (words[0] != "" and len(set(words)) == 1)
