"""The plan that fits a contract."""

from __future__ import annotations

from syncd.contract.model.contract import Contract
from syncd.plan.base import ContractPlan
from syncd.plan.both.plan import compile_two_way
from syncd.plan.to_mongo.append import appends, compile_append
from syncd.plan.to_mongo.state import compile_state
from syncd.plan.to_redis.compile import compile_contract


def compile_any(contract: Contract, secret: bytes | None) -> ContractPlan:
    """Compile a contract that passed its checks. `secret` is for `mask: hmac`. Raises SettingsError."""
    if appends(contract):
        return compile_append(contract)
    if contract.is_two_way:
        return compile_two_way(contract)
    return compile_state(contract) if contract.captures_state else compile_contract(contract, secret)
