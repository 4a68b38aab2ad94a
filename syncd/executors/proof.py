"""Proof that a worker fits: it takes addresses and keys from its own environment, and has to show that they lead to
the same servers and give the same results.
"""

from __future__ import annotations

from syncd import __version__
from syncd.contract.model.contract import Contract
from syncd.errors import SettingsError, TransientError
from syncd.plan.to_redis.compile import Plan, compile_contract
from syncd.settings import Settings
from syncd.stores.mongo.store import MongoStore, translated


def same_plan(contract: Contract, fingerprint: str, version: str, settings: Settings) -> Plan:
    """The plan of the process that sent the work. Raises SettingsError where the plan of this process would differ."""
    if version != __version__:
        raise SettingsError(f"this worker runs syncd {__version__}, not {version}; use one version")
    plan = compile_contract(
        contract, settings.hmac_key.get_secret_value().encode() if settings.hmac_key else None
    )
    if plan.fingerprint != fingerprint:
        raise SettingsError("SYNCD_HMAC_KEY of this worker is another one; set the same everywhere")
    return plan


def same_mongo(store: MongoStore, expected: str) -> None:
    """Raises TransientError where `store` is another MongoDB: the replica set may have been changed just now."""
    if identity(store) != expected:
        raise TransientError(
            "mongo", "this worker has another MongoDB; set the same SYNCD_MONGO_URI everywhere"
        )


def identity(store: MongoStore) -> str:
    """Name and members of the replica set by its own configuration; empty where there is none."""
    with translated():
        hello = store.client.admin.command("hello")
    return " ".join([hello.get("setName", ""), *sorted(hello.get("hosts", []))])
