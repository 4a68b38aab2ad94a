"""A copy of the documents that match a filter, beside the stream of a lane that is up: for people.

A thread of its own finds their `_id`, in the order of `_id`; the lane reads the documents again and writes them as it
does for a repair, so that what the stream brought meanwhile counts as ever. No key is removed but those of a document
that was read, and is gone by then or has them no more: there is no sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bson.errors import BSONError
from pymongo.errors import OperationFailure

from syncd import telemetry
from syncd.errors import FatalError
from syncd.plan.keys.templates import encode_key_value
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.values.raw import Unfit
from syncd.stores.messages import of_mongo
from syncd.stores.mongo import codes
from syncd.stores.mongo.ids import AS_STORED
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.stores.mongo.store import Document
from syncd.stores.mongo.times import ZERO
from syncd.stores.redis.records.keys.foreign_keys import has_lost_foreign
from syncd.stores.redis.records.keys.key_maps import KeyMaps
from syncd.stores.redis.records.position import STREAM
from syncd.stores.redis.records.requests.partial_copies import (
    PartialCopy,
    note_end,
    note_progress,
    partial_copy,
)
from syncd.to_redis.apply.pipeline import Pipeline
from syncd.to_redis.context import RunContext
from syncd.to_redis.copy.repair import RepairUnit

PAGE = 256
"""Documents at once: the stream waits behind them."""


@dataclass(frozen=True, slots=True)
class Page:
    """The next documents, by ident; none where no more are left, or where none of those up to `after` matches."""

    copy: PartialCopy
    idents: list[str]
    after: Document | None
    left_out: int = 0
    """Documents on which the filter fails."""
    error: str = ""
    """Why it cannot go on."""


@dataclass(frozen=True, slots=True)
class _Matching:
    """What is to be found; see Readable."""

    plan: StreamPlan
    where: Document = field(repr=False)
    find_projection: Any = field(default_factory=lambda: dict(AS_STORED))
    source: Any = None

    @property
    def namespace(self) -> tuple[str, str]:
        """Of the contract."""
        return self.plan.namespace

    @property
    def filter(self) -> Any:
        """Documents of the contract that match as well."""
        return self.where if self.plan.filter is None else {"$and": [dict(self.plan.filter), self.where]}


class PartialCopies:
    """Of one run. Called by the lane's thread; `fetch` has a thread of its own go through an iterator."""

    def __init__(
        self, run: RunContext, pipeline: Pipeline, fetch: Callable[[str, Iterator[Any]], object]
    ) -> None:
        self._lane, self._builder, self._pipeline, self._fetch = run.lane, run.builder, pipeline, fetch
        self._maps = KeyMaps(run.lane.redis, run.lane.control)
        self._is_reading = False
        self._copied = self._left_out = 0
        self._began = 0.0

    def begin(self) -> None:
        """Begin, or go on with, what was asked for. A copy of all documents comes first."""
        if self._is_reading or self._pipeline.position.phase != STREAM:
            return
        found = partial_copy(self._lane.redis, self._lane.control)
        if found is None or found.error:
            return
        self._is_reading, self._copied, self._left_out = True, found.copied, 0
        self._began = time.monotonic()
        telemetry.partial_copy_started(self._lane.plan.name, found.copied)
        self._show()
        self._fetch("partial", self._pages(found))

    def _pages(self, copy: PartialCopy) -> Iterator[Page]:
        lookup = Lookup(
            self._lane.mongo, _Matching(self._lane.plan, copy.where), self._lane.control.partition
        )
        after = copy.after
        try:
            while True:
                found, _, upto = lookup.step(after, PAGE, ZERO)
                fine = [one for one in found if not isinstance(one, Unfit)]
                after = {"_id": found[-1]["_id"]} if found else upto
                yield Page(
                    copy, [encode_key_value(one["_id"]) for one in fine], after, len(found) - len(fine)
                )
                if after is None:
                    return
        except FatalError as error:  # a request must not stop the lane
            yield Page(copy, [], None, error=_why(error))
        except (BSONError, OverflowError, UnicodeError):  # a record of another release, or another client
            yield Page(copy, [], None, error="MongoDB cannot represent this filter")

    def takes(self, item: Any) -> bool:
        """Write a page, where it is one."""
        if not isinstance(item, Page):
            return False
        if item.idents:
            lost = not self._lane.plan.contract.is_two_way and has_lost_foreign(
                self._lane.redis, self._lane.plan.name
            )
            self._pipeline.apply(PartialUnit(self._builder, item.idents, self._maps, removes=not lost))
        self._pipeline.replayed()
        self._copied += len(item.idents)
        self._left_out += item.left_out
        self._note(item)
        return True

    def _note(self, page: Page) -> None:
        name, seconds = self._lane.plan.name, time.monotonic() - self._began
        if page.after is not None:
            note_progress(self._lane.lease, page.copy, page.after, self._copied)
        else:
            note_end(self._lane.lease, page.copy, page.error)
            telemetry.partial_copy_finished(name, self._copied, self._left_out, seconds, page.error)
            self._is_reading = False
        self._show(page.error)

    def _show(self, error: str = "") -> None:
        """Without the filter, which holds values."""
        self._lane.status.partial = {"copied": self._copied, "under_way": self._is_reading, "error": error}


def _why(error: FatalError) -> str:
    """Why the documents cannot be found: MongoDB does not take the filter, or does not let us read."""
    cause = error.__cause__
    if isinstance(cause, OperationFailure) and cause.code not in codes.AUTHENTICATION:
        return f"MongoDB refuses the filter: {of_mongo(cause)}"
    return str(error)


class PartialUnit(RepairUnit):
    """Documents of a partial copy."""

    op = "snapshot"
