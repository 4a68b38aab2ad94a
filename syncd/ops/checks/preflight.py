"""Checks contracts against real servers, before anything runs: for `syncd check --connect` and `syncd doctor`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

from pymongo.errors import OperationFailure

from syncd.contract.model.contract import Contract
from syncd.contract.model.redis.redis_types import TYPE_RULES
from syncd.contract.model.redis.template import template_of, unique_paths
from syncd.contract.read.loaded import ContractSet, LoadedContract
from syncd.contract.read.source import Path
from syncd.contract.several import for_collection, matching
from syncd.errors import CapabilityError, FatalError, Problem, SettingsError
from syncd.ops.checks.conditions import Finding, conditions, refused, shared_streams
from syncd.ops.checks.documents import examine_documents
from syncd.ops.checks.fitting import Fitting
from syncd.ops.checks.names import Names, why_no_feed
from syncd.ops.checks.walk import Visitor, walk
from syncd.plan.both.plan import compile_two_way
from syncd.plan.keys.templates import scan_pattern
from syncd.plan.to_mongo.append import appends, compile_append
from syncd.plan.to_mongo.state import compile_state
from syncd.plan.to_redis.compile import compile_contract
from syncd.plan.to_redis.joins import joins_of
from syncd.plan.types import TYPES
from syncd.settings import Settings
from syncd.stores.messages import of_mongo
from syncd.stores.mongo import codes
from syncd.stores.mongo.collections import (
    collections_of,
    require_joined,
    require_records,
    require_source,
    require_target,
)
from syncd.stores.mongo.reads.naming import naming_of
from syncd.stores.mongo.sharding import require_every_shard
from syncd.stores.mongo.store import MongoCapabilities, MongoStore, translated
from syncd.stores.redis.capabilities import Capabilities, lacks
from syncd.stores.redis.records.layout import shown_partitions
from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore
from syncd.to_mongo.append.target import find_series
from syncd.to_mongo.keyspace import notifications
from syncd.to_mongo.keyspace.subscriber import Subscriber

SUBSCRIBED_S = 5.0
MOST_EXAMINED = 3
"""Collections of one contract."""


class PreflightReport(NamedTuple):
    """The servers, and all findings."""

    servers: list[str]
    findings: list[Finding]
    saw_all_keys: bool = True
    """Of Redis: a walk through them ends after a while."""
    foreign: Mapping[tuple[str, str], int] = {}
    """How many keys were there before their contract, by its name and the template."""

    @property
    def problems(self) -> list[Problem]:
        """Problems because of which contracts cannot run."""
        return [finding.problem for finding in self.findings if finding.problem is not None]


class Servers(NamedTuple):
    """Both, connected."""

    mongo: MongoStore
    redis: RedisStore
    deployment: MongoCapabilities
    server: Capabilities


def preflight(contracts: ContractSet, settings: Settings) -> PreflightReport:
    """Check both servers. Raises StoreError when one cannot be reached, or is of a kind that syncd does not support."""
    with connected(settings) as servers:
        return inspect(contracts, settings, servers)


@contextmanager
def connected(settings: Settings, *, only_reads: bool = False) -> Iterator[Servers]:
    """Both servers, until the end. `only_reads`: without bringing syncd's functions to Redis."""
    mongo = MongoStore.of(settings)
    redis = RedisStore.of(settings)
    try:
        yield Servers(mongo, redis, mongo.connect(), redis.look() if only_reads else redis.connect())
    finally:
        mongo.close()
        redis.close()


def inspect(
    contracts: ContractSet,
    settings: Settings,
    servers: Servers,
    visitors: Iterable[Visitor] = (),
    *,
    only_reads: bool = False,
    leaving: Iterable[str] = (),
    unread: Container[str] = (),
) -> PreflightReport:
    """The same of servers that are connected. `visitors` see the keys of Redis too; `only_reads`: whether Redis
    publishes events is asked, and not tried out; `leaving`: contracts that give up their names with these files;
    `unread`: contracts of which no document is read."""
    mongo, redis, deployment, server = servers
    contracts, several = _of_each_collection(contracts, mongo)
    _ask_shards(contracts, mongo)
    findings = [
        refused(problem, loaded.contract.name)
        for loaded in contracts.contracts
        for problem in (
            *_settings(loaded, settings), *_capabilities(loaded, server), *_collection(loaded, mongo),
            *_filter(loaded, mongo), *_records(loaded, mongo), *_streams(loaded, redis),
            *_joins(loaded, mongo),
        )
    ]  # fmt: skip
    findings += [
        refused(problem, loaded.contract.name, "nothing_lost")
        for loaded in contracts.contracts
        for problem in _events(loaded, redis, only_reads=only_reads)
    ]
    plain = [loaded.contract for loaded in contracts.contracts]
    findings += [*several, *conditions(plain, server), *shared_streams(plain, settings.site)]
    if why := redis.on_the_way():
        what, _, remedy = why.partition("; ")
        findings.append(Finding("advice", what, remedy))
    stopped = {name for one in findings for name in one.contracts if one.problem}
    names = Names(redis, server, plain, leaving)
    read = [one for one in plain if one.name not in stopped and one.name not in unread]
    findings += [said for one in read for said in _documents(one, mongo, settings)]
    found, is_whole = _examine(plain, stopped, settings, redis, names, visitors)
    split = shown_partitions(redis, [one.name for one in plain])
    shown = [str(deployment), str(server), *redis.shown(), *split]
    return PreflightReport(shown, findings + found, is_whole, names.foreign())


def _ask_shards(contracts: ContractSet, mongo: MongoStore) -> None:
    """By the stream of the first contract that has one: each asks all shards."""
    followed = (
        one.contract for one in contracts.contracts if one.contract.sync.direction != "redis_to_mongo"
    )
    if contract := next(followed, None):
        require_every_shard(mongo, _namespace(contract))


def _of_each_collection(contracts: ContractSet, mongo: MongoStore) -> tuple[ContractSet, list[Finding]]:
    """With a contract for each of the first few collections in the place of one over several."""
    found: list[LoadedContract] = []
    findings: list[Finding] = []
    for loaded in contracts.contracts:
        contract = loaded.contract
        if not contract.patterns:
            found.append(loaded)
            continue
        databases = [pattern.partition(".")[0] for pattern in contract.patterns]
        names, about = matching(contract, collections_of(mongo, databases)), (contract.name,)
        made = [(name, for_collection(contract, name)) for name in names]
        found += [replace(loaded, contract=one) for _, one in made if one is not None][:MOST_EXAMINED]
        if not names:
            what, remedy = (
                f"no collection is called {contract.shown_collection}",
                "correct it, or go on where it is yet to come",
            )
            findings.append(Finding("data", what, remedy, (), about))
        for name in (name for name, one in made if one is None):
            remedy = "begin the key with something else"
            findings.append(
                Finding("data", f"keys of {name} would be syncd's own, and it is left out", remedy, (), about)
            )
        if len(names) > MOST_EXAMINED:
            what = f"{len(names)} collections, of which the first {MOST_EXAMINED} were examined"
            findings.append(
                Finding("advice", what, "`syncd status` shows them all while the daemon runs", (), about)
            )
    return ContractSet(tuple(found)), findings


def _documents(contract: Contract, mongo: MongoStore, settings: Settings) -> Iterator[Finding]:
    if contract.sync.direction == "mongo_to_redis":
        yield from examine_documents(contract, mongo, _hmac_key(settings))


def _examine(
    contracts: list[Contract],
    stopped: set[str],
    settings: Settings,
    redis: RedisStore,
    names: Names,
    more: Iterable[Visitor],
) -> tuple[list[Finding], bool]:
    """Read keys. Of contracts that are `stopped` only check whether their keys fit. The second value: whether all keys
    were seen."""
    fitting = Fitting(contracts, redis)
    visitors, found = [*fitting.visitors(), *more], list[Finding]()
    for contract in (one for one in contracts if one.name not in stopped):
        if contract.sync.direction == "mongo_to_redis":
            found += names.claimed(contract)
            if not contract.sync.adopt:
                visitors += names.visitors(contract)
                found += names.lost(contract)
        if contract.sync.direction != "redis_to_mongo":
            found += names.indexes(compile_contract(contract, _hmac_key(settings)))
    whole = walk(redis, visitors)
    return [*found, *names.keys(whole=whole), *fitting.keys(whole=whole)], whole


def _hmac_key(settings: Settings) -> bytes | None:
    return settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None


def _events(loaded: LoadedContract, redis: RedisStore, *, only_reads: bool) -> Iterator[Problem]:
    """Whether Redis publishes events of changed keys, or lets syncd turn that on."""
    if loaded.contract.sync.capture != "keyspace":
        return
    try:
        for node in redis.nodes:
            if notifications.check(node).present is None and not only_reads:
                _probe(loaded, node)
    except (CapabilityError, FatalError) as error:
        what, _, remedy = str(error).rpartition("; ")
        yield loaded.problem(("sync", "capture"), what, remedy)


def _probe(loaded: LoadedContract, redis: RedisStore) -> None:
    """Wait for an event, where the option cannot be read."""
    projection = loaded.contract.redis[0]
    pattern = scan_pattern(template_of(projection))
    keys = ControlKeys(loaded.contract.name, place=redis.place)
    subscriber = Subscriber(redis, keys, pattern, lambda key, event: None)
    subscriber.start()
    try:
        subscriber.wait_up(SUBSCRIBED_S)
        subscriber.probe(TYPES[projection.type].sample)
    finally:
        subscriber.stop()
        subscriber.join()


def _settings(loaded: LoadedContract, settings: Settings) -> Iterator[Problem]:
    if loaded.contract.sync.direction == "redis_to_mongo":
        return  # such a contract needs no setting
    try:
        compile_contract(loaded.contract, _hmac_key(settings))
    except SettingsError as error:
        what, _, remedy = str(error).partition("; ")
        yield loaded.problem(("redis",), what, remedy)


def _capabilities(loaded: LoadedContract, server: Capabilities) -> Iterator[Problem]:
    for lack in lacks(loaded.contract, server):
        yield loaded.problem(lack.path, lack.what, lack.remedy)


def _target(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    """Whether documents can be written to the collection, exactly once."""
    try:
        if appends(loaded.contract):
            find_series(mongo, compile_append(loaded.contract))
        else:
            require_target(mongo, compile_state(loaded.contract).namespace)
    except CapabilityError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield loaded.problem(("mongo", "collection"), what, remedy)


def _filter(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    """Whether MongoDB can read the filter; on which documents it then fails, the lane finds out."""
    contract = loaded.contract
    if contract.mongo.filter is None:
        return
    database, name = _namespace(contract)
    of_nothing = {"$and": [{"_id": {"$in": []}}, contract.mongo.filter]}
    with translated():
        try:
            mongo.client[database][name].find_one(of_nothing)
        except OperationFailure as error:
            if error.code in codes.TRANSIENT:
                raise
            if error.code not in codes.AUTHENTICATION:  # reported for the collection
                what, remedy = (
                    f"MongoDB refuses the filter: {of_mongo(error)}",
                    "write it as MongoDB reads a query",
                )
                yield loaded.problem(("mongo", "filter"), what, remedy)


def _joins(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    """Whether joined collections can be followed, and their changes be found in the documents that show them."""
    contract = loaded.contract
    joins = joins_of(contract)
    namings = naming_of(mongo, joins, _namespace(contract))
    for join in joins:
        try:
            require_joined(mongo, join.namespace)
            namings[join.name].require()
        except (CapabilityError, FatalError) as error:
            what, _, remedy = str(error).partition("; ")
            yield loaded.problem(("mongo", "with", join.name), what, remedy or "see docs/how-to/joins.md")


def _namespace(contract: Contract) -> tuple[str, str]:
    database, _, name = contract.collection.partition(".")
    return database, name


def _records(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    """Whether the records of conflicts can be written."""
    if loaded.contract.sync.direction != "both":
        return
    try:
        require_records(mongo, compile_two_way(loaded.contract).conflicts)
    except CapabilityError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield loaded.problem(("sync", "conflicts"), what, remedy)


def _of_boards(loaded: LoadedContract, indexes: list[list[str]]) -> Iterator[Problem]:
    """Where keys hold the best members alone, MongoDB says who comes back, and must not read all documents for it."""
    for at, projection in loaded.projections():
        paths = set(template_of(projection).paths)
        if projection.keep is None or projection.score is None or projection.member is None:
            continue
        wanted = [*sorted(paths), projection.score]
        if not any(
            {*one[:-1]} == paths and one[-1] == projection.score for one in _heads(indexes, len(wanted))
        ):
            yield loaded.problem(
                ("redis", at, "keep"),
                f"no index of {loaded.contract.shown_collection} says which documents come back to a key",
                f"create one over {', '.join(wanted)}, in this order",
            )


def _heads(indexes: list[list[str]], length: int) -> Iterator[list[str]]:
    yield from (names[:length] for names in indexes if len(names) >= length)


def _streams(loaded: LoadedContract, redis: RedisStore) -> Iterator[Problem]:
    """Whether change feeds can begin, or go on, at their keys."""
    for at, projection in loaded.projections():
        if loaded.contract.sync.direction != "mongo_to_redis" or not TYPE_RULES[projection.type].fed:
            continue
        why = why_no_feed(redis, projection, adopts=loaded.contract.sync.adopt)
        if why is not None:
            yield loaded.problem(("redis", at, "key"), *why)


def _collection(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    contract = loaded.contract
    if contract.sync.direction != "mongo_to_redis":
        yield from _target(loaded, mongo)
    if contract.sync.direction == "redis_to_mongo":
        return
    database, name = _namespace(contract)
    if contract.sync.direction == "mongo_to_redis":
        try:
            require_source(mongo, (database, name), contract.mongo.unique)
        except CapabilityError as error:
            what, _, remedy = str(error).partition("; ")
            yield loaded.problem(("mongo", "collection"), what, remedy)
            return
    with translated():
        try:
            indexes = list(mongo.client[database][name].list_indexes())
        except OperationFailure as error:
            place: Path = ("mongo", "collection")
            reason = (error.details or {}).get("codeName", error.code)
            yield loaded.problem(
                place,
                f"{contract.shown_collection} cannot be read ({reason})",
                "grant this user `find`, `changeStream` and `listIndexes` on it",
            )
            return
    whole = [index for index in indexes if "partialFilterExpression" not in index]
    yield from _of_boards(loaded, [list(index["key"]) for index in whole])
    unique = [set(index["key"]) for index in whole if index.get("unique")]
    for at, projection in loaded.projections():
        paths = unique_paths(projection)
        if TYPE_RULES[projection.type].fed:
            continue  # all documents have its one key
        if "_id" not in paths and not any(fields <= paths for fields in unique):
            yield loaded.problem(
                ("redis", at, "key"),
                f"no unique index of {contract.shown_collection} covers the fields of the key",
                f"create one over {', '.join(sorted(paths))}, or put {{_id}} into the key",
            )
