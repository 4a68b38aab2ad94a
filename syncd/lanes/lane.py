"""A lane: the ordered stream of work for one contract, in a thread of its own, started again after every error.

Lanes share nothing but connections, so a slow or broken one does not stop the others.
"""

from __future__ import annotations

import contextlib
import math
import threading
from typing import Protocol

from redis.backoff import ExponentialWithJitterBackoff

from syncd import telemetry
from syncd.errors import (
    FencedError,
    LettersFullError,
    StoreError,
    SyncdError,
    TransientError,
    UnknownError,
)
from syncd.lanes.garbage import GARBAGE
from syncd.lanes.status import BaseStatus
from syncd.plan.base import ContractPlan
from syncd.settings import Settings
from syncd.stores.deadletters import count_dead_letters
from syncd.stores.lease import Lease
from syncd.stores.mongo import MongoStore
from syncd.stores.position import ControlKeys
from syncd.stores.redis import RedisStore
from syncd.stores.requests import RequestBoard
from syncd.stores.serving import why_not_served

PAUSED_LOOK_S = 2.0
"""How often a lane that waits for a person looks whether somebody came."""
SOON_S = 1.0
"""Longest pause at a Redis that is not up, or loads its data: readers wait for the lane behind it."""
LOOK_AGAIN_S = 1.0
"""How soon a lane that stands by looks again at a daemon that has not said that it serves."""
FATAL_RETRY_S = 30.0
"""Even what only a person can mend is tried again: then nobody has to restart the daemon after mending it."""
UNKNOWN_RETRY_S = 1.0
"""An error that syncd does not know may pass at once, or never: first so long, then twice that, and so on."""


class Run(Protocol):
    """The work from a start to the first error."""

    progressed: bool
    """Whether it got anywhere."""

    def run(self) -> None:
        """Work until the lane is told to stop; raises what ends it."""


class BaseLane(threading.Thread):
    """Runs one plan until `stop`. `status` may be read from any thread."""

    plan: ContractPlan
    status: BaseStatus
    _run: Run | None = None
    _lease: Lease
    _control: ControlKeys

    def __init__(
        self, name: str, mongo: MongoStore, redis: RedisStore, settings: Settings, requests: RequestBoard
    ) -> None:
        """`requests` is shared by all lanes of a daemon."""
        super().__init__(name=f"lane-{name}", daemon=True)
        self._mongo, self._redis, self._settings, self._requests = mongo, redis, settings, requests
        self._halt = threading.Event()
        self._backoff = ExponentialWithJitterBackoff(cap=10.0, base=0.2)
        self._failures = 0
        self._is_full = False
        """Whether a run ended because the contract keeps no more dead letters."""

    @property
    def word(self) -> tuple[Lease, str] | None:
        """What to tell those that stand by: the lease, and why the lane is not ready. None where it does not work."""
        holds = bool(self._lease.value) and self.status.state in ("snapshot", "catching_up", "live")
        return (self._lease, self.status.complaint) if holds else None

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, so that its thread may have ended."""
        return self._halt.is_set()

    def stop(self) -> None:
        """Ask the lane to finish its batch and commit; `join` waits for it."""
        self._halt.set()

    def run(self) -> None:
        """Run, and run again after every error, until stopped."""
        while not self._halt.is_set():
            delay = self._attempt()
            self._run = None
            if not self._halt.is_set():
                GARBAGE.left()
            self._halt.wait(delay)
        with contextlib.suppress(StoreError):  # what cannot be given back runs out by itself
            self._leave()
        self.status.enter("stopped")

    def _attempt(self) -> float:
        """One run. Returns the seconds to wait before the next."""
        self._run = None
        try:
            if self._is_full and not self._has_room():
                return PAUSED_LOOK_S
            self._is_full = False
            return self._work()
        except SyncdError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - one lane's bug must not end the daemon, nor go unseen
            telemetry.lane_bug(self.plan.name)
            return self._interrupted("bug", "failed", f"unexpected {type(error).__name__}", FATAL_RETRY_S)
        finally:
            # A lane that cannot work, for whatever reason, must not keep others from it.
            self._lease.rest()

    def abandon(self) -> None:
        """It did not stop in time, and is left behind."""
        self._lease.rest()

    def _work(self) -> float:
        """Connect, make a run and run it. Returns the seconds to wait before the next."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Make room for other daemons; the lane will not run again."""
        raise NotImplementedError

    @property
    def _progressed(self) -> bool:
        return self._run is not None and self._run.progressed

    def _failed(self, error: SyncdError) -> float:
        """What an error of a run, or of its beginning, means. Returns the seconds to wait."""
        if isinstance(error, FencedError):
            return self._fenced(error)
        if isinstance(error, LettersFullError):
            return self._full(error)
        if isinstance(error, TransientError):
            longest = SOON_S if error.soon else math.inf
            return self._interrupted("transient", "waiting", str(error), min(longest, self._pause()))
        if isinstance(error, UnknownError):
            return self._interrupted("unknown", "failed", str(error), self._growing_pause())
        return self._interrupted("fatal", "failed", str(error), FATAL_RETRY_S)

    def _full(self, error: LettersFullError) -> float:
        """Wait for a person. What a person asks for is done meanwhile: a replay makes room."""
        if self.status.error != str(error):
            telemetry.letters_full(self.plan.name, str(error))
        self._is_full = True
        self.status.enter("paused", error=str(error))
        with contextlib.suppress(StoreError):
            self._has_room()
        return PAUSED_LOOK_S

    def _has_room(self) -> bool:
        """Whether there is room for another letter, or somebody wants something of the lane."""
        waiting = count_dead_letters(self._redis, self.plan.name)
        self.status.letters(waiting)
        return waiting < self.plan.contract.sync.dead_letters.keep or self._requests.has_any(self._control)

    def _pause(self) -> float:
        """Seconds, more with every failure that follows a failure."""
        self._failures = 1 if self._progressed else self._failures + 1
        return self._backoff.compute(self._failures)

    def _growing_pause(self) -> float:
        """Seconds, doubled with every failure that follows a failure, up to those of a fatal error."""
        self._failures = 1 if self._progressed else self._failures + 1
        return min(FATAL_RETRY_S, UNKNOWN_RETRY_S * 2.0 ** min(self._failures - 1, 10))

    def _fenced(self, error: FencedError) -> float:
        """Stand by for another daemon. Where there is none nobody does the work: not ready, and again at once."""
        if self._run is not None or (not error.holder and str(error) != self.status.error):
            telemetry.lane_fenced(self.plan.name, str(error))
        self.status.enter("standby" if error.holder else "waiting", error=str(error))
        if error.holder:
            self.status.left()
            self._look_at_peer(error.contract)
            return min(self._settings.lease_ttl / 4, LOOK_AGAIN_S if self.status.peer else math.inf)
        delay = self._pause()
        return delay if self._failures > 1 else 0.0

    def _look_at_peer(self, contract: str) -> None:
        """`contract`: the one that has our keys, where it is another one."""
        try:
            keys = ControlKeys(contract) if contract else self._control
            self.status.peer = why_not_served(self._redis, keys)
        except StoreError as error:
            self.status.peer = f"standing by, and the other daemon cannot be asked: {error}"

    def _interrupted(self, why: str, state: str, message: str, delay: float) -> float:
        # The same trouble again and again needs one line, not one a retry; what counts restarts counts each.
        telemetry.lane_interrupted(self.plan.name, why, message, delay, log=message != self.status.error)
        self.status.enter(state, error=message)
        if self.status.dead_letters is None:
            with contextlib.suppress(StoreError):  # they wait whether or not the lane works
                self.status.letters(count_dead_letters(self._redis, self.plan.name))
        return delay
