"""How long an acknowledged update takes to show in Redis, at a steady trickle."""

from __future__ import annotations

import threading
import time

from benchmarks.resp import Resp, pack
from benchmarks.workload import collection, key

PER_SECOND = 200
PROBE_S = 0.0003
GRACE_S = 10.0


def probe(mongo_uri: str, redis_url: str, documents: int, version: int, seconds: float) -> list[float]:
    """Milliseconds from acknowledgement to sight, one for each update; 0 where it was seen even before.

    One thread updates `PER_SECOND` documents a second, each to `version`; another asks Redis for those not
    yet seen, every 0.3 ms, over a connection of its own. To be run in a process of its own.
    """
    count = min(documents, round(PER_SECOND * seconds))
    step = max(1, documents // count)
    numbers = [index * step for index in range(count)]
    acknowledged: dict[int, float] = {}
    sent: list[int] = []
    writer = threading.Thread(target=_update, args=(mongo_uri, numbers, version, sent, acknowledged))
    writer.start()
    seen = _watch(redis_url, sent, count, version, seconds * 3 + GRACE_S)
    writer.join()
    return [max(0.0, (seen[number] - acknowledged[number]) * 1_000) for number in numbers]


def _update(
    mongo_uri: str, numbers: list[int], version: int, sent: list[int], acknowledged: dict[int, float]
) -> None:
    source = collection(mongo_uri)
    with source.database.client as client:
        client.admin.command("ping")
        due = time.monotonic()
        for number in numbers:
            time.sleep(max(0.0, due - time.monotonic()))
            sent.append(number)
            source.update_one({"_id": number}, {"$set": {"v": version}})
            acknowledged[number] = time.monotonic()
            due += 1 / PER_SECOND


def _watch(redis_url: str, sent: list[int], count: int, version: int, timeout_s: float) -> dict[int, float]:
    """When each was first seen. Looks from the moment of sending, so that nothing early is missed."""
    seen: dict[int, float] = {}
    waiting: list[int] = []
    taken = 0
    deadline = time.monotonic() + timeout_s
    with Resp(redis_url) as redis:
        while len(seen) < count:
            new = sent[taken:]
            taken += len(new)
            waiting += new
            if waiting:
                redis.send(b"".join(pack(("HGET", key(number), "v")) for number in waiting))
                shown = redis.replies(len(waiting))
                now = time.monotonic()
                seen |= {
                    number: now
                    for number, value in zip(waiting, shown, strict=True)
                    if int(value or 0) >= version
                }
                waiting = [number for number in waiting if number not in seen]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count - len(seen)} of {count} updates never showed")
            time.sleep(PROBE_S)
    return seen
