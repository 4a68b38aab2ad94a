"""The check that fits a contract."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from syncd.errors import CapabilityError
from syncd.plan.base import ContractPlan
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.plan.to_redis.compile import Plan
from syncd.reconcile.check import Check, Order
from syncd.reconcile.digest import DigestCheck
from syncd.reconcile.two_sided.append_sides import AppendGate, AppendSides
from syncd.reconcile.two_sided.check import TwoSidedCheck
from syncd.reconcile.two_sided.gates import Gate, PairGate, StateGate
from syncd.reconcile.two_sided.pair_sides import PairSides
from syncd.reconcile.two_sided.sides import Sides
from syncd.reconcile.two_sided.state_sides import StateSides
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.cluster.nodes import ClusterStore
from syncd.stores.redis.store import RedisStore

AnyCheck: TypeAlias = Check | TwoSidedCheck


def has_checks(plan: ContractPlan) -> bool:
    """Whether a daemon checks it. Not a contract that appends: all daemons work for it, and none of them leads."""
    return isinstance(plan, StreamPlan | StatePlan)


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
    if redis.place and isinstance(plan, TwoWayPlan):
        raise CapabilityError("redis", "the contract is not supported on a Redis Cluster yet; leave it out")
    if isinstance(redis, ClusterStore):
        redis = redis.as_seen(redis.seen())  # lanes may see another map meanwhile
    if isinstance(plan, Plan):
        kind = DigestCheck if order.by_digest else Check
        return kind(plan, mongo, redis, order, stop, may_go_on)
    assert isinstance(plan, AppendPlan | StatePlan | TwoWayPlan)
    check = TwoSidedCheck(
        plan.name, redis, *_both(plan, mongo, redis, site, stop, order.wait_s), order, stop, may_go_on
    )
    if order.by_digest:
        check.report.note = "compared in full: MongoDB has no digest of what changes in Redis"
    return check


def _both(
    plan: AppendPlan | StatePlan | TwoWayPlan,
    mongo: MongoStore,
    redis: RedisStore,
    site: str,
    stop: threading.Event,
    wait_s: float,
) -> tuple[Sides, Gate]:
    """What compares both sides, and what waits for the lane."""
    if isinstance(plan, AppendPlan):
        return AppendSides(plan, mongo, redis), AppendGate(mongo, redis, plan)
    policy = redis.connect().maxmemory_policy
    if isinstance(plan, TwoWayPlan):
        return PairSides(plan, mongo, redis, policy), PairGate(redis, plan, stop, wait_s)
    return StateSides(plan, mongo, redis, site, policy), StateGate(redis, plan, stop, wait_s)
