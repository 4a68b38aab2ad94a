"""A lane: the ordered stream of work for one contract, in a thread of its own, started again after every error.

Lanes share nothing but connections, so a slow or broken one does not stop the others. What a lane does next is decided
by `machine`; this thread carries it out.
"""

from __future__ import annotations

import contextlib
import random
import threading

from syncd.contract.model.contract import Contract
from syncd.errors import PausedError, StoreError, TransientError
from syncd.lanes.context import Common
from syncd.lanes.events import (
    AskForRoom,
    AskPeer,
    CountDeadLetters,
    Failed,
    ForgetPosition,
    LearnNumber,
    PeerSaid,
    Room,
    ShowWaiting,
    StopListening,
    Stopped,
    Tried,
    Work,
)
from syncd.lanes.garbage import GARBAGE
from syncd.lanes.situation import Decision, LaneRules, State
from syncd.lanes.state import LaneState
from syncd.lanes.status import BaseStatus
from syncd.plan.base import ContractPlan
from syncd.plan.claims import claims_of
from syncd.stores.redis.records.dead_letters import count_dead_letters
from syncd.stores.redis.records.lease import Lease
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.pauses import as_dict, pause_of
from syncd.stores.redis.records.serving import why_not_served


class BaseLane(threading.Thread):
    """Runs one plan until `stop`. `status` and `state` may be read from any thread."""

    plan: ContractPlan
    status: BaseStatus

    def __init__(
        self, common: Common, control: ControlKeys, plan: ContractPlan, status: BaseStatus, rules: LaneRules
    ) -> None:
        super().__init__(name=f"lane-{control}", daemon=True)
        self._common, self._control, self.plan, self.status = common, control, plan, status
        self._redis, self._mongo = common.redis, common.mongo
        self._lease = common.leases.of(control, claims_of(plan))
        self._state = LaneState(rules, status)
        self.pulse = status.pulse
        self._halt = threading.Event()

    @property
    def state(self) -> State:
        """The state that the lane is in."""
        return self._state.state

    @property
    def word(self) -> tuple[Lease, str] | None:
        """For daemons that stand by: the lease, and why the lane is not ready. None where it does not work."""
        holds = bool(self._lease.value) and self.state.works
        return (self._lease, self.status.complaint) if holds else None

    @property
    def is_stopping(self) -> bool:
        """Whether `stop` was called, so that its thread may have ended."""
        return self._halt.is_set()

    def reword(self, contract: Contract) -> None:
        """The file of the contract says the same to the lane, perhaps in other words."""
        with contextlib.suppress(StoreError):  # the lane meets the same error, and takes the lease again
            self._lease.reword(contract.text, contract.file, held=self.word is not None)

    def stop(self) -> None:
        """Ask the lane to finish its batch and commit; `join` waits for it."""
        self._halt.set()

    def abandon(self) -> None:
        """Leave it behind: it did not stop in time."""
        self._lease.rest()

    def run(self) -> None:
        """Run, and run again after every error, until stopped."""
        while not self._halt.is_set():
            delay_s = self._attempt()
            if not self._halt.is_set():
                GARBAGE.left()
            self._halt.wait(delay_s)
        with contextlib.suppress(StoreError):  # what cannot be given back runs out by itself
            self._leave()
        self._state.tell(Stopped())

    def _attempt(self) -> float:
        """One run. Returns the seconds to wait before the next."""
        try:
            return self._carry_out(self._try())
        except Exception as error:  # noqa: BLE001 - one lane's bug must not end the daemon, and must be logged
            return self._failed(error)
        finally:
            # A lane that cannot work must not keep other daemons from the work.
            self._lease.rest()

    def _try(self) -> Decision:
        self._rest_if_paused()
        decision = self._state.tell(Tried())
        if AskForRoom() in decision.actions:
            decision = self._state.tell(Room(self._has_room()))
        return self._work() if Work() in decision.actions else decision

    def _rest_if_paused(self) -> None:
        """Raises PausedError. The lease is given back, so that a person knows that nothing is written any more."""
        try:
            is_paused = self._common.requests.is_paused(self._control)
            found = pause_of(self._redis, self.plan.name) if is_paused else None
        except TransientError:
            return  # Redis is away: no lease is given while the contract is paused, see lua/lease
        self.status.pause = as_dict(found)
        if found is None:
            return
        if self._lease.value:
            self._leave()
            self._lease.value = ""
        raise PausedError("; ".join(filter(None, (str(found), self._after_pause()))))

    def _after_pause(self) -> str:
        """What will happen when the contract is resumed, where that is more than to go on."""
        return ""

    def _work(self) -> Decision:
        """Connect, take the lease, make a run and run it."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Give the lease back; the lane will not run again."""
        raise NotImplementedError

    def _failed(self, error: Exception, *, keeps_position: bool = False) -> float:
        """An error of a run, or of its beginning. Returns the seconds to wait."""
        chance = random.random()  # noqa: S311 - no secret
        failed = Failed(self._redis.explained(error), chance, keeps_position)
        return self._carry_out(self._state.tell(failed))

    def _carry_out(self, decision: Decision) -> float:
        """Do what was decided. Returns the seconds to wait."""
        for action in decision.actions:
            match action:
                case ForgetPosition(then):
                    try:
                        self._lease.forget_position(then)
                    except StoreError as error:
                        return self._failed(error, keeps_position=True)
                case AskPeer(contract):
                    self.status.peer = complaint = self._why_not_served(contract)
                    decision = self._state.tell(PeerSaid(complaint))
                case StopListening():
                    self._stop_listening()
                case LearnNumber(seen):
                    self._learn_number(seen)
                case CountDeadLetters():
                    with contextlib.suppress(StoreError):
                        self._has_room()
                case ShowWaiting():
                    with contextlib.suppress(StoreError):
                        self._show_waiting()
        return decision.delay_s

    def _has_room(self) -> bool:
        """Whether there is room for another dead letter, or a person wants something of the lane."""
        waiting = count_dead_letters(self._redis, self.plan.name)
        self.status.dead_letters_counted(waiting)
        keep = self.plan.contract.sync.dead_letters.keep
        return waiting < keep or self._common.requests.has_any(self._control)

    def _why_not_served(self, contract: str) -> str:
        """`contract`: the one that has our keys, where it is another one."""
        try:
            return why_not_served(
                self._redis, ControlKeys(contract, place=self._redis.place) if contract else self._control
            )
        except StoreError as error:
            return f"standing by, and the other daemon cannot be asked: {error}"

    def _stop_listening(self) -> None:
        """Forget the keyspace events that were heard; for lanes that listen."""

    def _learn_number(self, seen: int) -> None:
        """Take note of a later number in MongoDB; for lanes whose writes have one."""

    def _show_waiting(self) -> None:
        """Count the dead letters: they wait whether or not the lane works."""
        if self.status.dead_letters is None:
            self.status.dead_letters_counted(count_dead_letters(self._redis, self.plan.name))
