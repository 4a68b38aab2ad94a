"""Every document in Redis against MongoDB, and nothing beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.resp import Resp
from benchmarks.workload import BATCH, Document, collection, key, project


class Mismatch(Exception):
    """A system's Redis does not show what MongoDB holds. The run fails."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check found."""

    documents: int
    wrong: tuple[str, ...]
    extra: int

    @property
    def good(self) -> bool:
        """Whether Redis shows exactly the documents."""
        return not self.wrong and not self.extra

    def __str__(self) -> str:
        shown = "; ".join(self.wrong[:3])
        return f"{len(self.wrong)} of {self.documents} documents wrong, {self.extra} keys too many: {shown}"


def check(mongo_uri: str, redis_url: str) -> Verdict:
    """Project every document again and compare it with the whole hash; count the keys of the template."""
    wrong: list[str] = []
    total = 0
    documents = collection(mongo_uri)
    with documents.database.client, Resp(redis_url) as redis:
        batch: list[Document] = []
        for found in documents.find(batch_size=BATCH):
            batch.append(found)
            if len(batch) == BATCH:
                wrong += _wrong(redis, batch)
                total += len(batch)
                batch = []
        wrong += _wrong(redis, batch)
        total += len(batch)
        return Verdict(total, tuple(wrong), _count(redis) - (total - _absent(wrong)))


def settle(mongo_uri: str, redis_url: str, patience_s: float = 20.0) -> float | None:
    """Check until it is right; `Mismatch` when it stays wrong.

    None when the first check passed, else the monotonic time at which the one that passed began.
    """
    deadline = time.monotonic() + patience_s
    asked = first = time.monotonic()
    while not (verdict := check(mongo_uri, redis_url)).good:
        if time.monotonic() > deadline:
            raise Mismatch(str(verdict))
        time.sleep(0.2)
        asked = time.monotonic()
    return None if asked == first else asked


def _wrong(redis: Resp, batch: list[Document]) -> list[str]:
    hashes = redis.call_many([("HGETALL", key(found["_id"])) for found in batch])
    wrong = []
    for found, flat in zip(batch, hashes, strict=True):
        shown, right = dict(zip(flat[::2], flat[1::2], strict=True)), project(found)
        if shown != right:
            wrong.append(f"{key(found['_id'])} {_difference(shown, right)}")
    return wrong


def _difference(shown: dict[bytes, bytes], right: dict[bytes, bytes]) -> str:
    """Only the fields that differ."""
    if not shown:
        return "is absent"
    names = sorted(name for name in shown | right if shown.get(name) != right.get(name))
    return ", ".join(f"{name.decode()}: {shown.get(name)!r} for {right.get(name)!r}" for name in names)


def _absent(wrong: list[str]) -> int:
    return sum(line.endswith(" is absent") for line in wrong)


def _count(redis: Resp) -> int:
    """How many keys of the template there are."""
    cursor, seen = b"0", set[bytes]()
    while True:
        cursor, keys = redis.call("SCAN", cursor, "MATCH", "bench:*", "COUNT", 10_000)
        seen.update(keys)
        if cursor == b"0":
            return len(seen)
