"""Whether all nodes of a cluster have what a lane did last.

Each node says how far it is, and a lane begins at the earliest of that. Where MongoDB cannot go on from there, the
changes behind it do not come again, and a node that lost its last writes in a failover would keep what it shows. So a
call that goes to all nodes brings a word, and any other takes it away from those that it goes to: where all say the
same word, none has done or lost anything since.
"""

from __future__ import annotations

from syncd.stores.redis.records.position import ControlKeys, read_fields
from syncd.stores.redis.store import RedisStore

LEVEL = "level"
"""Field of a position, in a cluster."""


def are_level(store: RedisStore, keys: ControlKeys) -> bool:
    """Whether each node has all that the others have. One Redis has always."""
    words = [read_fields(node, keys.at(node.place), LEVEL)[0] for node in store.nodes]
    return len(words) == 1 or (words[0] != "" and len(set(words)) == 1)
