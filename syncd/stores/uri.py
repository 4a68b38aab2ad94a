"""Connection strings: read strictly before a driver reads them, so that no part of a password is taken for a host.

Nothing here, and no message built on it, repeats more of a URI than its host and database.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from syncd.errors import UriError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AUTHORITY_ENDS = re.compile(r"[/?#]")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_SENTINEL_LOGIN = re.compile(r"(?<=[?&])sentinel_(username|password)=[^&]*")
_ENCODE = "percent-encode such characters of user and password: %40 for @, %23 for #, %2F for /, %3F for ?, %25 for %"


class Address(NamedTuple):
    """What of a URI may be shown."""

    hosts: str
    database: str

    def __str__(self) -> str:
        return f"{self.hosts}/{self.database}" if self.database else self.hosts


def read_uri(uri: str, schemes: tuple[str, ...]) -> Address:
    """Check a connection string. Raises UriError."""
    scheme = _SCHEME.match(uri)
    if scheme is None or scheme[1].lower() not in schemes:
        raise UriError(
            f"it does not begin with {' or '.join(f'{name}://' for name in schemes)}; write it like that"
        )
    if not uri.isprintable():
        raise UriError(
            "it holds a line break or another character that does not show; percent-encode it, or remove it"
        )
    authority, rest = _split(uri[scheme.end() :])
    if "@" in rest:
        raise UriError(f"a `/`, `?` or `#` stands before an `@`, which ends the name of the host; {_ENCODE}")
    if scheme[1].lower() == "unix":
        return Address("a Unix socket", "")
    hosts = authority.rpartition("@")[2]
    return Address(_checked_hosts(hosts), _database(rest))


def _split(text: str) -> tuple[str, str]:
    end = _AUTHORITY_ENDS.search(text)
    return (text[: end.start()], text[end.start() :]) if end else (text, "")


def _checked_hosts(hosts: str) -> str:
    for host in hosts.split(","):
        found = _HOST.fullmatch(unquote(host) if ".sock" in host else host)
        if found is None or (found[2] and int(found[2]) > 65_535):
            raise UriError(f"after the user there is no host:port with a number from 1 to 65535; {_ENCODE}")
    return hosts


def _database(rest: str) -> str:
    if not rest.startswith("/"):
        return ""
    return re.split(r"[?#]", rest[1:], maxsplit=1)[0]


def apart_from_login(uri: str) -> str:
    """The same URI without user and password, of sentinels too."""
    scheme, separator, rest = uri.partition("://")
    rest = _SENTINEL_LOGIN.sub("", rest)
    authority, end = _split(rest)
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{end}"


def read_mongo_uri(uri: str) -> Address:
    """The same for MongoDB, whose driver takes no reserved character in user and password."""
    address = read_uri(uri, ("mongodb", "mongodb+srv"))
    user, at, _ = _split(uri.partition("://")[2])[0].rpartition("@")
    if at and (user.count(":") > 1 or any(char in user for char in "@[]") or _BARE_PERCENT.search(user)):
        raise UriError(f"user or password holds a `:`, `@`, `%` or bracket as it is; {_ENCODE}, %3A for :")
    return address
