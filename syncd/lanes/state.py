"""Holds the situation of one lane, which only events change, and has each decision logged and recorded."""

from __future__ import annotations

import threading

from syncd import telemetry
from syncd.lanes.events import (
    DeadLettersFull,
    Event,
    Interrupted,
    LeaseLost,
    PositionLost,
    Progressed,
    Said,
    SweepHeldBack,
)
from syncd.lanes.machine import decide
from syncd.lanes.situation import Decision, LaneRules, Situation, State
from syncd.lanes.status import BaseStatus


class LaneState:
    """Thread-safe."""

    def __init__(self, rules: LaneRules, status: BaseStatus) -> None:
        """`status` records what is decided."""
        self._rules, self._status = rules, status
        self._now = Situation()
        self._lock = threading.Lock()

    @property
    def now(self) -> Situation:
        """The situation at this moment, as a value that does not change."""
        return self._now

    @property
    def state(self) -> State:
        """The state of the lane."""
        return self._now.state

    @property
    def is_live(self) -> bool:
        """Whether all that the source has is in the target."""
        return self._now.state is State.LIVE

    @property
    def is_over(self) -> bool:
        """Whether the run under way is to end, so that another one begins."""
        return self._now.run is not None and self._now.run.is_over

    @property
    def awaits_merge(self) -> bool:
        """Whether the stream has been read to its end, and the merger has to come as far."""
        return self._now.run is not None and self._now.run.awaits_merge

    def tell(self, event: Event) -> Decision:
        """Report what happened. The decision is logged and recorded; its actions are for the caller."""
        with self._lock:
            decision = decide(self._now, event, self._rules)
            self._now = decision.situation
            for said in decision.said:
                self._say(said, decision.delay_s)
            if decision.enters:
                self._record(decision)
        return decision

    def progressed(self) -> None:
        """Something new is in the target."""
        if self._now.run is not None and not self._now.run.progressed:
            self.tell(Progressed())

    def _record(self, decision: Decision) -> None:
        now = decision.situation
        details = {"reason": decision.reason} if decision.reason else {}
        self._status.enter(now.state.shown, error=now.error, **details)
        if now.state is State.STANDBY:
            self._status.left()

    def _say(self, said: Said, delay_s: float) -> None:
        name = self._rules.contract
        match said:
            case Interrupted():
                if said.why == "bug":
                    telemetry.lane_bug(name)
                telemetry.lane_interrupted(name, said.why, said.message, delay_s, log=said.is_news)
            case LeaseLost():
                telemetry.lane_fenced(name, said.message)
            case DeadLettersFull():
                telemetry.dead_letters_full(name, said.message)
            case SweepHeldBack():
                telemetry.sweep_held_back(name, said.message)
            case PositionLost():
                telemetry.position_lost(name, said.message, said.action)
