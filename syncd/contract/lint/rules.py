"""What the model cannot see: mistakes between the parts of a contract, and between contracts.

A rule takes all contracts and yields the problems it finds. It reports only on values that are sound (see
`salvage.py`), so that one mistake is reported once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from syncd.contract.lint import consumers as lint_consumers
from syncd.contract.lint import contract_tests as lint_contract_tests
from syncd.contract.lint import joins as lint_joins
from syncd.contract.lint import keys as lint_keys
from syncd.contract.lint import query as lint_query
from syncd.contract.lint import several as lint_several
from syncd.contract.lint.redis import captured_samples as lint_captured_samples
from syncd.contract.lint.redis import each as lint_each
from syncd.contract.lint.redis import each_member as lint_each_member
from syncd.contract.lint.redis import indexes as lint_index
from syncd.contract.lint.redis import members as lint_members
from syncd.contract.lint.redis import sharing as lint_sharing
from syncd.contract.lint.sync import append as lint_append
from syncd.contract.lint.sync import both as lint_both
from syncd.contract.lint.sync import change_feeds as lint_change_feeds
from syncd.contract.lint.sync import reconcile as lint_reconcile
from syncd.contract.lint.sync import series as lint_series
from syncd.contract.lint.sync import state as lint_state
from syncd.contract.read.loaded import LoadedContract
from syncd.errors import Problem

Rule: TypeAlias = Callable[[Sequence[LoadedContract]], Iterator[Problem]]


def contract_names_are_unique(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """Positions, leases and metrics go by the contract's name."""
    first: dict[str, LoadedContract] = {}
    path = ("metadata", "name")
    for contract in contracts:
        if not contract.sound(*path):
            continue
        other = first.setdefault(contract.contract.name, contract)
        if other is not contract:
            what = f"the contract name `{contract.written(*path)}` again"
            yield contract.problem(path, what, f"choose another name, for {other.file} has this one")


def projection_names_are_unique(contracts: Sequence[LoadedContract]) -> Iterator[Problem]:
    """A projection's name identifies its keys, its index and its dead letters."""
    for contract in contracts:
        names: set[str] = set()
        for index, projection in contract.projections():
            path = ("redis", index, "projection")
            if contract.sound(*path) and projection.projection in names:
                what = f"the projection name `{contract.written(*path)}` again"
                yield contract.problem(path, what, "choose another name in this contract")
            names.add(projection.projection)


RULES: tuple[Rule, ...] = (
    contract_names_are_unique,
    projection_names_are_unique,
    *lint_keys.RULES,
    *lint_members.RULES,
    *lint_query.RULES,
    *lint_index.RULES,
    *lint_append.RULES,
    *lint_series.RULES,
    *lint_state.RULES,
    *lint_reconcile.RULES,
    *lint_both.RULES,
    *lint_each.RULES,
    *lint_each_member.RULES,
    *lint_captured_samples.RULES,
    *lint_change_feeds.RULES,
    *lint_sharing.RULES,
    *lint_several.RULES,
    *lint_consumers.RULES,
    *lint_contract_tests.RULES,
    *lint_joins.RULES,
)


def lint(contracts: Sequence[LoadedContract]) -> list[Problem]:
    """Every problem that any rule finds."""
    return [problem for rule in RULES for problem in rule(contracts)]
