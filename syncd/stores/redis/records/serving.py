"""Whether the daemon that holds a lease says that it serves: for those that stand by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.exceptions import ResponseError

from syncd.stores.redis.records.layout import SERVES, partitions_of
from syncd.stores.redis.records.lease import Lease, is_dead
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated
from syncd.text import shown_holder

LONGEST = 300


def say(store: RedisStore, words: Mapping[Lease, str]) -> None:
    """What lanes say of themselves, all in one trip. What is said is forgotten with the lease, or soon after it."""
    pipe = store.client.pipeline(transaction=False)
    for lease, word in words.items():
        keys = [lease.keys.lease, lease.keys.position, lease.keys.said]
        args = [lease.value, lease.ttl_ms, word[:LONGEST]]
        pipe.execute_command(*store.functions.command("syncd_say", keys, args))
    with translated():
        replies: list[Any] = pipe.execute(raise_on_error=False)
        # A lane that works brings the functions back itself; one whose lease is gone is told by its own call.
        for reply in replies:
            if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
                raise reply


def why_not_served(store: RedisStore, control: ControlKeys) -> str:
    """Why the daemons that hold the leases do not serve the lane; empty where they do.

    Where the contract is split in another way than ours, all of its present partitions count.
    """
    present = partitions_of(store, control.contract)
    same = [keys for keys in present if keys == control]
    return next(filter(None, (_why_not(store, keys) for keys in same or present)), "")


def is_held(store: RedisStore, contract: str) -> bool:
    """Whether a daemon works on every partition of a contract, so that one is there to hear a request."""
    return all(_texts(store, *(keys.lease for keys in partitions_of(store, contract))))


def holders_of(store: RedisStore, contract: str) -> list[str]:
    """Who holds leases of a contract now, but for processes that are known to be gone."""
    leases = _texts(store, *(keys.lease for keys in partitions_of(store, contract)))
    return [lease.rpartition(":")[0] for lease in leases if lease and not is_dead(lease)]


def _why_not(store: RedisStore, keys: ControlKeys) -> str:
    lease, word = _texts(store, keys.lease, keys.said)
    if not lease:
        return f"no daemon holds the lease of {keys}"
    holder = shown_holder(lease)
    speaker, _, word = word.partition(" ")
    if speaker != lease:
        return f"{holder} holds the lease of {keys}, and has not said that it works"
    return "" if word == SERVES else f"{holder} works on {keys}, and is not ready: {word}"


def _texts(store: RedisStore, *keys: str) -> list[str]:
    """As of one moment, empty where a key is not there. `MGET` is not among the rights that syncd asks for."""
    with translated(), store.client.pipeline() as pipe:
        for key in keys:
            pipe.get(key)
        said: Any = pipe.execute()
    return [text.decode(errors="replace") if text else "" for text in said]
