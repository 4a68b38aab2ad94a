"""`redis+sentinel://`: the URL of a master that several sentinels watch."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode

from syncd.errors import UriError

SUFFIX = "+sentinel"
PORT = 26_379
OWN_OPTIONS = ("sentinel_username", "sentinel_password")
"""The login for the sentinels themselves."""
_URL = re.compile(r"(rediss?)\+sentinel://([^/?]*)/([^/?]+)(?:/(\d*))?/?(?:\?(.*))?", re.DOTALL)

Address = tuple[str, int]


class SentinelUrl(NamedTuple):
    """What a URL of Sentinel says."""

    seeds: tuple[Address, ...]
    service: str
    user: str | None
    password: str | None
    server: str
    """The URL of a server, with a host in the place of the one that Sentinel names."""


def is_sentinel(url: str) -> bool:
    """Whether Sentinel is to be asked."""
    return url.partition("://")[0].endswith(SUFFIX)


def read_sentinel_url(url: str) -> SentinelUrl:
    """`redis+sentinel://user:password@host:26379,host/name/0`. Raises UriError."""
    found = _URL.fullmatch(url)
    if found is None:
        raise UriError("it names no master; write redis+sentinel://host:26379,host:26379/mymaster/0")
    scheme, authority, service, database, query = found.groups()
    user, at, hosts = authority.rpartition("@")
    options = parse_qsl(query or "", keep_blank_values=True)
    own = dict(options)
    others = urlencode([pair for pair in options if pair[0] not in OWN_OPTIONS])
    server = f"{scheme}://{user}{at}sentinel/{database or 0}" + (f"?{others}" if others else "")
    login, password = (own.get(name) for name in OWN_OPTIONS)
    return SentinelUrl(tuple(map(_address, hosts.split(","))), unquote(service), login, password, server)


def server_url(url: str) -> str:
    """The URL of a server, in which user, password and options count."""
    return read_sentinel_url(url).server if is_sentinel(url) else url


def _address(host: str) -> Address:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.strip("[]"), PORT
    return name.strip("[]"), int(port or PORT)
