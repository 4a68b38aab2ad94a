"""Contracts against real servers, before anything runs: what `syncd check --connect` tells."""

from __future__ import annotations

from collections.abc import Iterator

from pymongo.errors import OperationFailure

from syncd.contract.loaded import ContractSet, LoadedContract
from syncd.contract.source import Path
from syncd.contract.template import KeyTemplate
from syncd.errors import CapabilityError, Problem, SettingsError
from syncd.plan.append import appends, compile_append
from syncd.plan.compile import compile_contract
from syncd.plan.state import compile_state
from syncd.settings import Settings
from syncd.stores.capabilities import Capabilities, lacks
from syncd.stores.mongo import MongoStore, translated
from syncd.stores.redis import RedisStore
from syncd.writebehind.upsert import require_collection
from syncd.writebehind.writer import Writer


def preflight(contracts: ContractSet, settings: Settings) -> tuple[list[str], list[Problem]]:
    """What the servers are, and every problem of a contract with them. Raises StoreError when one cannot be reached."""
    mongo = MongoStore(settings.mongo_uri.get_secret_value())
    redis = RedisStore(settings.redis_url.get_secret_value())
    try:
        deployment, server = mongo.connect(), redis.connect()
        problems = [
            problem
            for loaded in contracts.contracts
            for problem in (
                *_settings(loaded, settings), *_capabilities(loaded, server), *_collection(loaded, mongo),
            )
        ]  # fmt: skip
        return [str(deployment), str(server), *_advice(server)], problems
    finally:
        mongo.close()
        redis.close()


def _advice(server: Capabilities) -> Iterator[str]:
    if not server.persistence:
        yield "this Redis keeps nothing on disk: after its restart every contract is copied anew"
    if server.maxmemory_policy.startswith("allkeys"):
        yield (
            f"maxmemory-policy {server.maxmemory_policy} may evict positions, and then a contract is copied anew; "
            "noeviction or volatile-lru does not"
        )


def _settings(loaded: LoadedContract, settings: Settings) -> Iterator[Problem]:
    key = settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None
    if loaded.contract.sync.direction == "redis_to_mongo":
        return  # nothing in it needs a setting
    try:
        compile_contract(loaded.contract, key)
    except SettingsError as error:
        yield loaded.problem(("redis",), str(error), "set SYNCD_HMAC_KEY or SYNCD_HMAC_KEY_FILE")


def _capabilities(loaded: LoadedContract, server: Capabilities) -> Iterator[Problem]:
    for lack in lacks(loaded.contract, server):
        yield loaded.problem(("redis", lack.projection, lack.key), lack.what, lack.remedy)


def _target(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    """Whether documents can be written to the collection, exactly once."""
    try:
        if appends(loaded.contract):
            Writer(mongo, compile_append(loaded.contract)).check()
        else:
            require_collection(mongo, compile_state(loaded.contract))
    except CapabilityError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield loaded.problem(("mongo", "collection"), what, remedy)


def _collection(loaded: LoadedContract, mongo: MongoStore) -> Iterator[Problem]:
    contract = loaded.contract
    if contract.sync.direction == "redis_to_mongo":
        yield from _target(loaded, mongo)
        return
    database, _, name = contract.mongo.collection.partition(".")
    with translated():
        try:
            indexes = list(mongo.client[database][name].list_indexes())
        except OperationFailure as error:
            place: Path = ("mongo", "collection")
            reason = (error.details or {}).get("codeName", error.code)
            yield loaded.problem(
                place,
                f"{contract.mongo.collection} cannot be read ({reason})",
                "grant this user `find`, `changeStream` and `listIndexes` on it",
            )
            return
    unique = [
        set(index["key"])
        for index in indexes
        if index.get("unique") and "partialFilterExpression" not in index
    ]
    for at, projection in loaded.projections():
        paths = set(KeyTemplate.parse(projection.key).paths)
        if "_id" not in paths and not any(fields <= paths for fields in unique):
            yield loaded.problem(
                ("redis", at, "key"),
                f"no unique index of {contract.mongo.collection} covers the fields of the key",
                f"create one over {', '.join(sorted(paths))}, or put {{_id}} into the key",
            )
