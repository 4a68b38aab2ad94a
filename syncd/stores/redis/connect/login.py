"""Who syncd is to Redis: user, password and certificates, asked for at each connect."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from redis.connection import parse_url

from syncd.errors import SettingsError
from syncd.stores.access import Access
from syncd.stores.redis.connect.sentinel_url import server_url
from syncd.stores.tls import Pems, check


class UserAndPassword(NamedTuple):
    """Either may be missing."""

    user: str | None
    password: str | None


class Login:
    """Of one Redis, shared by all its connections."""

    def __init__(self, access: Access) -> None:
        """Raises SettingsError where SYNCD_REDIS_CREDENTIALS names nothing that can be called."""
        self._access = access
        self._ask = _callable(access.credentials) if access.credentials else None

    def user_and_password(self) -> UserAndPassword:
        """Raises SettingsError."""
        if self._ask is not None:
            return _checked(self._ask, self._access.credentials)
        said: dict[str, Any] = parse_url(server_url(self._access.now().uri))
        return UserAndPassword(said.get("username"), said.get("password"))

    def pems(self) -> Pems:
        """Raises SettingsError where they cannot be used any more."""
        pems = self._access.now().pems
        if self._access.may_change:
            check(pems, "redis")
        return pems


def _callable(name: str) -> Callable[[], Any]:
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise SettingsError("SYNCD_REDIS_CREDENTIALS: not module:callable; write it like that")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - a module of the operator may raise anything, with anything in its text
        what = f"SYNCD_REDIS_CREDENTIALS: {name} cannot be imported ({type(error).__name__})"
        raise SettingsError(f"{what}; install it where syncd is, or correct the name") from None
    if not callable(found):
        raise SettingsError(f"SYNCD_REDIS_CREDENTIALS: {name} cannot be called; name a function")
    ask: Callable[[], Any] = found
    return ask


def _checked(ask: Callable[[], Any], name: str) -> UserAndPassword:
    """What the operator's function gave: no word of it, nor of its errors, may get into a log."""
    try:
        said = ask()
    except Exception as error:  # noqa: BLE001 - see above
        what = f"SYNCD_REDIS_CREDENTIALS: {name} raised {type(error).__name__}"
        raise SettingsError(f"{what}; call it on this machine to see why") from None
    match said:
        case (str(user), str(password)):
            return UserAndPassword(user, password)
        case _:
            what = f"SYNCD_REDIS_CREDENTIALS: {name} did not return user and password"
            raise SettingsError(f"{what}; return (user, password), two texts")
