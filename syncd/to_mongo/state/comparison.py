"""When all keys of a contract are compared with what was last synced, one way or both.

Events may be lost, so behind every gap in them all keys are compared; a gap that comes meanwhile means: once more, from
the beginning. What was missed counts as done when the last page is done, so a run that ends before begins again.

    NOTHING --gap----------------------> UNDER_WAY --last page is done--> NOTHING
    NOTHING --all keys asked for--> ASKED --next turn--> UNDER_WAY
    UNDER_WAY --gap--> REPEATS --last page is done--> UNDER_WAY, from the first page
    UNDER_WAY, REPEATS --all keys asked for--> ASKED
"""

from __future__ import annotations

from enum import Enum, auto

from syncd import telemetry
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.keyspace.listening import Listening
from syncd.to_mongo.state.catch_up import CatchUp
from syncd.to_mongo.state.keys.unfit_keys import UnfitKeys


class Stage(Enum):
    """How far a comparison is."""

    NOTHING = auto()
    """There is none."""
    ASKED = auto()
    """One of everything begins with the next turn."""
    UNDER_WAY = auto()
    """There are pages to come, or one that is not done yet."""
    REPEATS = auto()
    """The same, and since it began events were lost."""


class Comparison:
    """Of one run, called by the thread that takes what `listening` has heard."""

    def __init__(self, redis: RedisStore, plan: StatePlan, listening: Listening, unfit: UnfitKeys) -> None:
        self._redis, self._plan, self._listening, self._unfit = redis, plan, listening, unfit
        self._stage = Stage.NOTHING
        self._catchup: CatchUp | None = None
        """Of the stages UNDER_WAY and REPEATS."""

    @property
    def is_under_way(self) -> bool:
        """Whether there are pages to come, or one that is not done yet."""
        return self._catchup is not None

    @property
    def everything(self) -> bool:
        """Whether the next keys are all that are there, also those that are as they were last synced."""
        return self._catchup is not None and self._catchup.everything

    @property
    def compared(self) -> int:
        """Keys that were compared."""
        return self._catchup.compared if self._catchup is not None else 0

    def _enter(self, stage: Stage) -> None:
        """Come into another stage: all that is known of one is set here."""
        if stage is Stage.UNDER_WAY:
            everything = self._stage is Stage.ASKED
            self._catchup = CatchUp(self._redis, self._plan, self._unfit, everything=everything)
        elif stage is not Stage.REPEATS:
            self._catchup = None
        self._stage = stage

    def ask_for_everything(self) -> None:
        """All keys, from the first one."""
        self._enter(Stage.ASKED)

    def begin_if_due(self) -> bool:
        """Begin where events were lost, or all keys were asked for. Whether one began, or has to once more."""
        why = self._listening.gap()
        if not why and self._stage is not Stage.ASKED:
            return False
        telemetry.keys_compared(self._plan.name, why or "request", self._listening.detail)
        self._enter(Stage.REPEATS if self.is_under_way else Stage.UNDER_WAY)
        return True

    def page(self) -> list[bytes]:
        """Some more keys that have to be read; often none."""
        return [] if self._catchup is None else self._catchup.page()

    def page_is_done(self) -> bool:
        """What `page` gave last is in sync. Whether that were all keys."""
        catchup = self._catchup
        if catchup is None or not catchup.is_done:
            return False
        telemetry.comparison_finished(self._plan.name, catchup.compared, catchup.seconds)
        if self._stage is Stage.REPEATS:
            self._enter(Stage.UNDER_WAY)
        else:
            self._enter(Stage.NOTHING)
            self._listening.caught_up()
        return True
