"""What a daemon would do that takes up these files now: asks both servers, and only reads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from syncd.contract.diff.sets import ContractDiff, diff_sets
from syncd.contract.model.contract import Contract
from syncd.contract.read.loaded import ContractSet, LoadedContract
from syncd.contract.several import OF, for_collection, matching
from syncd.daemon.contract_registration import place_of
from syncd.daemon.supervisor import compile_set
from syncd.errors import SettingsError
from syncd.ops.checks.conditions import Finding
from syncd.ops.checks.preflight import Servers, connected, inspect
from syncd.ops.checks.walk import Visitor
from syncd.ops.planning.decide import Action, action_of, going
from syncd.ops.planning.keys import Keys
from syncd.ops.planning.running import Running, read_running
from syncd.ops.planning.sample import copy_of
from syncd.ops.planning.step import EditPlan, Memory, Step
from syncd.plan.base import ContractPlan
from syncd.plan.claims import claims_of
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.settings import Settings
from syncd.stores.mongo.collections import collections_of
from syncd.stores.redis.records.claims import contracts_beside, read_claims
from syncd.stores.redis.records.keys.matched import MatchedSets
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.records.requests.approvals import approved_plan, plan_id
from syncd.stores.redis.records.requests.pauses import pause_of
from syncd.stores.redis.store import translated
from syncd.to_redis.change_feeds import lost_feeds
from syncd.to_redis.copy.survey import Survey
from syncd.to_redis.indexes.generations import SERVING, Generations
from syncd.to_redis.indexes.indexes import wanted_indexes
from syncd.to_redis.indexes.named_index import Step as IndexStep
from syncd.to_redis.indexes.named_index import step_of

LEAST_SHARE = 50
"""A fiftieth of the keys: less may be the error of an estimate."""
_UNREAD = (Action.BEGINS, Action.RESTART)
"""What may need a read of keys that an outbox does not note."""


class _Both(NamedTuple):
    """One contract as it runs and as the files have it."""

    wanted: LoadedContract
    """The file; of a contract over several collections the same one for each."""
    plan: ContractPlan
    now: Running
    before: ContractPlan | None
    """What runs, compiled."""


def plan_edit(
    contracts: ContractSet, settings: Settings, env: Mapping[str, str], *, is_whole: bool
) -> EditPlan:
    """`env` fills in the variables of what runs. `is_whole`: a contract that is not among the files stops. Raises
    StoreError."""
    with connected(settings, only_reads=True) as servers:
        return _Planning(contracts, settings, servers, env).plan(is_whole=is_whole)


class _Planning:
    def __init__(
        self, contracts: ContractSet, settings: Settings, servers: Servers, env: Mapping[str, str]
    ) -> None:
        self._contracts, self._settings, self._servers, self._env = contracts, settings, servers, env
        self._redis, self._mongo = servers.redis, servers.mongo
        _, self._claims = read_claims(servers.redis)

    def plan(self, *, is_whole: bool) -> EditPlan:
        """Everything."""
        wanted = list(self._of_each_collection())
        plans = compile_set([contract for _, contract in wanted], self._settings)
        names = {plan.name for plan in plans}
        beside = contracts_beside(self._redis, names, place_of(self._settings.contracts)) if is_whole else []
        left = [name for name in beside if name not in names]
        now = {name: read_running(self._redis, name, self._env) for name in (*names, *left)}
        before = self._compiled(now.values())
        all_of = [
            _Both(loaded, plan, now[plan.name], before.get(plan.name))
            for (loaded, _), plan in zip(wanted, plans, strict=True)
        ]
        diffs = self._diffs(now.values())
        steps = [self._step(one, diffs) for one in all_of]
        stopped = [Step(name, Action.STOPS, _of_gone(diffs, name)) for name in left]
        by_name = {step.contract: step for step in (*steps, *stopped)}
        for planned in steps:
            for name, other in planned.taken.items():
                if other in by_name:
                    by_name[other].given = {**by_name[other].given, name: planned.contract}
        report = self._look(all_of, steps, left)
        for step in stopped:
            step.notes.append(self._what_stays(step))
        steps += stopped
        for step in steps:
            step.paused = pause_of(self._redis, step.contract)
        return EditPlan(report[0], steps, self._memory(steps), report[1])

    def _of_each_collection(self) -> Iterator[tuple[LoadedContract, Contract]]:
        for loaded in self._contracts.contracts:
            contract = loaded.contract
            if not contract.patterns:
                yield loaded, contract
                continue
            databases = [pattern.partition(".")[0] for pattern in contract.patterns]
            for name in matching(contract, collections_of(self._mongo, databases)):
                if (one := for_collection(contract, name)) is not None:
                    yield loaded, one

    def _compiled(self, running: Iterable[Running]) -> dict[str, ContractPlan]:
        found: dict[str, ContractPlan] = {}
        for one in running:
            # A setting that only the old version needed is no reason to say nothing of the new one.
            with contextlib.suppress(SettingsError):
                if one.contract is not None:
                    (found[one.name],) = compile_set([one.contract], self._settings)
        return found

    def _diffs(self, running: Iterable[Running]) -> dict[str, ContractDiff]:
        """Of all files by name. A contract with another name and the same keys is the same one, under its new name."""
        before = {one.loaded.contract.name: one.loaded for one in running if one.loaded is not None}
        found = diff_sets(list(before.values()), self._contracts.contracts)
        return {one.name: one for one in found}

    def _step(self, one: _Both, diffs: Mapping[str, ContractDiff]) -> Step:
        plan, now = one.plan, one.now
        if isinstance(plan, StreamPlan) and now.has_run:
            matched = MatchedSets(self._redis, ControlKeys(plan.name, place=self._redis.place))
            now = replace(now, loses_matches=bool(lost_feeds(plan, matched)))
        planned = Step(plan.name, action_of(plan, one.before, now, self._claims))
        if now.loaded is not None or not now.has_run:
            planned.diff = diffs[one.wanted.contract.name]
        if now.has_run and now.why_not:
            planned.notes.append(now.why_not)
        planned.plan = plan_id(one.wanted.source.text)
        planned.waits = planned.is_change and self._waits(one, planned.plan)
        if isinstance(plan, StatePlan) and not plan.reads_all_keys and planned.action in _UNREAD:
            planned.notes.append(
                f"a key is read when it is noted next; `syncd snapshot {plan.name}` reads all"
            )
        planned.taken = self._taken(plan)
        if isinstance(plan, StreamPlan):
            planned.indexes = self._indexes(plan)
            if planned.action is Action.RESTART and any(
                word != IndexStep.STAYS.value for word in planned.indexes.values()
            ):
                planned.action = Action.INDEX
        return planned

    def _waits(self, one: _Both, plan: str) -> bool:
        versions = [one.wanted.contract, *([one.now.contract] if one.now.contract is not None else [])]
        is_planned = any(version.sync.apply == "planned" for version in versions)
        return is_planned and approved_plan(self._redis, one.wanted.contract.name) != plan

    def _taken(self, plan: ContractPlan) -> dict[str, str]:
        mine = claims_of(plan).claims
        return {
            name: said["contract"]
            for name, said in self._claims.items()
            if said["contract"] != plan.name
            and not said.get("free")
            and any(claim.meets(name) for claim in mine)
        }

    def _indexes(self, plan: StreamPlan) -> dict[str, str]:
        generations = Generations(self._redis, ControlKeys(plan.name, place=self._redis.place))
        generations.load()
        wanted = {one.name: one for one in wanted_indexes(plan)}
        found = {name: step_of(generations.of(SERVING, name), one).value for name, one in wanted.items()}
        return found | dict.fromkeys(sorted(generations.aliases() - wanted.keys()), "dropped")

    def _look(
        self, all_of: list[_Both], steps: list[Step], leaving: Sequence[str]
    ) -> tuple[list[str], list[Finding]]:
        """Go through the keys and some documents. Returns what the servers are, and findings of no contract."""
        counted: list[tuple[Step, _Both, Keys]] = []
        read: dict[str, int] = {}
        visitors: list[Visitor] = []
        for step, one in zip(steps, all_of, strict=True):
            if isinstance(one.plan, StreamPlan) and step.action in (Action.COPY, Action.BEGINS):
                keys = Keys(self._redis, one.plan, going(one.plan, one.now))
                counted.append((step, one, keys))
                visitors += keys.visitors()
            elif isinstance(one.plan, StatePlan) and _reads(one.plan, step):
                visitors.append(_counting(one.plan, read))
        same = {step.contract for step in steps if not step.is_change}
        report = inspect(
            self._contracts, self._settings, self._servers, visitors,
            only_reads=True, leaving=leaving, unread=same,
        )  # fmt: skip
        self._give(report.findings, steps)
        for step in steps:
            step.keys = read.get(step.contract, 0) if step.contract in read else None
        for step, one, keys in counted:
            assert isinstance(one.plan, StreamPlan)
            keys.finish(saw_all=report.saw_all_keys)
            for found in keys.present:
                found.stays = report.foreign.get((one.plan.name, found.shape.template.text), 0)
            step.present, step.going = keys.present, [found for found in keys.going if found.count]
            if step.action is not Action.REFUSED:
                step.copy = copy_of(one.plan, one.before, self._mongo, self._redis, self._servers.server)
                step.notes += _limits(step, one)
        return report.servers, [one for one in report.findings if not one.contracts]

    @staticmethod
    def _give(findings: Sequence[Finding], steps: Sequence[Step]) -> None:
        """Each finding to the contracts that it is about."""
        for planned in steps:
            names = (planned.contract, planned.contract.partition(OF)[0])
            planned.findings = [one for one in findings if any(name in one.contracts for name in names)]
            if any(one.level == "refused" for one in planned.findings):
                planned.action = Action.REFUSED

    def _what_stays(self, step: Step) -> str:
        """Of a contract that is no longer among the files."""
        mine = {
            name
            for name, said in self._claims.items()
            if said["contract"] == step.contract and not said.get("free")
        }
        if not step.given:
            return f"its keys and indexes stay; `syncd remove {step.contract} --keys` removes them"
        if mine <= step.given.keys():
            return f"no key goes; `syncd remove {step.contract}` clears its dead letters and records"
        return f"its other keys and indexes stay; `syncd remove {step.contract} --keys` removes them"

    def _memory(self, steps: Sequence[Step]) -> Memory:
        used = limit = 0
        for node in self._redis.nodes:
            with translated():
                info: Any = node.client.info("memory")
            used += int(info.get("used_memory", 0))
            limit += int(info.get("maxmemory", 0))
        return Memory(used, limit, max(0, used + sum(step.memory for step in steps)))


def _of_gone(diffs: Mapping[str, ContractDiff], name: str) -> ContractDiff | None:
    """None where it has another name now, or goes on for other collections."""
    found = diffs.get(name.partition(OF)[0])
    return found if found is not None and found.new is None else None


def _reads(plan: StatePlan, step: Step) -> bool:
    """Whether all keys are read."""
    return plan.reads_all_keys and step.action in (Action.KEYS, Action.BEGINS)


def _counting(plan: StatePlan, read: dict[str, int]) -> Visitor:
    """Counts the keys whose documents are written again."""
    read[plan.name] = 0

    def visit(key: bytes) -> None:
        if plan.has_key(key):
            read[plan.name] += 1

    return plan.keys, visit


def _limits(step: Step, one: _Both) -> Iterator[str]:
    """Keys of templates that stay and have no document any more, and where the copy would remove more than may go
    unasked, see `sync.sweep_limit`."""
    assert step.copy is not None
    if one.plan.contract.is_two_way:
        return
    present = step.present
    for found in (*present, *step.going):
        in_place = step.copy.keys.get(found.shape.name, step.copy.documents)
        survey = Survey(keys=found.own, gone=found.own - in_place)
        shown = f"keys of `{found.shape.template.shown}`"
        if survey.is_above(one.plan.contract.sync.sweep_limit):
            yield (
                f"about {survey.gone:,} of {survey.keys:,} {shown} would go and are not replaced, more than "
                f"`sweep_limit`: the copy stops before that, until `syncd snapshot {step.contract} --allow-removal`"
            )
        elif found in present and survey.gone * LEAST_SHARE > survey.keys:
            yield f"about {survey.gone:,} of {survey.keys:,} {shown} go: their documents match no more, or are gone"
