"""How a store is reached, as the settings say now: passwords and certificates are renewed while a daemon runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from syncd import telemetry
from syncd.settings import Settings
from syncd.stores.tls import Pems
from syncd.stores.uri import apart_from_login

Store: TypeAlias = Literal["mongo", "redis"]
_URI: dict[Store, str] = {"mongo": "mongo_uri", "redis": "redis_url"}


class Given(NamedTuple):
    """What the settings say of one store."""

    uri: str
    pems: Pems = Pems()


class Access:
    """The way to one store. A file may give another login later, but not another server: lanes that run would write to
    the one, and those that begin to the other."""

    def __init__(
        self, store: Store, read: Callable[[], Given], *, may_change: bool = False, credentials: str = ""
    ) -> None:
        """`may_change`: whether `read` may give something else later. `credentials`: SYNCD_REDIS_CREDENTIALS. Raises
        SettingsError as `read` does."""
        self._store, self._read = store, read
        self.may_change, self.credentials = may_change, credentials
        self._first, self._refused = read(), ""
        self._uri = self._first.uri
        """The last that was taken."""

    def now(self) -> Given:
        """What is so at this moment. Raises SettingsError where a file cannot be read."""
        if not self.may_change:
            return self._first
        given = self._read()
        if apart_from_login(given.uri) == apart_from_login(self._first.uri):
            self._uri = given.uri
            return given
        if given.uri != self._refused:
            self._refused = given.uri
            what = "its URI differs in more than user and password; restart syncd to take it up"
            telemetry.renewal_failed(self._store, what)
        return given._replace(uri=self._uri)


def access_of(store: Store, settings: Settings) -> Access:
    """The way of these settings."""
    uri, *pems = names = (_URI[store], *(f"{store}_tls_{part}" for part in Pems._fields))

    def read() -> Given:
        return Given(settings.now(uri), Pems(*map(settings.now, pems)))

    credentials = settings.redis_credentials if store == "redis" else ""
    return Access(store, read, may_change=settings.may_change(*names), credentials=credentials)


def fixed(store: Store, uri: str) -> Access:
    """Of a URI that stays."""
    return Access(store, lambda: Given(uri))
