"""The documents of the soak: their ids, what they hold, and every way in which they change.

Each change carries a version `v` that was never used before, and the same number in `w`. Lists stay short, so that
the soak measures syncd and not its own growth.
"""

from __future__ import annotations

import random
from typing import Any

from bson import ObjectId

LIVE = 1000
"""Documents of a collection at the start, and about as many all the time."""
POOL = 1150
"""Ids of a collection, living or not."""
WRITERS = 2
SLUGS = POOL

_WORDS = ("amber", "Brücke", "cedar", "delta", "éclair", "fjord", "a:b{c}%d", "42", "", "x y")
_CITIES = ("Köln", "Oslo", "Lima", "Pune", "Accra")

Document = dict[str, Any]


def owner(index: int) -> int:
    """The one writer that changes a document."""
    return index % WRITERS


def slug(index: int) -> str:
    """A slug that belongs to the same writer as the document with this index; more slugs than documents live."""
    return f"s{index}"


def identity(short: str, index: int) -> Any:
    """The `_id` of a document. Of `mixed`: numbers, strings that look like those numbers, ObjectIds, documents."""
    if short != "mixed":
        return index
    kind = index // WRITERS % 4
    if kind == 0:
        return index
    if kind == 1:
        return str(index - WRITERS)
    if kind == 2:
        return ObjectId(f"{index:024x}")
    return {"site": index % 7, "n": str(index)}


def fresh(chance: random.Random, short: str, index: int, v: int, at: str) -> Document:
    """A whole new document; `at` is its slug."""
    document: Document = {
        "_id": identity(short, index),
        "v": v,
        "title": chance.choice(_WORDS),
        "n": chance.randrange(1000),
        "score": chance.choice((0.5, 3.0, 1e300, -2.25)),
        "info": info(chance),
        "tags": chance.choices(_WORDS, k=chance.randrange(4)),
        "status": status(chance),
        "contact": {"email": "a@example.com"} if chance.random() < 0.8 else {},
        "pad": "p" * 100,
        "w": v,
    }
    if chance.random() < 0.5:
        document["opt"] = chance.choice((None, "here", 7))
    if short == "page":
        document["slug"] = at
    return document


def info(chance: random.Random) -> Document:
    return {
        "address": {"city": chance.choice(_CITIES), "zip": chance.randrange(9999)},
        "level": chance.randrange(9),
    }


def status(chance: random.Random) -> str:
    return chance.choice(("released", "released", "draft", "hidden"))


def update(chance: random.Random, v: int) -> Document:
    """An update in one of the ways that MongoDB has."""
    number = {"v": v, "w": v}
    ways: tuple[Document, ...] = (
        {"$set": {**number, "title": chance.choice(_WORDS)}},
        {"$set": {**number, "info.address.city": chance.choice(_CITIES)}},
        {"$set": {**number, "info.level": chance.randrange(9)}},
        {"$set": {**number, "info": info(chance)}},
        {"$set": {**number, "status": status(chance)}},
        {"$set": {**number, "opt": chance.choice((None, "here", 7))}},
        {"$set": {**number, "contact.email": "b@example.com"}},
        {"$set": number},
        {"$set": number, "$unset": {"opt": ""}},
        {"$set": number, "$unset": {"info.level": "", "contact.email": ""}},
        {"$set": number, "$unset": {"info.address": ""}},
        {"$set": number, "$push": {"tags": {"$each": [chance.choice(_WORDS)], "$slice": -6}}},
        {"$set": number, "$pull": {"tags": chance.choice(_WORDS)}},
        {"$set": number, "$pop": {"tags": 1}},
        {"$set": number, "$inc": {"n": chance.randrange(1, 5)}},
        {
            "$set": number,
            "$inc": {"n": 1},
            "$unset": {"opt": ""},
            "$push": {"tags": {"$each": ["z"], "$slice": 6}},
        },
    )
    return chance.choice(ways)
