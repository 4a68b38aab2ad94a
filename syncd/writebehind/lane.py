"""The lane of a contract that appends: a thread of its own, started again after every error.

It needs no lease: daemons share the consumer group, and a document that two of them write is written once.
"""

from __future__ import annotations

import contextlib
import threading

from redis.backoff import ExponentialWithJitterBackoff

from syncd import telemetry
from syncd.errors import StoreError, SyncdError, TransientError
from syncd.plan.append import AppendPlan
from syncd.settings import Settings
from syncd.stores.mongo import MongoStore
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.writebehind.append import AppendRun
from syncd.writebehind.group import Group
from syncd.writebehind.status import AppendStatus

FATAL_RETRY_S = 30.0
"""Even what only a person can mend is tried again: then nobody has to restart the daemon after mending it."""


class AppendLane(threading.Thread):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    def __init__(
        self,
        plan: AppendPlan,
        mongo: MongoStore,
        redis: RedisStore,
        owner: str,
        settings: Settings,
        requests: RequestBoard,
    ) -> None:
        super().__init__(name=f"lane-{plan.name}", daemon=True)
        self.plan = plan
        self._mongo, self._redis, self._settings, self._requests = mongo, redis, settings, requests
        slo = plan.contract.slo
        freshness_s = slo.freshness / 1000 if slo else None
        self.status = AppendStatus(plan, freshness_s)
        self._group = Group(redis, plan, owner)
        self._halt = threading.Event()
        self._backoff = ExponentialWithJitterBackoff(cap=10.0, base=0.2)
        self._failures = 0
        telemetry.contract_known(plan.name, freshness_s, store="mongo")

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._halt.is_set()

    def stop(self) -> None:
        """Ask the lane to finish its batch; `join` waits for it."""
        self._halt.set()

    def run(self) -> None:
        """Run, and run again after every error, until stopped."""
        while not self._halt.is_set():
            self._halt.wait(self._attempt())
        with contextlib.suppress(StoreError):  # a consumer that stays on the list does no harm
            self._group.leave()
        self.status.enter("stopped")

    def _attempt(self) -> float:
        """One run. Returns the seconds to wait before the next."""
        run = AppendRun(
            self.plan,
            self._mongo,
            self._redis,
            self._group,
            self._settings,
            self.status,
            self._requests,
            self._halt,
        )
        try:
            self._mongo.connect()
            self._redis.connect()
            run.run()
            return 0.0
        except TransientError as error:
            self._failures = 1 if run.progressed else self._failures + 1
            return self._interrupted(
                "transient", "waiting", str(error), self._backoff.compute(self._failures)
            )
        except SyncdError as error:
            return self._interrupted("fatal", "failed", str(error), FATAL_RETRY_S)
        except Exception as error:  # noqa: BLE001 - one lane's bug must not end the daemon, nor go unseen
            telemetry.lane_bug(self.plan.name)
            return self._interrupted("bug", "failed", f"unexpected {type(error).__name__}", FATAL_RETRY_S)

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        # The same trouble again and again needs one line, not one a retry.
        if message != self.status.error:
            telemetry.lane_interrupted(self.plan.name, why, message, delay)
        self.status.enter(state, error=message)
        with contextlib.suppress(StoreError):  # the stream grows meanwhile, and people must see it
            self.status.looked(self._group.backlog(), self.status.dead_letters)
        return delay
