"""Whether the keys that an application writes fit the template of their contract: others do not reach MongoDB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.template import CONTROL_PREFIX, KeyTemplate, template_of
from syncd.ops.checks.conditions import Finding
from syncd.ops.checks.walk import Visitor
from syncd.plan.to_mongo.state import StatePlan, compile_state
from syncd.stores.redis.records.claims import claimed_by_others
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.state.keys.unfit_keys import shown

_REMEDY = (
    "write the template as the application writes its keys, with `key_values: text` where nothing is escaped"
)


@dataclass(slots=True)
class _Keys:
    """The keys of one contract that a walk found."""

    plan: StatePlan
    others: list[KeyTemplate]
    """Templates of other contracts; their keys do not count here."""
    fitting: int = 0
    unfit: int = 0
    """Keys that match the pattern by which the lane searches."""
    beside: int = 0
    """Keys that only begin as the template does."""
    example: bytes = b""
    """The first of `unfit`, or of `beside` where there is none."""

    def see(self, key: bytes) -> None:
        """Count a key that begins as the template does."""
        if self.plan.has_key(key):
            self.fitting += 1
        elif key.startswith(CONTROL_PREFIX.encode()) or any(other.fits(key) for other in self.others):
            return
        elif _matches(self.plan.keys).fullmatch(key):
            self.example = self.example if self.unfit else key
            self.unfit += 1
        else:
            self.example = self.example or key
            self.beside += 1


@lru_cache(maxsize=1024)
def _matches(template: KeyTemplate) -> re.Pattern[bytes]:
    return re.compile(".*".join(re.escape(literal) for literal in template.literals).encode(), re.DOTALL)


class Fitting:
    """Counts the keys of contracts of `capture: outbox` and `keyspace`."""

    def __init__(self, contracts: Sequence[Contract], redis: RedisStore) -> None:
        templates = {one.name: [template_of(projection) for projection in one.redis] for one in contracts}
        self._found: list[_Keys] = []
        for contract in contracts:
            if contract.captures_state:
                others = claimed_by_others(redis, contract.name)
                others += [one for name, some in templates.items() if name != contract.name for one in some]
                self._found.append(_Keys(compile_state(contract), others))

    def visitors(self) -> Iterator[Visitor]:
        """See `keys`."""
        for found in self._found:
            yield found.plan.keys, found.see

    def keys(self, *, whole: bool) -> Iterator[Finding]:
        """Keys that do not reach MongoDB, as the visitors saw them. `whole`: they saw all of Redis."""
        for found in self._found:
            yield from _findings(found, "" if whole else "at least ")


def _findings(keys: _Keys, at_least: str) -> Iterator[Finding]:
    plan = keys.plan
    template, names = plan.keys, (plan.name,)
    if keys.unfit:
        what = (
            f"{at_least}{keys.unfit} of {keys.unfit + keys.fitting} keys that match the pattern of "
            f"`{template.shown}` do not reach MongoDB, such as `{shown(keys.example)}`: {plan.why_no_key(keys.example)}"
        )
        yield Finding("promise", what, _REMEDY, ("nothing_lost", "nothing_silent"), names)
    elif keys.beside and not keys.fitting:
        what = (
            f"{plan.name}: no key fits `{template.shown}`; {at_least}{keys.beside} begin like it, such as "
            f"`{shown(keys.example)}`: {plan.why_no_key(keys.example)}"
        )
        yield Finding("advice", what, _REMEDY)
