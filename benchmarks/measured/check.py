"""Every document in Redis against MongoDB, and nothing beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.measured.nodes import Nodes, connected
from benchmarks.measured.resp import Resp
from benchmarks.measured.workload import PLAIN, Document, Shape
from benchmarks.measured.writer import BATCH, collection


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


def check(mongo_uri: str, redis_url: str, shape: Shape = PLAIN) -> Verdict:
    """Project every document again and compare it with the whole key; count the keys of the template."""
    wrong: list[str] = []
    total = keys = 0
    documents = collection(mongo_uri, shape.collection)
    with documents.database.client, connected(redis_url) as redis:
        batch: list[Document] = []
        for found in documents.find(batch_size=BATCH):
            batch.append(found)
            if len(batch) == BATCH:
                keys += _compare(redis, batch, shape, wrong)
                total += len(batch)
                batch = []
        keys += _compare(redis, batch, shape, wrong)
        return Verdict(total + len(batch), tuple(wrong), _count(redis, shape) - keys)


def wait_until_right(
    mongo_uri: str, redis_url: str, shape: Shape = PLAIN, patience_s: float = 20.0
) -> float | None:
    """Check until it is right; `Mismatch` when it stays wrong.

    None when the first check passed, else the monotonic time at which the one that passed began.
    """
    deadline = None  # counts from the end of the first check, which takes its time over many documents
    asked = first = time.monotonic()
    while not (verdict := check(mongo_uri, redis_url, shape)).good:
        deadline = deadline or time.monotonic() + patience_s
        if time.monotonic() > deadline:
            raise Mismatch(str(verdict))
        time.sleep(0.2)
        asked = time.monotonic()
    return None if asked == first else asked


def _compare(redis: Resp | Nodes, batch: list[Document], shape: Shape, wrong: list[str]) -> int:
    """Add what differs to `wrong`. How many keys the documents have, be they right or not."""
    replies = redis.call_many([shape.whole(found["_id"]) for found in batch])
    keys = 0
    for found, reply in zip(batch, replies, strict=True):
        shown, right = shape.shown(reply), shape.right(found)
        keys += shape.held(shown)
        if shown != right:
            wrong.append(f"{shape.key(found['_id'])} {_difference(shown, right)}")
    return keys


def _difference(shown: dict[Any, Any], right: dict[Any, Any]) -> str:
    """Only the fields that differ."""
    if not shown:
        return "is absent"
    if not right:
        return "should not be there"
    names = sorted(name for name in shown | right if shown.get(name) != right.get(name))
    return ", ".join(f"{_text(name)}: {shown.get(name)!r} for {right.get(name)!r}" for name in names)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _count(redis: Resp | Nodes, shape: Shape) -> int:
    """How many keys of the template there are."""
    return sum(_count_at(node, shape) for node in redis.nodes)


def _count_at(redis: Resp, shape: Shape) -> int:
    cursor, seen = b"0", set[bytes]()
    while True:
        cursor, keys = redis.call("SCAN", cursor, "MATCH", f"{shape.prefix}:*", "COUNT", 10_000)
        seen.update(keys)
        if cursor == b"0":
            break
    counts = [command for key in seen if (command := shape.counts(key)) is not None]
    return sum(redis.call_many(counts)) if counts else len(seen)
