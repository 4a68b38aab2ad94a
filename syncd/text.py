"""Text from documents, keys, files and servers, made safe to show on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_SHOWN = " \u200d"
"""Of what Python calls not printable: the space, and the joiner inside emoji, which moves nothing."""


def escaped(text: str) -> str:
    """The same text on one line, with an escape for each character that a terminal would obey or not show: control
    characters (a newline too), those that turn the direction of writing, and halves of surrogate pairs."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _SHOWN else _escape(char) for char in text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def escaped_all(value: Any) -> Any:
    """`escaped`, for every text inside lists and mappings, names too."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {escaped_all(key): escaped_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(escaped_all(item) for item in value)
    return value


def json_text(value: Any) -> str:
    """JSON for people and programs: letters of all languages as they are, the rest as JSON's own escapes."""
    said = json.dumps(value, indent=2, ensure_ascii=False)
    return "\n".join(
        "".join(char if char.isprintable() or char in _SHOWN else json.dumps(char)[1:-1] for char in line)
        for line in said.split("\n")
    )


def clipped(text: str, most: int) -> str:
    """At most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"


def without_secrets(text: str) -> str:
    """The same text without user and password of any URI in it."""
    return _URI.sub(r"\1***@", text)


def shown_holder(lease: str) -> str:
    """Who holds a lease, for people."""
    host, *rest = lease.rsplit("/", 3)
    return f"process {rest[1]} on {host}" if len(rest) == 3 else lease


def host_of(address: str) -> str:
    """Host and port of an address such as tcp://host:port, also where a password breaks its form."""
    rest = address.rpartition("://")[2].rpartition("@")[2]
    return escaped(re.split(r"[/?#]", rest, maxsplit=1)[0])
