"""Whether Redis reports changed keys: `notify-keyspace-events`, and a question that only the events can answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis import Redis
from redis import exceptions as driver

from syncd import telemetry
from syncd.errors import CapabilityError
from syncd.stores.redis.store import RedisStore, translated

OPTION = "notify-keyspace-events"
NEEDED = "Kg$lshzxed"
"""K: by key. Then the classes: generic, strings, lists, sets, hashes, sorted sets, expired, evicted, modules (JSON).
All types, because a key of one type may be overwritten by another."""
_ALL = "g$lshztxed"
"""What `A` stands for."""
HEARD_S = 3.0
"""How long the events of a scratch key may take."""


class Setting(NamedTuple):
    """`present` is None where Redis does not let this user read it."""

    present: str | None
    missing: str

    @property
    def wanted(self) -> str:
        """What is there and what is missing; nothing that is there goes."""
        return (self.present or "") + self.missing


def read_setting(client: Redis) -> Setting:
    """What the option says now."""
    try:
        found: Any = client.config_get(OPTION)
    except driver.ResponseError as error:
        if not _is_hidden(error):
            raise
        return Setting(None, "")
    present = str(found.get(OPTION, ""))
    known = present + (_ALL if "A" in present else "")
    return Setting(present, "".join(flag for flag in NEEDED if flag not in known))


def _is_hidden(error: driver.ResponseError) -> bool:
    return isinstance(error, driver.NoPermissionError) or "unknown" in str(error).lower()


def is_hidden(store: RedisStore) -> bool:
    """Whether Redis does not let this user read the option."""
    with translated():
        return read_setting(store.client).present is None


def ensure(store: RedisStore, contract: str) -> bool:
    """Add what is missing, and say so. Returns whether anything was. Raises CapabilityError where that is forbidden."""
    with translated():
        setting = read_setting(store.client)
        if not setting.missing:
            return False
        try:
            store.client.config_set(OPTION, setting.wanted)
        except driver.ResponseError as error:
            raise _refused(store, setting, str(error)) from error
    telemetry.notifications_set(contract, setting.present or "", setting.wanted)
    return True


def check(store: RedisStore) -> Setting:
    """Whether `ensure` will do, without a change. Raises CapabilityError where it will not."""
    with translated():
        setting = read_setting(store.client)
        if setting.missing:
            try:
                store.client.config_set(OPTION, setting.present or "")
            except driver.ResponseError as error:
                raise _refused(store, setting, str(error)) from error
    return setting


def _refused(store: RedisStore, setting: Setting, why: str) -> CapabilityError:
    where = f" of node {store.node}" if store.node else ""
    return CapabilityError(
        "redis",
        f'{OPTION}{where} is "{setting.present}" and lacks "{setting.missing}", and syncd may not set it ({why}); '
        f'set it to "{setting.wanted}" in redis.conf, or grant +config|set',
    )


def scratch(store: RedisStore, key: str, sample: Sequence[str]) -> set[bytes]:
    """Writes a scratch key (see DataType) and lets it expire. Returns the events that report it."""
    command, *rest = sample
    with translated():
        store.client.execute_command(command, key, *rest)
        store.client.pexpire(key, 1)
        while store.client.exists(key):
            time.sleep(0.001)
    return {command.lower().encode(), b"expire", b"expired"}


def unheard(missing: set[bytes]) -> CapabilityError:
    """The error where events do not arrive, and Redis does not say why."""
    names = ", ".join(sorted(name.decode() for name in missing))
    return CapabilityError(
        "redis",
        f"Redis does not report changed keys (no event {names} of a scratch key), and hides {OPTION}; set it to "
        f'"{NEEDED}" where this service keeps its settings, or use capture: outbox',
    )
