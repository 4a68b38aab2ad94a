"""What a lane that reads a change stream has to know of a contract, whatever becomes of the changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from syncd.contract.model.redis.projection import ChangeOp
from syncd.errors import ProjectionError
from syncd.plan.base import ContractPlan
from syncd.plan.to_redis.change import Dead, Write
from syncd.plan.to_redis.change_feed import READ, ChangeFeed
from syncd.plan.to_redis.joins import Joined
from syncd.plan.to_redis.shape import Shape


@dataclass(frozen=True, kw_only=True)
class StreamPlan(ContractPlan):
    """One contract whose documents are read from MongoDB. Another fingerprint needs a new snapshot."""

    shapes: tuple[Shape, ...]
    find_projection: dict[str, int] | None
    """What a read asks for; None is the whole document."""
    event_fields: dict[str, Any]
    """For `$project`: what is read of a change, beside which document it is of."""
    feeds: tuple[ChangeFeed, ...] = ()
    """What gets an entry for each change, beside the keys of `shapes`."""
    joins: tuple[Joined, ...] = ()
    """What is read of other collections beside each document."""
    version: str = ""
    """Changes with everything that the contract writes, also where that needs no copy."""
    source: dict[str, Any] | None = None
    """MongoDB's expression for the digest of what is read of a document, where the contract is checked by digests."""

    @property
    def filter(self) -> Mapping[str, Any] | None:
        """The contract's filter, which only MongoDB evaluates."""
        return self.contract.mongo.filter

    @property
    def owned(self) -> list[list[str]]:
        """What this contract writes: projection, key template, Redis type."""
        return [[shape.name, shape.template.text, shape.type] for shape in self.shapes]

    @cached_property
    def fed_ops(self) -> frozenset[str]:
        """Kinds of changes that may become entries."""
        return frozenset(op for op in get_args(ChangeOp) if any(feed.takes(op) for feed in self.feeds))

    @property
    def copies_anything(self) -> bool:
        """Whether a copy of the collection writes anything."""
        return bool(self.shapes) or self.feeds_copies

    @property
    def feeds_copies(self) -> bool:
        """Whether change feeds need a copy: for entries, or to know which documents match."""
        return any(feed.copies or feed.filtered for feed in self.feeds)

    @property
    def not_compared(self) -> str:
        """What no check compares; empty where that is nothing."""
        names = ", ".join(f"`{feed.name}`" for feed in self.feeds)
        return f"not compared, for a stream has no state: {names}" if names else ""

    def event_projection(self, *, thin: bool = False) -> dict[str, Any]:
        """The `$project` behind `$changeStream`: only what this plan reads; `thin`: no field of a document."""
        # The time is in the token; a double decodes ten times as fast as a date.
        wanted = {"_id": 1, "operationType": 1, "documentKey": 1, "wallTime": {"$toDouble": "$wallTime"}}
        return wanted if thin else wanted | self.event_fields

    def dead_letters(self, ident: str, why: ProjectionError, change: Mapping[str, Any]) -> list[Write]:
        """A dead letter a projection, of a document whose keys are not known."""
        op = change.get("operationType", READ)
        feeds = (feed.name for feed in self.feeds if feed.takes(op))
        names = [*(shape.name for shape in self.shapes), *feeds]
        return [Dead(name, ident, "", why.reason, why.detail, change) for name in names]
