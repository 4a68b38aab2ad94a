"""Writes of copied documents in a form that goes from process to process. Pure.

Shapes are compiled functions, which cannot be sent: both sides have the plan, and a number names the shape.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Content, Dead, Drop, Elements, Put, Write
from syncd.plan.to_redis.compile import Plan
from syncd.plan.to_redis.shape import Shape

Sent: TypeAlias = tuple[Any, ...]
"""A write: number of the shape, key, content and time to live; number, and of elements a list of the same without it;
number and key; or a Dead."""
EncodedWrites: TypeAlias = dict[str, list[Sent]]
"""Writes by ident, in the order of the documents."""


def pack(plan: Plan, documents: Mapping[str, Mapping[str, Any]], time: str) -> bytes:
    """The writes of documents by ident, as a snapshot read them at `time`."""
    by_ident: EncodedWrites = {ident: [] for ident in documents}
    numbers = {id(shape): number for number, shape in enumerate(plan.shapes)}
    for write in plan.copies(documents, time):
        if isinstance(write, Put):
            shape = write.shape
            content = shape.form.packed(write.content)
            by_ident[write.ident].append((numbers[id(shape)], write.key, content, write.ttl))
        elif isinstance(write, Elements):
            parts = [(put.key, put.shape.form.packed(put.content), put.ttl) for put in write.puts]
            by_ident[write.ident].append((numbers[id(write.shape)], parts))
        elif isinstance(write, Drop):
            by_ident[write.ident].append((numbers[id(write.shape)], write.key))
        else:
            assert isinstance(write, Dead)
            # All that a dead letter keeps of the document.
            change = {"documentKey": {"_id": documents[write.ident]["_id"]}, "time": time}
            by_ident[write.ident].append(write._replace(change=change))
    return pickle.dumps(by_ident, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> EncodedWrites:
    """The encoded writes of `pack`."""
    by_ident: EncodedWrites = pickle.loads(data)  # noqa: S301 - from our own workers, to which we sent code
    return by_ident


def writes(plan: StreamPlan, by_ident: Iterable[tuple[str, list[Sent]]], time: str) -> list[Write]:
    """The writes of some documents."""
    shapes = plan.shapes
    found: list[Write] = []
    for ident, sent in by_ident:
        for one in sent:
            if type(one) is Dead:
                found.append(one)
            elif type(one[1]) is list:
                found.append(_elements(shapes[one[0]], ident, one[1], time))
            elif len(one) == 2:
                found.append(Drop(shapes[one[0]], ident, one[1]))
            else:
                number, key, content, ttl = one
                found.append(Put(shapes[number], ident, key, content, ttl, time))
    return found


def _elements(shape: Shape, ident: str, parts: list[tuple[str, Content, int]], time: str) -> Elements:
    puts = (Put(shape, ident, key, content, ttl, time) for key, content, ttl in parts)
    return Elements(shape, ident, tuple(puts), time)
