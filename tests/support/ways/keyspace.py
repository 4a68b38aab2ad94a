"""Contracts that listen to keyspace events, and an application that knows nothing of syncd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.check import wait_until
from tests.support.scene import Flow, Scene
from tests.support.ways.outbox import NUMBERED, add_outbox, hashes, wait_documents


def add_keyspace(
    scene: Scene,
    short: str,
    fields: Mapping[str, Any] | None = NUMBERED,
    *,
    sync: Mapping[str, Any] | None = None,
    **more: Any,
) -> Flow:
    """A contract over the keys `flow.key(n)`."""
    return add_outbox(scene, short, fields, sync={"capture": "keyspace", **(sync or {})}, **more)


def write(flow: Flow, ends: Iterable[object], n: int) -> None:
    """Hashes in their first, second, ... version; nothing else is said of them."""
    pipe = flow.redis.pipeline(transaction=False)
    for end in ends:
        pipe.hset(flow.key(end), mapping={"n": n, "text": f"version {n} of {end}"})
    pipe.execute()


def wait_like_keys(flow: Flow, timeout: float = 40) -> None:
    """Until every document is what its key says, and no other is there."""
    wait_documents(flow, hashes(flow), timeout)


def digests(flow: Flow) -> dict[str, str]:
    """What syncd remembers of keys, by their end."""
    found = flow.redis.hgetall(flow.names.control("synced"))
    before = len(flow.key(""))
    return {key.decode()[before:]: digest.decode() for key, digest in found.items()}


def wait_known(flow: Flow, ends: Iterable[object]) -> None:
    """Until it remembers exactly these, and none that is being written."""
    wanted = {str(end) for end in ends}

    def is_known() -> bool:
        found = digests(flow)
        return found.keys() == wanted and not any(digest.startswith("?") for digest in found.values())

    wait_until(is_known, 20, lambda: f"{len(wanted)} digests; there are {len(digests(flow))}; {flow.lane()}")


def compared(flow: Flow, why: str) -> float:
    """How often all keys were compared for this reason."""
    return flow.metric("syncd_keyspace_catchups_total", why=why)


def wait_compared(flow: Flow, why: str, more_than: float = 0) -> None:
    wait_until(lambda: compared(flow, why) > more_than, 30, lambda: f"compared for {why}; {flow.lane()}")
    flow.wait_live()
