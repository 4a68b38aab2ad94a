"""What each key should hold, by rules of its own: nothing here comes from syncd, so its mistakes cannot hide."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import bson
from bson import ObjectId
from redis import Redis

from tests.soak.contracts import FIELDS, STATUS, prefix

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_MISSING = object()

Content = dict[str, Any]


def key_text(value: Any) -> str:
    """One value as a part of a key, as docs/reference/types.md has it; only what the soak uses."""
    if type(value) is int or isinstance(value, ObjectId):
        return str(value)
    if type(value) is str:
        return f"%{ord(value[0]):02X}{value[1:]}" if _INTEGER.fullmatch(value) else value
    if isinstance(value, Mapping):
        raw = bson.encode({"": value})
        return "%~doc~" + base64.urlsafe_b64encode(raw).decode().rstrip("=")
    raise TypeError(f"no rule for a key with {value!r}")


def key(short: str, document: Mapping[str, Any]) -> str:
    return prefix(short) + key_text(document["slug" if short == "page" else "_id"])


def content(short: str, document: Mapping[str, Any]) -> Content | None:
    """Values by field; None where the document should have no key."""
    if short == "shelf" and document["status"] != STATUS:
        return None
    found = {}
    for name, said in FIELDS[short].items():
        value = _computed(name, document) if isinstance(said, dict) else at(document, said)
        if value is not _MISSING and (value is not None or short == "tree"):
            found[name] = value
    return found


def _computed(name: str, document: Mapping[str, Any]) -> Any:
    if name == "label":
        return f"{document['title']}-{document['n']}"
    assert name == "email"
    return _MISSING if at(document, "contact.email") is _MISSING else "[redacted]"


def at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part, _MISSING) if isinstance(document, Mapping) else _MISSING
    return document


def ask(pipe: Any, short: str, name: str) -> None:
    """Put the reading of a key into a pipeline."""
    if short == "tree":
        pipe.execute_command("JSON.GET", name)
    else:
        pipe.hgetall(name)


def understood(short: str, reply: Any) -> Content | None:
    """What a key holds; None when there is none. Values of a hash are text."""
    if not reply:
        return None
    if short == "tree":
        parsed: Content = json.loads(reply)
        return parsed
    return {name.decode(): value.decode() for name, value in reply.items()}


def same(short: str, wanted: Content, found: Content) -> bool:
    """Whether a key holds what it should."""
    if wanted.keys() != found.keys():
        return False
    if short == "tree":  # also as text: to Python 1.0 is 1
        return json.dumps(wanted, sort_keys=True) == json.dumps(found, sort_keys=True)
    return all(_same_text(wanted[name], found[name]) for name in wanted)


def _same_text(wanted: Any, text: str) -> bool:
    if isinstance(wanted, str):
        return text == wanted
    if type(wanted) is int:
        return text == str(wanted)
    if isinstance(wanted, float):
        return float(text) == wanted
    return bool(json.loads(text) == wanted)


def scan(redis: Redis, short: str) -> set[str]:
    """Every key of a contract that there is."""
    return {name.decode() for name in redis.scan_iter(f"{prefix(short)}*", count=1000)}
