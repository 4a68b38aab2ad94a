"""Contracts that append, and what went into their streams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.check import wait_until
from tests.support.contracts import projection
from tests.support.scene import Flow, Scene

SYNC = {"direction": "redis_to_mongo", "capture": "append"}
NUMBERED = {"n": {"from": "n", "type": "int"}, "text": "say.text"}
SERIES = {"time_field": "at", "granularity": "seconds"}
TIMED = {**NUMBERED, "at": {"from": "at", "type": "epoch_ms"}}
NOW_MS = "1767323045000"


def add_series(scene: Scene, short: str, fields: Mapping[str, Any] = TIMED, **more: Any) -> Flow:
    """A contract over one stream into a time series, which the daemon makes."""
    return add_stream(scene, short, fields, timeseries=SERIES, **more)


def append_timed(flow: Flow, numbers: Iterable[int]) -> list[str]:
    """`append` with a time."""
    return append(flow, numbers, at=NOW_MS)


def add_stream(scene: Scene, short: str, fields: Mapping[str, Any] = NUMBERED, **more: Any) -> Flow:
    """A contract over the one stream `key(flow)`."""
    said = projection(fields, name="event", type="stream", key="in")
    return scene.add(short, said, sync=SYNC, **more)


def key(flow: Flow) -> str:
    return flow.key("in", "event")


def append(flow: Flow, numbers: Iterable[int], **more: str | bytes) -> list[str]:
    """Entries that are numbered; their ids."""
    pipe = flow.redis.pipeline(transaction=False)
    for number in numbers:
        pipe.xadd(key(flow), {"n": number, "text": f"entry {number}", **more})
    return [entry.decode() for entry in pipe.execute()]


def numbers(flow: Flow) -> list[int]:
    """Of all documents, so that one that is there twice shows."""
    return sorted(found["n"] for found in flow.collection.find({}, {"n": 1}))


def wait_numbers(flow: Flow, wanted: Iterable[int], timeout: float = 40) -> None:
    wanted = sorted(wanted)
    wait_until(
        lambda: numbers(flow) == wanted,
        timeout,
        lambda: f"{len(wanted)} documents; there are {flow.collection.count_documents({})}; {flow.lane()}",
    )


def pending(flow: Flow) -> int:
    """Entries that a daemon has taken and not acknowledged."""
    return int(flow.redis.xpending(key(flow), flow.contract)["pending"])


def wait_done(flow: Flow, timeout: float = 40) -> None:
    """Until every entry is acknowledged."""

    def is_done() -> bool:
        groups = flow.redis.xinfo_groups(key(flow))
        mine = next((group for group in groups if group["name"].decode() == flow.contract), None)
        last = flow.redis.xinfo_stream(key(flow))["last-generated-id"]
        return mine is not None and mine["pending"] == 0 and mine["last-delivered-id"] == last

    wait_until(is_done, timeout, lambda: f"all acknowledged; {flow.lane()}")
