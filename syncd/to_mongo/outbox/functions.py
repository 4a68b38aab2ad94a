"""Brings the functions for applications to the server: `functions.lua`."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from redis import exceptions as driver

from syncd import telemetry
from syncd.stores.redis.store import RedisStore, translated


@cache
def source() -> str:
    """The library as FUNCTION LOAD takes it."""
    return files("syncd.to_mongo.outbox").joinpath("functions.lua").read_text(encoding="utf-8")


@cache
def version() -> int:
    """Of the library here."""
    found = re.search(r"^local VERSION = (\d+)$", source(), re.MULTILINE)
    assert found is not None
    return int(found[1])


class OutboxFunctions:
    """The library on one server. Where a server forbids functions, applications write in MULTI."""

    def __init__(self, redis: RedisStore) -> None:
        self._redis = redis
        self._forbidden = False

    def ensure(self, contract: str) -> None:
        """Load the library where it is not there, or older. Called again and again: a server may forget it."""
        if self._forbidden:
            return
        with translated():
            try:
                if self._redis.functions.by_script:
                    raise driver.NoPermissionError
                if self._present() < version():
                    self._redis.client.execute_command("FUNCTION LOAD", "REPLACE", source())
            except driver.NoPermissionError:
                self._forbidden = True
                telemetry.outbox_functions_missing(contract)
            except driver.OutOfMemoryError:
                return  # with time: a full memory must not keep the outbox from being emptied

    def _present(self) -> int:
        try:
            return int(self._redis.client.execute_command("FCALL_RO", "syncd_outbox_version", 0))
        except driver.ResponseError as error:
            if "Function not found" not in str(error):
                raise
            return 0
