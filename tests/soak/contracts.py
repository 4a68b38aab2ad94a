"""The five contracts of the soak, each of another kind, and edits of them that change what their keys hold."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.contracts import ContractDirectory, Names, projection

TOKEN = "soak"
SHORTS = ("plain", "tree", "shelf", "page", "mixed")
"""Deltas into hashes; JSON; a filter; a key that moves; an expression, a mask, and `_id` of many types."""

KEPT = "kept"
"""Of a cluster: keys that go to MongoDB, see kept.py."""

DIGESTED = ("plain", "tree", "shelf")
"""Those that are compared by digests."""

STATUS = "released"
"""What a document of `shelf` must be to have a key."""

Fields = dict[str, Any]

FIELDS: dict[str, Fields] = {
    "plain": {
        "v": "v", "w": "w", "title": "title", "n": "n", "opt": "opt",
        "city": "info.address.city", "level": "info.level",
    },
    "tree": {"v": "v", "w": "w", "title": "title", "info": "info", "tags": "tags", "score": "score", "opt": "opt"},
    "shelf": {"v": "v", "w": "w", "title": "title", "status": "status", "tags": "tags", "score": "score"},
    "page": {"v": "v", "w": "w", "id": "_id", "title": "title", "n": "n"},
    "mixed": {
        "v": "v", "w": "w", "level": "info.level",
        "label": {"expr": "join('-', [title, to_string(n)])"},
        "email": {"from": "contact.email", "mask": "redact"},
    },
}  # fmt: skip
DROPPABLE = {"plain": "city", "tree": "score", "shelf": "tags", "page": "n", "mixed": "label"}


class Files(ContractDirectory):
    """Of one daemon."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, TOKEN)


def names(short: str) -> Names:
    return Names(TOKEN, short)


def prefix(short: str) -> str:
    """What every key of a contract starts with."""
    return names(short).prefix("card")


def text(short: str, fields: Fields | None = None, *, version: str = "1.0.0", name: str = "card") -> str:
    """A contract's file: as it should be, with other fields, or with another projection of the same documents."""
    said = projection(
        fields or FIELDS[short],
        name=name,
        type="json" if short == "tree" else "hash",
        key="{slug}" if short == "page" else "{_id}",
    )
    more: dict[str, Any] = {}
    if short in DIGESTED:
        more["reconcile"] = {"check": "digest"}
    if short == "shelf":
        more["filter"] = {"status": STATUS}
    if short == "page":
        more["unique"] = [["slug"]]
    return ContractDirectory.text(names(short), [said], version=version, **more)


def write(
    directories: Iterable[Files], short: str, fields: Fields | None = None, version: str = "1.0.0"
) -> None:
    """Writes a contract's file, for every daemon."""
    for directory in directories:
        directory.write_text(short, text(short, fields, version=version))


def restore(directory: Files) -> None:
    """Every contract as it should be, and no other. What is too much goes last, so that every template has an owner."""
    for short in SHORTS:
        directory.write_text(short, text(short))
    for file in directory.path.glob("*.yaml"):
        if file.stem not in (*SHORTS, KEPT):
            file.unlink()


def edited(short: str, chance: random.Random) -> Fields:
    """A field more, or a field less; `v` and `w` stay."""
    fields = dict(FIELDS[short])
    if chance.random() < 0.5:
        del fields[DROPPABLE[short]]
    else:
        fields["added"] = "n"
    return fields
