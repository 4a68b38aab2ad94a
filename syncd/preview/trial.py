"""One test of a contract: what is given goes through the code of the lane, and is compared with what is expected.

No server is needed, but for a filter: only MongoDB evaluates that, so it is asked, and without one the test is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from syncd.contract.model.contract import Contract
from syncd.contract.model.contract_tests import ContractTest
from syncd.contract.read.contract_tests import LoadedTest
from syncd.contract.several import for_collection
from syncd.errors import ProjectionError
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.kinds import compile_any
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import COLON, FoundKey, StatePlan
from syncd.plan.values.texts import as_bytes, to_hash
from syncd.preview.compare import NOTHING, BsonValues, Comparison, Difference, Entries, JsonValues, Texts
from syncd.preview.documents import event, writes_of
from syncd.preview.entries import outcome_of_entry, outcome_of_key
from syncd.preview.given import stored
from syncd.preview.held import Held, HeldKeys
from syncd.preview.outcome import DeadShown, Outcome
from syncd.preview.shown import duration, moment
from syncd.stores.mongo.store import Document

HMAC_KEY = b"syncd test"
"""Of `mask: hmac` in tests: the same everywhere, so that expected values are, and no secret."""
LATER = "0" * 15 + "2"

Ask: TypeAlias = Callable[[StreamPlan, Sequence[Document]], "Mapping[str, Document] | None"]
"""Which of these documents match the filter of a plan, by ident; None where there is no MongoDB to ask."""


@dataclass(slots=True)
class Verdict:
    """What came of one test."""

    test: LoadedTest
    status: Literal["passed", "failed", "skipped"]
    differences: list[Difference] = field(default_factory=list)
    why: str = ""
    """It was skipped, or failed."""


def run_test(loaded: LoadedTest, ask: Ask) -> Verdict:
    """Run one. Raises StoreError where MongoDB is asked and does not answer."""
    test, contract = loaded.test, _contract(loaded)
    plan = compile_any(contract, HMAC_KEY)
    if test.given_entries is not None:
        assert isinstance(plan, AppendPlan)
        return _judged(loaded, _of_outcomes(test, _entries(plan, test.given_entries)))
    if test.given_keys is not None:
        assert isinstance(plan, StatePlan | TwoWayPlan)
        if unusable := list(_unusable(plan, test)):
            return Verdict(loaded, "failed", unusable)
        return _judged(loaded, _of_outcomes(test, _keys(plan, test)))
    assert isinstance(plan, StreamPlan)
    return _of_documents(loaded, plan, ask)


def _contract(loaded: LoadedTest) -> Contract:
    contract = loaded.contract.contract
    found = for_collection(contract, loaded.test.collection) if loaded.test.collection else contract
    assert found is not None
    return found


def _judged(loaded: LoadedTest, differences: Iterator[Difference]) -> Verdict:
    found = list(differences)
    return Verdict(loaded, "failed" if found else "passed", found)


def _entries(plan: AppendPlan, given: Mapping[str, Mapping[str, Any]]) -> list[Outcome]:
    return [
        outcome_of_entry(
            plan, entry, {name.encode(): as_bytes(to_hash(value)) for name, value in said.items()}
        )
        for entry, said in given.items()
    ]


def _keys(plan: StatePlan | TwoWayPlan, test: ContractTest) -> list[Outcome]:
    state = plan.state if isinstance(plan, TwoWayPlan) else plan
    assert test.given_keys is not None
    return [
        outcome_of_key(plan, name, FoundKey(state.type, held, None))
        for key, content in test.given_keys.items()
        for name, held in _given(state, key.encode(), content)
    ]


def _given(state: StatePlan, key: bytes, content: Any) -> Iterator[tuple[bytes, Any]]:
    """What becomes documents, with what it holds."""
    if state.of_members is None:
        yield key, state.form.given(content)
        return
    for member, held in state.of_members.each(content).items():
        yield COLON.join((key, member.encode())), held


def _unusable(plan: StatePlan | TwoWayPlan, test: ContractTest) -> Iterator[Difference]:
    """Keys that cannot hold what is given."""
    form = (plan.state if isinstance(plan, TwoWayPlan) else plan).form
    for key, content in (test.given_keys or {}).items():
        try:
            form.given(content)
        except (ValueError, ProjectionError) as error:
            yield Difference(("given_keys", key), f"{key} cannot hold this, but {error}", NOTHING, content)


def _of_outcomes(test: ContractTest, outcomes: Sequence[Outcome]) -> Iterator[Difference]:
    """Of what becomes of keys and entries."""
    yield from _of_dead(test, [dead for one in outcomes for dead in one.dead_letters])
    if "document" not in test.model_fields_set:
        return
    said = test.document
    expected = said if isinstance(said, list) else [said]
    found = [one.document for one in outcomes if one.document is not None]
    rules = BsonValues(partial=test.partial)
    for at, (one, other) in enumerate(zip(expected, found, strict=False)):
        path = ("document", at) if isinstance(said, list) else ("document",)
        yield from rules.differences(path, "the document", _stored(one), other)
    for one in expected[len(found) :]:
        yield Difference(("document",), "the document", one)
    for other in found[len(expected) :]:
        yield Difference(("document",), "a document", NOTHING, other)


def _stored(document: Any) -> Any:
    """As MongoDB would hold it, also without an `_id`."""
    if not isinstance(document, dict):
        return document
    return stored(document) if "_id" in document else {
        name: value for name, value in stored({"_id": 0, **document}).items() if name != "_id"
    }  # fmt: skip


def _of_dead(test: ContractTest, found: Sequence[DeadShown]) -> Iterator[Difference]:
    """A dead letter that is not expected is an error; so is one that does not come."""
    reasons = {one.reason for one in found}
    for reason in test.dead_letter:
        if reason not in reasons:
            yield Difference(("dead_letter",), "the dead letter", reason)
    for one in found:
        if one.reason not in test.dead_letter:
            text = f"{one.reason}: {one.detail}"
            yield Difference(("name",), f"a dead letter of projection {one.projection}", NOTHING, text)


def _of_documents(loaded: LoadedTest, plan: StreamPlan, ask: Ask) -> Verdict:
    test = loaded.test
    before, given = (_documents(one) for one in (test.before, test.given))
    matching: list[Mapping[str, Document]] = []
    for documents in (before, given):
        some = documents if plan.filter is None or not documents else ask(plan, list(documents.values()))
        if some is None:
            why = "only MongoDB evaluates its filter, and there is none to ask: say --connect, or install syncd[demo]"
            return Verdict(loaded, "skipped", why=why)
        matching.append(some)
    held = HeldKeys()
    wall = test.now or 0
    inserts = [event("insert", one["_id"], at, wall_ms=wall) for at, one in enumerate(before.values())]
    held.apply(writes_of(plan, inserts, matching[0], before))
    held.dead.clear()
    held.apply(writes_of(plan, list(_changes(before, given, wall)), matching[1], given))
    verdict = _judged(loaded, _of_held(test, held, matching[1]))
    if verdict.differences and (left_out := [ident for ident in given if ident not in matching[1]]):
        verdict.why = f"the filter leaves out {', '.join(left_out)}"
    return verdict


def _documents(said: Any) -> dict[str, Document]:
    documents = said if isinstance(said, list) else [] if said is None else [said]
    found = map(stored, documents)
    return {encode_key_value(one["_id"]): one for one in found}


def _changes(before: Mapping[str, Document], given: Mapping[str, Document], wall: int) -> Iterator[Document]:
    """What happened between both."""
    changed = [ident for ident in given if before.get(ident) != given[ident]]
    gone = [ident for ident in before if ident not in given]
    for at, ident in enumerate([*gone, *changed]):
        said = (given if ident in given else before)[ident]
        if ident not in given:
            yield event("delete", said["_id"], at, time=LATER, wall_ms=wall)
        elif ident not in before:
            yield event("insert", said["_id"], at, time=LATER, wall_ms=wall)
        else:
            description = _description(before[ident], said)
            yield event("update", said["_id"], at, time=LATER, wall_ms=wall, updateDescription=description)


def _description(old: Document, new: Document) -> Document:
    updated = {name: value for name, value in new.items() if name not in old or old[name] != value}
    return {"updatedFields": updated, "removedFields": [name for name in old if name not in new]}


def _of_held(test: ContractTest, held: HeldKeys, matching: Mapping[str, Document]) -> Iterator[Difference]:
    there = held.at(test.now)
    yield from _of_dead(test, held.dead)
    if test.filtered:
        for ident in matching:
            yield Difference(("filtered",), f"document {ident}", "filtered out", "matches the filter")
    if test.expect == {}:
        for key, one in there.items():
            yield Difference(("expect",), key, NOTHING, one.content)
    for key, content in (test.expect or {}).items():
        if key in there:
            one = there[key]
            yield from _rules(one, test).differences(("expect", key), key, content, one.content)
        else:
            yield Difference(("expect", key), key, content)
    for at, key in enumerate(test.absent):
        if key in there:
            yield Difference(("absent", at), key, NOTHING, there[key].content)
    for key, expected in test.ttl.items():
        yield from _of_ttl(("ttl", key), f"ttl of {key}", expected, there.get(key), test.now)


def _rules(held: Held, test: ContractTest) -> Comparison:
    if isinstance(held.content, list) and any(isinstance(one, dict) for one in held.content):
        return Entries(partial=test.partial)
    return (JsonValues if held.is_json else Texts)(partial=test.partial)


def _of_ttl(path: Any, what: str, expected: Any, held: Held | None, now: int | None) -> Iterator[Difference]:
    if held is None:
        yield Difference(path, what, _expiry(expected) if isinstance(expected, int) else expected)
    elif isinstance(expected, dict):
        for name, one in expected.items():
            found = -held.moments.get(name, 0)
            if not _same_expiry(one, found, now):
                yield Difference((*path, name), f"{what}, {name}", _expiry(one), _expiry(found))
    elif not _same_expiry(expected, held.ttl, now):
        yield Difference(path, what, _expiry(expected), _expiry(held.ttl))


def _same_expiry(expected: int, found: int, now: int | None) -> bool:
    """A duration may say when a moment comes, as seen from `now`."""
    if expected > 0 > found and now is not None:
        return -found - now == expected
    return expected == found


def _expiry(value: int) -> str:
    return "none" if value == 0 else duration(value) if value > 0 else moment(-value)
