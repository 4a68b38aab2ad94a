"""Whether the keys that an application writes fit the template of their contract: of others nothing arrives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from syncd.contract.loaded import ContractSet
from syncd.contract.template import CONTROL_PREFIX, KeyTemplate, template_of
from syncd.ops.conditions import Finding
from syncd.plan.keys import scan_pattern
from syncd.plan.state import StatePlan, compile_state
from syncd.stores.claims import claimed_by_others
from syncd.stores.redis import RedisStore, translated
from syncd.writebehind.unfit import shown

KEYS_A_CALL = 1000
MOST_CALLS = 100
"""A look at a part of a large Redis is enough."""
_REMEDY = (
    "write the template as the application writes its keys, with `key_values: text` where nothing is escaped"
)


@dataclass(slots=True)
class _Keys:
    """What a look at Redis found of one contract."""

    fitting: int = 0
    unfit: list[bytes] = field(default_factory=list)
    """Keys that match the pattern under which the lane looks for them."""
    beside: list[bytes] = field(default_factory=list)
    """Keys that only begin as the template does."""


def fitting(contracts: ContractSet, redis: RedisStore) -> Iterator[Finding]:
    """Of contracts whose keys go to MongoDB as they are."""
    templates = {
        loaded.contract.name: [template_of(projection) for projection in loaded.contract.redis]
        for loaded in contracts.contracts
    }
    for loaded in contracts.contracts:
        contract = loaded.contract
        if contract.captures_state:
            others = claimed_by_others(redis, contract.name)
            others += [one for name, some in templates.items() if name != contract.name for one in some]
            plan = compile_state(contract)
            yield from _findings(plan, _look(plan, redis, others))


def _look(plan: StatePlan, redis: RedisStore, others: list[KeyTemplate]) -> _Keys:
    found, literals = _Keys(), plan.template.literals
    matches = re.compile(".*".join(re.escape(literal) for literal in literals).encode(), re.DOTALL)
    for key in _begun(plan.template, redis):
        if plan.owns(key):
            found.fitting += 1
        elif not key.startswith(CONTROL_PREFIX.encode()) and not any(other.fits(key) for other in others):
            (found.unfit if matches.fullmatch(key) else found.beside).append(key)
    return found


def _begun(template: KeyTemplate, redis: RedisStore) -> Iterator[bytes]:
    """Keys that begin as the template does, of a part of Redis."""
    pattern = scan_pattern(KeyTemplate("", (template.prefix, ""), ()))
    cursor = 0
    for _ in range(MOST_CALLS):
        with translated():
            page: Any = redis.client.scan(cursor, match=pattern, count=KEYS_A_CALL)
        cursor = int(page[0])
        yield from page[1]
        if not cursor:
            return


def _findings(plan: StatePlan, keys: _Keys) -> Iterator[Finding]:
    template, names = plan.template, (plan.name,)
    if keys.unfit:
        what = (
            f"{len(keys.unfit)} of {len(keys.unfit) + keys.fitting} keys that match the pattern of "
            f"`{template.shown}` do not reach MongoDB, such as `{shown(keys.unfit[0])}`: {plan.why_not(keys.unfit[0])}"
        )
        yield Finding("promise", what, _REMEDY, ("nothing_lost", "nothing_silent"), names)
    elif keys.beside and not keys.fitting:
        what = (
            f"{plan.name}: no key fits `{template.shown}`; {len(keys.beside)} begin like it, such as "
            f"`{shown(keys.beside[0])}`: {plan.why_not(keys.beside[0])}"
        )
        yield Finding("advice", what, _REMEDY)
