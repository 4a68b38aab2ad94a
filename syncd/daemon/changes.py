"""What another set of contracts means for the lanes that run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from syncd.plan.base import ContractPlan

OF_NO_LANE: Mapping[str, Any] = {"reconcile": None, "consumers": ()}
"""Keys of a contract that change nothing of what its lane does, as if they were not there."""


class Changes(NamedTuple):
    """Names of the contracts that a new set starts, restarts and stops."""

    started: list[str]
    restarted: list[str]
    stopped: list[str]


def changes(running: Mapping[str, ContractPlan], wanted: Iterable[ContractPlan]) -> Changes:
    """Which lanes have to start, to start again under another plan, and to stop."""
    named = {plan.name: plan for plan in wanted}
    return Changes(
        started=[name for name in named if name not in running],
        restarted=[name for name in named if name in running and not is_same(running[name], named[name])],
        stopped=[name for name in running if name not in named],
    )


def is_same(a: ContractPlan, b: ContractPlan) -> bool:
    """Whether a lane would do the same by both plans."""
    one, other = (plan.contract.model_copy(update=dict(OF_NO_LANE)) for plan in (a, b))
    return one == other and a.fingerprint == b.fingerprint
