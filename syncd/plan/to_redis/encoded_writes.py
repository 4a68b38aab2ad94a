"""Writes of copied documents in a form that goes from process to process. Pure.

Shapes are compiled functions, which cannot be sent: both sides have the plan, and a number names the shape.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_redis.change import Dead, Drop, Put, Write
from syncd.plan.to_redis.compile import Plan

Sent: TypeAlias = tuple[Any, ...]
"""A write: number of the shape, key, content and time to live; or number and key; or a Dead."""
Parcels: TypeAlias = dict[str, list[Sent]]
"""Writes by ident, in the order of the documents."""


def pack(plan: Plan, documents: Mapping[str, Mapping[str, Any]], time: str) -> bytes:
    """The writes of documents by ident, as a snapshot read them at `time`."""
    parcels: Parcels = {ident: [] for ident in documents}
    numbers = {id(shape): number for number, shape in enumerate(plan.shapes)}
    for write in plan.copies(documents, time):
        if isinstance(write, Put):
            shape = write.shape
            content = shape.form.packed(write.content)
            parcels[write.ident].append((numbers[id(shape)], write.key, content, write.ttl))
        elif isinstance(write, Drop):
            parcels[write.ident].append((numbers[id(write.shape)], write.key))
        else:
            assert isinstance(write, Dead)
            # All that a dead letter keeps of the document.
            change = {"documentKey": {"_id": documents[write.ident]["_id"]}, "time": time}
            parcels[write.ident].append(write._replace(change=change))
    return pickle.dumps(parcels, pickle.HIGHEST_PROTOCOL)


def unpack(data: bytes) -> Parcels:
    """What `pack` packed."""
    parcels: Parcels = pickle.loads(data)  # noqa: S301 - from our own workers, to which we sent code
    return parcels


def writes(plan: StreamPlan, parcels: Iterable[tuple[str, list[Sent]]], time: str) -> list[Write]:
    """The writes of some documents."""
    shapes = plan.shapes
    found: list[Write] = []
    for ident, sent in parcels:
        for one in sent:
            if type(one) is Dead:
                found.append(one)
            elif len(one) == 2:
                found.append(Drop(shapes[one[0]], ident, one[1]))
            else:
                number, key, content, ttl = one
                found.append(Put(shapes[number], ident, key, content, ttl, time))
    return found
