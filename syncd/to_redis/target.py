"""Where a lane brings documents: to keys, or to where they meet what the application wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from syncd.plan.to_redis.compile import Plan
from syncd.stores.mongo.reads.lookup import Lookup
from syncd.to_redis.apply.apply_log import ApplyLog
from syncd.to_redis.apply.builder import Builder
from syncd.to_redis.apply.key_builder import KeyBuilder
from syncd.to_redis.apply.watermarks import Watermarks


class Target(ABC):
    """Of one run, which calls `begin`, `builder` and `beside` once each, in this order, and `end` in any case.

    What is built goes to Redis as any call does, with the position and under the lease; `applied` says so afterwards.
    """

    def begin(self) -> None:  # noqa: B027 - keys need nothing
        """Before the run reads its position. An error ends the run."""

    @abstractmethod
    def builder(self, lookup: Lookup, watermarks: Watermarks) -> Builder:
        """What makes the writes of the run's calls."""

    def beside(self, log: ApplyLog[Any, Any]) -> Iterator[Any] | None:
        """Work for another thread while the run lasts, if there is any; an error of its ends the run. It begins when
        the stream is open, and before anything that it brought is applied."""
        return None

    @property
    def is_full(self) -> bool:
        """Whether the run has to wait with what it brings, for the work beside it."""
        return False

    def applied(self, count: int) -> None:  # noqa: B027 - keys are there then
        """A call with so many changes or documents is in Redis."""

    def end(self) -> None:  # noqa: B027 - as above
        """End the work beside the run after the step under way. Called also where nothing began."""


class KeyTarget(Target):
    """Keys that MongoDB alone writes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def builder(self, lookup: Lookup, watermarks: Watermarks) -> Builder:
        """Writes of keys."""
        return KeyBuilder(self._plan, lookup, watermarks)
