"""Whether `syncd run` would accept these contracts under these settings: a check must not pass what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

from syncd.contract.read.loaded import ContractSet, LoadedContract
from syncd.contract.read.source import Path
from syncd.errors import ContractError, Problem, SettingsError
from syncd.executors.pool import pool_of
from syncd.plan.kinds import compile_any
from syncd.settings import Settings
from syncd.stores.mongo.store import MongoStore
from syncd.stores.redis.store import RedisStore


def check_settings(contracts: ContractSet, settings: Settings) -> None:
    """Asks no server. Raises SettingsError, UnusableUriError, or ContractError with every problem."""
    check_uris(settings)
    if (pool := pool_of(settings)) is not None:
        pool.close()
    secret = settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None
    problems = [problem for loaded in contracts.contracts for problem in _problems(loaded, secret)]
    if problems:
        raise ContractError(problems)


def check_uris(settings: Settings) -> None:
    """Check both URIs before anything starts: restarts would not make them usable."""
    RedisStore.of(settings).close()
    if not settings.mongo_uri.get_secret_value().startswith("mongodb+srv:"):  # that would ask for a name
        MongoStore.of(settings).close()


def _problems(loaded: LoadedContract, secret: bytes | None) -> Iterator[Problem]:
    try:
        compile_any(loaded.contract, secret)
    except SettingsError as error:
        what, _, remedy = str(error).partition("; ")
        yield loaded.problem(_masked(loaded), what, remedy)


def _masked(loaded: LoadedContract) -> Path:
    """The place of the first keyed mask."""
    for at, shape in enumerate(loaded.contract.redis):
        if shape.value is not None and shape.value.mask == "hmac":
            return ("redis", at, "value", "mask")
        for name, spec in (shape.fields or {}).items():
            if spec.mask == "hmac":
                return ("redis", at, "fields", name, "mask")
    return ("metadata", "name")
