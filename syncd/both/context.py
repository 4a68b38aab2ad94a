"""What a merger works with."""

from __future__ import annotations

from dataclasses import dataclass

from syncd.both.capture import Capture
from syncd.both.document_writer import DocumentWriter
from syncd.both.newest import Newest
from syncd.both.store import TwoWayStore
from syncd.plan.both.plan import TwoWayPlan
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.to_redis.apply.watermarks import Watermarks


@dataclass(frozen=True)
class MergeContext:
    """Of one run; all of it is for the merger's thread, but what the lane began with."""

    plan: TwoWayPlan
    store: TwoWayStore
    """Keys."""
    writer: DocumentWriter
    """Documents."""
    lookup: Lookup
    """Documents with their fields."""
    capture: Capture
    newest: Newest
    watermarks: Watermarks
    """What the stream has brought."""
    number: int
    """Of the run: larger than any before."""
