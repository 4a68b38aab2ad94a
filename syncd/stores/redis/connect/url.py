"""SYNCD_REDIS_URL to a client: what cannot be used is reported before anything connects, and no part of the URL."""

from __future__ import annotations

import ssl
from difflib import get_close_matches
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlparse

from redis import Redis
from redis import exceptions as driver
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.driver_info import DriverInfo
from redis.retry import Retry

from syncd.errors import SettingsError, UnusableUriError, UriError
from syncd.stores import tls
from syncd.stores.access import Access, Given
from syncd.stores.redis.connect.connections import KINDS, MOST_CONNECTIONS, SharedPool
from syncd.stores.redis.connect.login import Login
from syncd.stores.redis.connect.sentinel import ASK_S, Primary, SentinelLogin
from syncd.stores.redis.connect.sentinel_url import Address, is_sentinel, read_sentinel_url, server_url

_WRITE = (
    "write redis://host:6379/0, rediss://, redis+sentinel://host,host/name/0 or unix:///path; a password has "
    "%23 %2F %3F %25 for # / ? %"
)
_OPTIONS = (
    "db", "username", "password", "client_name", "max_connections", "socket_timeout", "socket_connect_timeout",
    "socket_keepalive", "timeout", "lib_name", "lib_version",
)  # fmt: skip
_OF_TCP = ("socket_keepalive", "socket_connect_timeout")
_OF_TLS = (
    "ssl_keyfile", "ssl_certfile", "ssl_cert_reqs", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_check_hostname",
    "ssl_password", "ssl_min_version", "ssl_ciphers",
)  # fmt: skip
"""Options that a URL may have. All others the driver would take too, and break what syncd relies on."""
_FILES = ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_password")


_OF_SERVER = ("host", "port", "db", "client_name")
_OF_LOGIN = ("username", "password")
"""What each connection asks for by itself."""
_OF_DRIVER = {"lib_name", "lib_version"}
"""Names of the driver and its version, for the server."""


def redis_client(access: Access, socket_timeout: float) -> Redis:
    """A client that has not connected yet. Raises UnusableUriError."""
    given = access.now()
    url = _server_url(given.uri)
    scheme = _check(url)
    _check_certificates(given, url, scheme)
    # The driver must not send again by itself: a lost reply does not mean a lost write. Lanes retry, from the position
    # they find.
    ours: dict[str, Any] = {
        "protocol": 2,
        "legacy_responses": True,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": socket_timeout,
        "health_check_interval": 0,
        "client_name": "syncd",
        "max_connections": MOST_CONNECTIONS,
    }
    if scheme != "unix":
        ours |= {"socket_connect_timeout": 5.0, "socket_keepalive": True}
    try:
        ours |= {"login": Login(access), "connection_class": KINDS[given.uri.partition("://")[0]]}
    except SettingsError as error:
        raise UnusableUriError("redis", str(error)) from None
    try:
        pool = SharedPool.from_url(url, **ours)
        for name in _OF_LOGIN:
            pool.connection_kwargs.pop(name, None)
        if not pool.connection_kwargs.keys() & _OF_DRIVER:
            pool.connection_kwargs["driver_info"] = driver_info()
        if is_sentinel(given.uri):
            pool.connection_kwargs["primary"] = _primary(access, pool, KINDS[scheme])
        client = Redis.from_pool(pool)
        pool.make_connection()  # it does not connect, but checks what it is given
    except (ValueError, TypeError, AttributeError, OSError, driver.RedisError) as error:
        raise _unusable(_why(str(error))) from None
    _check_files(client.connection_pool.connection_kwargs)
    return client


@cache
def driver_info() -> DriverInfo:
    """Each connection would read the files of the driver's package for its version: an eighth of a start."""
    return DriverInfo()


def _server_url(url: str) -> str:
    try:
        return server_url(url)
    except UriError as error:
        raise UnusableUriError("redis", f"SYNCD_REDIS_URL is not usable: {error}") from None


def _primary(access: Access, pool: SharedPool, kind: type[Connection]) -> Primary:
    """Asks the sentinels over connections of the same kind."""
    options = {name: said for name, said in pool.connection_kwargs.items() if name not in _OF_SERVER}
    options |= {"socket_timeout": ASK_S, "socket_connect_timeout": ASK_S, "login": SentinelLogin(access)}

    def connect(address: Address) -> Connection:
        host, port = address
        return kind(**options, host=host, port=port)

    return Primary(read_sentinel_url(access.now().uri), connect)


def _unusable(why: str) -> UnusableUriError:
    return UnusableUriError("redis", f"SYNCD_REDIS_URL is not usable: {why}; {_WRITE}")


def _check_certificates(given: Given, url: str, scheme: str) -> None:
    if any(given.pems):
        if scheme != "rediss":
            raise UnusableUriError(
                "redis",
                f"SYNCD_REDIS_URL is {scheme}://, without TLS, and there are certificates for it in SYNCD_REDIS_TLS_*; "
                "write rediss://, or unset them",
            )
        query = parse_qs(urlparse(url).query)
        if twice := [name for name in _FILES if name in query]:
            raise UnusableUriError(
                "redis",
                f"SYNCD_REDIS_URL has the option {twice[0]}, and there are certificates in SYNCD_REDIS_TLS_*; "
                "give them in one way",
            )
    tls.check(given.pems, "redis")


def _check(url: str) -> str:
    """What the driver takes without an error. Returns the scheme."""
    try:
        parts = urlparse(url)
    except ValueError:
        raise _unusable("it is no URL") from None
    database = parts.path.strip("/")
    if parts.scheme in ("redis", "rediss") and database and not database.isdecimal():
        raise _unusable("its database is no number")
    if parts.scheme == "unix" and not parts.path.strip("/"):
        raise _unusable("it names no socket")
    if parts.fragment:
        raise _unusable("it has a #, which ends a URL")
    known = [*_OPTIONS, *(_OF_TLS if parts.scheme == "rediss" else ())]
    known = [name for name in known if parts.scheme != "unix" or name not in _OF_TCP]
    for name in parse_qs(parts.query, keep_blank_values=True):
        if name not in known:
            # What stands behind a `?` may be a part of a password, so it is not repeated.
            meant = get_close_matches(name, known, 1)
            hint = f"did you mean {meant[0]}?" if meant else f"options are {', '.join(known)}"
            raise _unusable(f"it has an option that is not known, or that syncd sets itself ({hint})")
    return parts.scheme


def _why(text: str) -> str:
    """The driver's words repeat parts of the URL, and a password with a `/` in it is one of them."""
    if text.startswith("Port"):
        return "its port is no number from 0 to 65535"
    if "following schemes" in text:
        return "it does not begin with redis://, rediss:// or unix://"
    if text.startswith("Invalid value for '"):
        return f"its option {text.split(chr(39))[1]} has no usable value"
    if "max_connections" in text:
        return "its option max_connections is no number above 0"
    if text.startswith("Invalid SSL"):
        return "its option ssl_cert_reqs is none of none, optional, required"
    return "it cannot be read"


def _check_files(said: dict[str, Any]) -> None:
    """The driver reads certificates at each connect, and calls a missing file a lost connection."""
    authorities = {"cafile": said.get("ssl_ca_certs"), "capath": said.get("ssl_ca_path")}
    if not any(authorities.values()) and not said.get("ssl_certfile"):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        name = "ssl_ca_certs"
        if any(authorities.values()):
            context.load_verify_locations(**authorities)
        name = "ssl_certfile"
        if said.get("ssl_certfile"):
            context.load_cert_chain(
                said["ssl_certfile"], said.get("ssl_keyfile"), said.get("ssl_password") or ""
            )
    except ssl.SSLError:
        raise _unusable(f"the file of its option {name} holds no certificate in the form of PEM") from None
    except OSError as error:
        raise _unusable(f"the file of its option {name} cannot be read ({error.strerror})") from None
