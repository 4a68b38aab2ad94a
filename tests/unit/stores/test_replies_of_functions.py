"""What each of syncd's functions may answer instead of doing its work is checked in one place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from syncd.errors import FatalError, FencedError
from syncd.plan.claims import MONGO, Claims
from syncd.stores.redis.functions import require_protocol
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore

SYNCD = Path(__file__).parents[3] / "syncd"


def places_of(word: bytes) -> set[str]:
    """The modules in which this word of a reply stands."""
    return {
        str(file.relative_to(SYNCD))
        for file in SYNCD.rglob("*.py")
        if word in file.read_bytes()  # parsing all of them takes seconds
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value == word
    }


def test_a_lost_lease_and_another_protocol_are_seen_in_one_place() -> None:
    """A call that forgets to look would go on without its lease; so no caller has to."""
    assert places_of(b"fenced") == {"stores/redis/records/lease.py"}
    # The record of claims has a field of that name.
    assert places_of(b"version") == {"stores/redis/functions.py", "stores/redis/records/claims.py"}


def test_another_protocol_stops_the_lane() -> None:
    """With the number of it."""
    assert require_protocol([b"ok", 1]) == [b"ok", 1]
    with pytest.raises(FatalError, match="protocol 9; upgrade"):
        require_protocol([b"version", b"9"])


@pytest.mark.parametrize(
    ("reply", "holder", "why"),
    [
        ([b"fenced", b"held", b"a/b/2/c:7"], "a/b/2/c:7", "process 2 on a took the lease of films"),
        ([b"fenced", b"position", b""], "", "the position of films is gone"),
    ],
)
def test_a_lost_lease_says_who_has_it(reply: list[bytes], holder: str, why: str) -> None:
    """Or that no daemon has."""
    store = RedisStore("redis://localhost:1")  # nothing is asked of it
    lease = Lease(store, ControlKeys("films"), "host/1", 1.0, Claims(MONGO, "", ()))
    with pytest.raises(FencedError, match=why) as caught:
        lease.check(reply)
    assert caught.value.holder == holder
    store.close()
