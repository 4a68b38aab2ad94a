"""Guards of documents that share keys, as `guards` has those of keys."""

from __future__ import annotations

from tests.simulation.guards.keys import Guard

MEMBER_GUARDS = (
    Guard(
        "members: a document leaves what it is a member of no longer", 0, "no_ghosts", way="members",
        lua=(("leave(old, as_lookup(new), map, id) end\n      redis.call", "old = nil end\n      redis.call"),),
    ),
    Guard(
        "members: the map has what a document is a member of", 0, "no_ghosts", way="members",
        lua=(("      redis.call('HSET', map, id, packed)\n    end\n    is_fresh", "    end\n    is_fresh"),),
    ),
    Guard(
        "members: who was left out comes back when others leave", 3, "nothing_lost", way="members",
        lua=(("    return count < most or beats(board, bar, worst(board, key, 1)[2])\n", "    return false\n"),),
    ),
)  # fmt: skip
