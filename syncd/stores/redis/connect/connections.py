"""The connections to Redis that all lanes of a daemon share. Each takes login and certificates as they are when it
connects."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar

from redis import Redis
from redis import exceptions as driver
from redis.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)

from syncd.errors import SettingsError
from syncd.stores.redis.connect.login import Login
from syncd.stores.redis.connect.sentinel import ToPrimary
from syncd.stores.redis.connect.sentinel_url import SUFFIX
from syncd.stores.tls import as_file
from syncd.stores.tls import pair as tls_pair

_T = TypeVar("_T")

MOST_CONNECTIONS = 1_000_000
"""No limit of ours: each thread that waits for Redis has one connection, and a lane that got none would only fail."""
_ENDED = ("closed by server", "reset by peer", "EOF occurred", "Broken pipe")
_NO_MASTER = "it is no master of the cluster any more"
SPARE_CONNECTIONS = 64
"""Idle ones that are kept open. Five hundred lanes that begin together leave five hundred behind."""
REST_S = 5.0
"""So long one more is kept: lanes that begin need many at once, again and again, and a new one costs ten calls."""


class SharedPool(ConnectionPool):
    """Gives out the connection that was used last, and closes those that only many lanes at once had needed."""

    is_ended = False
    """Whether no one is to ask this server any more."""

    def get_connection(self, command_name: str | None = None, *keys: Any, **options: Any) -> Any:
        """One to use. Raises ConnectionError where the server is none of ours any more."""
        if self.is_ended:
            raise driver.ConnectionError(_NO_MASTER)
        return super().get_connection()

    def release(self, connection: Any) -> None:
        """Take a connection back, and close the one that has rested longest where no one needs so many any more."""
        connection.resting_since = time.monotonic()
        super().release(connection)
        with self._lock:
            available = self._available_connections
            if len(available) <= SPARE_CONNECTIONS or not _has_rested(available[0]):
                return
            resting = available.pop(0)
            self._created_connections -= 1
        resting.disconnect()


def _has_rested(connection: Any) -> bool:
    """Whether no one has used it for a while."""
    since: float = connection.resting_since
    return time.monotonic() - since > REST_S


def hang_up(client: Redis) -> None:
    """Ask this server nothing more, and end what is under way: who waits for an answer gets an error. Called by another
    thread, so that nothing of theirs is touched but the socket."""
    pool: Any = client.connection_pool
    with pool._lock:
        pool.is_ended, connections = True, [*pool._in_use_connections]
    for connection in connections:
        if (there := connection._sock) is not None:
            with contextlib.suppress(OSError):  # it may be closed by now
                socket.socket.shutdown(there, socket.SHUT_RDWR)  # without TLS's goodbye


def is_hung_up(client: Redis) -> bool:
    """Whether this was done."""
    pool: Any = client.connection_pool
    return bool(pool.is_ended)


class _LoggedIn(AbstractConnection):
    """Asks for user and password at each connect, before anything is sent."""

    hint = "see its log"
    """What to do where the server ends the connection at once."""

    def __init__(self, *, login: Login, **options: Any) -> None:
        self._login = login
        super().__init__(**options)

    def _connect(self) -> Any:
        self.username, self.password = _known(self._login.user_and_password)
        return super()._connect()  # type: ignore[safe-super, no-untyped-call]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """The first words with the server. One that wants another kind of connection ends it without an answer."""
        try:
            super().on_connect_check_health(check_health)
        except driver.ConnectionError as error:
            if not any(words in str(error) for words in _ENDED):
                raise
            raise driver.ConnectionError(f"Redis ended the connection at once; {self.hint}") from error


class PlainConnection(_LoggedIn, Connection):
    """TCP without TLS."""

    hint = "where it wants TLS, write rediss:// in SYNCD_REDIS_URL"


class TlsConnection(_LoggedIn, SSLConnection):
    """TCP with TLS. Trusts the authorities of the settings or the URL alone, where they name any."""

    hint = "where it wants a certificate of syncd, set SYNCD_REDIS_TLS_CERT_FILE to one of an authority that it trusts"

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        pems = _known(self._login.pems)
        with as_file(pems.ca) as ca, tls_pair(pems) as own:
            context = ssl.create_default_context(
                cafile=ca or self.ca_certs, capath=self.ca_path, cadata=self.ca_data
            )
            context.check_hostname = self.check_hostname
            context.verify_mode = self.cert_reqs
            if own or self.certfile:
                key = None if own else self.keyfile
                context.load_cert_chain(own or self.certfile, key, self.certificate_password or "")
        if self.ssl_min_version is not None:
            context.minimum_version = self.ssl_min_version
        if self.ssl_ciphers:
            context.set_ciphers(self.ssl_ciphers)
        try:
            return context.wrap_socket(sock, server_hostname=self.host)
        except TimeoutError:
            what = "Redis does not answer a TLS handshake; where it has no TLS at that port, write redis://"
            raise driver.ConnectionError(what) from None


class SocketConnection(_LoggedIn, UnixDomainSocketConnection):
    """A socket of this machine."""


class PlainToPrimary(ToPrimary, PlainConnection):
    """TCP without TLS, to the primary that Sentinel names."""


class TlsToPrimary(ToPrimary, TlsConnection):
    """The same with TLS."""


KINDS = {
    "redis": PlainConnection,
    "rediss": TlsConnection,
    "unix": SocketConnection,
    f"redis{SUFFIX}": PlainToPrimary,
    f"rediss{SUFFIX}": TlsToPrimary,
}
"""By the scheme of the URL."""


def _known(ask: Callable[[], _T]) -> _T:
    """What the settings say. A connection that does not know it fails like any other."""
    try:
        return ask()
    except SettingsError as error:
        raise driver.ConnectionError(str(error)) from error
