"""How long an acknowledged update takes to show in Redis, at a steady trickle."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.measured.resp import Resp, pack
from benchmarks.measured.workload import DATABASE, PLAIN, Shape
from benchmarks.measured.writer import collection

PER_SECOND = 200
PROBE_S = 0.0003
GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """One document that is updated and watched."""

    number: int
    shape: Shape = PLAIN


def places(documents: int, seconds: float) -> list[Place]:
    """Documents spread evenly over the collection, one for each update of so many seconds."""
    count = min(documents, round(PER_SECOND * seconds))
    step = max(1, documents // count)
    return [Place(index * step) for index in range(count)]


def probe(mongo_uri: str, redis_url: str, targets: Sequence[Place], version: int) -> list[float]:
    """Milliseconds from acknowledgement to visibility, one for each target; 0 where it was seen even before.

    One thread updates `PER_SECOND` targets a second, each to `version`; another asks Redis for those not
    yet seen, every 0.3 ms, over a connection of its own. To be run in a process of its own.
    """
    acknowledged: list[float] = []
    sent: list[int] = []
    writer = threading.Thread(target=_update, args=(mongo_uri, targets, version, sent, acknowledged))
    writer.start()
    seen = _watch(redis_url, targets, sent, version, len(targets) / PER_SECOND * 3 + GRACE_S)
    writer.join()
    return [max(0.0, (seen[at] - acknowledged[at]) * 1_000) for at in range(len(targets))]


def _update(
    mongo_uri: str, targets: Sequence[Place], version: int, sent: list[int], acknowledged: list[float]
) -> None:
    with collection(mongo_uri).database.client as client:
        client.admin.command("ping")
        due = time.monotonic()
        for at, target in enumerate(targets):
            time.sleep(max(0.0, due - time.monotonic()))
            sent.append(at)
            client[DATABASE][target.shape.collection].update_one(
                {"_id": target.number}, {"$set": {"v": version}}
            )
            acknowledged.append(time.monotonic())
            due += 1 / PER_SECOND


def _watch(
    redis_url: str, targets: Sequence[Place], sent: list[int], version: int, timeout_s: float
) -> dict[int, float]:
    """When each was first seen. It reads from the moment of sending, so that nothing early is missed."""
    seen: dict[int, float] = {}
    waiting: list[int] = []
    taken = 0
    packed = [pack(target.shape.version(target.number)) for target in targets]
    deadline = time.monotonic() + timeout_s
    with Resp(redis_url) as redis:
        while len(seen) < len(targets):
            new = sent[taken:]
            taken += len(new)
            waiting += new
            if waiting:
                redis.send(b"".join(packed[at] for at in waiting))
                shown = redis.replies(len(waiting))
                now = time.monotonic()
                seen |= {
                    at: now for at, value in zip(waiting, shown, strict=True) if int(value or 0) >= version
                }
                waiting = [at for at in waiting if at not in seen]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(targets) - len(seen)} of {len(targets)} updates never showed")
            time.sleep(PROBE_S)
    return seen
