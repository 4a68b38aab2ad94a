"""The check that fits a contract."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from syncd.plan.append import AppendPlan
from syncd.plan.base import ContractPlan
from syncd.plan.compile import Plan
from syncd.plan.state import StatePlan
from syncd.plan.twoway import TwoWayPlan
from syncd.reconcile.append_sides import AppendGate, AppendSides
from syncd.reconcile.back import BackCheck
from syncd.reconcile.check import Check, Order
from syncd.reconcile.gates import PairGate, StateGate
from syncd.reconcile.pair_sides import PairSides
from syncd.reconcile.state_sides import StateSides
from syncd.stores.mongo import MongoStore
from syncd.stores.redis import RedisStore

AnyCheck: TypeAlias = Check | BackCheck


def has_checks(plan: ContractPlan) -> bool:
    """Whether a daemon checks it: of those that append all daemons work, and nobody leads."""
    return isinstance(plan, Plan | StatePlan)


def new_check(
    plan: ContractPlan,
    mongo: MongoStore,
    redis: RedisStore,
    order: Order,
    site: str,
    stop: threading.Event,
    may_go_on: Callable[[], str] = lambda: "",
) -> AnyCheck:
    """`site` is SYNCD_SITE. Both stores are connected. Raises StoreError."""
    if isinstance(plan, TwoWayPlan):
        pairs = PairSides(plan, mongo, redis, redis.connect().maxmemory_policy)
        gate = PairGate(redis, plan, stop, order.wait_s)
        return BackCheck(plan.name, redis, pairs, gate, order, stop, may_go_on)
    if isinstance(plan, StatePlan):
        sides = StateSides(plan, mongo, redis, site, redis.connect().maxmemory_policy)
        waits = StateGate(redis, plan, stop, order.wait_s)
        return BackCheck(plan.name, redis, sides, waits, order, stop, may_go_on)
    if isinstance(plan, AppendPlan):
        entries = AppendSides(plan, mongo, redis)
        return BackCheck(plan.name, redis, entries, AppendGate(mongo, redis, plan), order, stop, may_go_on)
    assert isinstance(plan, Plan)
    return Check(plan, mongo, redis, order, stop, may_go_on)
