"""What taking up a contract means, as the daemon decides it: each question is answered by the code that its lanes use.
Pure but for what was read before."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from syncd.daemon.changes import is_same
from syncd.ops.planning.running import Running
from syncd.plan.base import ContractPlan
from syncd.plan.claims import BOTH, MONGO, claims_of
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.to_redis.change import Retired
from syncd.stores.redis.records.claims import gains_keys
from syncd.stores.redis.records.position import STREAM
from syncd.to_mongo.state.memory import is_under_this_form
from syncd.to_redis.copy.beginning import first_phase, is_fresh, retired_shapes


class Action(Enum):
    """What a daemon does that takes up the files. The later ones cost more, or are worse."""

    SAME = "same"
    GOES_ON = "goes on"
    """An edit that no lane restarts for."""
    RESTART = "restart"
    INDEX = "index"
    """A restart, and a search index is made again."""
    KEYS = "keys"
    """All keys are read again, and written to MongoDB: where a lane listens to them."""
    COPY = "copy"
    """All documents are read again, and written to Redis."""
    BEGINS = "begins"
    """A contract that did not run."""
    STOPS = "stops"
    """A contract that is no longer among the files."""
    REFUSED = "refused"


def action_of(
    plan: ContractPlan, before: ContractPlan | None, now: Running, claims: Mapping[str, Any]
) -> Action:
    """`before`: what runs, compiled; None where that is not known. `claims`: the record of Redis. Indexes are another
    question."""
    if not now.has_run:
        return Action.BEGINS
    if begins_again(plan, now, claims):
        return Action.KEYS if isinstance(plan, StatePlan) else Action.COPY
    if before is None or not is_same(before, plan):
        return Action.RESTART
    if before.contract != plan.contract:
        return Action.GOES_ON
    return Action.SAME


def begins_again(plan: ContractPlan, now: Running, claims: Mapping[str, Any]) -> bool:
    """Whether the lane does not go on where it stood."""
    wanted = claims_of(plan)
    is_new = now.kind != wanted.kind or gains_keys(claims, plan.name, wanted)
    if isinstance(plan, StatePlan):
        return plan.reads_all_keys and (is_new or not is_under_this_form(plan, *now.state))
    if not isinstance(plan, StreamPlan):
        return False  # a stream is read on from where it was acknowledged
    return (
        is_new
        or now.loses_matches
        or any(
            is_fresh(plan, one) and first_phase(plan, one, by_digests=_has_digests(plan, now)) != STREAM
            for one in now.positions
        )
    )


def _has_digests(plan: StreamPlan, now: Running) -> bool:
    """Whether digests say what differs."""
    return plan.source is not None and len(now.positions) == 1


def going(plan: ContractPlan, now: Running) -> list[Retired]:
    """Shapes whose keys go at the end of the copy."""
    if not isinstance(plan, StreamPlan) or now.kind not in (MONGO, BOTH) or claims_of(plan).kind != now.kind:
        return []
    shapes = {(one.name, one.template.text, one.type): one for one in retired_shapes(plan, now.owned)}
    return list(shapes.values())
