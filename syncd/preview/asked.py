"""What a person asks to see: of which contract, and of which documents, keys or entries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bson import json_util
from bson.errors import BSONError

from syncd.contract.model.contract import Contract
from syncd.contract.read.load import load_contract_set
from syncd.contract.read.loaded import ContractSet
from syncd.contract.several import OF, collection_of, for_collection, matching
from syncd.errors import SettingsError
from syncd.plan.both.plan import TwoWayPlan
from syncd.plan.keys.decode import decode_key_value
from syncd.plan.keys.encode import encode_key_value
from syncd.plan.kinds import compile_any
from syncd.plan.stream_plan import StreamPlan
from syncd.plan.to_mongo.append import AppendPlan
from syncd.plan.to_mongo.state import StatePlan
from syncd.preview import reading
from syncd.preview.documents import event, outcome_of, writes_of
from syncd.preview.entries import outcome_of_entry, outcome_of_key
from syncd.preview.given import stored
from syncd.preview.outcome import Outcome
from syncd.settings import Settings, contract_environment
from syncd.stores.mongo.collections import collections_of
from syncd.stores.mongo.store import Document, MongoStore
from syncd.stores.redis.store import RedisStore


def find_contract(settings: Settings, name: str) -> Contract:
    """The contract of this name, for one collection. Raises SettingsError where there is none, and ContractError."""
    contracts = [
        one.contract for one in load_contract_set(settings.contracts, contract_environment()).contracts
    ]
    whole = next((one for one in contracts if one.name == name.partition(OF)[0]), None)
    if whole is None:
        known = ", ".join(sorted(one.name for one in contracts))
        raise SettingsError(f"no contract {name} in {settings.contracts}; there are {known}")
    if not whole.patterns and OF not in name:
        return whole
    collection = collection_of(whole, name)
    found = for_collection(whole, collection) if collection and matching(whole, [collection]) else None
    if found is None:
        raise SettingsError(
            f"contract {whole.name} is about {whole.collection}; name one of these collections, as in "
            f"{whole.name}{OF}database.collection"
            if whole.patterns
            else f"contract {whole.name} has one collection; leave out `{OF}` and what is behind it"
        )
    return found


MOST_COLLECTIONS = 5
"""Of a contract over several that a sample is taken of."""


def single_contracts(settings: Settings, contracts: ContractSet) -> Iterator[Contract]:
    """The contracts, each for one collection; of those over several the first few collections that are there."""
    for loaded in contracts.contracts:
        contract = loaded.contract
        if not contract.patterns:
            yield contract
            continue
        store = MongoStore.of(settings)
        try:
            databases = [pattern.partition(".")[0] for pattern in contract.patterns]
            there = matching(contract, collections_of(store, databases))
        finally:
            store.close()
        yield from filter(None, (for_collection(contract, name) for name in there[:MOST_COLLECTIONS]))


def outcomes_of(
    settings: Settings,
    contract: Contract,
    *,
    source: str | None = None,
    sample: int | None = None,
    given: Sequence[Document] | None = None,
) -> Iterator[Outcome]:
    """What is asked for, one way. Raises StoreError where the store of it cannot be read."""
    secret = settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None
    plan = compile_any(contract, secret)
    if given is not None:
        if not isinstance(plan, StreamPlan):
            raise SettingsError(f"contract {plan.name} goes from Redis to MongoDB; give a key, or an entry")
        return _of_given(settings, plan, given)
    if isinstance(plan, AppendPlan):
        return _of_entries(settings, plan, source, sample)
    if isinstance(plan, StatePlan):
        return _of_keys(settings, plan, source, sample)
    assert isinstance(plan, StreamPlan)
    if isinstance(plan, TwoWayPlan) and source is not None and plan.state.owns(source.encode()):
        return _of_keys(settings, plan, source, None)
    return _of_documents(settings, plan, source, sample)


def _of_given(settings: Settings, plan: StreamPlan, given: Sequence[Document]) -> Iterator[Outcome]:
    documents = {encode_key_value(one["_id"]): one for one in given}
    if plan.filter is None:
        yield from _outcomes(plan, reading.Documents(documents, [], []))
        return
    store = MongoStore.of(settings)
    try:
        yield from _outcomes(plan, reading.matching(store, plan.namespace[0], plan, given))
    finally:
        store.close()


def _of_documents(
    settings: Settings, plan: StreamPlan, source: str | None, sample: int | None
) -> Iterator[Outcome]:
    ids = [] if source is None else [parse_id(source)]
    store = MongoStore.of(settings)
    try:
        ids = ids or reading.sampled_ids(store, plan, sample or 1)
        yield from _outcomes(plan, reading.documents_by_id(store, plan, ids))
    finally:
        store.close()


def _outcomes(plan: StreamPlan, documents: reading.Documents) -> Iterator[Outcome]:
    for ident, document in documents.found.items():
        insert = event("insert", document["_id"], 0, fullDocument=document)
        outcome = outcome_of(ident, writes_of(plan, [insert], documents.found))
        outcome.notes += [
            f"field {one.field} of {one.projection}: {one.became}, because its value does not fit"
            for one in plan.misfits.taken()
        ]
        yield outcome
    yield from (Outcome(ident, filtered=True) for ident in documents.filtered)
    yield from (Outcome(ident, missing=True) for ident in documents.missing)


def _of_keys(
    settings: Settings, plan: StatePlan | TwoWayPlan, source: str | None, sample: int | None
) -> Iterator[Outcome]:
    store = RedisStore.of(settings)
    state = plan.state if isinstance(plan, TwoWayPlan) else plan
    try:
        keys = reading.some_keys(store, state, sample or 1) if source is None else [source.encode()]
        for key in keys:
            yield outcome_of_key(plan, key, reading.found_key(store, state, key))
    finally:
        store.close()


def _of_entries(
    settings: Settings, plan: AppendPlan, source: str | None, sample: int | None
) -> Iterator[Outcome]:
    store = RedisStore.of(settings)
    try:
        if source is not None:
            yield outcome_of_entry(plan, source, reading.found_entry(store, plan, source))
            return
        for entry, said in reading.some_entries(store, plan, sample or 1).items():
            yield outcome_of_entry(plan, entry, said)
    finally:
        store.close()


def parse_id(text: str) -> Any:
    """An `_id` as it stands in keys, or as Extended JSON. Raises SettingsError."""
    try:
        if text.startswith(("{", '"')):
            return stored({"_id": json_util.loads(text)})["_id"]
        return decode_key_value(text)
    except (ValueError, TypeError, BSONError):
        remedy = """write it as it stands in keys, or as Extended JSON: '"a text: with a colon"', '{"$oid": "..."}'"""
        raise SettingsError(f"not the text of an `_id`; {remedy}") from None
