"""The edits of a contract, as Redis keeps them: when each was taken up, by which daemon, and what it changed."""

from __future__ import annotations

import difflib
import json
from typing import Any

from syncd.stores.redis.records.position import ControlKeys
from syncd.stores.redis.store import RedisStore, translated

CONTEXT = 2
"""Lines that a diff shows around what changed."""


def edits(store: RedisStore, contract: str) -> list[dict[str, Any]]:
    """The latest first. The first file that was taken up has no diff."""
    with translated():
        raw: Any = store.client.lrange(ControlKeys(contract, place=store.place).edits, 0, -1)
    entries = [json.loads(text) for text in raw]
    texts = [entry.pop("text") for entry in entries]
    befores = [*texts[1:], None] if texts else []
    return [
        entry | {"diff": None if before is None else diff(before, after)}
        for entry, after, before in zip(entries, texts, befores, strict=True)
    ]


def diff(before: str, after: str) -> list[str]:
    """The lines of a unified diff, without its head."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=CONTEXT)
    return list(lines)[2:]
