"""What a copy of a collection would write, from a sample of its documents built by the plan. Only reads."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson.errors import BSONError
from pymongo.errors import PyMongoError

from syncd.ops.counting import count_documents
from syncd.ops.planning.keys import memory_of
from syncd.plan.base import ContractPlan
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Dead, Elements, Put, Write
from syncd.plan.to_redis.compile import Plan
from syncd.plan.types import MemberForm, Memberships, Size, size_of
from syncd.plan.values.codec import CODEC
from syncd.plan.values.texts import as_bytes
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.redis.capabilities import Capabilities
from syncd.stores.redis.store import RedisStore

SAMPLE = 500
LONGEST_MS = 5_000
"""For a filter without an index: a person waits."""
_APPLIED_S = 12e-6
"""What a document costs beside the time in which this process builds its writes: to read it, and to write it."""
_IN_ONE_PIECE = (8, 2)
"""From this Redis on, see `plan/types/size`."""
_OFF = 4.0
"""A measured key that is so many times what is computed, or a part, is not of the same kind."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What it would write, about."""

    documents: int
    at_most: bool
    """Whether the filter leaves fewer: MongoDB did not count them in time."""
    keys: Mapping[str, int]
    """By projection: keys, and of shared keys members."""
    content: int
    """Bytes of keys, names and values."""
    memory: int
    """Bytes of Redis, without search indexes."""
    dead_letters: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "documents": self.documents, "at_most": self.at_most, "keys": dict(self.keys), "bytes": self.content,
            "memory_bytes": self.memory, "dead_letters": self.dead_letters, "seconds": round(self.seconds, 1),
        }  # fmt: skip


@dataclass(slots=True)
class _Built:
    """Of the sample."""

    keys: dict[str, int]
    in_one_piece: bool
    content: int = 0
    memory: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By type."""
    dead: int = 0

    def add(self, write: Write) -> None:
        if isinstance(write, Dead):
            self.dead += 1
        elif isinstance(write, Elements):
            for put in write.puts:
                self.add(put)
        elif isinstance(write, Put):
            shared = isinstance(write.content, Memberships)
            self.keys[write.shape.name] += len(write.content.pairs) // 2 if shared else 1  # type: ignore[union-attr]
            size = _size(write, in_one_piece=self.in_one_piece)
            self.content += size.content
            self.memory[write.shape.type] += size.memory


def copy_of(
    plan: StreamPlan, before: ContractPlan | None, mongo: MongoStore, redis: RedisStore, server: Capabilities
) -> Copy:
    """What a copy of this contract would write, now. `before`: what runs, whose keys show how far Redis is from what is
    computed."""
    in_one_piece = server.flavour == "redis" and server.version >= _IN_ONE_PIECE
    count, at_most = count_documents(mongo, plan, LONGEST_MS)
    documents = _sample(plan, mongo)
    built = _Built({shape.name: 0 for shape in plan.shapes}, in_one_piece)
    start = time.perf_counter()
    for write in _writes(plan, documents):
        built.add(write)
    spent = (time.perf_counter() - start) / max(1, len(documents))
    times = count / max(1, len(documents))
    measured = _measured(before, documents, redis, in_one_piece=in_one_piece)
    return Copy(
        documents=count,
        at_most=at_most,
        keys={name: round(times * keys) for name, keys in built.keys.items()},
        content=round(times * built.content),
        memory=round(times * sum(size * measured.get(kind, 1.0) for kind, size in built.memory.items())),
        dead_letters=round(times * built.dead),
        seconds=count * (spent + _APPLIED_S),
    )


def _writes(plan: ContractPlan | None, documents: list[Document]) -> Iterator[Write]:
    if isinstance(plan, Plan):
        for document in documents:
            yield from plan.puts(encode_key_value(document["_id"]), document, "", {})


def _measured(
    before: ContractPlan | None, documents: list[Document], redis: RedisStore, *, in_one_piece: bool
) -> dict[str, float]:
    """By type how many times what is computed a key of these documents takes that is there."""
    puts = [
        write for write in _writes(before, documents)
        if isinstance(write, Put) and not isinstance(write.content, Memberships)
    ]  # fmt: skip
    real, computed = defaultdict[str, int](int), defaultdict[str, int](int)
    for write, size in zip(puts, memory_of(redis, [write.key.encode() for write in puts]), strict=True):
        if size:
            real[write.shape.type] += size
            computed[write.shape.type] += _size(write, in_one_piece=in_one_piece).memory
    found = {kind: size / computed[kind] for kind, size in real.items() if computed[kind]}
    return {kind: times for kind, times in found.items() if 1 / _OFF < times < _OFF}


def _sample(plan: StreamPlan, mongo: MongoStore) -> list[Document]:
    """By chance where that does not take too long, else the first ones."""
    database, name = plan.namespace
    collection = mongo.client[database].get_collection(name, CODEC)
    matching: list[Mapping[str, Any]] = [] if plan.filter is None else [{"$match": plan.filter}]
    for stage in ({"$sample": {"size": SAMPLE}}, {"$limit": SAMPLE}):
        try:
            return list(collection.aggregate([*matching, stage], maxTimeMS=LONGEST_MS))
        except (PyMongoError, BSONError):
            continue
    return []


def _size(write: Put, *, in_one_piece: bool) -> Size:
    content, form = write.content, write.shape.form
    if isinstance(content, Memberships):
        has_fields = isinstance(form, MemberForm) and form.is_one_key
        members = [
            as_bytes(part) for part in (form.put(content, 0)[2:] if has_fields else content.pairs[1::2])
        ]
        # The member in its key, and the document's entry in the map.
        memory = sum(len(member) + 40 for member in members) + len(content.packed) + 64
        return Size(sum(map(len, members)), memory)
    return size_of(write.shape.redis_type, write.key, _parts(write), write.ttl, in_one_piece=in_one_piece)


def _parts(write: Put) -> list[bytes]:
    """What the key holds, as Redis does."""
    content = write.content
    if isinstance(content, tuple):
        content = dict(zip(write.shape.names, content, strict=True))
    _, _, *operands = write.shape.form.put(content, write.ttl)
    # Behind the number of them, where there are several.
    held = operands if len(operands) == 1 else operands[1 : 1 + int(operands[0])]
    return [as_bytes(one) for one in held]
