"""When all keys of a contract are compared with what was last synced, one way or both.

Events may be lost, so behind every gap in them all keys are compared; a gap that comes meanwhile means: once more, from
the beginning. What was missed counts as done when the last page is done, so a run that ends before begins again.

    nothing to compare --gap, or all keys asked for--> under way --last page is done--> nothing to compare
                                                        |    ^ from the first page
                                                     gap v    | last page is done
                                                    under way, once more behind it
"""

from __future__ import annotations

from syncd import telemetry
from syncd.plan.to_mongo.state import StatePlan
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.keyspace.listening import Listening
from syncd.to_mongo.state.catch_up import CatchUp
from syncd.to_mongo.state.unfit_keys import Unfit


class Comparison:
    """Of one run, called by the thread that takes what `listening` has heard."""

    def __init__(self, redis: RedisStore, plan: StatePlan, listening: Listening, unfit: Unfit) -> None:
        self._redis, self._plan, self._listening, self._unfit = redis, plan, listening, unfit
        self._catchup: CatchUp | None = None
        self._again = False
        self.everything = False
        """Whether the next keys are all that are there, also those that are as they were last synced."""

    @property
    def is_under_way(self) -> bool:
        """Whether there are pages to come, or one whose end is not told yet."""
        return self._catchup is not None

    @property
    def compared(self) -> int:
        """Keys that were looked at."""
        return self._catchup.compared if self._catchup is not None else 0

    def ask_for_everything(self) -> None:
        """All keys, from the first one."""
        self.everything, self._catchup = True, None

    def look(self) -> bool:
        """Begin where events were lost, or somebody asked for all keys. Whether one began, or has to once more."""
        why = self._listening.gap()
        if not why and (not self.everything or self._catchup is not None):
            return False
        telemetry.keys_compared(self._plan.name, why or "request", self._listening.detail)
        if self._catchup is None:
            self._begin()
        else:
            self._again = True
        return True

    def _begin(self) -> None:
        self._catchup = CatchUp(self._redis, self._plan, self._unfit, everything=self.everything)

    def page(self) -> list[bytes]:
        """Some more keys that have to be looked at; often none."""
        return [] if self._catchup is None else self._catchup.page()

    def page_is_done(self) -> bool:
        """What `page` gave last is in sync. Whether that were all keys."""
        catchup = self._catchup
        if catchup is None or not catchup.is_done:
            return False
        telemetry.comparison_finished(self._plan.name, catchup.compared, catchup.seconds)
        self.everything, self._catchup = False, None
        if self._again:
            self._again = False
            self._begin()
        else:
            self._listening.caught_up()
        return True
